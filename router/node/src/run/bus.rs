//! Messages between the open ports of a topology and the node.

use std::time::Duration;

use mcpbus::AckLevel;
use mcpbus::client::{Client, Delivery, Publication, Subscription};
use mcpbus_actors::Envelope;
use mcpbus_actors::channel::{Receiver, Sender};
use tokio::sync::watch;

use super::assemble::{Outgoing, ToBus};
use crate::config::Ack;
use crate::record::Record;

/// How often the node is asked whether the subscribers are there.
const ASK: Duration = Duration::from_millis(100);

impl From<Ack> for AckLevel {
    fn from(ack: Ack) -> Self {
        match ack {
            Ack::None => Self::None,
            Ack::Accepted => Self::Accepted,
            Ack::Stored => Self::Stored,
            Ack::Processed => Self::Processed,
        }
    }
}

/// Completes when `stop` turns true, or its sender is gone.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error says that the sender is gone, which ends the run as well.
    let _ended = stop.wait_for(|stop| *stop).await;
}

/// Feeds an open input from a subscription until it is stopped or either end is gone. A message is acknowledged when
/// the edge has taken it; until then it holds its credit, so a full edge holds the publisher back.
pub async fn feed(
    mut subscription: Subscription,
    sender: Sender<Record>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let delivery = tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            delivery = subscription.next() => delivery,
        };
        let Some(delivery) = delivery else { return };
        let accepted = tokio::select! {
            // What was delivered is taken in even when the run is stopping: the stages drain after this.
            accepted = sender.send_envelope(envelope(&delivery)) => accepted.is_ok(),
        };
        if !accepted {
            return;
        }
        delivery.ack();
    }
}

fn envelope(delivery: &Delivery) -> Envelope<Record> {
    let mut envelope = Envelope::new(Record::from_line(
        delivery.body().clone(),
        delivery.sequence(),
    ));
    envelope.header.set_key(delivery.key());
    envelope.header.set_event_time(delivery.event_time());
    envelope
}

/// Publishes what an open output gives, until it is closed. False when the client was closed before.
pub async fn publish(
    mut receiver: Receiver<Outgoing>,
    client: Client,
    to: ToBus,
    stop: watch::Receiver<bool>,
) -> bool {
    let publisher = client.publisher(to.ack.into());
    let mut waiting = to.wait_for_subscribers;
    while let Some(outgoing) = receiver.recv().await {
        if waiting > 0 {
            wait_for_subscribers(&client, outgoing.subject.as_str(), waiting, stop.clone()).await;
            waiting = 0;
        }
        let message = Publication {
            subject: outgoing.subject.as_str().to_owned(),
            key: outgoing.key,
            body: outgoing.body,
            time_to_live: None,
            event_time: None,
            ..Publication::default()
        };
        if let Err(error) = publisher.publish(message).await {
            tracing::error!(port = to.port, "{error}");
            return false;
        }
    }
    true
}

/// Asks until a subject has so many subscribers, or the run is stopped.
async fn wait_for_subscribers(
    client: &Client,
    subject: &str,
    wanted: u64,
    mut stop: watch::Receiver<bool>,
) {
    let asked = async {
        let mut said = false;
        loop {
            let count = client
                .count_subscribers(subject, Duration::from_secs(1))
                .await;
            if count.is_ok_and(|count| count >= wanted) {
                return;
            }
            if !std::mem::replace(&mut said, true) {
                tracing::info!(subject, wanted, "waiting for subscribers");
            }
            tokio::time::sleep(ASK).await;
        }
    };
    tokio::select! {
        () = asked => {}
        () = stopped(&mut stop) => {}
    }
}
