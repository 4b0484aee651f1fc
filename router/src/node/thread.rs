//! The thread of a node: it starts the node, carries out what is asked of it, and ends it.

use super::builder::{NodeBuilder, StartError};
use super::core::NodeCore;
use super::disk;
use super::ledger::NodeLedger;
use super::links::accept;
#[cfg(feature = "quic")]
use super::quic_links;
use super::registry::PeerRegistry;
use super::report::NodeReport;
use super::routes::{RoutesChanged, SetRoutesError};
use super::spool::DeadLetter;
use crate::routing::RouteTable;
use mcpbus_actors::SystemClock;
use mcpbus_transport::bridge::Hub;
use mcpbus_transport::link::memory::MemoryLink;
use std::net::SocketAddr;
use std::time::Duration;
#[cfg(feature = "quic")]
use tokio::sync::watch;
use tokio::sync::{mpsc, oneshot};

/// What is asked of a running node.
pub(super) enum Command {
    Report(oneshot::Sender<NodeReport>),
    Ledger(oneshot::Sender<NodeLedger>),
    Accept(MemoryLink),
    DeadLetters(u64, usize, oneshot::Sender<Vec<DeadLetter>>),
    Discard(u64),
    Replay(Box<DeadLetter>, oneshot::Sender<bool>),
    SetRoutes(
        RouteTable,
        oneshot::Sender<Result<RoutesChanged, SetRoutesError>>,
    ),
    Leave,
}

/// Carries a node out until it leaves.
pub(super) async fn run(
    mut builder: NodeBuilder,
    mut inbox: mpsc::Receiver<Command>,
    started: oneshot::Sender<Result<(Option<SocketAddr>, PeerRegistry), StartError>>,
) {
    let highest_lane = builder.config.session.lanes;
    let clock = SystemClock::new();
    let mut core = NodeCore::new(builder.config.clone());
    let answers = match builder.store.take() {
        None => None,
        Some((source, limit)) => match disk::open(&mut core, source, limit, clock) {
            Ok(answers) => Some(answers),
            Err(error) => {
                let _ = started.send(Err(error));
                return;
            }
        },
    };
    let registry = core.registry().clone();
    let hub = Hub::new(core, clock);
    let readers = disk::Readers::default();
    if let Some(answers) = answers {
        tokio::task::spawn_local(disk::hear(hub.clone(), answers, readers.clone()));
        hub.with(|_, _| {});
    }
    let timer = hub.clone();
    let timer = tokio::task::spawn_local(async move { timer.run_timer().await });
    #[cfg(feature = "quic")]
    let stopping = watch::Sender::new(false);
    #[cfg(feature = "quic")]
    let endpoint = match quic_links::start(&hub, &builder, highest_lane, &stopping) {
        Ok((address, endpoint)) => {
            let _ = started.send(Ok((address, registry)));
            endpoint
        }
        Err(error) => {
            let _ = started.send(Err(error));
            timer.abort();
            return;
        }
    };
    #[cfg(not(feature = "quic"))]
    let _ = started.send(Ok((None, registry)));
    while let Some(command) = inbox.recv().await {
        match command {
            Command::Report(answer) => {
                let _ = answer.send(hub.with(|core, now| core.report(now)));
            }
            Command::Ledger(answer) => {
                let _ = answer.send(hub.with(|core, _| core.ledger()));
            }
            Command::Accept(link) => accept(&hub, link, highest_lane),
            Command::DeadLetters(after, most, answer) => {
                // Before the node asks: the answer may not be missed.
                readers.borrow_mut().push_back(answer);
                if !hub.with(|core, _| core.ask_dead_letters(after, most)) {
                    readers.borrow_mut().pop_back();
                }
            }
            Command::Discard(position) => {
                hub.with(|core, now| core.discard_dead_letter(position, now));
            }
            Command::Replay(letter, answer) => {
                let _ = answer.send(hub.with(|core, now| core.replay_dead_letter(&letter, now)));
            }
            Command::SetRoutes(routes, answer) => {
                let _ = answer.send(hub.with(|core, now| core.set_routes(routes, now)));
            }
            Command::Leave => break,
        }
    }
    // No new links from here on.
    #[cfg(feature = "quic")]
    stopping.send_replace(true);
    hub.with(|core, _| core.leave("the node shuts down"));
    let empty = async {
        while hub.links() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), empty).await;
    disk::finish(&hub).await;
    #[cfg(feature = "quic")]
    if let Some(endpoint) = endpoint {
        quic_links::stop(&endpoint).await;
    }
    timer.abort();
}
