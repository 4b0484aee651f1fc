//! What can be wrong with routes.

use super::pattern::Pattern;
use std::fmt;

/// Why routes cannot be used together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteError {
    /// Two routes have this pattern.
    PatternTwice {
        /// The pattern.
        pattern: Pattern,
    },
    /// The route has no destination.
    NoDestination {
        /// The route's pattern.
        pattern: Pattern,
    },
    /// All weights of the route are 0.
    NoWeight {
        /// The route's pattern.
        pattern: Pattern,
    },
    /// The route names a group twice.
    GroupTwice {
        /// The route's pattern.
        pattern: Pattern,
        /// The group.
        group: String,
    },
    /// A destination of the route has an empty name.
    EmptyGroup {
        /// The route's pattern.
        pattern: Pattern,
        /// Which of the destinations, from 0.
        index: usize,
    },
    /// The route's guards are not possible.
    Guards {
        /// The route's pattern.
        pattern: Pattern,
        /// What is wrong with them.
        problem: String,
    },
    /// The route's mirror is not possible.
    Mirror {
        /// The route's pattern.
        pattern: Pattern,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Broadcast sends to all: there is nothing to stick to.
    StickyBroadcast {
        /// The route's pattern.
        pattern: Pattern,
    },
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PatternTwice { pattern } => {
                write!(
                    f,
                    "two routes have the subject '{pattern}': merge them, or make one more specific"
                )
            }
            Self::NoDestination { pattern } => {
                write!(
                    f,
                    "route '{pattern}': 'to' is empty: name at least one group"
                )
            }
            Self::NoWeight { pattern } => {
                write!(
                    f,
                    "route '{pattern}': the weights sum to 0: give at least one group a weight above 0"
                )
            }
            Self::GroupTwice { pattern, group } => {
                write!(
                    f,
                    "route '{pattern}': group '{group}' stands in 'to' twice: keep one and add the weights"
                )
            }
            Self::EmptyGroup { pattern, index } => {
                write!(
                    f,
                    "route '{pattern}': entry {} of 'to' has an empty group: name it",
                    index + 1
                )
            }
            Self::Guards { pattern, problem } => write!(f, "route '{pattern}': {problem}"),
            Self::Mirror { pattern, problem } => {
                write!(f, "route '{pattern}': the mirror: {problem}")
            }
            Self::StickyBroadcast { pattern } => {
                write!(
                    f,
                    "route '{pattern}': broadcast cannot be sticky, it sends to all: remove 'sticky'"
                )
            }
        }
    }
}

impl std::error::Error for RouteError {}
