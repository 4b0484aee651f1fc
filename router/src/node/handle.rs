//! A running node, as its user holds it: what is asked of it goes to its thread.

use super::builder::{NodeBuilder, StartError};
use super::ledger::NodeLedger;
use super::registry::{PeerEntry, PeerRegistry};
use super::report::NodeReport;
use super::routes::{RoutesChanged, SetRoutesError};
use super::spool::DeadLetter;
use super::thread::{self, Command};
use crate::client::{Client, ClientConfig, ConnectError};
use crate::dial::memory::MemoryDial;
use crate::reactor::Reactor;
use crate::routing::RouteTable;
use mcpbus_transport::identity::PeerIdentity;
use mcpbus_transport::link::memory::{MemoryLinkConfig, pair};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Commands that may wait for the node's thread.
const COMMANDS: usize = 64;

/// A running node. Dropping it lets its peers find out; [`shutdown`](Self::shutdown) tells them.
pub struct Node {
    name: String,
    reactor: Reactor,
    commands: mpsc::Sender<Command>,
    address: Option<SocketAddr>,
    registry: PeerRegistry,
    done: watch::Receiver<bool>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.name)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Node {
    pub(super) async fn start(builder: NodeBuilder) -> Result<Self, StartError> {
        let setup = |reason: String| StartError::Setup { reason };
        let reactor = Reactor::start(&format!("mcpbus-{}", builder.config.name))
            .map_err(|error| setup(error.to_string()))?;
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (done_sender, done) = watch::channel(false);
        let (started, start) = oneshot::channel();
        let name = builder.config.name.clone();
        reactor
            .spawn(move || async move {
                thread::run(builder, inbox, started).await;
                done_sender.send_replace(true);
            })
            .await
            .map_err(|error| setup(error.to_string()))?;
        let (address, registry) = start
            .await
            .map_err(|_| setup(String::from("the node's thread has ended")))??;
        Ok(Self {
            name,
            reactor,
            commands,
            address,
            registry,
            done,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Who is connected now. Never waits for the node's thread.
    pub fn peers(&self) -> Vec<PeerEntry> {
        self.registry.peers()
    }

    /// A client inside the process, on the node's own thread.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] when the node has ended.
    pub async fn client(&self, config: ClientConfig) -> Result<Client, ConnectError> {
        let commands = self.commands.clone();
        let node = self.name.clone();
        let client = config.name.clone();
        Client::start(self.reactor.clone(), config, move || {
            let address = format!("node {node} in this process");
            let connect = move || {
                let limits = MemoryLinkConfig::default();
                let (near, far) = pair(
                    PeerIdentity::new(client.clone()),
                    PeerIdentity::new(node.clone()),
                    limits,
                );
                commands
                    .try_send(Command::Accept(far))
                    .map_err(|_| String::from("the node has ended or is busy"))?;
                Ok(near)
            };
            Ok(MemoryDial { connect, address })
        })
        .await
    }

    /// What the node does at present; `None` once it has ended.
    pub async fn report(&self) -> Option<NodeReport> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Report(answer)).await.ok()?;
        answered.await.ok()
    }

    /// What became of the messages the node took over; `None` once it has ended.
    pub async fn ledger(&self) -> Option<NodeLedger> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Ledger(answer)).await.ok()?;
        answered.await.ok()
    }

    /// The dead letters on the node's disk behind `after` (0: from the oldest), at most `most` of them, at most 1,000 and
    /// about 1 MiB of bodies. Looking changes nothing. Empty without a spool, or once the node has ended. Cancel safe.
    pub async fn dead_letters(&self, after: u64, most: usize) -> Vec<DeadLetter> {
        let (answer, answered) = oneshot::channel();
        let command = Command::DeadLetters(after, most, answer);
        if self.commands.send(command).await.is_err() {
            return Vec::new();
        }
        answered.await.unwrap_or_default()
    }

    /// Discards a dead letter by its position; one that is not there is passed over.
    pub async fn discard_dead_letter(&self, position: u64) {
        // A node that has ended has nothing to discard.
        let _ = self.commands.send(Command::Discard(position)).await;
    }

    /// Gives a dead letter to its durable subscription again, behind what waits there, under the number it had. `false` where
    /// that subscription is no more, its bytes have changed, or the node has ended; then it stays.
    pub async fn replay_dead_letter(&self, letter: DeadLetter) -> bool {
        let (answer, answered) = oneshot::channel();
        let command = Command::Replay(Box::new(letter), answer);
        self.commands.send(command).await.is_ok() && answered.await.unwrap_or(false)
    }

    /// Replaces all routes of the node while messages flow: nothing is lost, doubled or reordered. Messages that wait are decided
    /// by the new routes; what was sent to another node's or this node's old route ends by that. Guards with the same settings
    /// keep what they know. Dropping the future does not take the change back.
    ///
    /// # Errors
    ///
    /// [`SetRoutesError`]; the routes are as they were.
    pub async fn set_routes(&self, routes: RouteTable) -> Result<RoutesChanged, SetRoutesError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.commands.send(Command::SetRoutes(routes, answer)).await;
        sent.map_err(|_| SetRoutesError::Gone)?;
        answered.await.unwrap_or(Err(SetRoutesError::Gone))
    }

    /// Waits until the node holds nothing, at most `wait`; then tells its peers that it leaves, and ends. Returns the
    /// final ledger.
    pub async fn shutdown(self, wait: Duration) -> Option<NodeLedger> {
        let empty = async {
            while self.ledger().await.is_some_and(|ledger| ledger.held > 0) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = tokio::time::timeout(wait, empty).await;
        let ledger = self.ledger().await;
        let _ = self.commands.send(Command::Leave).await;
        let mut done = self.done.clone();
        let _ = tokio::time::timeout(Duration::from_secs(3), done.wait_for(|done| *done)).await;
        ledger
    }
}
