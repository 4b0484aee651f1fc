//! Publisher, router node and subscriber on loopback QUIC with mutual TLS: messages per second.
//!
//! `node_relay [MESSAGES] [BYTES] [none|accepted]`. Compare with `raw_link`, which relays bytes it never reads.

use bytes::Bytes;
use mcpbus::AckLevel;
use mcpbus::client::{Client, ClientConfig, Publication, SubscribeOptions};
use mcpbus::identity::LocalAuthority;
use mcpbus::node::NodeBuilder;
use std::time::{Duration, Instant, SystemTime};

const WAIT: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let messages: u64 = arguments
        .next()
        .map_or(Ok(2_000_000), |text| text.parse())?;
    let size: usize = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let ack = match arguments.next().as_deref() {
        Some("accepted") => AckLevel::Accepted,
        _ => AckLevel::None,
    };
    let directory = std::env::temp_dir().join(format!("mcpbus-bench-{}", std::process::id()));
    let authority = LocalAuthority::open_or_create(&directory, SystemTime::now())?;
    let now = SystemTime::now();
    let node = NodeBuilder::named("router")
        .credentials(authority.credentials("router", now)?)
        .listen("127.0.0.1:0".parse()?)
        .start()
        .await?;
    let address = node
        .address()
        .ok_or("the node does not listen")?
        .to_string();
    let config = ClientConfig {
        window_messages: 16_384,
        window_bytes: 8 << 20,
        ..ClientConfig::default()
    };
    let subscriber = Client::connect(
        &address,
        &authority.credentials("subscriber", now)?,
        config.clone(),
    )
    .await?;
    let mut subscription = subscriber.subscribe("bench", SubscribeOptions::default())?;
    subscription.ready(WAIT).await?;
    let client =
        Client::connect(&address, &authority.credentials("publisher", now)?, config).await?;
    let publisher = client.publisher(ack);
    let body = Bytes::from(vec![7_u8; size]);
    let start = Instant::now();
    let sending = tokio::spawn(async move {
        for _ in 0..messages {
            if publisher
                .publish(Publication::new("bench", body.clone()))
                .await
                .is_err()
            {
                return;
            }
        }
    });
    for _ in 0..messages {
        if subscription.next().await.is_none() {
            break;
        }
    }
    let elapsed = start.elapsed();
    sending.await?;
    let rate = messages as f64 / elapsed.as_secs_f64();
    println!(
        "{messages} messages of {size} B, ack {ack}: {rate:.0} messages/s, {:.1} MiB/s",
        rate * size as f64 / f64::from(1 << 20)
    );
    println!("{:?}", node.ledger().await);
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}
