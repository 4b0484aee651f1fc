//! A publishing client, a router node and a subscribed client.

use crate::run::Run;
use mcpbus::AckLevel;
use mcpbus::Bytes;
use mcpbus::client::{Client, ClientConfig, Publication, PublishError, SubscribeOptions};
use mcpbus::identity::LocalAuthority;
use mcpbus::node::NodeBuilder;
use mcpbus_benches::failed::Failed;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;

const SUBJECT: &str = "bench";
const WAIT: Duration = Duration::from_secs(20);
const ROOM: Duration = Duration::from_secs(2);

/// Windows that do not run out within a round trip.
fn config() -> ClientConfig {
    ClientConfig {
        window_messages: 16_384,
        window_bytes: 8 << 20,
        flow_messages: 8192,
        queue_bytes: 8 << 20,
        ..ClientConfig::default()
    }
}

pub(crate) fn start(authority: &LocalAuthority, size: usize, ack: AckLevel) -> Result<Run, Failed> {
    let credentials = |name| {
        authority
            .credentials(name, SystemTime::now())
            .map_err(Failed::at("credentials"))
    };
    let (router, publisher, subscriber) = (
        credentials("router")?,
        credentials("publisher")?,
        credentials("subscriber")?,
    );
    let (address, told) = oneshot::channel();
    let (ready, go) = oneshot::channel::<String>();
    let (leave, left) = oneshot::channel::<()>();
    let mut run = Run::new();
    run.thread(move |_| async move {
        let node = NodeBuilder::named("router")
            .credentials(router)
            .listen(SocketAddr::from(([127, 0, 0, 1], 0)))
            .start()
            .await
            .map_err(Failed::at("the node"))?;
        let listening = node.address();
        let listening = listening.ok_or_else(|| Failed::new("the node", "it does not listen"))?;
        // An end that is gone has reported why.
        let _ = address.send(listening.to_string());
        let _ = left.await;
        let ledger = node.shutdown(Duration::ZERO).await;
        // Without an answer the node's thread is gone, which nothing here asks of it.
        let ledger =
            ledger.ok_or_else(|| Failed::new("the node", "it ended before it was told"))?;
        match ledger.residual() {
            0 => Ok(()),
            residual => Err(Failed::new(
                "the node's ledger",
                format!("residual {residual}"),
            )),
        }
    });
    run.thread(move |shared| async move {
        let address = told.await.map_err(Failed::at("the node's address"))?;
        let client = Client::connect(&address, &subscriber, config())
            .await
            .map_err(Failed::at("the subscriber"))?;
        let mut subscription = client
            .subscribe(SUBJECT, SubscribeOptions::default())
            .map_err(Failed::at("the subscription"))?;
        subscription
            .ready(WAIT)
            .await
            .map_err(Failed::at("the subscription"))?;
        let _ = ready.send(address);
        let mut count = 0;
        while !shared.stopped() {
            let delivery = match subscription.try_next() {
                None => tokio::time::timeout(WAIT, subscription.next())
                    .await
                    .map_err(|_| Failed::new("the subscription", "nothing comes any more"))?,
                here => here,
            };
            let delivery = delivery.ok_or_else(|| Failed::new("the subscription", "it ended"))?;
            if delivery.body().len() != size {
                return Err(Failed::new("a message", "it has another size"));
            }
            delivery.ack();
            count += 1;
            shared.received(count);
        }
        drop(leave);
        Ok(())
    });
    run.thread(move |shared| async move {
        let address = go.await.map_err(Failed::at("the subscriber"))?;
        let client = Client::connect(&address, &publisher, config())
            .await
            .map_err(Failed::at("the publisher"))?;
        let publisher = client.publisher(ack);
        let body = Bytes::from(vec![7; size]);
        while !shared.stopped() {
            let Err(error) = publisher.try_publish(Publication::new(SUBJECT, body.clone())) else {
                continue;
            };
            let PublishError::Full(message) = error else {
                return Err(Failed::new("a message", error));
            };
            // The node ends with the subscriber, and then there is never any room.
            match tokio::time::timeout(ROOM, publisher.publish(message)).await {
                Ok(queued) => queued.map_err(Failed::at("a message"))?,
                Err(_) if shared.stopped() => {}
                Err(_) => return Err(Failed::new("a message", "there is no room for it")),
            }
        }
        Ok(())
    });
    Ok(run)
}
