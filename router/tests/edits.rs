//! Routes that change while messages flow, with real links.
#![cfg(feature = "quic")]
#![allow(clippy::unwrap_used)]

use mcpbus::AckLevel;
use mcpbus::client::{Client, ClientConfig, Publication, SubscribeOptions, Subscription};
use mcpbus::identity::LocalAuthority;
use mcpbus::node::{Node, NodeBuilder};
use mcpbus::policy::PolicyFactory;
use mcpbus::resilience::{
    BreakerConfig, BulkheadConfig, DestinationGuardsConfig, OutlierConfig, TokenBucketConfig,
    WhenLimited,
};
use mcpbus::routing::{Route, RouteGuards, RouteTable};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;

const WAIT: Duration = Duration::from_secs(30);
const EDITS: usize = 1000;
const GROUPS: [&str; 3] = ["v1", "v2", "v3"];
const KEYS: u64 = 16;

/// Random numbers from a seed (xorshift64*, Vigna 2016).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % limit
    }
}

/// Other weights, another policy, other guards, sometimes a second route. Guards that refuse let everything through, so that
/// what is missing was lost.
fn routes(random: &mut Random) -> Vec<Route> {
    let names = [
        "weighted",
        "hash",
        "round-robin",
        "least-loaded",
        "bounded-load",
    ];
    let mut made = Vec::new();
    for pattern in ["tx.*", "tx.1"] {
        if pattern == "tx.1" && random.below(2) == 0 {
            continue;
        }
        let name = names[random.below(names.len() as u64) as usize];
        let mut route = Route::new(
            pattern.parse().unwrap(),
            PolicyFactory::named(name).unwrap(),
        );
        for (index, group) in GROUPS.iter().enumerate() {
            let least = u64::from(index == 0);
            route = route.to(group, (random.below(9) + least) as u32);
        }
        let wait = WhenLimited::Delay { max: WAIT };
        let guards = RouteGuards {
            limit: (random.below(3) == 0)
                .then(|| TokenBucketConfig::new(20_000.0, 50, wait).unwrap().into()),
            outlier: (random.below(3) == 0).then(OutlierConfig::default),
            destination: DestinationGuardsConfig {
                breaker: (random.below(3) == 0).then(BreakerConfig::default),
                bulkhead: (random.below(3) == 0)
                    .then(|| BulkheadConfig::new(1_000_000, 0, Duration::ZERO).unwrap()),
                adaptive: None,
            },
            ..RouteGuards::default()
        };
        made.push(
            route
                .guards(guards)
                .sticky(name == "weighted" && random.below(2) == 0),
        );
    }
    made
}

/// How far the consumers are.
#[derive(Default)]
struct Progress {
    taken: AtomicU64,
    more: Notify,
    /// Nothing more is published.
    over: AtomicBool,
}

impl Progress {
    /// Waits until this many messages were taken.
    async fn reach(&self, messages: u64) {
        while self.taken.load(Ordering::Relaxed) < messages {
            self.more.notified().await;
        }
    }
}

async fn subscribe(client: &Client, group: &str) -> Subscription {
    let options = SubscribeOptions::default().group(group);
    let mut subscription = client.subscribe("tx.*", options).unwrap();
    subscription.ready(WAIT).await.unwrap();
    subscription
}

/// Takes messages until told to stop and none is left; gives publisher and number in the order in which they came.
async fn take(mut subscription: Subscription, progress: Arc<Progress>) -> Vec<(u64, u64)> {
    let mut taken = Vec::new();
    loop {
        let next = tokio::time::timeout(Duration::from_millis(200), subscription.next()).await;
        match next {
            Ok(Some(message)) => {
                let text = String::from_utf8(message.body().to_vec()).unwrap();
                let mut parts = text.split(' ').map(|part| part.parse::<u64>().unwrap());
                taken.push((parts.next().unwrap(), parts.next().unwrap()));
                message.ack();
                progress.taken.fetch_add(1, Ordering::Relaxed);
                progress.more.notify_one();
            }
            Ok(None) => return taken,
            Err(_) if progress.over.load(Ordering::Relaxed) => return taken,
            Err(_) => {}
        }
    }
}

async fn publish(client: Client, name: u64, over: Arc<AtomicBool>) -> u64 {
    let publisher = client.publisher(AckLevel::Processed);
    let mut receipts = Vec::new();
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        for _ in 0..100 {
            let key = number % KEYS;
            let subject = format!("tx.{}", key % 2);
            let message = Publication::new(&subject, format!("{name} {number}"));
            let message = message.key(format!("{name} {key}").as_str());
            receipts.push(publisher.publish_with_receipt(message).await.unwrap());
            number += 1;
        }
        for receipt in receipts.drain(..) {
            receipt.await.unwrap();
        }
    }
    number
}

/// Two nodes: messages are published at both, consumers are at both, both get a thousand sets of routes.
#[tokio::test]
async fn a_thousand_random_edits_lose_double_and_reorder_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let authority = LocalAuthority::open_or_create(directory.path(), SystemTime::now()).unwrap();
    let start = |name: &str| {
        let credentials = authority.credentials(name, SystemTime::now()).unwrap();
        NodeBuilder::named(name)
            .credentials(credentials)
            .listen("127.0.0.1:0".parse().unwrap())
    };
    let one = start("one").start().await.unwrap();
    let address = one.address().unwrap().to_string();
    let two = start("two").link(address).start().await.unwrap();
    let mut random = Random(7);
    let nodes: [&Node; 2] = [&one, &two];
    for node in nodes {
        node.set_routes(RouteTable::new(routes(&mut random)).unwrap())
            .await
            .unwrap();
    }
    let published = Arc::new(AtomicBool::new(false));
    let progress = Arc::new(Progress::default());
    let mut consumers = Vec::new();
    for (at, group) in [(0, "v1"), (1, "v2"), (0, "v3"), (1, "v1")] {
        let client = nodes[at].client(ClientConfig::default()).await.unwrap();
        let subscription = subscribe(&client, group).await;
        let taking = take(subscription, Arc::clone(&progress));
        consumers.push((client, tokio::spawn(taking)));
    }
    let mut publishers = Vec::new();
    for (name, node) in (0..).zip(nodes) {
        let client = node.client(ClientConfig::default()).await.unwrap();
        let over = Arc::clone(&published);
        publishers.push(tokio::spawn(publish(client, name, over)));
    }
    let mut times = Vec::with_capacity(EDITS);
    for edit in 0..EDITS {
        progress.reach(20 * edit as u64).await;
        let node = nodes[edit % 2];
        // An edit that cannot be is refused before it comes to a node.
        if edit % 10 == 0 {
            let mut wrong = routes(&mut random);
            wrong.push(wrong[0].clone());
            assert!(RouteTable::new(wrong).is_err());
        }
        let table = RouteTable::new(routes(&mut random)).unwrap();
        let begun = Instant::now();
        node.set_routes(table).await.unwrap();
        times.push(begun.elapsed());
    }
    published.store(true, Ordering::Relaxed);
    let mut sent = Vec::new();
    for publisher in publishers {
        sent.push(publisher.await.unwrap());
    }
    progress.over.store(true, Ordering::Relaxed);
    let mut seen = BTreeSet::new();
    for (_, consumer) in consumers {
        let mut last = BTreeMap::new();
        for (name, number) in consumer.await.unwrap() {
            assert!(seen.insert((name, number)), "{name} {number} came twice");
            let earlier = last.insert((name, number % KEYS), number);
            let in_order = earlier.is_none_or(|earlier| earlier < number);
            assert!(in_order, "{name}: {number} behind {earlier:?}");
        }
    }
    let all = seen.len() as u64;
    assert_eq!(all, sent.iter().sum::<u64>());
    times.sort_unstable();
    println!(
        "{EDITS} edits under {all} messages: median {:?}, p99 {:?}, longest {:?}",
        times[EDITS / 2],
        times[EDITS * 99 / 100],
        times[EDITS - 1]
    );
    for node in nodes {
        let ledger = node.report().await.unwrap().ledger;
        assert_eq!(ledger.residual(), 0, "{ledger:?}");
        assert!(ledger.dead.is_empty(), "{ledger:?}");
    }
}
