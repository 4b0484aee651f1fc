//! The risk node's side: payments from the bus, assessed by both versions, added up.

use std::time::Duration;

use mcpbus::client::{Client, Delivery, SubscribeOptions, Subscription};
use mcpbus::node::Node;
use mcpbus_actors::channel::{Capacity, Receiver, Sender};
use mcpbus_actors::topology::{Running, Topology};
use mcpbus_actors::{Ledger, SystemClock};

use super::{DemoError, EDGE, MEET, ROUTED, client_config};
use crate::demo::risk::Version;
use crate::demo::stages::{Join, Live, Risk};
use crate::demo::totals::Totals;

/// The risk node's side: two subscriptions into a topology that ends in totals.
pub(super) struct RiskSide {
    client: Client,
    pub(super) running: Running,
    totals: Receiver<Totals>,
    stop: tokio::sync::watch::Sender<bool>,
    feeds: Vec<tokio::task::JoinHandle<()>>,
}

impl RiskSide {
    /// Starts the topology and subscribes for it.
    pub(super) async fn start(
        node: &Node,
        clock: SystemClock,
        live: &Live,
    ) -> Result<Self, DemoError> {
        let client = node
            .client(client_config("risk"))
            .await
            .map_err(DemoError::Connect)?;
        let mut topology = Topology::new("risk");
        topology
            .clock(clock)
            .default_capacity(Capacity::messages(EDGE));
        let mut assessed = Vec::new();
        for version in [Version::One, Version::Two] {
            let deliveries = topology.input::<Delivery>(version.group());
            assessed.push(topology.process(
                &format!("{}.assess", version.group()),
                deliveries,
                Risk::new(version, live),
            ));
        }
        let totals = topology.aggregate_with("totals", assessed, Join::default);
        topology.output("result", totals);
        let mut running = topology.start().map_err(DemoError::Topology)?;
        let totals = running
            .take_output::<Totals>("result")
            .ok_or(DemoError::Setup("no totals"))?;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut feeds = Vec::new();
        for version in [Version::One, Version::Two] {
            let options = SubscribeOptions::default()
                .group(version.group())
                .window_messages(EDGE as u64);
            let mut subscription = client
                .subscribe(ROUTED, options)
                .map_err(DemoError::Subscribe)?;
            subscription
                .ready(MEET)
                .await
                .map_err(DemoError::Subscribe)?;
            let sender = running
                .take_input::<Delivery>(version.group())
                .ok_or(DemoError::Setup("no input"))?;
            feeds.push(tokio::spawn(feed(subscription, sender, stopped.clone())));
        }
        Ok(Self {
            client,
            running,
            totals,
            stop,
            feeds,
        })
    }

    /// Stops the feeds, drains the topology and gives what it ended with.
    pub(super) async fn end(mut self, failure: &mut Option<String>) -> (Totals, Ledger) {
        self.stop.send_replace(true);
        for feed in self.feeds {
            // A feed that panicked has dropped its deliveries, and the ledger shows them.
            let _ended = feed.await;
        }
        self.running.begin_drain();
        let totals = self.totals.recv().await.unwrap_or_default();
        let ledger = match self.running.wait().await {
            Ok(report) => report.ledger,
            Err(error) => {
                failure.get_or_insert(error.to_string());
                self.running.ledger()
            }
        };
        self.client.close(Duration::from_secs(2)).await;
        (totals, ledger)
    }
}

/// Moves deliveries into the topology as they are; the stage acknowledges them.
async fn feed(
    mut subscription: Subscription,
    sender: Sender<Delivery>,
    mut stop: tokio::sync::watch::Receiver<bool>,
) {
    loop {
        let delivery = tokio::select! {
            biased;
            delivery = subscription.next() => delivery,
            () = crate::run::bus::stopped(&mut stop) => return,
        };
        let Some(delivery) = delivery else { return };
        if sender.send(delivery).await.is_err() {
            return;
        }
    }
}
