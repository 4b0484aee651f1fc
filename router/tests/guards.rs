//! Guards of routes, with real links.
#![cfg(feature = "quic")]
#![allow(clippy::unwrap_used)]

use mcpbus::client::{
    Client, ClientConfig, Delivery, Publication, Receipt, ReceiptError, SubscribeOptions,
    Subscription,
};
use mcpbus::identity::LocalAuthority;
use mcpbus::node::{Node, NodeBuilder, NodeReport};
use mcpbus::policy::PolicyFactory;
use mcpbus::resilience::{
    BreakerConfig, BulkheadConfig, DeadlineConfig, DestinationGuardsConfig, KeyedLimitsConfig,
    OutlierConfig, RefusalReason, TokenBucketConfig, WhenFull, WhenLimited,
};
use mcpbus::routing::{LimitKey, Route, RouteGuards, RouteLimit, RouteTable};
use mcpbus::{AckLevel, Failure};
use std::time::{Duration, SystemTime};

const WAIT: Duration = Duration::from_secs(10);

async fn start(groups: &[&str], guards: RouteGuards) -> (Node, Client) {
    let mut route = Route::new(
        "tx.*".parse().unwrap(),
        PolicyFactory::named("weighted").unwrap(),
    )
    .guards(guards);
    for group in groups {
        route = route.to(group, 1);
    }
    let routes = RouteTable::new(vec![route]).unwrap();
    let node = NodeBuilder::named("node")
        .configure(|config| config.routes = routes)
        .start()
        .await
        .unwrap();
    let client = node.client(ClientConfig::default()).await.unwrap();
    (node, client)
}

async fn subscribe(client: &Client, group: &str) -> Subscription {
    let options = SubscribeOptions::default().group(group).max_deliver(1);
    let mut subscription = client.subscribe("tx.*", options).unwrap();
    subscription.ready(WAIT).await.unwrap();
    subscription
}

/// The next message; a test to which none comes fails instead of waiting for ever.
async fn next(subscription: &mut Subscription) -> Delivery {
    let message = tokio::time::timeout(WAIT, subscription.next()).await;
    message.expect("no message came").unwrap()
}

async fn publish(client: &Client, count: usize) -> Vec<Receipt> {
    let publisher = client.publisher(AckLevel::Processed);
    let mut receipts = Vec::new();
    for number in 0..count {
        let message = Publication::new("tx.1", number.to_string());
        receipts.push(publisher.publish_with_receipt(message).await.unwrap());
    }
    receipts
}

fn limited(result: Result<(), ReceiptError>) -> Duration {
    match result {
        Err(ReceiptError::Failed(failure @ Failure::Limited { .. })) => {
            failure.retry_after().unwrap()
        }
        other => panic!("not limited: {other:?}"),
    }
}

async fn balanced(node: &Node) {
    let ledger = node.report().await.unwrap().ledger;
    assert_eq!(ledger.residual(), 0, "{ledger:?}");
}

#[tokio::test]
async fn a_limit_refuses_what_is_too_much_and_says_when_to_come_back() {
    // One in a hundred seconds: however slow the test is, nothing comes in meanwhile.
    let limit = TokenBucketConfig::new(0.01, 5, WhenLimited::Reject).unwrap();
    let guards = RouteGuards {
        limit: Some(limit.into()),
        ..RouteGuards::default()
    };
    let (node, client) = start(&["v1"], guards).await;
    let mut v1 = subscribe(&client, "v1").await;
    let mut receipts = publish(&client, 8).await;
    let refused = receipts.split_off(5);
    for receipt in refused {
        let after = limited(receipt.await);
        assert!(after > Duration::from_secs(80) && after <= Duration::from_secs(100));
    }
    for receipt in receipts {
        next(&mut v1).await.ack();
        receipt.await.unwrap();
    }
    let ledger = node.report().await.unwrap().ledger;
    assert_eq!(ledger.dead.get("limited"), Some(&3));
    balanced(&node).await;
}

#[tokio::test]
async fn a_limit_that_delays_lets_all_through_in_order() {
    let when = WhenLimited::Delay { max: WAIT };
    let guards = RouteGuards {
        limit: Some(TokenBucketConfig::new(200.0, 1, when).unwrap().into()),
        ..RouteGuards::default()
    };
    let (node, client) = start(&["v1"], guards).await;
    let mut v1 = subscribe(&client, "v1").await;
    let receipts = publish(&client, 40).await;
    for number in 0..40 {
        let message = next(&mut v1).await;
        assert_eq!(message.body(), number.to_string().as_bytes());
        message.ack();
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    balanced(&node).await;
}

#[tokio::test]
async fn a_limit_that_diverts_sends_the_rest_to_the_fallback() {
    let limit = TokenBucketConfig::new(0.01, 2, WhenLimited::Divert).unwrap();
    let guards = RouteGuards {
        limit: Some(limit.into()),
        fallback: Some("spare".into()),
        ..RouteGuards::default()
    };
    let (node, client) = start(&["v1"], guards).await;
    let mut v1 = subscribe(&client, "v1").await;
    let mut spare = subscribe(&client, "spare").await;
    let receipts = publish(&client, 6).await;
    for number in 0..6 {
        let to = if number < 2 { &mut v1 } else { &mut spare };
        let message = next(to).await;
        assert_eq!(message.body(), number.to_string().as_bytes());
        message.ack();
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    balanced(&node).await;
}

#[tokio::test]
async fn a_breaker_opens_and_the_fallback_answers() {
    let breaker = BreakerConfig {
        request_volume_threshold: 4,
        sleep_window: Duration::from_secs(3600),
        ..BreakerConfig::default()
    };
    let destination = DestinationGuardsConfig {
        breaker: Some(breaker),
        ..DestinationGuardsConfig::default()
    };
    for fallback in [true, false] {
        let guards = RouteGuards {
            destination,
            fallback: fallback.then(|| "spare".into()),
            ..RouteGuards::default()
        };
        let (node, client) = start(&["v1"], guards).await;
        let mut v1 = subscribe(&client, "v1").await;
        let mut spare = subscribe(&client, "spare").await;
        for _ in 0..4 {
            let receipt = publish(&client, 1).await.remove(0);
            // With one delivery at most this is its end.
            next(&mut v1).await.retry();
            let failed = ReceiptError::Failed(Failure::MaxDeliver);
            assert_eq!(receipt.await, Err(failed));
            if !fallback {
                // Outside of the route a group has its share of every message.
                next(&mut spare).await.ack();
            }
        }
        for receipt in publish(&client, 3).await {
            if fallback {
                next(&mut spare).await.ack();
                receipt.await.unwrap();
            } else {
                let after = limited(receipt.await);
                assert!(after > Duration::from_secs(3000), "{after:?}");
            }
        }
        assert!(v1.try_next().is_none());
        balanced(&node).await;
    }
}

#[tokio::test]
async fn a_breaker_that_is_open_leaves_the_messages_to_the_other_groups() {
    let breaker = BreakerConfig {
        request_volume_threshold: 2,
        sleep_window: Duration::from_secs(3600),
        ..BreakerConfig::default()
    };
    let guards = RouteGuards {
        destination: DestinationGuardsConfig {
            breaker: Some(breaker),
            ..DestinationGuardsConfig::default()
        },
        ..RouteGuards::default()
    };
    let (node, client) = start(&["v1", "v2"], guards).await;
    let mut v1 = subscribe(&client, "v1").await;
    let mut v2 = subscribe(&client, "v2").await;
    for number in 0..20 {
        let receipt = publish(&client, 1).await.remove(0);
        tokio::select! {
            message = v1.next() => {
                message.unwrap().retry();
                assert!(number < 4, "{number} went to the one that fails");
                assert!(receipt.await.is_err());
            }
            message = v2.next() => {
                message.unwrap().ack();
                receipt.await.unwrap();
            }
        }
    }
    balanced(&node).await;
}

#[tokio::test]
async fn a_breaker_opens_for_a_consumer_that_says_nothing() {
    let breaker = BreakerConfig {
        request_volume_threshold: 2,
        sleep_window: Duration::from_secs(3600),
        ..BreakerConfig::default()
    };
    let guards = RouteGuards {
        destination: DestinationGuardsConfig {
            breaker: Some(breaker),
            ..DestinationGuardsConfig::default()
        },
        ..RouteGuards::default()
    };
    let (node, client) = start(&["v1", "v2"], guards).await;
    let options = SubscribeOptions::default().group("v1").window_messages(2);
    let mut silent = client.subscribe("tx.*", options).unwrap();
    silent.ready(WAIT).await.unwrap();
    let mut v2 = subscribe(&client, "v2").await;
    let (last, mut all_came) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(message) = v2.next().await {
            if &message.body()[..] == b"9" {
                let _ = last.send(()).await;
            }
            message.ack();
        }
    });
    let publisher = client.publisher(AckLevel::Processed);
    let message = |subject: &str, number: usize, time: Duration| {
        Publication::new(subject, number.to_string()).time_to_live(time)
    };
    // More than fit into the window of the silent one: the next for it waits for credit.
    let mut receipts = Vec::new();
    for number in 0..10 {
        let time = if number < 4 { WAIT / 30 } else { 3 * WAIT };
        let message = message("tx.a", number, time);
        receipts.push(publisher.publish_with_receipt(message).await.unwrap());
    }
    let held = vec![next(&mut silent).await, next(&mut silent).await];
    let opened = async {
        let open = |report: &NodeReport| report.routes[0].refuses.is_some();
        while !open(&node.report().await.unwrap()) {
            tokio::task::yield_now().await;
        }
    };
    let opened = tokio::time::timeout(WAIT, opened).await;
    assert!(opened.is_ok(), "the breaker did not open");
    // The one that waited for credit goes elsewhere, and the others behind it.
    let rest = tokio::time::timeout(WAIT, all_came.recv()).await;
    assert!(rest.is_ok(), "what waited for the silent one stays there");
    for number in 0..10 {
        let message = message("tx.b", number, WAIT);
        let receipt = publisher.publish_with_receipt(message).await.unwrap();
        receipt.await.unwrap();
    }
    assert!(silent.try_next().is_none());
    // Whoever waited for what the silent one holds need not wait for it, nor do those behind.
    let mut expired = 0;
    for receipt in receipts {
        match tokio::time::timeout(WAIT, receipt).await.unwrap() {
            Ok(()) => {}
            Err(ReceiptError::Failed(Failure::Expired)) => expired += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(expired >= held.len(), "{expired}");
    balanced(&node).await;
    // What it says when it is too late is passed over.
    held.into_iter().for_each(Delivery::ack);
    client.flush(WAIT).await;
    balanced(&node).await;
}

#[tokio::test]
async fn a_bulkhead_bounds_what_is_in_flight() {
    let guards = RouteGuards {
        destination: DestinationGuardsConfig {
            bulkhead: Some(BulkheadConfig::new(3, 0, Duration::ZERO).unwrap()),
            ..DestinationGuardsConfig::default()
        },
        ..RouteGuards::default()
    };
    let (node, client) = start(&["v1"], guards).await;
    let mut v1 = subscribe(&client, "v1").await;
    let mut receipts = publish(&client, 5).await;
    for refused in receipts.split_off(3) {
        let result = refused.await;
        let full = ReceiptError::Failed(Failure::Limited { retry_after: 0 });
        assert_eq!(result, Err(full));
    }
    for receipt in receipts {
        next(&mut v1).await.ack();
        receipt.await.unwrap();
    }
    // All three are settled, so three more may be there.
    for receipt in publish(&client, 3).await {
        next(&mut v1).await.ack();
        receipt.await.unwrap();
    }
    balanced(&node).await;
}

#[tokio::test]
async fn a_limit_per_identity_takes_nothing_from_others() {
    let each = TokenBucketConfig::new(0.01, 2, WhenLimited::Reject).unwrap();
    let keyed = KeyedLimitsConfig::new(each, 100, WhenFull::Refuse).unwrap();
    let guards = RouteGuards {
        limit: Some(RouteLimit::Each(LimitKey::Identity, keyed)),
        ..RouteGuards::default()
    };
    let (node, client) = start(&["v1"], guards).await;
    let mut v1 = subscribe(&client, "v1").await;
    for name in ["one", "two"] {
        let config = ClientConfig {
            name: name.into(),
            ..ClientConfig::default()
        };
        let publisher = node.client(config).await.unwrap();
        let mut receipts = publish(&publisher, 3).await;
        limited(receipts.remove(2).await);
        for receipt in receipts {
            next(&mut v1).await.ack();
            receipt.await.unwrap();
        }
    }
    balanced(&node).await;
}

#[tokio::test]
async fn a_route_gives_deadlines_and_refuses_what_has_too_little_time() {
    let hour = Duration::from_secs(3600);
    let guards = RouteGuards {
        deadline: Some(DeadlineConfig {
            default_ttl: Some(hour),
            max_ttl: Some(hour),
            min_remaining: hour / 2,
        }),
        ..RouteGuards::default()
    };
    let (node, client) = start(&["v1"], guards).await;
    let mut v1 = subscribe(&client, "v1").await;
    let publisher = client.publisher(AckLevel::Processed);
    let hurried = Publication::new("tx.1", "hurried").time_to_live(Duration::from_secs(60));
    let hurried = publisher.publish_with_receipt(hurried).await.unwrap();
    assert_eq!(hurried.await, Err(ReceiptError::Failed(Failure::Expired)));
    let patient = [
        Publication::new("tx.1", "none"),
        Publication::new("tx.1", "long").time_to_live(100 * hour),
    ];
    for publication in patient {
        let receipt = publisher.publish_with_receipt(publication).await.unwrap();
        let message = next(&mut v1).await;
        assert!(message.deadline().is_some());
        message.ack();
        receipt.await.unwrap();
    }
    balanced(&node).await;
}

#[tokio::test]
async fn a_group_that_fails_is_left_out() {
    let guards = RouteGuards {
        outlier: Some(OutlierConfig::default()),
        ..RouteGuards::default()
    };
    let (node, client) = start(&["v1", "v2"], guards).await;
    let mut v1 = subscribe(&client, "v1").await;
    let mut v2 = subscribe(&client, "v2").await;
    let mut failed = 0;
    for _ in 0..40 {
        let receipt = publish(&client, 1).await.remove(0);
        tokio::select! {
            message = v1.next() => {
                message.unwrap().retry();
                assert!(receipt.await.is_err());
                failed += 1;
            }
            message = v2.next() => {
                message.unwrap().ack();
                receipt.await.unwrap();
            }
        }
    }
    assert_eq!(failed, 5);
    let routes = node.report().await.unwrap().routes;
    assert_eq!(routes[0].refuses, Some(RefusalReason::Ejected));
    assert_eq!(routes[1].refuses, None);
    balanced(&node).await;
}

#[tokio::test]
async fn what_expires_while_it_waits_for_its_consumer_is_not_given_out() {
    let (node, client) = start(&["v1"], RouteGuards::default()).await;
    let mut v1 = subscribe(&client, "v1").await;
    let publisher = client.publisher(AckLevel::Processed);
    let time = Duration::from_millis(100);
    let hurried = Publication::new("tx.1", "hurried").time_to_live(time);
    let hurried = publisher.publish_with_receipt(hurried).await.unwrap();
    let patient = publish(&client, 1).await.remove(0);
    // Nobody answers this, so when it has failed the time of what is in the consumer's channel is over.
    let mut silent = client
        .subscribe("silent", SubscribeOptions::default())
        .unwrap();
    silent.ready(WAIT).await.unwrap();
    let unanswered = client.request("silent", None, "?", 2 * time).await;
    assert!(unanswered.is_err());
    let first = next(&mut v1).await;
    assert_ne!(first.body().as_ref(), b"hurried");
    first.ack();
    patient.await.unwrap();
    assert_eq!(hurried.await, Err(ReceiptError::Failed(Failure::Expired)));
    balanced(&node).await;
}

#[tokio::test]
async fn an_identity_is_what_the_certificate_says_and_not_a_name_that_a_client_gives_itself() {
    let directory = tempfile::tempdir().unwrap();
    let authority = LocalAuthority::open_or_create(directory.path(), SystemTime::now()).unwrap();
    let credentials = |name: &str| authority.credentials(name, SystemTime::now()).unwrap();
    let each = TokenBucketConfig::new(0.01, 2, WhenLimited::Reject).unwrap();
    let keyed = KeyedLimitsConfig::new(each, 100, WhenFull::Refuse).unwrap();
    let guards = RouteGuards {
        limit: Some(RouteLimit::Each(LimitKey::Identity, keyed)),
        ..RouteGuards::default()
    };
    let policy = PolicyFactory::named("weighted").unwrap();
    let route = Route::new("tx.*".parse().unwrap(), policy).to("v1", 1);
    let routes = RouteTable::new(vec![route.guards(guards)]).unwrap();
    let node = NodeBuilder::named("node")
        .configure(|config| config.routes = routes)
        .credentials(credentials("node"))
        .listen("127.0.0.1:0".parse().unwrap())
        .start()
        .await
        .unwrap();
    let address = node.address().unwrap().to_string();
    let consumer = node.client(ClientConfig::default()).await.unwrap();
    let mut v1 = subscribe(&consumer, "v1").await;
    let mut passed = 0;
    for name in ["one", "two", "three"] {
        let config = ClientConfig {
            name: name.into(),
            ..ClientConfig::default()
        };
        let client = Client::connect(&address, &credentials("shop"), config).await;
        for receipt in publish(&client.unwrap(), 1).await {
            if name == "three" {
                limited(tokio::time::timeout(WAIT, receipt).await.unwrap());
            } else {
                next(&mut v1).await.ack();
                receipt.await.unwrap();
                passed += 1;
            }
        }
    }
    assert_eq!(passed, 2);
    balanced(&node).await;
}
