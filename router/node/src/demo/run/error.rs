//! Why a demo did not start.

use std::fmt;

use mcpbus::client::{ConnectError, SubscribeError};
use mcpbus::identity::{AuthorityError, IssueError};
use mcpbus::node::StartError;
use mcpbus_actors::topology;

use super::MEET;
use crate::stages::lines::LinesError;

/// The demo did not start.
#[derive(Debug)]
pub enum DemoError {
    /// The certificate authority of the user cannot be used.
    Authority(AuthorityError),
    /// An identity cannot be issued.
    Issue(IssueError),
    /// A node did not start.
    Node(StartError),
    /// A client did not find its own node.
    Connect(ConnectError),
    /// A subscription did not come about.
    Subscribe(SubscribeError),
    /// A topology did not start.
    Topology(topology::StartError),
    /// The input cannot be opened.
    Input(LinesError),
    /// The nodes did not find each other in time.
    Meet,
    /// The demo's own set-up is wrong.
    Setup(&'static str),
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authority(error) => error.fmt(f),
            Self::Issue(error) => error.fmt(f),
            Self::Node(error) => error.fmt(f),
            Self::Connect(error) => error.fmt(f),
            Self::Subscribe(error) => error.fmt(f),
            Self::Topology(error) => error.fmt(f),
            Self::Input(error) => error.fmt(f),
            Self::Meet => write!(f, "the three nodes did not find each other within {MEET:?}"),
            Self::Setup(what) => write!(f, "the demo cannot be set up: {what}"),
        }
    }
}

impl std::error::Error for DemoError {}
