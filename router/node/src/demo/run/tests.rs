//! Whole runs of the demo.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use mcpbus::identity::KeyAlgorithm;
use mcpbus::policy::{destination_id, rendezvous};
use mcpbus_actors::Key;

use super::*;

async fn demo(messages: u64, sticky: bool) -> DemoOutcome {
    let folder = tempfile::tempdir().unwrap();
    let authority =
        LocalAuthority::create(folder.path(), KeyAlgorithm::default(), SystemTime::now()).unwrap();
    let options = DemoOptions {
        messages,
        seed: 7,
        sticky,
        input: None,
        picture: false,
    };
    let outcome = run(&options, &authority, std::future::pending())
        .await
        .unwrap();
    assert_eq!(outcome.failure, None);
    assert_eq!(outcome.ledger.residual(), 0);
    assert_eq!(
        (outcome.ledger.accepted, outcome.ledger.delivered),
        (messages, messages)
    );
    outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_stays_with_the_version_that_the_documented_hash_gives_it() {
    let outcome = demo(30_000, true).await;
    let totals = &outcome.totals;
    assert_eq!(totals.out_of_order(), 0);
    for (account, total) in totals.accounts() {
        let key = Key::from_bytes(account.to_string().as_bytes());
        let groups = [
            (destination_id("risk-v1"), 80),
            (destination_id("risk-v2"), 20),
        ];
        let wanted = rendezvous(key.value(), groups).unwrap();
        assert_eq!(
            [total.was_assessed_by(1), total.was_assessed_by(2)],
            [wanted == 0, wanted == 1],
            "account {account}"
        );
    }
    let accounts = totals.accounts().len() as f64;
    let deviation = (accounts * 0.8 * 0.2).sqrt();
    let off = (totals.accounts_of(1) as f64 - accounts * 0.8).abs();
    assert!(
        off <= 3.0 * deviation,
        "{off} accounts away from four fifths"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_stickiness_the_split_is_exact() {
    let outcome = demo(10_000, false).await;
    assert!((7_999..=8_001).contains(&outcome.totals.messages_of(1)));
}

/// Completes when both versions have assessed payments: then the source, the bus and the stages all hold some.
async fn under_way(live: &Live) {
    let assessed = async {
        while live
            .assessed
            .iter()
            .any(|count| count.load(Relaxed) < 1_000)
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DRAIN, assessed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interruption_drains() {
    let folder = tempfile::tempdir().unwrap();
    let authority =
        LocalAuthority::create(folder.path(), KeyAlgorithm::default(), SystemTime::now()).unwrap();
    let options = DemoOptions {
        messages: u64::MAX >> 1,
        seed: 7,
        sticky: true,
        input: None,
        picture: false,
    };
    let live = Live::default();
    let outcome = run_seen(&options, &authority, &live, under_way(&live))
        .await
        .unwrap();
    assert_eq!(outcome.failure, None);
    assert_eq!(outcome.ledger.residual(), 0);
    assert_eq!((outcome.ledger.held, outcome.ledger.dead), (0, 0));
}
