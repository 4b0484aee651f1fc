//! Two clients of a node: publish and subscribe, request and reply, all over QUIC with mutual TLS.

use mcpbus::AckLevel;
use mcpbus::client::{Client, ClientConfig, Publication, SubscribeOptions};
use mcpbus::identity::LocalAuthority;
use mcpbus::node::NodeBuilder;
use std::time::{Duration, SystemTime};

const WAIT: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let authority = LocalAuthority::open_or_create(directory.path(), SystemTime::now())?;
    let credentials = |name: &str| authority.credentials(name, SystemTime::now());

    let node = NodeBuilder::named("node")
        .credentials(credentials("node")?)
        .listen("127.0.0.1:0".parse()?);
    let node = node.start().await?;
    let address = node
        .address()
        .ok_or("the node does not listen")?
        .to_string();

    let reader =
        Client::connect(&address, &credentials("reader")?, ClientConfig::default()).await?;
    let mut temperatures = reader.subscribe("plant.*.temperature", SubscribeOptions::default())?;
    temperatures.ready(WAIT).await?;

    let writer =
        Client::connect(&address, &credentials("writer")?, ClientConfig::default()).await?;
    let publisher = writer.publisher(AckLevel::Accepted);
    for (boiler, value) in [("1", "71.5"), ("2", "69.0"), ("1", "71.9")] {
        publisher
            .publish(Publication::new(format!("plant.{boiler}.temperature"), value).key(boiler))
            .await?;
    }
    for _ in 0..3 {
        let message = temperatures.next().await.ok_or("the subscription ended")?;
        println!(
            "{}: {}",
            message.subject(),
            String::from_utf8_lossy(message.body())
        );
    }

    let mut questions = reader.subscribe("clock", SubscribeOptions::default().group("clocks"))?;
    questions.ready(WAIT).await?;
    let answering = tokio::spawn(async move {
        if let Some(question) = questions.next().await {
            let answer = format!("you asked: {}", String::from_utf8_lossy(question.body()));
            question.reply(answer.as_bytes())?;
        }
        Ok::<_, mcpbus::client::SettleError>(())
    });
    let answer = writer
        .request("clock", None, "what time is it?", WAIT)
        .await?;
    println!("{}", String::from_utf8_lossy(&answer.body));
    answering.await??;

    let stats = writer.close(WAIT).await;
    assert_eq!(stats.failures(), 0);
    let ledger = node.shutdown(WAIT).await.ok_or("the node had ended")?;
    assert_eq!(ledger.residual(), 0);
    Ok(())
}
