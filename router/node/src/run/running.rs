//! Starting a node file and ending it in order.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use mcpbus::client::{
    Client, ClientConfig, ClientStats, ConnectError, SubscribeError, SubscribeOptions,
};
use mcpbus::identity::Credentials;
use mcpbus::node::{self, Node, NodeBuilder, NodeLedger, RoutesChanged, SetRoutesError};
use mcpbus_actors::topology::{self, Report, Running};
use mcpbus_actors::{Clock as _, SystemClock};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::assemble::{AssembleError, FromBus, Outgoing, ToBus, assemble};
use super::bus;
use super::events::{Event, Events};
use crate::config::node_file::RouteTableError;
use crate::config::{Limits, NodeFile};
use crate::exec::KillSwitch;
use crate::record::Record;

/// How often it is looked whether anything moved, for `--idle-exit`.
const LOOK: Duration = Duration::from_millis(50);
/// How long the mesh may take to confirm a subscription before it is said that it takes long.
const READY_SOON: Duration = Duration::from_secs(10);

/// A file could not be started. What was started is stopped again.
#[derive(Debug)]
pub enum RunError {
    /// A stage could not be set up.
    Assemble(AssembleError),
    /// The routes cannot be decided with.
    Routes(RouteTableError),
    /// The node did not start, for example because the port is in use.
    Node(node::StartError),
    /// The stages found no way to their own node.
    Connect(ConnectError),
    /// A subscription was refused.
    Subscribe {
        /// The pattern.
        pattern: String,
        /// Why.
        cause: SubscribeError,
    },
    /// The topology did not start.
    Topology(topology::StartError),
    /// The node's data directory cannot be made.
    Data {
        /// Which.
        directory: std::path::PathBuf,
        /// Why.
        reason: String,
    },
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Assemble(error) => error.fmt(f),
            Self::Routes(error) => error.fmt(f),
            Self::Node(error) => error.fmt(f),
            Self::Connect(error) => error.fmt(f),
            Self::Subscribe { pattern, cause } => {
                write!(f, "the subscription to {pattern}: {cause}")
            }
            Self::Data { directory, reason } => write!(
                f,
                "node.data = {:?} cannot be made: {reason}",
                directory.display().to_string()
            ),
            Self::Topology(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RunError {}

/// A running file.
pub struct Started {
    node: Option<Node>,
    client: Option<Client>,
    topology: Option<Running>,
    publishers: Vec<JoinHandle<bool>>,
    feeds: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    events: Events,
    children: Vec<KillSwitch>,
    drain: Duration,
    listens: bool,
}

/// A running file did not get other routes.
#[derive(Debug)]
pub enum ReloadError {
    /// It runs no node: it neither listens nor has links or routes.
    NoNode,
    /// The routes cannot be.
    Routes(RouteTableError),
    /// The node did not take them.
    Node(SetRoutesError),
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNode => f.write_str("the file runs no node, so it has no routes"),
            Self::Routes(error) => error.fmt(f),
            Self::Node(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReloadError {}

/// What a run has come to.
#[derive(Debug, Default)]
pub struct RunEnd {
    /// The stages' account.
    pub report: Option<Report>,
    /// What became of what the stages published.
    pub published: Option<ClientStats>,
    /// The node's account.
    pub node: Option<NodeLedger>,
    /// Lines that were too long to become messages.
    pub lines_too_long: u64,
    /// Why the run failed, if it did.
    pub failure: Option<String>,
}

/// The limits of a file as the node knows them.
pub fn node_limits(limits: &Limits) -> mcpbus::node::NodeLimits {
    mcpbus::node::NodeLimits {
        sessions: usize::try_from(limits.sessions).unwrap_or(usize::MAX),
        credit_bytes: limits.credit,
        ..mcpbus::node::NodeLimits::default()
    }
}

/// The limits of a file as the stages' client knows them.
pub fn client_config(file: &NodeFile) -> ClientConfig {
    let mut config = ClientConfig {
        name: format!("{}-stages", file.name),
        ..ClientConfig::default()
    };
    config.session.message_max = file.limits.message;
    config
}

/// Starts everything that the file describes. `credentials` are needed where it listens or links.
///
/// # Errors
/// [`RunError`].
pub async fn start(file: &NodeFile, credentials: Option<Credentials>) -> Result<Started, RunError> {
    let events = Events::default();
    let assembly = assemble(file, &events).map_err(RunError::Assemble)?;
    let uses_bus = !assembly.inputs.is_empty() || !assembly.outputs.is_empty();
    let (stop, stopped) = watch::channel(false);
    let mut started = Started {
        node: None,
        client: None,
        topology: None,
        publishers: Vec::new(),
        feeds: Vec::new(),
        stop,
        events,
        children: assembly.children,
        drain: file.limits.drain,
        listens: file.listen.is_some(),
    };
    if file.listen.is_some() || !file.links.is_empty() || uses_bus {
        let node = start_node(file, credentials).await?;
        if uses_bus {
            started.client = Some(
                node.client(client_config(file))
                    .await
                    .map_err(RunError::Connect)?,
            );
        }
        started.node = Some(node);
    }
    if file.stages.is_empty() {
        return Ok(started);
    }
    let mut running = assembly.topology.start().map_err(RunError::Topology)?;
    if let Some(client) = started.client.clone() {
        started
            .connect_inputs(&client, &mut running, &assembly.inputs, &stopped)
            .await?;
        started.connect_outputs(&client, &mut running, &assembly.outputs, &stopped);
    }
    started.topology = Some(running);
    Ok(started)
}

async fn start_node(file: &NodeFile, credentials: Option<Credentials>) -> Result<Node, RunError> {
    let routes = file.route_table().map_err(RunError::Routes)?;
    let mut builder = NodeBuilder::named(&file.name).configure(|config| {
        config.routes = routes;
        config.limits = node_limits(&file.limits);
        config.session.message_max = file.limits.message;
    });
    if let (Some(spool), Some(data)) = (&file.spool, &file.data) {
        std::fs::create_dir_all(data).map_err(|error| RunError::Data {
            directory: data.clone(),
            reason: error.to_string(),
        })?;
        builder = builder.spool(crate::config::node_file::Spool::file(data), spool.size);
    }
    if let Some(credentials) = credentials {
        builder = builder.credentials(credentials);
    }
    if let Some(address) = file.listen {
        builder = builder.listen(address);
    }
    for link in &file.links {
        builder = builder.link(link.value.clone());
    }
    builder.start().await.map_err(RunError::Node)
}

impl Started {
    /// Where the node listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.node.as_ref().and_then(Node::address)
    }

    /// Gives the node the routes of a file that was read again.
    ///
    /// # Errors
    ///
    /// [`ReloadError`]; the routes are as they were.
    pub async fn set_routes(&self, file: &NodeFile) -> Result<RoutesChanged, ReloadError> {
        let node = self.node.as_ref().ok_or(ReloadError::NoNode)?;
        let routes = file.route_table().map_err(ReloadError::Routes)?;
        node.set_routes(routes).await.map_err(ReloadError::Node)
    }

    async fn connect_inputs(
        &mut self,
        client: &Client,
        running: &mut Running,
        inputs: &[FromBus],
        stopped: &watch::Receiver<bool>,
    ) -> Result<(), RunError> {
        for input in inputs {
            let options = SubscribeOptions {
                group: input.group.clone(),
                window_messages: Some(input.messages),
                ..SubscribeOptions::default()
            };
            let failed = |cause| RunError::Subscribe {
                pattern: input.pattern.clone(),
                cause,
            };
            let mut subscription = client.subscribe(&input.pattern, options).map_err(failed)?;
            loop {
                match subscription.ready(READY_SOON).await {
                    Ok(()) => break,
                    Err(SubscribeError::TimedOut) => {
                        tracing::info!(
                            pattern = input.pattern,
                            "waiting for every reachable node to confirm"
                        );
                    }
                    Err(cause) => return Err(failed(cause)),
                }
            }
            if let Some(sender) = running.take_input::<Record>(&input.port) {
                self.feeds.push(tokio::spawn(bus::feed(
                    subscription,
                    sender,
                    stopped.clone(),
                )));
            }
        }
        Ok(())
    }

    fn connect_outputs(
        &mut self,
        client: &Client,
        running: &mut Running,
        outputs: &[ToBus],
        stopped: &watch::Receiver<bool>,
    ) {
        for output in outputs {
            if let Some(receiver) = running.take_output::<Outgoing>(&output.port) {
                let publish =
                    bus::publish(receiver, client.clone(), output.clone(), stopped.clone());
                self.publishers.push(tokio::spawn(publish));
            }
        }
    }

    /// Completes when there is nothing more to do: all stages are over and nobody may connect. Never for a node that
    /// listens or stages that subscribe. Cancel safe.
    pub async fn over(&self) {
        let Some(observer) = self.topology.as_ref().map(Running::observer) else {
            return std::future::pending().await;
        };
        if !self.feeds.is_empty() || self.listens {
            return std::future::pending().await;
        }
        while !observer.is_over() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Completes when a stage reports an end of the whole run. Cancel safe.
    pub async fn event(&self) -> Event {
        self.events.happened().await
    }

    /// Completes when no edge has accepted a message for `idle`. Cancel safe.
    pub async fn idle(&self, idle: Duration) {
        let Some(observer) = self.topology.as_ref().map(Running::observer) else {
            return std::future::pending().await;
        };
        let clock = SystemClock::new();
        let (mut seen, mut since) = (0, clock.now());
        loop {
            tokio::time::sleep(LOOK).await;
            let accepted = observer.ledger().total().accepted;
            if accepted != seen {
                (seen, since) = (accepted, clock.now());
            } else if clock.now().saturating_since(since) >= idle {
                return;
            }
        }
    }

    /// Waits until what the stages published has its acknowledgements, and the node holds nothing any more.
    async fn wait_until_passed_on(&self) {
        if let Some(client) = &self.client {
            client.flush(self.drain).await;
        }
        let Some(node) = &self.node else { return };
        let empty = async {
            while node.ledger().await.is_some_and(|ledger| ledger.held > 0) {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(self.drain, empty).await.is_err() {
            tracing::warn!("the node still holds messages after limits.drain");
        }
    }

    /// Ends in order: subscriptions stop, stages drain, what they published is acknowledged, the node leaves. What
    /// takes longer than `limits.drain` is given up and counted.
    pub async fn end(mut self) -> RunEnd {
        let mut end = RunEnd {
            lines_too_long: 0,
            ..RunEnd::default()
        };
        self.stop.send_replace(true);
        for feed in self.feeds.drain(..) {
            if tokio::time::timeout(self.drain, feed).await.is_err() {
                tracing::warn!("a subscription did not end in time");
            }
        }
        let mut running = self.topology.take();
        if let Some(running) = &mut running {
            let drained = match tokio::time::timeout(self.drain, running.drain()).await {
                Ok(result) => result,
                Err(_) => {
                    tracing::warn!(
                        "the stages did not drain within limits.drain; what they hold is given up"
                    );
                    self.children.iter().for_each(KillSwitch::kill);
                    running.stop().await
                }
            };
            end.failure = drained.err().map(|error| error.to_string());
        }
        for publisher in self.publishers.drain(..) {
            let published = tokio::time::timeout(self.drain, publisher).await;
            if !matches!(published, Ok(Ok(true))) {
                end.failure
                    .get_or_insert_with(|| "not everything could be published".to_owned());
            }
        }
        // Only now is everything taken out of the open outputs and counted as delivered.
        end.report = running.as_ref().map(Running::report);
        self.wait_until_passed_on().await;
        if let Some(client) = self.client.take() {
            let stats = client.close(self.drain).await;
            if stats.failures() + stats.outstanding() > 0 {
                let missing = format!(
                    "of {} published messages {} failed and {} have no answer",
                    stats.published,
                    stats.failures(),
                    stats.outstanding()
                );
                end.failure.get_or_insert(missing);
            }
            end.published = Some(stats);
        }
        if let Some(node) = self.node.take() {
            end.node = node.shutdown(self.drain).await;
        }
        end.lines_too_long = self.events.lines_too_long();
        if let Some(Event::Failed { stage, reason }) = self.events.first() {
            end.failure = Some(format!("stage {stage}: {reason}"));
        }
        end
    }
}

impl fmt::Display for RunEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(report) = &self.report {
            write!(f, "{}", report.ledger)?;
        }
        if let Some(stats) = &self.published {
            write!(
                f,
                "\npublished {}, acknowledged {}",
                stats.published, stats.acknowledged
            )?;
            for (reason, count) in &stats.failed {
                write!(f, ", {reason} {count}")?;
            }
            if stats.lost > 0 {
                write!(f, ", lost(peer_died) {}", stats.lost)?;
            }
        }
        if let Some(node) = &self.node {
            let (dead, shed): (u64, u64) = (node.dead.values().sum(), node.shed.values().sum());
            write!(
                f,
                "\nnode accepted {} = delivered {} + dead {dead} + expired {} + shed {shed} + cancelled {} + held {}, \
                 residual {}, lost {}",
                node.accepted,
                node.delivered,
                node.expired,
                node.cancelled,
                node.held,
                node.residual(),
                node.lost
            )?;
            for (reason, count) in node.dead.iter().chain(&node.shed) {
                write!(f, ", {reason} {count}")?;
            }
        }
        if self.lines_too_long > 0 {
            write!(f, "\nlines too long {}", self.lines_too_long)?;
        }
        Ok(())
    }
}
