//! A routing policy of one's own: large messages to one group, the rest to another.

use mcpbus::AckLevel;
use mcpbus::client::{ClientConfig, Publication, SubscribeOptions};
use mcpbus::node::NodeBuilder;
use mcpbus::policy::{Choice, Destination, Meta, Policy, PolicyFactory, Scope};
use mcpbus::routing::{Pattern, Route, RouteTable};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(5);

/// Sends bodies above a size to the first destination, others to the second.
struct BySize {
    bytes: usize,
}

impl Policy for BySize {
    fn name(&self) -> &'static str {
        "by-size"
    }

    fn choose(&mut self, meta: &Meta<'_>, destinations: &[Destination]) -> Choice {
        let index = usize::from(meta.bytes <= self.bytes);
        match destinations.get(index) {
            Some(destination) if destination.weight > 0 => Choice::One(index),
            _ => Choice::None,
        }
    }

    fn keeps_order(&self) -> bool {
        false
    }

    fn scope(&self) -> Scope {
        Scope::Stateless
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let by_size = PolicyFactory::own("by-size", || Box::new(BySize { bytes: 100 }));
    let route = Route::new(Pattern::new("files.>")?, by_size)
        .to("slow-lane", 1)
        .to("fast-lane", 1);
    let routes = RouteTable::new(vec![route])?;
    let node = NodeBuilder::named("node")
        .configure(|config| config.routes = routes)
        .start()
        .await?;

    let client = node.client(ClientConfig::default()).await?;
    let mut slow = client.subscribe("files.>", SubscribeOptions::default().group("slow-lane"))?;
    let mut fast = client.subscribe("files.>", SubscribeOptions::default().group("fast-lane"))?;
    slow.ready(WAIT).await?;
    fast.ready(WAIT).await?;

    let publisher = client.publisher(AckLevel::Accepted);
    for size in [10, 1_000, 50, 5_000, 100] {
        publisher
            .publish(Publication::new("files.report", vec![b'x'; size]))
            .await?;
    }
    for _ in 0..2 {
        let message = slow.next().await.ok_or("the subscription ended")?;
        println!("slow lane: {} bytes", message.body().len());
    }
    for _ in 0..3 {
        let message = fast.next().await.ok_or("the subscription ended")?;
        println!("fast lane: {} bytes", message.body().len());
    }
    let report = node.report().await.ok_or("the node had ended")?;
    let shares: Vec<_> = report
        .routes
        .iter()
        .map(|route| (route.group.as_str(), route.messages))
        .collect();
    assert_eq!(shares, [("slow-lane", 2), ("fast-lane", 3)]);
    Ok(())
}
