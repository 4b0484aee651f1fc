//! The memory bound of a file by arithmetic: what its queues, windows and buffers can hold at most.
//!
//! It is a bound on what mcpbus holds for messages. The process itself (code, tables, threads) comes on top: at most
//! 32 MiB.

use std::fmt;

use mcpbus::node::{
    MIRROR_MEMORY, PARKED_MEMORY, REQUEST_OVERHEAD, SESSION_OVERHEAD, SPOOL_MEMORY,
};
use mcpbus_actors::channel::Capacity;
use mcpbus_actors::topology::EdgeBound;

use crate::config::quantity::format_size;
use crate::config::stage::{EdgeBounds, Overflow};
use crate::config::{Input, Limits, NodeFile, Output, StageKind, verify};
use crate::record::Record;
use crate::run::running::{client_config, node_limits};

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
            bytes: queue_bytes(limits, edge.bounds),
        });
    }
    for (at, stage) in file.stages.iter().enumerate() {
        let name = &stage.name.value;
        let inputs = edges.iter().filter(|edge| edge.to == at);
        let mut hand = inputs.map(|edge| turn_bytes(limits, edge.bounds)).max();
        if matches!(stage.input, Some(Input::Subscribe { .. })) {
            hand = Some(turn_bytes(limits, file_bounds(limits)));
            parts.push(Part {
                what: format!("subscription of {name}"),
                bytes: queue_bytes(limits, file_bounds(limits)),
            });
        }
        // A turn holds what it took and what it gives.
        let mut turns = hand.unwrap_or(0);
        let own_turn = turn_bytes(limits, stage.edge);
        match &stage.output {
            Some(Output::Publish { .. }) => {
                // The stage that renders what is published is one more, with an edge on either side.
                let outside = file_bounds(limits);
                parts.push(Part {
                    what: format!("edges to the bus of {name}"),
                    bytes: queue_bytes(limits, stage.edge) + queue_bytes(limits, outside),
                });
                turns += 2 * own_turn + turn_bytes(limits, outside);
            }
            Some(Output::Edge(_)) => {
                turns += own_turn;
                let readers = edges.iter().filter(|edge| edge.from == at).count() as u64;
                if readers > 1 {
                    // So is the one that copies to several readers, with outputs for each.
                    parts.push(Part {
                        what: format!("edge to the copies of {name}"),
                        bytes: queue_bytes(limits, stage.edge),
                    });
                    turns += (1 + readers) * own_turn;
                }
            }
            _ => {}
        }
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
        if turns > 0 {
            parts.push(Part {
                what: format!("turn of {name}"),
                bytes: turns,
            });
        }
    }
    parts.push(Part {
        what: "dead letters".to_owned(),
        bytes: limits.dead_letter_bytes,
    });
    Bound { parts }
}

/// The bounds of the edges that lead to and from the bus.
fn file_bounds(limits: &Limits) -> EdgeBounds {
    EdgeBounds {
        messages: limits.edge_messages,
        bytes: limits.edge_bytes,
        overflow: Overflow::Wait,
    }
}

fn edge_bound(limits: &Limits, bounds: EdgeBounds) -> EdgeBound {
    let narrow = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    // A message heavier than an edge's bound is admitted when the edge is empty.
    let bytes = bounds.bytes.max(limits.message);
    EdgeBound::of::<Record>(Capacity::messages(narrow(bounds.messages)).bytes(narrow(bytes)))
}

fn queue_bytes(limits: &Limits, bounds: EdgeBounds) -> u64 {
    edge_bound(limits, bounds).queue as u64
}

/// The last message that fits into a turn may be the largest there is.
fn turn_bytes(limits: &Limits, bounds: EdgeBounds) -> u64 {
    edge_bound(limits, bounds).turn as u64 + limits.message
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
    let requests = REQUEST_OVERHEAD * limits.requests as u64;
    let overhead = limits
        .memory_bound()
        .saturating_sub(credit + SESSION_OVERHEAD * sessions + requests);
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
        Part {
            what: format!("{} requests without an answer", limits.requests),
            bytes: requests,
        },
    ];
    if file.spool.is_some() {
        parts.push(Part {
            what: "the spool: what of its queues is in memory, and its cache".to_owned(),
            bytes: SPOOL_MEMORY,
        });
    }
    let tables = file.routes.iter().filter_map(|route| route.decided().ok());
    let tables: u64 = tables.map(|route| route.guards.memory_bound()).sum();
    if tables > 0 {
        parts.push(Part {
            what: "tables of limits (limit.keys)".to_owned(),
            bytes: tables,
        });
    }
    let mut guards = file.routes.iter().filter_map(|route| route.decided().ok());
    if guards.any(|route| route.guards.let_wait()) {
        parts.push(Part {
            what: "messages that wait while others of their flow go on".to_owned(),
            bytes: PARKED_MEMORY,
        });
    }
    if file.routes.iter().any(|route| route.mirror.is_some()) {
        parts.push(Part {
            what: "copies for mirrors".to_owned(),
            bytes: MIRROR_MEMORY,
        });
    }
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
