//! The links of a node: those that come, and those that it keeps up.

use super::core::NodeCore;
#[cfg(feature = "quic")]
use crate::dial::{Backoff, Dial};
#[cfg(feature = "quic")]
use crate::random;
use mcpbus_transport::bridge::Hub;
use mcpbus_transport::link::Link;
#[cfg(feature = "quic")]
use std::time::Duration;
#[cfg(feature = "quic")]
use tokio::sync::watch;

/// Pauses between attempts to reach another node.
#[cfg(feature = "quic")]
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Pause after a peer turned a link away.
#[cfg(feature = "quic")]
const REFUSED_PAUSE: Duration = Duration::from_secs(2);

/// A link that another end has made.
pub(super) fn accept<L: Link + 'static>(hub: &Hub<NodeCore>, link: L, highest_lane: u8)
where
    L::Writer: 'static,
    L::Reader: 'static,
{
    let identity = link.peer().name.clone();
    tokio::task::spawn_local(hub.attach(link, highest_lane, move |core, handle, now| {
        core.link_accepted(handle, &identity, now);
    }));
}

/// Keeps one configured link up for ever.
#[cfg(feature = "quic")]
pub(super) async fn keep_link<D: Dial>(
    hub: Hub<NodeCore>,
    dial: D,
    index: usize,
    highest_lane: u8,
    stopping: watch::Receiver<bool>,
) {
    let mut backoff = Backoff::new(RETRY, random::u64());
    let mut said = String::new();
    loop {
        match dial.dial().await {
            Ok(link) => {
                let identity = link.peer().name.clone();
                said.clear();
                hub.attach(link, highest_lane, |core, handle, now| {
                    core.link_dialed(handle, index, &identity, now)
                })
                .await;
                if *stopping.borrow() {
                    return;
                }
                match hub.with(|core, _| core.take_refused_dial(index)) {
                    Some(reason) => {
                        tracing::info!(to = dial.address(), reason, "the link was turned away");
                        tokio::time::sleep(REFUSED_PAUSE).await;
                    }
                    None => backoff.reset(),
                }
            }
            Err(failure) => {
                // A peer that is down for an hour is said to be so once.
                if failure.reason != said {
                    let error = &failure.reason;
                    tracing::warn!(to = dial.address(), error, "no link; trying on");
                    said = failure.reason;
                }
            }
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}
