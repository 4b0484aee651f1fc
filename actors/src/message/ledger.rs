//! The account of every message: per edge what was accepted and how it ended, per stage what went in and out.

use std::fmt;

use super::{Reason, ShedReason};

/// Numbers by reason; indexed by the reason itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadCounts([u64; Reason::COUNT]);

/// Numbers by reason; indexed by the reason itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShedCounts([u64; ShedReason::COUNT]);

macro_rules! counts {
    ($name:ident, $reason:ident) => {
        impl $name {
            /// How many with this reason.
            #[must_use]
            pub const fn get(&self, reason: $reason) -> u64 {
                self.0[reason as usize]
            }

            /// Adds to one reason.
            pub fn add(&mut self, reason: $reason, count: u64) {
                self.0[reason as usize] += count;
            }

            /// All reasons together.
            #[must_use]
            pub fn total(&self) -> u64 {
                self.0.iter().sum()
            }

            /// The reasons that occurred, with their numbers.
            pub fn iter(&self) -> impl Iterator<Item = ($reason, u64)> + '_ {
                $reason::ALL
                    .iter()
                    .map(|reason| (*reason, self.get(*reason)))
                    .filter(|(_, count)| *count > 0)
            }

            /// Adds all numbers of `other`.
            pub fn merge(&mut self, other: &Self) {
                for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
                    *mine += theirs;
                }
            }
        }
    };
}
counts!(DeadCounts, Reason);
counts!(ShedCounts, ShedReason);

/// How messages of one edge ended. `accepted` is counted by the sending side, outcomes by the receiving side,
/// `held` by walking the queues; none is derived from the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeCounts {
    /// Taken over from the sender.
    pub accepted: u64,
    /// Handled, or taken by a receiver outside of any stage.
    pub delivered: u64,
    /// Became dead letters, by reason.
    pub dead: DeadCounts,
    /// Deadline passed before a handler saw them.
    pub expired: u64,
    /// Dropped on purpose, by reason.
    pub shed: ShedCounts,
    /// Given up because their sender or their run was cancelled.
    pub cancelled: u64,
    /// In a queue or in the hands of the receiving stage now.
    pub held: u64,
    /// Owned by a peer that died.
    pub lost: u64,
}

impl EdgeCounts {
    /// Accepted minus everything that is accounted for: 0 at rest, otherwise a message went missing or was doubled.
    #[must_use]
    pub fn residual(&self) -> i64 {
        let accounted = self.delivered
            + self.dead.total()
            + self.expired
            + self.shed.total()
            + self.cancelled
            + self.held
            + self.lost;
        self.accepted.wrapping_sub(accounted).cast_signed()
    }

    /// Adds all numbers of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.dead.merge(&other.dead);
        self.expired += other.expired;
        self.shed.merge(&other.shed);
        self.cancelled += other.cancelled;
        self.held += other.held;
        self.lost += other.lost;
    }
}

/// The account of one edge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeLedger {
    /// The edge, by its name in the topology.
    pub edge: String,
    /// How its messages ended.
    pub counts: EdgeCounts,
}

/// What went into a stage and what came out: apart, so that 1-to-n and n-to-1 stages balance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageLedger {
    /// The stage, by its name in the topology.
    pub stage: String,
    /// Inputs that ended here.
    pub consumed: u64,
    /// Outputs made here and accepted by an edge.
    pub emitted: u64,
}

/// The account of a topology, or of several parts of it put together with [`Ledger::merge`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// One entry per edge.
    pub edges: Vec<EdgeLedger>,
    /// One entry per stage.
    pub stages: Vec<StageLedger>,
}

impl Ledger {
    /// The entry of an edge.
    #[must_use]
    pub fn edge(&self, name: &str) -> Option<&EdgeCounts> {
        self.edges
            .iter()
            .find(|edge| edge.edge == name)
            .map(|edge| &edge.counts)
    }

    /// The entry of a stage.
    #[must_use]
    pub fn stage(&self, name: &str) -> Option<&StageLedger> {
        self.stages.iter().find(|stage| stage.stage == name)
    }

    /// All edges added up.
    #[must_use]
    pub fn total(&self) -> EdgeCounts {
        let mut total = EdgeCounts::default();
        for edge in &self.edges {
            total.merge(&edge.counts);
        }
        total
    }

    /// The residual of all edges added up by size, so that a missing message and a doubled one do not cancel out.
    #[must_use]
    pub fn residual(&self) -> u64 {
        self.edges
            .iter()
            .map(|edge| edge.counts.residual().unsigned_abs())
            .sum()
    }

    /// Adds another part: entries of the same name are added up, others appended.
    pub fn merge(&mut self, other: &Self) {
        for theirs in &other.edges {
            match self.edges.iter_mut().find(|mine| mine.edge == theirs.edge) {
                Some(mine) => mine.counts.merge(&theirs.counts),
                None => self.edges.push(theirs.clone()),
            }
        }
        for theirs in &other.stages {
            match self
                .stages
                .iter_mut()
                .find(|mine| mine.stage == theirs.stage)
            {
                Some(mine) => {
                    mine.consumed += theirs.consumed;
                    mine.emitted += theirs.emitted;
                }
                None => self.stages.push(theirs.clone()),
            }
        }
    }

    /// Puts entries into the order of their names, so that ledgers of differently placed runs compare equal.
    pub fn sort(&mut self) {
        self.edges.sort_by(|a, b| a.edge.cmp(&b.edge));
        self.stages.sort_by(|a, b| a.stage.cmp(&b.stage));
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .edges
            .iter()
            .map(|edge| edge.edge.chars().count())
            .max()
            .unwrap_or(0)
            .max(5);
        writeln!(
            f,
            "{:width$} {:>10} {:>10} {:>8} {:>8} {:>8} {:>9} {:>8} {:>8} {:>8}",
            "edge",
            "accepted",
            "delivered",
            "dead",
            "expired",
            "shed",
            "cancelled",
            "held",
            "lost",
            "residual"
        )?;
        let row = |f: &mut fmt::Formatter<'_>, name: &str, counts: &EdgeCounts, residual: i64| {
            write!(
                f,
                "{:width$} {:>10} {:>10} {:>8} {:>8} {:>8} {:>9} {:>8} {:>8} {:>8}",
                name,
                counts.accepted,
                counts.delivered,
                counts.dead.total(),
                counts.expired,
                counts.shed.total(),
                counts.cancelled,
                counts.held,
                counts.lost,
                residual
            )?;
            let mut separator = "  ";
            for (reason, count) in counts.dead.iter() {
                write!(f, "{separator}dead({reason}) {count}")?;
                separator = ", ";
            }
            for (reason, count) in counts.shed.iter() {
                write!(f, "{separator}shed({reason}) {count}")?;
                separator = ", ";
            }
            writeln!(f)
        };
        for edge in &self.edges {
            row(f, &edge.edge, &edge.counts, edge.counts.residual())?;
        }
        row(
            f,
            "total",
            &self.total(),
            i64::try_from(self.residual()).unwrap_or(i64::MAX),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(accepted: u64, delivered: u64, held: u64) -> EdgeCounts {
        EdgeCounts {
            accepted,
            delivered,
            held,
            ..EdgeCounts::default()
        }
    }

    #[test]
    fn a_missing_and_a_doubled_message_do_not_cancel_out() {
        let ledger = Ledger {
            edges: vec![
                EdgeLedger {
                    edge: "a".into(),
                    counts: counts(2, 1, 0),
                },
                EdgeLedger {
                    edge: "b".into(),
                    counts: counts(2, 3, 0),
                },
            ],
            stages: vec![],
        };
        assert_eq!(ledger.residual(), 2);
        assert_eq!(ledger.total().residual(), 0);
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let mut sending = Ledger {
            edges: vec![EdgeLedger {
                edge: "a".into(),
                counts: counts(5, 0, 1),
            }],
            stages: vec![],
        };
        let receiving = Ledger {
            edges: vec![EdgeLedger {
                edge: "a".into(),
                counts: counts(0, 3, 1),
            }],
            stages: vec![],
        };
        assert_eq!(receiving.edges[0].counts.residual(), -4);
        sending.merge(&receiving);
        assert_eq!(sending.residual(), 0);
        assert_eq!(sending.edges.len(), 1);
    }

    #[test]
    fn the_table_names_reasons() {
        let mut ledger = Ledger {
            edges: vec![EdgeLedger {
                edge: "lines".into(),
                counts: counts(3, 2, 0),
            }],
            stages: vec![],
        };
        ledger.edges[0].counts.dead.add(Reason::Decode, 1);
        let text = ledger.to_string();
        assert!(text.contains("dead(decode) 1"), "{text}");
        assert_eq!(text.lines().count(), 3);
    }
}
