//! Why the mesh refuses what it is given.

use std::fmt;

use super::message::{CONFIRM_WINDOW, GROUP_BYTES, Neighbour, NodeId, PATH_NODES};

/// Why [`Interest`](super::Interest) refused a call. Nothing was changed.
///
/// The variants that concern a message mean that the neighbour breaks the protocol: the caller closes the link
/// to it and reports [`neighbour_down`](super::Interest::neighbour_down).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InterestError {
    /// No neighbour of this number is up: a message came after its link went down. The caller drops it.
    UnknownNeighbour {
        /// The number.
        neighbour: Neighbour,
    },
    /// The link leads to this node itself. The caller closes it.
    LinkToSelf {
        /// The link.
        neighbour: Neighbour,
    },
    /// The node has as many neighbours as its limits allow. The caller closes the link.
    TooManyNeighbours {
        /// The limit.
        limit: usize,
    },
    /// This node has as many entries as its limits allow. The caller refuses the subscription.
    TooManyEntries {
        /// The limit.
        limit: usize,
    },
    /// The group's name is empty, longer than [`GROUP_BYTES`], or holds a control character.
    Group,
    /// A path does not lead from the neighbour to the origin, passes a node twice, passes this node, or is
    /// longer than [`PATH_NODES`].
    Path {
        /// The origin it is about.
        origin: NodeId,
        /// Nodes on the path.
        nodes: usize,
    },
    /// A change was announced for another epoch than the state it changes.
    Epoch {
        /// The origin it is about.
        origin: NodeId,
        /// The epoch of the change.
        epoch: u64,
    },
    /// More than [`CONFIRM_WINDOW`] announcements about one origin ask to be confirmed.
    ConfirmWindow {
        /// The origin they are about.
        origin: NodeId,
    },
}

impl fmt::Display for InterestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownNeighbour { neighbour } => {
                write!(
                    f,
                    "neighbour {} is not up: drop what still comes from its link",
                    neighbour.0
                )
            }
            Self::LinkToSelf { neighbour } => {
                write!(
                    f,
                    "link {} leads to this node itself: remove it from the configuration",
                    neighbour.0
                )
            }
            Self::TooManyNeighbours { limit } => {
                write!(
                    f,
                    "this node has {limit} neighbours, its limit: raise the limit or remove links"
                )
            }
            Self::TooManyEntries { limit } => {
                write!(
                    f,
                    "this node has {limit} entries, its limit: raise the limit or subscribe to fewer patterns"
                )
            }
            Self::Group => {
                write!(
                    f,
                    "a group's name has 1 to {GROUP_BYTES} bytes and no control characters: rename the group"
                )
            }
            Self::Path { origin, nodes } => write!(
                f,
                "invalid path of {nodes} nodes (at most {PATH_NODES}) to origin {origin}: close the link to the neighbour"
            ),
            Self::Epoch { origin, epoch } => write!(
                f,
                "change for epoch {epoch} of origin {origin}, which is not the epoch announced: close the link to the neighbour"
            ),
            Self::ConfirmWindow { origin } => write!(
                f,
                "more than {CONFIRM_WINDOW} unconfirmed announcements of origin {origin}: close the link to the neighbour"
            ),
        }
    }
}

impl std::error::Error for InterestError {}
