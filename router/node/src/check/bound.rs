//! The memory bound of a file by arithmetic: what its queues, windows and buffers can hold at most.
//!
//! It is a bound on what mcpbus holds for messages. The process itself (code, tables, threads) comes on top: at most
//! 32 MiB.

use std::fmt;

use mcpbus::node::SESSION_OVERHEAD;

use crate::config::quantity::format_size;
use crate::config::{Input, Limits, NodeFile, Output, StageKind, verify};
use crate::run::running::{client_config, node_limits};

/// Messages that a stage takes in one turn, at most.
const BATCH: u64 = 256;
/// Bytes that reading and writing files buffers beside the lines themselves.
const FILE_BUFFER: u64 = 256 << 10;

/// One summand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What holds it.
    pub what: String,
    /// Bytes at most.
    pub bytes: u64,
}

/// The bound with its summands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The summands, in the order of the way of a message.
    pub parts: Vec<Part>,
}

impl Bound {
    /// The sum; it stops at the largest number instead of overflowing.
    pub fn total(&self) -> u64 {
        self.parts
            .iter()
            .fold(0, |sum, part| sum.saturating_add(part.bytes))
    }

    /// Whether a node with this budget may start.
    ///
    /// # Errors
    /// [`OverBudget`]; the person who set the limits recovers.
    pub fn within(&self, budget: u64) -> Result<(), OverBudget> {
        let total = self.total();
        if total <= budget {
            return Ok(());
        }
        let largest = self.parts.iter().max_by_key(|part| part.bytes).cloned();
        Err(OverBudget {
            total,
            budget,
            largest,
        })
    }
}

/// The limits exceed the budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverBudget {
    /// The bound.
    pub total: u64,
    /// The budget.
    pub budget: u64,
    /// The largest summand.
    pub largest: Option<Part>,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the memory bound is {}, more than `limits.budget` = {}; lower a limit or raise the budget",
            readable(self.total),
            readable(self.budget)
        )?;
        match &self.largest {
            Some(part) => write!(
                f,
                " (the largest part: {}, {})",
                part.what,
                readable(part.bytes)
            ),
            None => Ok(()),
        }
    }
}

impl std::error::Error for OverBudget {}

/// A size rounded for people.
pub fn readable(bytes: u64) -> String {
    match bytes {
        0..0x400 => format!("{bytes} B"),
        0x400..0x10_0000 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        0x10_0000..0x4000_0000 => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        _ => format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

/// The memory bound of a file.
pub fn memory_bound(file: &NodeFile) -> Bound {
    let mut parts = node_parts(file);
    let limits = &file.limits;
    let edges = verify::edges(&file.stages);
    for edge in &edges {
        let (from, to) = (
            &file.stages[edge.from].name.value,
            &file.stages[edge.to].name.value,
        );
        parts.push(Part {
            what: format!("edge {from} -> {to}"),
            bytes: edge_bytes(limits, edge.bounds.bytes),
        });
    }
    for (at, stage) in file.stages.iter().enumerate() {
        let name = &stage.name.value;
        let mut input = edges
            .iter()
            .filter(|edge| edge.to == at)
            .map(|edge| edge.bounds.bytes)
            .max()
            .unwrap_or(0);
        if matches!(stage.input, Some(Input::Subscribe { .. })) {
            input = limits.edge_bytes;
            parts.push(Part {
                what: format!("subscription of {name}"),
                bytes: edge_bytes(limits, input),
            });
        }
        // A turn holds what it took and what it gives.
        let in_hand = edge_bytes(limits, input)
            .min(BATCH.saturating_mul(limits.message))
            .saturating_mul(2);
        let own = match &stage.kind {
            StageKind::Lines(spec) => 2 * spec.max_line as u64 + FILE_BUFFER,
            StageKind::Generator(spec) => u64::from(spec.accounts) * 8,
            StageKind::Exec(spec) => {
                // Lines are held for a repeat, and once more in the pipe's queue; one answer at a time.
                (2 * spec.window as u64).saturating_mul(limits.message) + 2 * spec.max_answer as u64
            }
            StageKind::Aggregate(spec) => spec.max_bytes as u64,
            StageKind::Write(_) => FILE_BUFFER + limits.message,
            StageKind::Parse(_)
            | StageKind::Filter(_)
            | StageKind::Project(_)
            | StageKind::Discard => 0,
        };
        if own > 0 {
            parts.push(Part {
                what: format!("stage {name}"),
                bytes: own,
            });
        }
        if input > 0 {
            parts.push(Part {
                what: format!("turn of {name}"),
                bytes: in_hand,
            });
        }
    }
    parts.push(Part {
        what: "dead letters".to_owned(),
        bytes: limits.dead_letter_bytes,
    });
    Bound { parts }
}

/// A message heavier than an edge's bound is admitted when the edge is empty.
fn edge_bytes(limits: &Limits, bytes: u64) -> u64 {
    bytes.max(limits.message)
}

/// What the node holds for its peers, and its own client for the stages.
fn node_parts(file: &NodeFile) -> Vec<Part> {
    let subscriptions = file
        .stages
        .iter()
        .filter(|stage| matches!(stage.input, Some(Input::Subscribe { .. })))
        .count();
    let publishes = file
        .stages
        .iter()
        .any(|stage| matches!(stage.output, Some(Output::Publish { .. })));
    let uses_bus = subscriptions > 0 || publishes;
    if !uses_bus && file.listen.is_none() && file.links.is_empty() {
        return Vec::new();
    }
    let limits = node_limits(&file.limits);
    let sessions = limits.sessions as u64;
    let credit = 2 * limits.credit_bytes;
    let overhead = limits
        .memory_bound()
        .saturating_sub(credit + SESSION_OVERHEAD * sessions);
    let mut parts = vec![
        Part {
            what: "the node at rest".to_owned(),
            bytes: overhead,
        },
        Part {
            what: "credit granted to peers, queued and in links (2 x limits.credit)".to_owned(),
            bytes: credit,
        },
        Part {
            what: format!(
                "{sessions} sessions of {} (limits.sessions)",
                format_size(SESSION_OVERHEAD)
            ),
            bytes: SESSION_OVERHEAD * sessions,
        },
    ];
    if uses_bus {
        let client = client_config(file);
        let window = client.window_bytes.max(2 * file.limits.message);
        parts.push(Part {
            what: "queues of what stages publish".to_owned(),
            bytes: client.queue_bytes as u64,
        });
        if subscriptions > 0 {
            let bytes = window.saturating_mul(subscriptions as u64);
            parts.push(Part {
                what: format!("windows of {subscriptions} subscriptions"),
                bytes,
            });
        }
    }
    parts
}
