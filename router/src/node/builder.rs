//! How a node is started, and why it may not start.

use super::config::NodeConfig;
use super::disk::Source;
use super::handle::Node;
use crate::random;
use std::fmt;
use std::net::SocketAddr;

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

/// How a node is started.
#[derive(Debug)]
pub struct NodeBuilder {
    pub(super) config: NodeConfig,
    pub(super) store: Option<(Source, u64)>,
    #[cfg(feature = "quic")]
    pub(super) listen: Option<SocketAddr>,
    #[cfg(feature = "quic")]
    pub(super) links: Vec<String>,
    #[cfg(feature = "quic")]
    pub(super) credentials: Option<mcpbus_transport::identity::Credentials>,
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
        Node::start(self).await
    }
}
