//! Requests that are given up or run out of time, over three nodes with real links.
#![cfg(feature = "quic")]
#![allow(clippy::unwrap_used)]

use mcpbus::client::{
    Client, ClientConfig, Delivery, RequestError, SubscribeOptions, Subscription,
};
use mcpbus::identity::LocalAuthority;
use mcpbus::node::{Node, NodeBuilder, NodeLimits};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::task::JoinSet;

const WAIT: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(600);

/// Three nodes in a row, a requester at the first, and a responder at the last.
struct Row {
    nodes: [Node; 3],
    requester: Client,
    responder: Client,
    _directory: tempfile::TempDir,
}

impl Row {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let authority = LocalAuthority::open_or_create(directory.path(), now).unwrap();
        let credentials = |name: &str| authority.credentials(name, now).unwrap();
        let node = |name: &str, next: Option<&Node>| {
            let builder = NodeBuilder::named(name)
                .credentials(credentials(name))
                .listen("127.0.0.1:0".parse().unwrap());
            match next {
                Some(next) => builder.link(next.address().unwrap().to_string()),
                None => builder,
            }
        };
        let last = node("last", None).start().await.unwrap();
        let middle = node("middle", Some(&last)).start().await.unwrap();
        let first = node("first", Some(&middle)).start().await.unwrap();
        let client = async |name: &str, node: &Node| {
            let config = ClientConfig {
                name: name.into(),
                ..ClientConfig::default()
            };
            let address = node.address().unwrap().to_string();
            Client::connect(&address, &credentials(name), config)
                .await
                .unwrap()
        };
        Self {
            requester: client("requester", &first).await,
            responder: client("responder", &last).await,
            nodes: [first, middle, last],
            _directory: directory,
        }
    }

    /// Answers what is asked on `work`, known to the requester's node.
    async fn subscribe(&self, options: SubscribeOptions) -> Subscription {
        let mut work = self.responder.subscribe("work", options).unwrap();
        work.ready(WAIT).await.unwrap();
        while self
            .requester
            .count_subscribers("work", WAIT)
            .await
            .unwrap()
            == 0
        {
            tokio::task::yield_now().await;
        }
        work
    }

    fn ask(&self, body: &'static str, timeout: Duration) -> JoinSet<Result<(), RequestError>> {
        let client = self.requester.clone();
        let mut asked = JoinSet::new();
        asked.spawn(async move {
            client
                .request("work", None, body, timeout)
                .await
                .map(|_| ())
        });
        asked
    }

    /// Waits until no node follows a request any more, and looks at what is left.
    async fn assert_clean(self) {
        for node in &self.nodes {
            while node.report().await.unwrap().requests > 0 {
                tokio::task::yield_now().await;
            }
        }
        let stats = self.requester.close(WAIT).await;
        assert_eq!(stats.outstanding(), 0, "{stats:?}");
        self.responder.close(WAIT).await;
        let [first, ..] = &self.nodes;
        let limits = NodeLimits::default();
        // With its clients gone a node has all the credit back that is not for its neighbours.
        while first.report().await.unwrap().peers.len() > 1 {
            tokio::task::yield_now().await;
        }
        let report = first.report().await.unwrap();
        assert!(report.credit_left.0 * 2 > limits.credit_messages);
        for node in self.nodes {
            let ledger = node.shutdown(WAIT).await.unwrap();
            assert_eq!((ledger.residual(), ledger.held), (0, 0), "{ledger:?}");
        }
    }
}

async fn next(subscription: &mut Subscription) -> Delivery {
    let message = tokio::time::timeout(WAIT, subscription.next()).await;
    message.expect("no message came").unwrap()
}

#[tokio::test]
async fn a_request_that_is_given_up_is_cancelled_wherever_it_is() {
    let row = Row::start().await;
    let mut work = row
        .subscribe(SubscribeOptions::default().window_messages(1))
        .await;
    let mut begun = row.ask("begun", LONG);
    let in_hand = next(&mut work).await;
    assert_eq!(&in_hand.body()[..], b"begun");
    assert!(!in_hand.is_cancelled());
    let mut waiting = row.ask("waits at a node", LONG);
    let mut last = row.ask("last", LONG);
    while row.nodes[2].ledger().await.unwrap().accepted < 3 {
        tokio::task::yield_now().await;
    }
    begun.abort_all();
    waiting.abort_all();
    let told = tokio::time::timeout(WAIT, in_hand.cancelled()).await;
    assert!(told.is_ok(), "the responder is not told");
    assert!(in_hand.is_cancelled());
    while row.nodes[2].ledger().await.unwrap().cancelled == 0 {
        tokio::task::yield_now().await;
    }
    // Whoever answers all the same is not wrong; nobody hears it.
    in_hand.reply(b"too late").unwrap();
    let after = next(&mut work).await;
    assert_eq!(&after.body()[..], b"last");
    after.reply(b"in time").unwrap();
    assert_eq!(last.join_next().await.unwrap().unwrap(), Ok(()));
    while begun.join_next().await.is_some() || waiting.join_next().await.is_some() {}
    drop(work);
    row.assert_clean().await;
}

#[tokio::test]
async fn the_requests_of_a_client_that_leaves_are_cancelled() {
    let row = Row::start().await;
    let mut work = row.subscribe(SubscribeOptions::default()).await;
    let mut asked = row.ask("a", LONG);
    let in_hand = next(&mut work).await;
    let Row {
        nodes, requester, ..
    } = &row;
    let report = nodes[2].report().await.unwrap();
    assert_eq!(report.requests, 1);
    requester.clone().close(WAIT).await;
    let told = tokio::time::timeout(WAIT, in_hand.cancelled()).await;
    assert!(told.is_ok(), "the responder is not told");
    assert!(asked.join_next().await.unwrap().unwrap().is_err());
    drop(in_hand);
    drop(work);
    row.assert_clean().await;
}

#[tokio::test]
async fn a_hundred_thousand_cancels_leave_nothing_behind() {
    const ROUNDS: usize = 100;
    const EACH: usize = 1000;
    let row = Row::start().await;
    let mut work = row.subscribe(SubscribeOptions::default()).await;
    let taken = Arc::new(AtomicUsize::new(0));
    let handed_out = taken.clone();
    let working = tokio::spawn(async move {
        let mut at_work = JoinSet::new();
        while let Some(delivery) = work.next().await {
            if &delivery.body()[..] == b"end" {
                delivery.reply(b"").unwrap();
                break;
            }
            handed_out.fetch_add(1, Ordering::Relaxed);
            at_work.spawn(async move { delivery.cancelled().await });
            while at_work.try_join_next().is_some() {}
        }
        // Each of them hears that it need not go on.
        while at_work.join_next().await.is_some() {}
    });
    for round in 0..ROUNDS {
        let enough = taken.load(Ordering::Relaxed) + 1 + round % 50;
        let mut asked = JoinSet::new();
        for _ in 0..EACH {
            let client = row.requester.clone();
            asked.spawn(async move { client.request("work", None, "x", LONG).await.map(|_| ()) });
        }
        // Some are at work, some on their way and some not sent when they are given up.
        let at_work = async {
            while taken.load(Ordering::Relaxed) < enough {
                tokio::task::yield_now().await;
            }
        };
        let begun = tokio::time::timeout(WAIT, at_work).await;
        assert!(begun.is_ok(), "nobody begins to work any more");
        asked.shutdown().await;
    }
    let end = row.requester.request("work", None, "end", WAIT).await;
    assert!(end.is_ok(), "{end:?}");
    let worked = tokio::time::timeout(WAIT, working).await;
    assert!(worked.is_ok(), "somebody still works on what was given up");
    row.assert_clean().await;
}

#[tokio::test]
async fn no_handler_starts_after_the_deadline_that_a_caller_gave() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    // Time is counted anew from hop to hop, so it passes a little later at the end of the row.
    const SOONER: Duration = Duration::from_millis(500);
    let row = Row::start().await;
    let mut work = row
        .subscribe(SubscribeOptions::default().window_messages(2))
        .await;
    let mut first = row.ask("x", TIMEOUT);
    let in_hand = next(&mut work).await;
    let mut asked = JoinSet::new();
    for _ in 0..20 {
        let client = row.requester.clone();
        asked.spawn(async move {
            let (begin, after) = (Instant::now(), TIMEOUT - SOONER);
            let answer = client.request("work", None, "x", after).await;
            assert_eq!(answer, Err(RequestError::TimedOut { after }));
            begin.elapsed() - after
        });
    }
    let mut latest = Duration::ZERO;
    while let Some(late) = asked.join_next().await {
        latest = latest.max(late.unwrap());
    }
    println!("answered {latest:?} late at most");
    let answer = first.join_next().await.unwrap().unwrap();
    assert_eq!(answer, Err(RequestError::TimedOut { after: TIMEOUT }));
    let told = tokio::time::timeout(WAIT, in_hand.cancelled()).await;
    assert!(told.is_ok(), "the responder is not told");
    let late = work.try_next();
    assert!(late.is_none(), "handed out after its time: {late:?}");
    drop(in_hand);
    // The others are at their nodes, and do not come from there either.
    let mut marked = row.ask("marked", WAIT);
    let after = next(&mut work).await;
    assert_eq!(&after.body()[..], b"marked");
    after.reply(b"").unwrap();
    assert_eq!(marked.join_next().await.unwrap().unwrap(), Ok(()));
    drop(work);
    row.assert_clean().await;
}
