//! Takes what is published, checks it, and answers requests.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mcpbus::client::{Client, ClientConfig, Delivery, SubscribeOptions, Subscription};
use mcpbus::identity::Credentials;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::arrivals::Arrivals;
use super::body::Header;
use super::child::ChildError;
use super::meter::{self, Count};
use super::plan::{Plan, Schedule, Task, Topology};
use super::router;
use super::talk::{Counts, Notice, Order, Received, tell};
use crate::bench::clock::now;
use crate::bench::latency::{self, Latencies};

/// How long the node may take to know of the subscription.
const READY: Duration = Duration::from_secs(10);
/// When nothing has come for so long, what is missing does not come any more.
const QUIET: Duration = Duration::from_secs(3);
/// Deliveries that are taken before orders are looked at again.
const BATCH: usize = 1024;
/// How long a durable subscription of another node may take to be deleted.
const DELETE: Duration = Duration::from_secs(2);

/// What the client of a subscriber is set to.
fn config(task: &Task) -> ClientConfig {
    ClientConfig {
        name: task.name.clone(),
        window_messages: task.plan.window,
        window_bytes: WINDOW_BYTES,
        ..ClientConfig::default()
    }
}

/// Bytes that the subscription holds or has granted: more than comes within a round trip.
const WINDOW_BYTES: u64 = 8 << 20;

/// Subscribes, over a link or inside of a node of its own, and takes what comes.
pub(super) async fn run(
    task: &Task,
    credentials: &Credentials,
    orders: &mut mpsc::Receiver<Order>,
) -> Result<(), ChildError> {
    let plan = &task.plan;
    let (node, client) = match (&task.node, plan.topology) {
        (Some(address), Topology::Node) => {
            let client = Client::connect(address, credentials, config(task)).await;
            (None, client.map_err(ChildError::Connect)?)
        }
        _ => {
            let node = router::listen(&task.name, credentials, task.spool.as_deref()).await?;
            let inside = ClientConfig {
                name: format!("{}-inside", task.name),
                ..config(task)
            };
            let client = node.client(inside).await.map_err(ChildError::Connect)?;
            (Some(node), client)
        }
    };
    let durable = plan.durable();
    let options = SubscribeOptions {
        durable: durable.clone(),
        ..SubscribeOptions::default()
    };
    let mut subscription = client
        .subscribe(&format!("{}.*", plan.prefix), options)
        .map_err(ChildError::Subscribe)?;
    subscription
        .ready(READY)
        .await
        .map_err(ChildError::Subscribe)?;
    tell(&Notice::Ready);
    let taken = Taking::new(plan).take_all(&mut subscription, orders).await;
    drop(subscription);
    if let Some(name) = durable
        && let Err(error) = client.delete_durable(&name, DELETE).await
    {
        tracing::warn!(%error, name, "the durable subscription of this run is still on the node");
    }
    tell(&Notice::Received(taken?));
    client.close(Duration::from_secs(1)).await;
    if let Some(node) = node {
        router::end(node).await;
    }
    Ok(())
}

/// What has been taken so far.
struct Taking<'a> {
    plan: &'a Plan,
    arrivals: Arrivals,
    latencies: Latencies,
    schedule: Option<Schedule>,
    expected: Option<u64>,
    received: u64,
    count: Count,
}

impl<'a> Taking<'a> {
    fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            arrivals: Arrivals::new(plan.links, plan.streams()),
            latencies: latency::none_yet(),
            schedule: None,
            expected: None,
            received: 0,
            count: Count::default(),
        }
    }

    /// Takes until everything that is expected has come, or nothing comes any more.
    async fn take_all(
        mut self,
        subscription: &mut Subscription,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Result<Received, ChildError> {
        while self
            .expected
            .is_none_or(|expected| self.distinct() < expected)
        {
            let first = {
                let mut next = pin!(subscription.next());
                tokio::select! {
                    first = &mut next => first,
                    order = orders.recv() => {
                        self.ordered(order.ok_or(ChildError::Parent)?)?;
                        continue;
                    }
                    // Only a wait that is known to be the last has an end.
                    () = tokio::time::sleep(QUIET), if self.expected.is_some() => break,
                }
            };
            let Some(first) = first else {
                return Err(ChildError::Ended(subscription.ended_by()));
            };
            self.take(first);
            for _ in 1..BATCH {
                match subscription.try_next() {
                    Some(delivery) => self.take(delivery),
                    None => break,
                }
            }
            self.count.store(self.received, Ordering::Relaxed);
            if let Ok(order) = orders.try_recv() {
                self.ordered(order)?;
            }
        }
        // What comes now was doubled on its way.
        while let Ok(Some(delivery)) = timeout(Duration::ZERO, subscription.next()).await {
            self.take(delivery);
        }
        Ok(self.finish())
    }

    fn ordered(&mut self, order: Order) -> Result<(), ChildError> {
        match order {
            Order::Start(schedule) => {
                self.schedule = Some(schedule);
                meter::start(schedule, Count::clone(&self.count)).map_err(ChildError::Thread)?;
            }
            Order::Expect { messages } => self.expected = Some(messages),
            Order::End => self.expected = Some(0),
        }
        Ok(())
    }

    fn take(&mut self, delivery: Delivery) {
        self.received += 1;
        let plan = self.plan;
        if plan.is_numbered() {
            let header = Header::read(delivery.body(), plan.size);
            if let (Some(header), Some(schedule)) = (header, self.schedule)
                && schedule.measures(header.due)
            {
                let latency = now().saturating_sub(header.due);
                self.latencies.saturating_record(latency);
            }
            self.arrivals.arrived(header);
        } else if delivery.body().len() != plan.size {
            self.arrivals.unknown += 1;
        }
        if plan.requests.is_none() {
            return delivery.ack();
        }
        let body = delivery.body().clone();
        if let Err(error) = delivery.reply(&body) {
            tracing::warn!(%error, "a reply was not sent");
        }
    }

    /// Different messages; without numbers those that came.
    fn distinct(&self) -> u64 {
        if self.plan.is_numbered() {
            self.arrivals.distinct
        } else {
            self.received - self.arrivals.unknown
        }
    }

    fn finish(self) -> Received {
        let numbered = self.plan.is_numbered();
        Received {
            distinct: self.distinct(),
            duplicated: numbered.then_some(self.arrivals.duplicated),
            // Requests that are under way together have no order.
            reordered: (numbered && self.plan.requests.is_none())
                .then_some(self.arrivals.reordered),
            changed: self.arrivals.unknown,
            latencies: Counts::from(&self.latencies),
        }
    }
}
