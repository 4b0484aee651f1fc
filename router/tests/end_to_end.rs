//! Clients and nodes with real links.
#![cfg(feature = "quic")]
#![allow(clippy::unwrap_used)]

use mcpbus::client::{
    Client, ClientConfig, ClientPool, PoolConfig, PoolError, Publication, RequestError,
    SubscribeOptions,
};
use mcpbus::identity::{Credentials, LocalAuthority};
use mcpbus::node::{Node, NodeBuilder};
use mcpbus::{AckLevel, Failure};
use std::time::{Duration, SystemTime};

const WAIT: Duration = Duration::from_secs(10);

struct Authority {
    _directory: tempfile::TempDir,
    authority: LocalAuthority,
}

impl Authority {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority =
            LocalAuthority::open_or_create(directory.path(), SystemTime::now()).unwrap();
        Self {
            _directory: directory,
            authority,
        }
    }

    fn credentials(&self, name: &str) -> Credentials {
        self.authority.credentials(name, SystemTime::now()).unwrap()
    }

    async fn node(&self, name: &str, links: &[&Node]) -> Node {
        let mut builder = NodeBuilder::named(name)
            .credentials(self.credentials(name))
            .listen("127.0.0.1:0".parse().unwrap());
        for node in links {
            builder = builder.link(node.address().unwrap().to_string());
        }
        builder.start().await.unwrap()
    }

    async fn client(&self, name: &str, node: &Node) -> Client {
        let config = ClientConfig {
            name: name.into(),
            ..ClientConfig::default()
        };
        Client::connect(
            &node.address().unwrap().to_string(),
            &self.credentials(name),
            config,
        )
        .await
        .unwrap()
    }
}

#[tokio::test]
async fn what_is_published_at_one_node_arrives_at_a_subscriber_of_the_third() {
    let authority = Authority::new();
    let c = authority.node("c", &[]).await;
    let b = authority.node("b", &[&c]).await;
    let a = authority.node("a", &[&b]).await;
    let subscriber = authority.client("subscriber", &c).await;
    let mut subscription = subscriber
        .subscribe("bank.tx.*", SubscribeOptions::default())
        .unwrap();
    subscription.ready(WAIT).await.unwrap();
    let publisher_client = authority.client("publisher", &a).await;
    while publisher_client
        .count_subscribers("bank.tx.1", WAIT)
        .await
        .unwrap()
        == 0
    {
        tokio::task::yield_now().await;
    }
    let publisher = publisher_client.publisher(AckLevel::Accepted);
    let sender = tokio::spawn(async move {
        for number in 0..20_000_u32 {
            let message = Publication::new(
                format!("bank.tx.{}", number % 50),
                number.to_le_bytes().to_vec(),
            );
            publisher.publish(message).await.unwrap();
        }
    });
    let mut last = vec![None; 50];
    for _ in 0..20_000 {
        let delivery = tokio::time::timeout(WAIT, subscription.next())
            .await
            .unwrap()
            .unwrap();
        let number = u32::from_le_bytes(delivery.body()[..].try_into().unwrap());
        let account = &mut last[(number % 50) as usize];
        assert!(
            account.is_none_or(|before| before < number),
            "order per subject"
        );
        *account = Some(number);
    }
    sender.await.unwrap();
    let stats = publisher_client.flush(WAIT).await;
    assert_eq!(
        (stats.published, stats.acknowledged, stats.failures()),
        (20_000, 20_000, 0)
    );
    for node in [a, b, c] {
        let ledger = node.shutdown(WAIT).await.unwrap();
        assert_eq!(
            (
                ledger.accepted,
                ledger.delivered,
                ledger.held,
                ledger.residual()
            ),
            (20_000, 20_000, 0, 0)
        );
    }
}

#[tokio::test]
async fn nobody_listens() {
    let authority = Authority::new();
    let node = authority.node("alone", &[]).await;
    let client = authority.client("publisher", &node).await;
    let asked = client.publisher(AckLevel::Accepted);
    let receipt = asked
        .publish_with_receipt(Publication::new("a.b", "x"))
        .await
        .unwrap();
    assert_eq!(
        receipt.await,
        Err(mcpbus::client::ReceiptError::Failed(Failure::NoRoute))
    );
    client
        .publisher(AckLevel::None)
        .publish(Publication::new("a.b", "x"))
        .await
        .unwrap();
    client.flush(WAIT).await;
    let ledger = node.ledger().await.unwrap();
    assert_eq!(ledger.shed.get("no_subscriber"), Some(&1));
    assert_eq!(ledger.dead.get("no_route"), Some(&1));
    assert_eq!(ledger.residual(), 0);
}

#[tokio::test]
async fn requests_are_answered_refused_and_lost() {
    let authority = Authority::new();
    let b = authority.node("b", &[]).await;
    let a = authority.node("a", &[&b]).await;
    let requester = authority.client("requester", &a).await;
    let refused = requester.request("echo", None, "?", WAIT).await;
    assert_eq!(refused, Err(RequestError::NoRoute));

    let responder = authority.client("responder", &b).await;
    let mut subscription = responder
        .subscribe("echo", SubscribeOptions::default().group("echo"))
        .unwrap();
    subscription.ready(WAIT).await.unwrap();
    let answering = tokio::spawn(async move {
        let request = subscription.next().await.unwrap();
        assert!(request.is_request());
        let body = request.body().to_vec();
        request.reply(&body).unwrap();
        let request = subscription.next().await.unwrap();
        request.reply_failed("no").unwrap();
        // Taken, and not answered.
        subscription.next().await.unwrap()
    });
    let answer = requester
        .request("echo", None, "hello", WAIT)
        .await
        .unwrap();
    assert_eq!(&answer.body[..], b"hello");
    let failed = requester.request("echo", None, "hello", WAIT).await;
    assert_eq!(
        failed,
        Err(RequestError::Failed {
            reason: "no".into()
        })
    );
    let short = Duration::from_millis(100);
    let late = requester.request("echo", None, "hello", short).await;
    assert_eq!(late, Err(RequestError::TimedOut { after: short }));
    drop(answering.await.unwrap());
}

#[tokio::test]
async fn a_client_inside_the_process_needs_no_certificates() {
    let node = NodeBuilder::named("embedded").start().await.unwrap();
    let client = node.client(ClientConfig::default()).await.unwrap();
    let mut subscription = client.subscribe(">", SubscribeOptions::default()).unwrap();
    subscription.ready(WAIT).await.unwrap();
    client
        .publisher(AckLevel::Processed)
        .publish(Publication::new("a", "x"))
        .await
        .unwrap();
    subscription.next().await.unwrap().ack();
    let stats = client.close(WAIT).await;
    assert_eq!((stats.acknowledged, stats.failures()), (1, 0));
    assert_eq!(node.shutdown(WAIT).await.unwrap().residual(), 0);
}

#[tokio::test]
async fn a_route_of_a_node_on_the_way_is_followed_once() {
    use mcpbus::policy::PolicyFactory;
    use mcpbus::routing::{Pattern, Route, RouteTable};

    let authority = Authority::new();
    let weighted = PolicyFactory::named("weighted").unwrap();
    let route = Route::new(Pattern::new("bank.tx.*").unwrap(), weighted)
        .to("risk-v1", 80)
        .to("risk-v2", 20);
    let routes = RouteTable::new(vec![route]).unwrap();
    let b = NodeBuilder::named("b")
        .configure(|config| config.routes = routes)
        .credentials(authority.credentials("b"))
        .listen("127.0.0.1:0".parse().unwrap())
        .start()
        .await
        .unwrap();
    let a = authority.node("a", &[&b]).await;
    let c = authority.node("c", &[&b]).await;
    let consumer = authority.client("consumer", &c).await;
    let mut everything = consumer
        .subscribe("bank.>", SubscribeOptions::default())
        .unwrap();
    let mut first = consumer
        .subscribe("bank.tx.*", SubscribeOptions::default().group("risk-v1"))
        .unwrap();
    let mut second = consumer
        .subscribe("bank.tx.*", SubscribeOptions::default().group("risk-v2"))
        .unwrap();
    for subscription in [&mut everything, &mut first, &mut second] {
        subscription.ready(WAIT).await.unwrap();
    }
    let client = authority.client("publisher", &a).await;
    while client.count_subscribers("bank.tx.1", WAIT).await.unwrap() < 3 {
        tokio::task::yield_now().await;
    }
    let publisher = client.publisher(AckLevel::Accepted);
    let sending = tokio::spawn(async move {
        for number in 0..1000_u32 {
            let message = Publication::new("bank.tx.1", number.to_le_bytes().to_vec());
            publisher.publish(message).await.unwrap();
        }
    });
    for (subscription, expected) in [
        (&mut everything, 1000),
        (&mut first, 800),
        (&mut second, 200),
    ] {
        for _ in 0..expected {
            let delivery = tokio::time::timeout(WAIT, subscription.next()).await;
            drop(delivery.unwrap().unwrap());
        }
    }
    sending.await.unwrap();
    assert_eq!(client.flush(WAIT).await.acknowledged, 1000);
    assert!(
        first.try_next().is_none()
            && second.try_next().is_none()
            && everything.try_next().is_none()
    );
    let report = b.report().await.unwrap();
    let shares: Vec<_> = report.routes.iter().map(|route| route.messages).collect();
    assert_eq!(shares, [800, 200]);
}

#[tokio::test]
async fn what_a_client_may_ask_at_once_is_bounded_and_given_back() {
    use mcpbus::client::{QueryError, SubscribeError};

    let node = NodeBuilder::named("bounded").start().await.unwrap();
    let mut config = ClientConfig {
        requests: 1,
        ..ClientConfig::default()
    };
    config.session.flows_max = 2;
    let client = node.client(config).await.unwrap();
    // Asked together, so that the first cannot have been answered before the second is refused.
    let (first, second) = tokio::join!(
        client.count_subscribers("a", WAIT),
        client.count_subscribers("a", WAIT)
    );
    assert_eq!((first, second), (Ok(0), Err(QueryError::TooMany)));
    // A question that is given up gives its place back.
    let given_up = tokio::time::timeout(Duration::ZERO, client.count_subscribers("a", WAIT));
    drop(given_up.await);
    assert_eq!(client.count_subscribers("a", WAIT).await, Ok(0));

    let one = client.subscribe("a", SubscribeOptions::default()).unwrap();
    let _two = client.subscribe("b", SubscribeOptions::default()).unwrap();
    let three = client.subscribe("c", SubscribeOptions::default());
    assert!(matches!(three, Err(SubscribeError::Refused { .. })));
    drop(one);
    assert!(client.subscribe("c", SubscribeOptions::default()).is_ok());
}

#[tokio::test]
async fn connections_of_a_pool_are_borrowed_and_given_back() {
    let authority = Authority::new();
    let node = authority.node("node", &[]).await;
    let config = PoolConfig::default()
        .max_pool_size(2)
        .min_idle(1)
        .connection_timeout(Duration::from_millis(200));
    let pool = ClientPool::connect(
        &node.address().unwrap().to_string(),
        &authority.credentials("program"),
        ClientConfig::default(),
        config,
    )
    .await
    .unwrap();
    let subscriber = pool.get().await.unwrap();
    let mut subscription = subscriber
        .subscribe("a", SubscribeOptions::default())
        .unwrap();
    subscription.ready(WAIT).await.unwrap();
    let publisher = pool.get().await.unwrap();
    let third = pool.get().await.unwrap_err();
    assert!(matches!(third, PoolError::Exhausted { .. }), "{third}");
    let message = Publication::new("a", "hello");
    let sender = publisher.publisher(AckLevel::Accepted);
    sender.publish(message).await.unwrap();
    assert_eq!(subscription.next().await.unwrap().body().as_ref(), b"hello");
    publisher.flush(WAIT).await;
    drop(publisher);
    let again = pool.get().await.unwrap();
    assert_eq!(again.count_subscribers("a", WAIT).await.unwrap(), 1);
}
