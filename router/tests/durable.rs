//! Durable subscriptions through a node in this process, as a user of the library sees them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where it goes wrong"
)]

use mcpbus::AckLevel;
use mcpbus::client::{
    Client, ClientConfig, Publication, ReceiptError, SubscribeError, SubscribeOptions, Subscription,
};
use mcpbus::node::{Node, NodeBuilder, SpoolReport};
use mcpbus_transport::spool::MemoryStore;
use mcpbus_transport::wire::Failure;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

async fn node() -> Node {
    let limit = 1 << 20;
    NodeBuilder::named("keeper")
        .store(Box::new(MemoryStore::new(limit)), limit)
        .start()
        .await
        .unwrap()
}

async fn client(node: &Node, name: &str) -> Client {
    let config = ClientConfig {
        name: name.into(),
        ..ClientConfig::default()
    };
    node.client(config).await.unwrap()
}

async fn durable(client: &Client, pattern: &str, name: &str) -> Subscription {
    let options = SubscribeOptions::default().durable(name).max_deliver(3);
    let mut subscription = client.subscribe(pattern, options).unwrap();
    subscription.ready(SOON).await.unwrap();
    subscription
}

async fn publish(client: &Client, subject: &str, bodies: std::ops::Range<u32>) {
    let publisher = client.publisher(AckLevel::Stored);
    for body in bodies {
        let message = Publication::new(subject, body.to_string()).key(u64::from(body % 2));
        let receipt = publisher.publish_with_receipt(message).await.unwrap();
        receipt.await.unwrap();
    }
}

async fn next(subscription: &mut Subscription) -> mcpbus::client::Delivery {
    tokio::time::timeout(SOON, subscription.next())
        .await
        .expect("a message comes")
        .expect("the subscription goes on")
}

fn number(delivery: &mcpbus::client::Delivery) -> u32 {
    std::str::from_utf8(delivery.body())
        .unwrap()
        .parse()
        .unwrap()
}

async fn spool(node: &Node) -> SpoolReport {
    node.report().await.unwrap().spool.unwrap()
}

/// Waits until the node says so; what it says comes without a signal to wait for.
async fn until(node: &Node, done: impl Fn(&SpoolReport) -> bool) -> SpoolReport {
    let wait = async {
        loop {
            let report = spool(node).await;
            if done(&report) {
                return report;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, wait).await.expect("in time")
}

#[tokio::test]
async fn what_was_not_settled_waits_for_the_subscriber() {
    let node = node().await;
    let sender = client(&node, "sender").await;
    let first = client(&node, "first").await;
    let mut subscription = durable(&first, "orders.>", "billing").await;
    publish(&sender, "orders.1", 0..4).await;
    let delivery = next(&mut subscription).await;
    assert_eq!(number(&delivery), 0);
    delivery.ack();
    let unsettled = next(&mut subscription).await;
    assert_eq!(number(&unsettled), 1);
    drop(subscription);
    drop(unsettled);
    first.close(SOON).await;
    // Nobody is there, and publishing goes on.
    publish(&sender, "orders.1", 4..6).await;
    let report = until(&node, |report| report.ledger.held == 5).await;
    assert_eq!(report.ledger.residual(), 0);
    let second = client(&node, "second").await;
    let mut subscription = durable(&second, "orders.>", "billing").await;
    for expected in 1..6 {
        let delivery = next(&mut subscription).await;
        assert_eq!(number(&delivery), expected);
        delivery.ack();
    }
    let report = until(&node, |report| report.ledger.held == 0).await;
    assert_eq!(report.ledger.delivered, 6);
    assert!(node.ledger().await.unwrap().residual() == 0);
}

#[tokio::test]
async fn what_is_given_back_comes_again_before_what_is_behind_it() {
    let node = node().await;
    let sender = client(&node, "sender").await;
    let receiver = client(&node, "receiver").await;
    let mut subscription = durable(&receiver, "a", "d").await;
    publish(&sender, "a", 0..8).await;
    let mut came = Vec::new();
    let mut failures = 2;
    while came.len() < 8 {
        let delivery = next(&mut subscription).await;
        // Key 0 fails twice at its second message.
        if number(&delivery) == 2 && failures > 0 {
            assert_eq!(delivery.attempt(), 2 - failures);
            failures -= 1;
            if failures == 1 {
                delivery.retry();
            } else {
                drop(delivery);
            }
            continue;
        }
        came.push(number(&delivery));
        delivery.ack();
    }
    let of_key = |key| {
        came.iter()
            .copied()
            .filter(|n| n % 2 == key)
            .collect::<Vec<_>>()
    };
    assert_eq!(of_key(0), [0, 2, 4, 6]);
    assert_eq!(of_key(1), [1, 3, 5, 7]);
    until(&node, |report| report.ledger.delivered == 8).await;
}

#[tokio::test]
async fn what_fails_too_often_or_is_refused_is_a_dead_letter() {
    let node = node().await;
    let sender = client(&node, "sender").await;
    let receiver = client(&node, "receiver").await;
    let mut subscription = durable(&receiver, "a", "d").await;
    publish(&sender, "a", 0..3).await;
    let mut deliveries = 0;
    let mut acknowledged = false;
    while deliveries < 3 || !acknowledged {
        let delivery = next(&mut subscription).await;
        match number(&delivery) {
            0 => {
                deliveries += 1;
                delivery.retry();
            }
            1 => delivery.reject(),
            _ => {
                delivery.ack();
                acknowledged = true;
            }
        }
    }
    let report = until(&node, |report| {
        report.dead_letters == 2 && report.ledger.held == 0
    })
    .await;
    assert_eq!(report.ledger.dead["max_deliver"], 1);
    assert_eq!(report.ledger.dead["rejected"], 1);
    assert_eq!((report.ledger.held, report.ledger.residual()), (0, 0));
    // Looking changes nothing.
    let letters = node.dead_letters(0, 10).await;
    assert_eq!(node.dead_letters(0, 10).await, letters);
    assert_eq!(
        node.dead_letters(letters[0].position, 10).await,
        letters[1..]
    );
    let mut ends: Vec<_> = letters
        .iter()
        .map(|letter| {
            let record = letter.record.as_ref().unwrap();
            assert_eq!(
                (letter.queue.as_str(), letter.node.as_str()),
                ("d", "keeper")
            );
            (letter.failure, record.body.clone(), record.sequence)
        })
        .collect();
    ends.sort_by_key(|(_, _, sequence)| *sequence);
    assert_eq!(ends[0], (Failure::MaxDeliver, "0".into(), 1));
    assert_eq!(ends[1], (Failure::Rejected, "1".into(), 2));
    // One is tried again and settled this time, the other discarded.
    let again = letters
        .iter()
        .find(|letter| letter.failure == Failure::MaxDeliver)
        .unwrap();
    assert!(node.replay_dead_letter(again.clone()).await);
    let delivery = next(&mut subscription).await;
    assert_eq!(
        (number(&delivery), delivery.sequence(), delivery.attempt()),
        (0, 1, 0)
    );
    delivery.ack();
    let other = letters.iter().find(|letter| *letter != again).unwrap();
    node.discard_dead_letter(other.position).await;
    until(&node, |report| {
        report.dead_letters == 0 && report.ledger.held == 0
    })
    .await;
    assert!(node.dead_letters(0, 10).await.is_empty());
}

#[tokio::test]
async fn a_second_subscriber_takes_over_and_the_first_is_told() {
    let node = node().await;
    let sender = client(&node, "sender").await;
    let (one, two) = (client(&node, "one").await, client(&node, "two").await);
    let mut first = durable(&one, "a", "d").await;
    publish(&sender, "a", 0..2).await;
    let held = next(&mut first).await;
    let mut second = durable(&two, "a", "d").await;
    assert_eq!(number(&next(&mut second).await), 0, "it was not settled");
    while first.next().await.is_some() {}
    let told = first.ended_by().unwrap().to_string();
    assert!(told.contains("taken"), "{told}");
    drop(held);
    let other = two
        .subscribe("b", SubscribeOptions::default().durable("d"))
        .unwrap()
        .ready(SOON)
        .await;
    assert!(
        matches!(other, Err(SubscribeError::Refused { .. })),
        "{other:?}"
    );
    assert!(two.delete_durable("d", SOON).await.unwrap());
    assert!(!two.delete_durable("d", SOON).await.unwrap());
    let report = until(&node, |report| report.queues.is_empty()).await;
    assert_eq!(report.ledger.residual(), 0);
}

#[tokio::test]
async fn stored_is_refused_where_it_cannot_be_kept() {
    let without = NodeBuilder::named("forgetful").start().await.unwrap();
    let lonely = client(&without, "lonely").await;
    let refused = lonely
        .subscribe("a", SubscribeOptions::default().durable("d"))
        .unwrap()
        .ready(SOON)
        .await;
    assert!(
        matches!(refused, Err(SubscribeError::Refused { .. })),
        "{refused:?}"
    );
    let node = node().await;
    let sender = client(&node, "sender").await;
    let subscription = durable(&sender, "a", "d").await;
    drop(subscription);
    let publisher = sender.publisher(AckLevel::Stored);
    let mut stored = 0;
    let full = loop {
        let message = Publication::new("a", vec![0; 100_000]);
        let receipt = publisher.publish_with_receipt(message).await.unwrap();
        match receipt.await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 20, "the limit is 1 MiB");
    };
    assert_eq!(full, ReceiptError::Failed(Failure::SpoolFull));
    // What was stored is there, and makes room when it is taken.
    let mut subscription = durable(&sender, "a", "d").await;
    for _ in 0..stored {
        next(&mut subscription).await.ack();
    }
    until(&node, |report| report.ledger.held == 0).await;
    let again = publisher
        .publish_with_receipt(Publication::new("a", "small"))
        .await
        .unwrap();
    again.await.unwrap();
}
