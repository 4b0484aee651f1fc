//! Requests to a group of responders, one of which is now and then very slow: a second copy goes out when an answer takes longer than
//! most do, the first answer counts, and the slow one hears that it need not go on.

use mcpbus::client::{Client, ClientConfig, RequesterConfig, SubscribeOptions};
use mcpbus::node::NodeBuilder;
use mcpbus::resilience::{HedgeConfig, RetryConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(5);
type Failed = Box<dyn std::error::Error>;

/// Doubles numbers; one in `every` it thinks about for a minute, unless nobody waits for it any more.
async fn respond(client: Client, every: u64, given_up: Arc<AtomicU64>) -> Result<(), Failed> {
    let mut work = client.subscribe("double", SubscribeOptions::default().group("doublers"))?;
    work.ready(WAIT).await?;
    let mut count = 0_u64;
    while let Some(question) = work.next().await {
        let number = String::from_utf8_lossy(question.body()).parse::<u64>();
        let Ok(number) = number else {
            question.reply_failed("not a number")?;
            continue;
        };
        count += 1;
        if count.is_multiple_of(every) {
            let given_up = given_up.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(60)) => {
                        let _ = question.reply((2 * number).to_string().as_bytes());
                    }
                    () = question.cancelled() => {
                        given_up.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        } else {
            question.reply((2 * number).to_string().as_bytes())?;
        }
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let node = NodeBuilder::named("node").start().await?;
    let given_up = Arc::new(AtomicU64::new(0));
    for every in [40, 33] {
        let client = node.client(ClientConfig::default()).await?;
        let given_up = given_up.clone();
        tokio::task::spawn(async move {
            if let Err(error) = respond(client, every, given_up).await {
                eprintln!("a responder ends: {error}");
            }
        });
    }
    let caller: Client = node.client(ClientConfig::default()).await?;
    while caller.count_subscribers("double", WAIT).await? < 2 {}
    // Until it is known how long most take, an attempt without an answer is made again.
    let config = RequesterConfig::default()
        .attempt_timeout(Duration::from_millis(300))
        .retry(RetryConfig::default())
        .hedge(HedgeConfig {
            min_delay: Duration::from_millis(20),
            ..HedgeConfig::default()
        });
    let requester = caller.requester(&config)?;
    for number in 0..1000_u64 {
        let reply = requester
            .request("double", None, number.to_string(), WAIT)
            .await?;
        assert_eq!(reply.body, (2 * number).to_string());
    }
    let refused = requester.request("double", None, "two", WAIT).await;
    println!("{}", refused.expect_err("that is no number"));
    let stats = requester.stats();
    println!(
        "{} requests, {} attempts more, {} copies, of which {} had the first answer; {} were given up at work",
        stats.requests,
        stats.retries,
        stats.copies,
        stats.copies_won,
        given_up.load(Ordering::Relaxed)
    );
    Ok(())
}
