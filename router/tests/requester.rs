//! Requests that are tried again, and sent twice.
#![allow(clippy::unwrap_used)]

use mcpbus::client::{
    Client, ClientConfig, Delivery, RequestError, Requester, RequesterConfig, RequesterStats,
    SubscribeOptions, Subscription,
};
use mcpbus::node::{Node, NodeBuilder};
use mcpbus::resilience::{HedgeConfig, RetryBudgetConfig, RetryConfig};
use std::time::Duration;
use tokio::task::JoinSet;

const WAIT: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_millis(1);

async fn start() -> (Node, Client, Subscription) {
    let node = NodeBuilder::named("node").start().await.unwrap();
    let client = node.client(ClientConfig::default()).await.unwrap();
    let mut work = client
        .subscribe("work", SubscribeOptions::default())
        .unwrap();
    work.ready(WAIT).await.unwrap();
    (node, client, work)
}

fn retries() -> RetryConfig {
    RetryConfig {
        base_pause: SOON,
        max_pause: SOON,
        ..RetryConfig::default()
    }
}

async fn next(subscription: &mut Subscription) -> Delivery {
    let message = tokio::time::timeout(WAIT, subscription.next()).await;
    message.expect("no message came").unwrap()
}

fn ask(requester: &Requester) -> JoinSet<Result<Vec<u8>, RequestError>> {
    let requester = requester.clone();
    let mut asked = JoinSet::new();
    asked.spawn(async move {
        let reply = requester.request("work", None, "x", WAIT).await;
        reply.map(|reply| reply.body.to_vec())
    });
    asked
}

async fn answer(
    mut asked: JoinSet<Result<Vec<u8>, RequestError>>,
) -> Result<Vec<u8>, RequestError> {
    asked.join_next().await.unwrap().unwrap()
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_cancelled_and_made_again() {
    let (_node, client, mut work) = start().await;
    let config = RequesterConfig::default()
        .attempt_timeout(Duration::from_millis(50))
        .retry(retries());
    let requester = client.requester(&config).unwrap();
    let asked = ask(&requester);
    let first = next(&mut work).await;
    let told = tokio::time::timeout(WAIT, first.cancelled()).await;
    assert!(told.is_ok(), "the first one is not told");
    tokio::spawn(async move {
        while let Some(again) = work.next().await {
            again.reply(b"at last").unwrap();
        }
    });
    assert_eq!(answer(asked).await, Ok(b"at last".to_vec()));
    let stats = requester.stats();
    assert!((stats.requests, stats.copies) == (1, 0) && stats.retries > 0);
}

#[tokio::test]
async fn what_the_responder_refuses_is_not_tried_again() {
    let (_node, client, mut work) = start().await;
    let config = RequesterConfig::default().retry(retries());
    let requester = client.requester(&config).unwrap();
    let asked = ask(&requester);
    next(&mut work).await.reply_failed("not like this").unwrap();
    let reason = String::from("not like this");
    assert_eq!(answer(asked).await, Err(RequestError::Failed { reason }));
    assert_eq!(requester.stats().retries, 0);
}

#[tokio::test]
async fn when_everything_fails_the_budget_holds() {
    const REQUESTS: u64 = 2000;
    let (_node, client, work) = start().await;
    drop(work);
    let budget = RetryBudgetConfig {
        minimum_per_second: 0.001,
        ..RetryBudgetConfig::default()
    };
    let config = RequesterConfig::default().retry(RetryConfig {
        budget,
        ..retries()
    });
    let requester = client.requester(&config).unwrap();
    for _ in 0..REQUESTS / 20 {
        let mut asked = JoinSet::new();
        for _ in 0..20 {
            let requester = requester.clone();
            asked.spawn(async move { requester.request("nowhere", None, "x", WAIT).await });
        }
        while let Some(answer) = asked.join_next().await {
            assert_eq!(answer.unwrap(), Err(RequestError::NoRoute));
        }
    }
    let stats = requester.stats();
    assert_eq!(stats.requests, REQUESTS);
    // A tenth, and what is always allowed.
    assert!(stats.retries <= REQUESTS / 10 + 1, "{stats:?}");
    assert!(stats.retries >= REQUESTS / 12, "{stats:?}");
    assert_eq!(client.stats().published, REQUESTS + stats.retries);
}

#[tokio::test]
async fn one_that_takes_long_is_sent_twice_and_the_slower_one_cancelled() {
    let (_node, client, mut work) = start().await;
    let config = RequesterConfig::default().hedge(HedgeConfig {
        min_samples: 1,
        percentage: 50.0,
        ..HedgeConfig::default()
    });
    let requester = client.requester(&config).unwrap();
    // Before the first answer nobody knows how long one takes.
    let asked = ask(&requester);
    next(&mut work).await.reply(b"at once").unwrap();
    assert_eq!(answer(asked).await, Ok(b"at once".to_vec()));
    let asked = ask(&requester);
    let slow = next(&mut work).await;
    let copy = next(&mut work).await;
    copy.reply(b"the copy").unwrap();
    assert_eq!(answer(asked).await, Ok(b"the copy".to_vec()));
    let told = tokio::time::timeout(WAIT, slow.cancelled()).await;
    assert!(told.is_ok(), "the slow one is not told");
    let stats = RequesterStats {
        requests: 2,
        copies: 1,
        copies_won: 1,
        retries: 0,
    };
    assert_eq!(requester.stats(), stats);
}

#[tokio::test]
async fn a_setting_that_cannot_be_is_refused() {
    let (_node, client, _work) = start().await;
    let config = RequesterConfig::default().retry(RetryConfig {
        max_attempts: 0,
        ..RetryConfig::default()
    });
    let error = client.requester(&config).unwrap_err().to_string();
    assert!(error.contains("max_attempts"), "{error}");
}
