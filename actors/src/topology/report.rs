//! What a running or finished topology tells about itself.

use std::fmt;
use std::time::Duration;

use crate::channel::{Capacity, Overflow};
use crate::message::Ledger;
use crate::runtime::StageStatus;

/// One stage of a report.
#[derive(Clone, Debug)]
pub struct StageReport {
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub status: StageStatus,
    /// Inputs that ended here.
    pub consumed: u64,
    /// Outputs accepted by an edge.
    pub emitted: u64,
    /// How often its handler panicked.
    pub panics: u64,
    /// The text of the last panic.
    pub last_panic: Option<String>,
    /// How long it has been in its present turn, if it is in one.
    pub busy_for: Option<Duration>,
    /// Whether it has been there longer than allowed.
    pub stuck: bool,
}

/// One edge of a report.
#[derive(Clone, Debug)]
pub struct EdgeReport {
    /// Its name.
    pub name: String,
    /// Messages in its queue.
    pub queued_messages: usize,
    /// Bytes in its queue.
    pub queued_bytes: usize,
    /// The most messages its queue ever held.
    pub peak_messages: usize,
    /// Its bound.
    pub capacity: Capacity,
    /// What it does when full.
    pub overflow: Overflow,
    /// Messages accepted so far.
    pub accepted: u64,
    /// Messages accepted per second since the report before this one, or since the start.
    pub accepted_per_second: f64,
}

/// A look at a topology.
#[derive(Clone, Debug)]
pub struct Report {
    /// The topology's name.
    pub name: String,
    /// Time since it was started.
    pub elapsed: Duration,
    /// Its stages.
    pub stages: Vec<StageReport>,
    /// Its edges.
    pub edges: Vec<EdgeReport>,
    /// The account of every message.
    pub ledger: Ledger,
    /// Dead letters ever added to the ring, and dropped by it because it was full.
    pub dead_letters: (u64, u64),
}

impl Report {
    /// The edge of this name.
    #[must_use]
    pub fn edge(&self, name: &str) -> Option<&EdgeReport> {
        self.edges.iter().find(|edge| edge.name == name)
    }

    /// The stage of this name.
    #[must_use]
    pub fn stage(&self, name: &str) -> Option<&StageReport> {
        self.stages.iter().find(|stage| stage.name == name)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {:.3} s", self.name, self.elapsed.as_secs_f64())?;
        for stage in &self.stages {
            write!(
                f,
                "  {} {}: consumed {}, emitted {}",
                stage.name, stage.status, stage.consumed, stage.emitted
            )?;
            if stage.panics > 0 {
                write!(f, ", panics {}", stage.panics)?;
            }
            if stage.stuck {
                write!(f, ", stuck")?;
            }
            writeln!(f)?;
        }
        self.ledger.fmt(f)
    }
}
