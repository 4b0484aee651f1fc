//! Messages that wait for room at a destination of a route, with real links.
#![cfg(feature = "quic")]
#![allow(clippy::unwrap_used)]

use mcpbus::client::{
    Client, ClientConfig, Delivery, Publication, Receipt, ReceiptError, SubscribeOptions,
    Subscription,
};
use mcpbus::node::{Node, NodeBuilder, NodeReport};
use mcpbus::policy::PolicyFactory;
use mcpbus::resilience::{BreakerConfig, BulkheadConfig, DestinationGuardsConfig};
use mcpbus::routing::{Route, RouteGuards, RouteTable};
use mcpbus::{AckLevel, Failure};
use std::collections::BTreeMap;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);

/// A route to these groups with room for so many in flight, and so many that wait, at each.
fn route(groups: &[&str], room: u32, waiting: u32, wait: Duration) -> Route {
    let guards = RouteGuards {
        destination: DestinationGuardsConfig {
            bulkhead: Some(BulkheadConfig::new(room, waiting, wait).unwrap()),
            ..DestinationGuardsConfig::default()
        },
        ..RouteGuards::default()
    };
    let policy = PolicyFactory::named("weighted").unwrap();
    let route = Route::new("tx.*".parse().unwrap(), policy).guards(guards);
    groups.iter().fold(route, |route, group| route.to(group, 1))
}

async fn start(route: Route) -> (Node, Client) {
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

async fn next(subscription: &mut Subscription) -> Delivery {
    let message = tokio::time::timeout(WAIT, subscription.next()).await;
    message.expect("no message came").unwrap()
}

/// The next message has this number.
async fn next_is(subscription: &mut Subscription, number: usize) -> Delivery {
    let message = next(subscription).await;
    assert_eq!(message.body(), number.to_string().as_bytes());
    message
}

async fn publish(client: &Client, subject: &str, number: usize) -> Receipt {
    let publisher = client.publisher(AckLevel::Processed);
    let message = Publication::new(subject, number.to_string());
    publisher.publish_with_receipt(message).await.unwrap()
}

async fn result(receipt: Receipt) -> Result<(), ReceiptError> {
    let result = tokio::time::timeout(WAIT, receipt).await;
    result.expect("nothing is heard of a message")
}

fn full() -> Result<(), ReceiptError> {
    let failure = Failure::Limited { retry_after: 0 };
    Err(ReceiptError::Failed(failure))
}

/// Waits until the node's report is as it should be.
async fn report(node: &Node, holds: impl Fn(&NodeReport) -> bool) {
    let look = async {
        while !holds(&node.report().await.unwrap()) {
            tokio::task::yield_now().await;
        }
    };
    let looked = tokio::time::timeout(WAIT, look).await;
    assert!(looked.is_ok(), "{:?}", node.report().await.unwrap());
}

/// How many wait for the first group.
async fn waiting(node: &Node, count: usize) {
    report(node, |report| report.routes[0].waiting == count).await;
}

async fn balanced(node: &Node) {
    let ledger = node.report().await.unwrap().ledger;
    assert_eq!((ledger.residual(), ledger.held), (0, 0), "{ledger:?}");
}

#[tokio::test]
async fn what_finds_no_room_waits_in_its_order_and_nobody_overtakes_it() {
    let (node, client) = start(route(&["v1"], 1, 3, HOUR)).await;
    let mut v1 = subscribe(&client, "v1").await;
    let mut receipts = vec![publish(&client, "tx.0", 0).await];
    let first = next_is(&mut v1, 0).await;
    // Each on a flow of its own, one after the other.
    for number in 1..=3 {
        receipts.push(publish(&client, &format!("tx.{number}"), number).await);
        waiting(&node, number).await;
    }
    let refused = publish(&client, "tx.4", 4).await;
    assert_eq!(result(refused).await, full(), "the queue is full");
    first.ack();
    for number in 1..=3 {
        let message = next_is(&mut v1, number).await;
        assert!(v1.try_next().is_none(), "there is room for one");
        message.ack();
    }
    for receipt in receipts {
        assert_eq!(result(receipt).await, Ok(()));
    }
    waiting(&node, 0).await;
    balanced(&node).await;
}

#[tokio::test]
async fn a_message_waits_no_longer_than_it_may() {
    let (node, client) = start(route(&["v1"], 1, 3, Duration::from_millis(20))).await;
    let mut v1 = subscribe(&client, "v1").await;
    let first = publish(&client, "tx.0", 0).await;
    let held = next_is(&mut v1, 0).await;
    for number in 1..=3 {
        let refused = publish(&client, "tx.1", number).await;
        assert_eq!(result(refused).await, full());
    }
    waiting(&node, 0).await;
    held.ack();
    assert_eq!(result(first).await, Ok(()));
    let last = publish(&client, "tx.1", 4).await;
    next_is(&mut v1, 4).await.ack();
    assert_eq!(result(last).await, Ok(()));
    balanced(&node).await;
}

#[tokio::test]
async fn a_deadline_that_passes_in_the_queue_ends_the_message() {
    let (node, client) = start(route(&["v1"], 1, 3, HOUR)).await;
    let mut v1 = subscribe(&client, "v1").await;
    let first = publish(&client, "tx.0", 0).await;
    let held = next_is(&mut v1, 0).await;
    let publisher = client.publisher(AckLevel::Processed);
    let hurried = Publication::new("tx.1", "hurried").time_to_live(Duration::from_millis(20));
    let hurried = publisher.publish_with_receipt(hurried).await.unwrap();
    let patient = publish(&client, "tx.2", 2).await;
    let expired = Err(ReceiptError::Failed(Failure::Expired));
    assert_eq!(result(hurried).await, expired);
    waiting(&node, 1).await;
    held.ack();
    next_is(&mut v1, 2).await.ack();
    assert_eq!(result(first).await, Ok(()));
    assert_eq!(result(patient).await, Ok(()));
    balanced(&node).await;
}

#[tokio::test]
async fn what_has_waited_long_enough_goes_to_a_group_that_has_room_or_to_the_fallback() {
    let wait = Duration::from_millis(20);
    for fallback in [true, false] {
        let mut route = match fallback {
            true => route(&["v1"], 1, 3, wait),
            false => route(&["v1", "v2"], 1, 3, wait),
        };
        route.guards.fallback = fallback.then(|| "v2".into());
        let (node, client) = start(route).await;
        let mut v1 = subscribe(&client, "v1").await;
        let mut v2 = subscribe(&client, "v2").await;
        let first = publish(&client, "tx.0", 0).await;
        let held = next_is(&mut v1, 0).await;
        let mut number = 0;
        // With two groups every second one is for the first, which is full.
        for _ in 0..4 {
            number += 1;
            let receipt = publish(&client, "tx.1", number).await;
            next_is(&mut v2, number).await.ack();
            assert_eq!(result(receipt).await, Ok(()));
        }
        held.ack();
        assert_eq!(result(first).await, Ok(()));
        balanced(&node).await;
    }
}

#[tokio::test]
async fn a_breaker_that_opens_lets_nobody_wait_for_its_group() {
    let mut route = route(&["v1"], 1, 3, HOUR);
    route.guards.destination.breaker = Some(BreakerConfig {
        request_volume_threshold: 1,
        sleep_window: HOUR,
        ..BreakerConfig::default()
    });
    let (node, client) = start(route).await;
    let mut v1 = subscribe(&client, "v1").await;
    let first = publish(&client, "tx.0", 0).await;
    let held = next_is(&mut v1, 0).await;
    let mut receipts = Vec::new();
    for number in 1..=3 {
        receipts.push(publish(&client, &format!("tx.{number}"), number).await);
        waiting(&node, number).await;
    }
    held.retry();
    let failed = Err(ReceiptError::Failed(Failure::MaxDeliver));
    assert_eq!(result(first).await, failed);
    for receipt in receipts {
        match result(receipt).await {
            Err(ReceiptError::Failed(failure @ Failure::Limited { .. })) => {
                assert!(failure.retry_after().unwrap() > HOUR / 2);
            }
            other => panic!("{other:?}"),
        }
    }
    waiting(&node, 0).await;
    balanced(&node).await;
}

#[tokio::test]
async fn messages_that_wait_follow_a_route_that_is_changed() {
    let (node, client) = start(route(&["v1"], 1, 4, HOUR)).await;
    let mut v1 = subscribe(&client, "v1").await;
    let mut receipts = vec![publish(&client, "tx.0", 0).await];
    let held = next_is(&mut v1, 0).await;
    for number in 1..=4 {
        receipts.push(publish(&client, &format!("tx.{number}"), number).await);
        waiting(&node, number).await;
    }
    let set = async |routes: Vec<Route>| {
        let routes = RouteTable::new(routes).unwrap();
        node.set_routes(routes).await.unwrap();
    };
    // Another route changes: those that wait keep their places, in their order.
    let other = Route::new(
        "other".parse().unwrap(),
        PolicyFactory::named("weighted").unwrap(),
    );
    let same = route(&["v1"], 1, 4, HOUR);
    set(vec![same, other.to("v1", 1)]).await;
    waiting(&node, 4).await;
    // The route changes, its guards do not: what it knows is taken over.
    set(vec![route(&["v1"], 1, 4, HOUR).priority(1)]).await;
    waiting(&node, 4).await;
    assert!(v1.try_next().is_none());
    // New guards know nothing of what the old ones let through; the last one finds no place.
    set(vec![route(&["v1"], 1, 2, HOUR)]).await;
    assert_eq!(result(receipts.remove(4)).await, full());
    let second = next_is(&mut v1, 1).await;
    waiting(&node, 2).await;
    // Without a bulkhead nobody has to wait.
    let mut free = route(&["v1"], 1, 2, HOUR);
    free.guards = RouteGuards::default();
    set(vec![free]).await;
    let third = next_is(&mut v1, 2).await;
    let fourth = next_is(&mut v1, 3).await;
    for message in [held, second, third, fourth] {
        message.ack();
    }
    for receipt in receipts {
        assert_eq!(result(receipt).await, Ok(()));
    }
    waiting(&node, 0).await;
    balanced(&node).await;
}

#[tokio::test]
async fn a_route_that_is_taken_away_lets_those_go_that_wait() {
    let (node, client) = start(route(&["v1"], 1, 4, HOUR)).await;
    let mut v1 = subscribe(&client, "v1").await;
    let mut receipts = vec![publish(&client, "tx.0", 0).await];
    let held = next_is(&mut v1, 0).await;
    for number in 1..=4 {
        receipts.push(publish(&client, &format!("tx.{number}"), number).await);
        waiting(&node, number).await;
    }
    node.set_routes(RouteTable::default()).await.unwrap();
    for number in 1..=4 {
        next_is(&mut v1, number).await.ack();
    }
    held.ack();
    for receipt in receipts {
        assert_eq!(result(receipt).await, Ok(()));
    }
    balanced(&node).await;
}

#[tokio::test]
async fn what_waits_for_room_holds_its_key_and_nothing_else_of_its_flow() {
    let keys = 12;
    let mut route = route(&["v1", "v2"], 1, keys, HOUR);
    route.policy = PolicyFactory::named("hash").unwrap();
    let (node, client) = start(route).await;
    let mut v1 = subscribe(&client, "v1").await;
    let mut v2 = subscribe(&client, "v2").await;
    let publisher = client.publisher(AckLevel::Processed);
    let mut receipts = Vec::new();
    for number in 0..3 * keys {
        let message = Publication::new("tx.0", number.to_string());
        let message = message.key((number % keys).to_string().as_str());
        receipts.push(publisher.publish_with_receipt(message).await.unwrap());
    }
    let number = |message: &Delivery| -> u32 {
        let text = String::from_utf8(message.body().to_vec()).unwrap();
        text.parse().unwrap()
    };
    // Nothing of the first group ends, and all of the second one comes: each key three times, in its order.
    let held = next(&mut v1).await;
    let mut came: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    loop {
        let message = next(&mut v2).await;
        let number = number(&message);
        came.entry(number % keys).or_default().push(number);
        message.ack();
        let all = came.values().map(Vec::len).sum::<usize>();
        let report = node.report().await.unwrap();
        let first = report.routes[0].messages as usize;
        // Of each key of the first group one message waits for room, and the rest behind it.
        if report.routes[0].waiting + came.len() == keys as usize && all == 3 * came.len() {
            assert_eq!(first, 1 + report.routes[0].waiting);
            break;
        }
    }
    assert!(v1.try_next().is_none());
    // Now the first group goes on.
    let mut message = held;
    loop {
        let number = number(&message);
        came.entry(number % keys).or_default().push(number);
        message.ack();
        if came.values().map(Vec::len).sum::<usize>() == 3 * keys as usize {
            break;
        }
        message = next(&mut v1).await;
    }
    for (key, numbers) in came {
        assert_eq!(numbers, [key, key + keys, key + 2 * keys]);
    }
    for receipt in receipts {
        assert_eq!(result(receipt).await, Ok(()));
    }
    waiting(&node, 0).await;
    balanced(&node).await;
}

#[tokio::test]
async fn a_request_that_is_given_up_while_it_waits_is_gone() {
    let (node, client) = start(route(&["v1"], 1, 3, HOUR)).await;
    let mut v1 = subscribe(&client, "v1").await;
    let first = publish(&client, "tx.0", 0).await;
    let held = next_is(&mut v1, 0).await;
    {
        let request = client.request("tx.1", None, "anybody?", WAIT);
        tokio::pin!(request);
        tokio::select! {
            reply = &mut request => panic!("{reply:?}"),
            () = waiting(&node, 1) => {}
        }
    }
    waiting(&node, 0).await;
    let patient = publish(&client, "tx.1", 1).await;
    waiting(&node, 1).await;
    held.ack();
    next_is(&mut v1, 1).await.ack();
    for receipt in [first, patient] {
        assert_eq!(result(receipt).await, Ok(()));
    }
    balanced(&node).await;
}
