//! A running node: its thread, its listener, its links.

use super::config::NodeConfig;
use super::core::NodeCore;
use super::disk::{self, Source};
use super::ledger::NodeLedger;
use super::registry::{PeerEntry, PeerRegistry};
use super::report::NodeReport;
use super::routes::{RoutesChanged, SetRoutesError};
use super::spool::DeadLetter;
use crate::client::{Client, ClientConfig, ConnectError};
use crate::dial::memory::MemoryDial;
use crate::dial::{Backoff, Dial};
use crate::random;
use crate::reactor::Reactor;
use crate::routing::RouteTable;
use mcpbus_actors::SystemClock;
use mcpbus_transport::bridge::Hub;
use mcpbus_transport::identity::PeerIdentity;
use mcpbus_transport::link::Link;
use mcpbus_transport::link::memory::{MemoryLink, MemoryLinkConfig, pair};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Pauses between attempts to reach another node.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Pause after a peer turned a link away.
const REFUSED_PAUSE: Duration = Duration::from_secs(2);
/// Commands that may wait for the node's thread.
const COMMANDS: usize = 64;

/// A node did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// It cannot listen.
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// Its own set-up is wrong.
    Setup {
        /// What.
        reason: String,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, reason } => write!(f, "cannot listen on {address}: {reason}"),
            Self::Setup { reason } => write!(f, "the node cannot start: {reason}"),
        }
    }
}

impl std::error::Error for StartError {}

enum Command {
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

/// How a node is started.
#[derive(Debug)]
pub struct NodeBuilder {
    config: NodeConfig,
    store: Option<(Source, u64)>,
    #[cfg(feature = "quic")]
    listen: Option<SocketAddr>,
    #[cfg(feature = "quic")]
    links: Vec<String>,
    #[cfg(feature = "quic")]
    credentials: Option<mcpbus_transport::identity::Credentials>,
}

impl NodeBuilder {
    /// A node that only has links inside the process.
    pub fn new(config: NodeConfig) -> Self {
        Self {
            config,
            store: None,
            #[cfg(feature = "quic")]
            listen: None,
            #[cfg(feature = "quic")]
            links: Vec::new(),
            #[cfg(feature = "quic")]
            credentials: None,
        }
    }

    /// A node of this name with default limits.
    pub fn named(name: &str) -> Self {
        Self::new(NodeConfig::new(name, random::u64(), random::epoch()))
    }

    /// Changes the configuration.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut NodeConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Keeps what is to be stored in this file, made if there is none, in at most `bytes` bytes. With it come durable
    /// subscriptions and `stored`.
    #[cfg(feature = "spool")]
    #[must_use]
    pub fn spool(mut self, file: impl Into<std::path::PathBuf>, bytes: u64) -> Self {
        self.store = Some((Source::File(file.into()), bytes));
        self
    }

    /// Keeps what is to be stored in a store of the user's own, which refuses what would make it hold more than `bytes`.
    #[must_use]
    pub fn store(mut self, store: Box<dyn mcpbus_transport::spool::Store>, bytes: u64) -> Self {
        self.store = Some((Source::Open(store), bytes));
        self
    }

    /// Who the node is to its peers, and whom it trusts.
    #[cfg(feature = "quic")]
    #[must_use]
    pub fn credentials(mut self, credentials: mcpbus_transport::identity::Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Listens for QUIC links. Port 0 lets the system choose.
    #[cfg(feature = "quic")]
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = Some(address);
        self
    }

    /// Keeps a link to another node (`HOST:PORT`), for ever, with back-off.
    #[cfg(feature = "quic")]
    #[must_use]
    pub fn link(mut self, address: impl Into<String>) -> Self {
        self.links.push(address.into());
        self
    }

    /// Starts the node on a thread of its own.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left running.
    pub async fn start(self) -> Result<Node, StartError> {
        let setup = |reason: String| StartError::Setup { reason };
        let reactor = Reactor::start(&format!("mcpbus-{}", self.config.name))
            .map_err(|error| setup(error.to_string()))?;
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (done_sender, done) = watch::channel(false);
        let (started, start) = oneshot::channel();
        let name = self.config.name.clone();
        reactor
            .spawn(move || async move {
                run(self, inbox, started).await;
                done_sender.send_replace(true);
            })
            .await
            .map_err(|error| setup(error.to_string()))?;
        let (address, registry) = start
            .await
            .map_err(|_| setup(String::from("the node's thread has ended")))??;
        Ok(Node {
            name,
            reactor,
            commands,
            address,
            registry,
            done,
        })
    }
}

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

/// Carries a node out until it leaves.
async fn run(
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
    let endpoint = match quic::start(&hub, &builder, highest_lane, &stopping) {
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
        quic::stop(&endpoint).await;
    }
    timer.abort();
}

fn accept<L: Link + 'static>(hub: &Hub<NodeCore>, link: L, highest_lane: u8)
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
#[cfg_attr(
    not(feature = "quic"),
    allow(dead_code, reason = "only QUIC links are configured")
)]
async fn keep_link<D: Dial>(
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

#[cfg(feature = "quic")]
mod quic {
    use super::{NodeBuilder, StartError, accept, keep_link};
    use crate::dial::quic::QuicDial;
    use crate::node::NodeCore;
    use mcpbus_transport::bridge::Hub;
    use mcpbus_transport::link::CloseCode;
    use mcpbus_transport::link::quic::{QuicConfig, QuicEndpoint};
    use std::net::SocketAddr;
    use std::rc::Rc;
    use std::time::Duration;
    use tokio::sync::watch;

    type Started = (Option<SocketAddr>, Option<Rc<QuicEndpoint>>);

    pub(super) fn start(
        hub: &Hub<NodeCore>,
        builder: &NodeBuilder,
        highest_lane: u8,
        stopping: &watch::Sender<bool>,
    ) -> Result<Started, StartError> {
        if builder.listen.is_none() && builder.links.is_empty() {
            return Ok((None, None));
        }
        let setup = |reason: String| StartError::Setup { reason };
        let Some(credentials) = &builder.credentials else {
            return Err(setup(String::from(
                "links to other processes need credentials",
            )));
        };
        let config = QuicConfig::default();
        let endpoint = match builder.listen {
            Some(address) => QuicEndpoint::bind(address, credentials, config).map_err(|error| {
                StartError::Listen {
                    address,
                    reason: error.to_string(),
                }
            })?,
            None => QuicEndpoint::dialer(credentials, config)
                .map_err(|error| setup(error.to_string()))?,
        };
        let endpoint = Rc::new(endpoint);
        let address = builder.listen.and_then(|_| endpoint.local_address());
        if builder.listen.is_some() {
            let (hub, endpoint) = (hub.clone(), endpoint.clone());
            tokio::task::spawn_local(async move {
                while let Ok(link) = endpoint.accept().await {
                    accept(&hub, link, highest_lane);
                }
            });
        }
        for (index, address) in builder.links.iter().enumerate() {
            let dial = QuicDial {
                endpoint: endpoint.clone(),
                address: address.clone(),
            };
            tokio::task::spawn_local(keep_link(
                hub.clone(),
                dial,
                index,
                highest_lane,
                stopping.subscribe(),
            ));
        }
        Ok((address, Some(endpoint)))
    }

    pub(super) async fn stop(endpoint: &QuicEndpoint) {
        endpoint.close(CloseCode::NORMAL, "the node shuts down");
        let _ = tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
    }
}
