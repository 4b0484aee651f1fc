//! A service of a known capacity: consumers that work a fixed time per message, so many messages at a time.

use crate::world::{RunningNode, World};
use mcpbus::client::{Client, Subscription};
use mcpbus_benches::failed::Failed;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// What a service is made of.
#[derive(Clone, Copy)]
pub(crate) struct ServiceConfig {
    pub(crate) consumers: usize,
    /// Messages that each works on at a time.
    pub(crate) places: usize,
    /// How long a message takes. Nothing is computed meanwhile: the service waits, as for a database.
    pub(crate) work: Duration,
    /// Messages that each consumer holds or has granted; the client's default otherwise.
    pub(crate) window: Option<u64>,
}

/// A queue group of consumers that work.
pub(crate) struct Service {
    clients: Vec<Client>,
    consumers: Vec<JoinHandle<()>>,
}

impl Service {
    pub(crate) fn start(
        world: &World,
        node: &RunningNode<'_>,
        pattern: &str,
        group: &str,
        config: ServiceConfig,
    ) -> Result<Self, Failed> {
        let mut service = Self {
            clients: Vec::new(),
            consumers: Vec::new(),
        };
        for number in 0..config.consumers {
            let client = node.client(&format!("consumer-{number}"))?;
            let subscription = node.subscribe(&client, pattern, group, config.window)?;
            service.clients.push(client);
            let work = consume(subscription, config);
            service.consumers.push(world.handle().spawn(work));
        }
        Ok(service)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.consumers.iter().for_each(JoinHandle::abort);
    }
}

async fn consume(mut subscription: Subscription, config: ServiceConfig) {
    let places = Arc::new(Semaphore::new(config.places));
    while let Ok(place) = places.clone().acquire_owned().await {
        let Some(message) = subscription.next().await else {
            return;
        };
        tokio::spawn(async move {
            tokio::time::sleep(config.work).await;
            message.ack();
            drop(place);
        });
    }
}
