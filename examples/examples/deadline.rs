//! A request over three nodes with two seconds to live: what is left of them travels along, and nobody works when they are over.

use mcpbus::client::{Client, ClientConfig, Reply, RequestError, SubscribeOptions};
use mcpbus::identity::LocalAuthority;
use mcpbus::node::{Node, NodeBuilder};
use std::time::{Duration, Instant, SystemTime};

const WAIT: Duration = Duration::from_secs(5);
type Failed = Box<dyn std::error::Error>;

async fn ask(caller: &Client, question: &str, timeout: Duration) -> Result<Reply, RequestError> {
    caller
        .request("report", None, question.to_owned(), timeout)
        .await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let authority = LocalAuthority::open_or_create(directory.path(), SystemTime::now())?;
    let credentials = |name: &str| authority.credentials(name, SystemTime::now());
    let mut nodes: Vec<Node> = Vec::new();
    for name in ["one", "two", "three"] {
        let mut builder = NodeBuilder::named(name)
            .credentials(credentials(name)?)
            .listen("127.0.0.1:0".parse()?);
        if let Some(address) = nodes.last().and_then(Node::address) {
            builder = builder.link(address.to_string());
        }
        nodes.push(builder.start().await?);
    }
    let caller: Client = nodes[0].client(ClientConfig::default()).await?;
    let worker: Client = nodes[2].client(ClientConfig::default()).await?;
    let mut work = worker.subscribe("report", SubscribeOptions::default().group("workers"))?;
    work.ready(WAIT).await?;
    let working = tokio::spawn(async move {
        let mut handled = Vec::new();
        while let Some(question) = work.next().await {
            let asked = String::from_utf8_lossy(question.body()).into_owned();
            match asked.as_str() {
                "are you there?" => question.reply(b"yes")?,
                "enough" => {
                    question.reply(b"as you like")?;
                    break;
                }
                _ => {
                    handled.push(asked);
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    question.reply(b"here it is")?;
                }
            }
        }
        Ok::<_, mcpbus::client::SettleError>(handled)
    });
    // The mesh may not know of the worker yet.
    while ask(&caller, "are you there?", WAIT / 50).await.is_err() {}

    // The worker takes three seconds for a report, whoever waits two has nothing of it; the second is not begun at all.
    let begun = Instant::now();
    let two = Duration::from_secs(2);
    let (first, second) = tokio::join!(
        ask(&caller, "the year", two),
        ask(&caller, "the decade", two)
    );
    for error in [first, second].into_iter().filter_map(Result::err) {
        println!("after {:.1?}: {error}", begun.elapsed());
    }
    ask(&caller, "enough", WAIT).await?;
    let handled = working.await??;
    println!("handled: {handled:?}");
    assert_eq!(handled.len(), 1);
    Ok(())
}
