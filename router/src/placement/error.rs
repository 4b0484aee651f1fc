//! What can be wrong with a placement.

use crate::client::SubscribeError;
use std::fmt;

/// A part of a topology was not started; nothing runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlacementError {
    /// A stage that was placed does not exist; correct the name.
    NoSuchStage {
        /// The name.
        stage: String,
    },
    /// A stage lies nowhere; place it or name a home.
    NotPlaced {
        /// The stage.
        stage: String,
    },
    /// An edge leaves the process, and its type was not declared with `wire`.
    NotWired {
        /// The edge.
        edge: String,
        /// The type's kind.
        kind: &'static str,
    },
    /// An open port is bound to no subject.
    Unbound {
        /// The port.
        port: String,
    },
    /// The topology itself could not be started.
    Start(String),
    /// A subscription did not come about.
    Subscribe {
        /// For which edge.
        edge: String,
        /// Why.
        error: SubscribeError,
    },
    /// The ends of an edge do not mean the same type; nothing is carried by it. Build both ends from the same type.
    Refused {
        /// The edge.
        edge: String,
        /// Which type differs and how.
        reason: String,
    },
    /// No node receives an edge; start the part that does.
    NoReceiver {
        /// The edge.
        edge: String,
    },
}

impl fmt::Display for PlacementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchStage { stage } => {
                write!(f, "the topology has no stage `{stage}`; correct the name")
            }
            Self::NotPlaced { stage } => {
                write!(
                    f,
                    "stage `{stage}` lies on no node; place it, or name a home for the rest"
                )
            }
            Self::NotWired { edge, kind } => write!(
                f,
                "edge `{edge}` leaves this process, but its type `{kind}` was not declared; add `.wire::<…>()`"
            ),
            Self::Unbound { port } => write!(
                f,
                "open port `{port}` is bound to no subject; use `publish_to` or `subscribe_from`"
            ),
            Self::Start(reason) => f.write_str(reason),
            Self::Subscribe { edge, error } => write!(f, "edge `{edge}`: {error}"),
            Self::Refused { edge, reason } => write!(
                f,
                "edge `{edge}` does not come up: {reason}; build both ends from the same type"
            ),
            Self::NoReceiver { edge } => write!(
                f,
                "edge `{edge}` has no receiver; start the part of the topology that takes it"
            ),
        }
    }
}

impl std::error::Error for PlacementError {}
