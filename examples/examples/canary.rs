//! A new version gets a fifth of the messages, fails, and gets nothing any more; then its weight is changed while messages flow.

use mcpbus::AckLevel;
use mcpbus::client::{Client, ClientConfig, Publication, Publisher, SubscribeOptions};
use mcpbus::node::NodeBuilder;
use mcpbus::policy::PolicyFactory;
use mcpbus::resilience::CanaryConfig;
use mcpbus::routing::{Pattern, Route, RouteCanary, RouteGuards, RouteTable};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(5);
type Failed = Box<dyn std::error::Error>;

fn routes(canary: Option<RouteCanary>) -> Result<RouteTable, Failed> {
    let route = Route::new(Pattern::new("pay.*")?, PolicyFactory::named("weighted")?)
        .to("v1", 80)
        .to("v2", 20)
        .guards(RouteGuards {
            canary,
            ..RouteGuards::default()
        });
    Ok(RouteTable::new(vec![route])?)
}

/// Version 1 handles everything, version 2 fails as long as it is new.
async fn serve(client: &Client, version: &str, fails: bool) -> Result<(), Failed> {
    let options = SubscribeOptions::default().group(version).max_deliver(1);
    let mut payments = client.subscribe("pay.*", options)?;
    payments.ready(WAIT).await?;
    tokio::spawn(async move {
        let mut number = 0;
        while let Some(payment) = payments.next().await {
            number += 1;
            if fails && number <= 10 {
                payment.retry();
            } else {
                payment.ack();
            }
        }
    });
    Ok(())
}

/// How many of 200 messages failed.
async fn publish(publisher: &Publisher) -> Result<usize, Failed> {
    let mut failed = 0;
    for _ in 0..200 {
        let receipt = publisher.publish_with_receipt(Publication::new("pay.eur", "12.50"));
        failed += usize::from(receipt.await?.await.is_err());
    }
    Ok(failed)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let steps = CanaryConfig {
        steps: vec![20, 50, 100],
        ..CanaryConfig::default()
    };
    let canary = RouteCanary {
        group: "v2".into(),
        config: steps,
    };
    let table = routes(Some(canary))?;
    let builder = NodeBuilder::named("node").configure(|config| config.routes = table);
    let node = builder.start().await?;
    let client = node.client(ClientConfig::default()).await?;
    serve(&client, "v1", false).await?;
    serve(&client, "v2", true).await?;

    let publisher = client.publisher(AckLevel::Processed);
    println!("{} of 200 failed", publish(&publisher).await?);
    for route in node.report().await.ok_or("the node has ended")?.routes {
        let canary = route
            .canary
            .map_or(String::new(), |state| format!(", {state:?}"));
        println!(
            "{}: {} messages, weight {}{canary}",
            route.group, route.messages, route.weight
        );
    }

    // Version 2 is mended: without a canary its weight counts again.
    println!("{}", node.set_routes(routes(None)?).await?);
    println!("{} of 200 failed", publish(&publisher).await?);
    let report = node.report().await.ok_or("the node has ended")?;
    // 10 while it was a canary, then a fifth.
    assert_eq!(report.routes[1].messages, 10 + 40);
    assert_eq!(report.ledger.residual(), 0);
    Ok(())
}
