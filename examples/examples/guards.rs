//! A route with a rate limit that says when to come back, and one whose breaker leaves messages to a fallback.

use mcpbus::AckLevel;
use mcpbus::client::{
    Client, ClientConfig, Publication, ReceiptError, SubscribeOptions, Subscription,
};
use mcpbus::node::NodeBuilder;
use mcpbus::policy::PolicyFactory;
use mcpbus::resilience::{BreakerConfig, DestinationGuardsConfig, TokenBucketConfig, WhenLimited};
use mcpbus::routing::{Pattern, Route, RouteGuards, RouteTable};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(5);
type Failed = Box<dyn std::error::Error>;

fn routes() -> Result<RouteTable, Failed> {
    let weighted = || PolicyFactory::named("weighted");
    // Five at once, then ten a second.
    let limited = RouteGuards {
        limit: Some(TokenBucketConfig::new(10.0, 5, WhenLimited::Reject)?.into()),
        ..RouteGuards::default()
    };
    let broken = RouteGuards {
        destination: DestinationGuardsConfig {
            breaker: Some(BreakerConfig::default()),
            ..DestinationGuardsConfig::default()
        },
        fallback: Some("spare".into()),
        ..RouteGuards::default()
    };
    let mail = Route::new(Pattern::new("mail")?, weighted()?).to("mailers", 1);
    let risk = Route::new(Pattern::new("risk")?, weighted()?).to("model", 1);
    Ok(RouteTable::new(vec![
        mail.guards(limited),
        risk.guards(broken),
    ])?)
}

async fn subscribe(client: &Client, subject: &str, group: &str) -> Result<Subscription, Failed> {
    let options = SubscribeOptions::default().group(group).max_deliver(1);
    let mut subscription = client.subscribe(subject, options)?;
    subscription.ready(WAIT).await?;
    Ok(subscription)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let table = routes()?;
    let builder = NodeBuilder::named("node").configure(|config| config.routes = table);
    let node = builder.start().await?;
    let client = node.client(ClientConfig::default()).await?;
    let mut mailers = subscribe(&client, "mail", "mailers").await?;
    let mut model = subscribe(&client, "risk", "model").await?;
    let mut spare = subscribe(&client, "risk", "spare").await?;
    let publisher = client.publisher(AckLevel::Processed);

    let mut receipts = Vec::new();
    for number in 0..6 {
        let mail = Publication::new("mail", format!("letter {number}"));
        receipts.push(publisher.publish_with_receipt(mail).await?);
    }
    for _ in 0..5 {
        mailers.next().await.ok_or("the subscription ended")?.ack();
    }
    for receipt in receipts {
        match receipt.await {
            Ok(()) => println!("mail: sent"),
            Err(ReceiptError::Failed(failure)) => {
                assert!(failure.retry_after().is_some());
                println!("mail: {failure}");
            }
            Err(error) => return Err(error.into()),
        }
    }

    // The model fails 20 times; from then on the spare has the messages, for five seconds.
    let mut answered = [0, 0];
    for _ in 0..30 {
        let receipt = publisher
            .publish_with_receipt(Publication::new("risk", "?"))
            .await?;
        tokio::select! {
            message = model.next() => {
                message.ok_or("the subscription ended")?.retry();
                answered[0] += 1;
                assert!(receipt.await.is_err());
            }
            message = spare.next() => {
                message.ok_or("the subscription ended")?.ack();
                answered[1] += 1;
                receipt.await?;
            }
        }
    }
    println!(
        "risk: {} failed at the model, {} went to the spare",
        answered[0], answered[1]
    );
    assert_eq!(answered, [20, 10]);
    let report = node.report().await.ok_or("the node has ended")?;
    println!(
        "risk: the model refuses because of {:?}",
        report.routes[1].refuses
    );
    Ok(())
}
