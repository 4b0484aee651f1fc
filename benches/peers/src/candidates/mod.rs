//! Producer, router by key, two processors, aggregator: the same topology in many ways.
//!
//! A candidate is a row of its family's `ROWS`. To add one, write its function and its row; nothing else knows it.

pub mod actix_actors;
pub mod batches;
pub mod calls;
pub mod kameo_actors;
pub mod mcpbus_stages;
pub mod ractor_actors;
pub mod tasks;
pub mod threads;
mod window;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::checksum::Checksum;

/// What is special about the messages of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// Bodies are plain numbers.
    Order,
    /// Bodies own memory.
    String,
    /// Every message has a deadline.
    Deadline,
    /// A processor panics now and then.
    Panic,
    /// A processor computes for a while.
    Busy,
}

impl Variant {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 5] = [
        Self::Order,
        Self::String,
        Self::Deadline,
        Self::Panic,
        Self::Busy,
    ];

    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::String => "string",
            Self::Deadline => "deadline",
            Self::Panic => "panic",
            Self::Busy => "busy",
        }
    }

    /// The variant of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variant| variant.name() == name)
    }

    /// How many times fewer messages are sent than in the plain table.
    pub const fn fewer(self) -> u64 {
        match self {
            Self::Order => 1,
            Self::Deadline => 2,
            Self::String | Self::Panic => 4,
            Self::Busy => 3,
        }
    }
}

/// One run: what is sent, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// What is special.
    pub variant: Variant,
    /// Messages to send, numbered from 0.
    pub messages: u64,
    /// With [`Variant::Panic`]: every how many messages a processor panics.
    pub panic_every: u64,
}

impl Case {
    /// Whether a processor panics at this message.
    pub fn panics_at(&self, number: u64) -> bool {
        self.variant == Variant::Panic && number % self.panic_every == self.panic_every - 1
    }
}

/// What arrived in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// All that the aggregator saw.
    pub checksum: Checksum,
    /// Messages that were given up with a reason; only mcpbus keeps such a list.
    pub dead_letters: u64,
    /// Messages that the ledger cannot account for; only mcpbus has one.
    pub residual: u64,
}

impl From<Checksum> for Arrived {
    fn from(checksum: Checksum) -> Self {
        Self {
            checksum,
            ..Self::default()
        }
    }
}

/// Why a run has no result.
#[derive(Debug)]
pub enum Failure {
    /// The candidate has no such variant.
    NotApplicable(Variant),
    /// The operating system gave no thread or event queue.
    Runtime(std::io::Error),
    /// A topology of mcpbus did not start or ended early.
    Topology(String),
    /// An actor did not start.
    Actor(String),
    /// A stage ended before it had passed everything on.
    Ended,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotApplicable(variant) => {
                write!(f, "the candidate has no variant {}", variant.name())
            }
            Self::Runtime(error) => write!(f, "no thread or runtime: {error}"),
            Self::Topology(error) => write!(f, "the topology failed: {error}"),
            Self::Actor(error) => write!(f, "an actor did not start: {error}"),
            Self::Ended => f.write_str("a stage ended before it had passed everything on"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Runtime(error)
    }
}

/// Which rows belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// No channel at all.
    Calls,
    /// What an expert writes by hand.
    Batches,
    /// Channels, one message at a time.
    OneByOne,
    /// Actor frameworks.
    Actors,
    /// This project.
    Mcpbus,
}

/// A way to write the topology.
pub struct Candidate {
    /// Its stable name.
    pub name: &'static str,
    /// What it stands beside.
    pub family: Family,
    /// What it is, in a few words.
    pub about: &'static str,
    /// Messages of a run of the plain table: as many as take about a second.
    pub messages: u64,
    /// The tables in which it has a row.
    pub variants: &'static [Variant],
    /// Runs it.
    pub run: fn(&Case) -> Result<Arrived, Failure>,
}

/// The tables of candidates that are written by hand.
const BY_HAND: &[Variant] = &[Variant::Order, Variant::String, Variant::Deadline];

/// What the fastest of them can do besides: where processors compute, nobody else comes near.
const BY_HAND_BUSY: &[Variant] = &[
    Variant::Order,
    Variant::String,
    Variant::Deadline,
    Variant::Busy,
];

/// All candidates in the order of the table.
pub fn all() -> impl Iterator<Item = &'static Candidate> {
    let families: [&'static [Candidate]; 8] = [
        calls::ROWS,
        batches::ROWS,
        mcpbus_stages::ROWS,
        tasks::ROWS,
        threads::ROWS,
        actix_actors::ROWS,
        ractor_actors::ROWS,
        kameo_actors::ROWS,
    ];
    families.into_iter().flatten()
}

/// The candidate of this name.
pub fn find(name: &str) -> Option<&'static Candidate> {
    all().find(|candidate| candidate.name == name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::measure::run_here;

    #[test]
    fn every_candidate_delivers_everything_in_every_variant() {
        for candidate in all() {
            for variant in candidate.variants {
                // More than all edges hold together, and no multiple of a batch.
                let case = Case {
                    variant: *variant,
                    messages: 20_011,
                    panic_every: 500,
                };
                let measured = run_here(candidate, &case).unwrap();
                assert_eq!(measured.lost, 0, "{} {}", candidate.name, variant.name());
            }
        }
    }

    #[test]
    fn a_candidate_says_which_variants_it_does_not_have() {
        for candidate in all() {
            for variant in Variant::ALL {
                if !candidate.variants.contains(&variant) {
                    let case = Case {
                        variant,
                        messages: 10,
                        panic_every: 5,
                    };
                    let failure = run_here(candidate, &case).unwrap_err();
                    assert!(matches!(failure, Failure::NotApplicable(_)));
                }
            }
        }
    }

    #[test]
    fn names_are_unique() {
        let names: Vec<_> = all().map(|candidate| candidate.name).collect();
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
        assert!(find("turns").is_some() && find("no such").is_none());
    }
}
