//! Stored on disk before it is acknowledged: the subscriber is away, the node stops and starts again, and nothing is missing.

use mcpbus::AckLevel;
use mcpbus::client::{Client, ClientConfig, Publication, SubscribeOptions, Subscription};
use mcpbus::node::{Node, NodeBuilder};
use std::path::Path;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(10);
const SPOOL_BYTES: u64 = 64 << 20;

type AnyError = Box<dyn std::error::Error>;

async fn start(directory: &Path) -> Result<(Node, Client), AnyError> {
    let node = NodeBuilder::named("post-office")
        .spool(directory.join("spool.redb"), SPOOL_BYTES)
        .start()
        .await?;
    let client = node.client(ClientConfig::default()).await?;
    Ok((node, client))
}

async fn letters(client: &Client) -> Result<Subscription, AnyError> {
    let options = SubscribeOptions::default().durable("letters");
    let mut letters = client.subscribe("letters.*", options)?;
    letters.ready(WAIT).await?;
    Ok(letters)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), AnyError> {
    let directory = tempfile::tempdir()?;
    let (node, client) = start(directory.path()).await?;
    // From here on the node keeps what is for this subscription. Then its subscriber goes away.
    drop(letters(&client).await?);
    let publisher = client.publisher(AckLevel::Stored);
    for (to, text) in [("ada", "first"), ("bob", "hello"), ("ada", "second")] {
        let letter = Publication::new(format!("letters.{to}"), text).key(to);
        publisher.publish_with_receipt(letter).await?.await?;
        println!("on disk: {to}, {text}");
    }
    client.close(WAIT).await;
    node.shutdown(WAIT).await;

    let (node, client) = start(directory.path()).await?;
    let mut inbox = letters(&client).await?;
    let mut tries = 0;
    let mut delivered = 0;
    while delivered < 3 {
        let letter = inbox.next().await.ok_or("the subscription ended")?;
        let (to, text) = (letter.subject().to_owned(), letter.body().clone());
        // What cannot be handled now comes again, and what is behind it with the same key waits for it.
        if tries == 0 {
            tries += 1;
            println!("not now: {to}, {}", String::from_utf8_lossy(&text));
            letter.retry();
            continue;
        }
        println!("delivered: {to}, {}", String::from_utf8_lossy(&text));
        delivered += 1;
        letter.ack();
    }
    client.close(WAIT).await;
    let report = node.report().await.ok_or("the node had ended")?;
    let ledger = report.spool.ok_or("the node has no spool")?.ledger;
    assert_eq!(
        (ledger.recovered, ledger.delivered, ledger.residual()),
        (3, 3, 0)
    );
    node.shutdown(WAIT).await;
    Ok(())
}
