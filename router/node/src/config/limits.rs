//! `[limits]`: every number that bounds memory. All are finite, all have defaults, and together they give the
//! bound that `mcpbus check` prints.

use std::time::Duration;

use super::reader::TableReader;

/// The limits of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `budget`: the node refuses to start when its memory bound is larger. Bytes, default 1 GiB.
    pub budget: u64,
    /// `credit`: bytes of messages that all peers together may have under way to this node. Default 64 MiB.
    pub credit: u64,
    /// `sessions`: peers connected at once, nodes and clients together. Default 64.
    pub sessions: u64,
    /// `message`: the largest body in bytes. Default 1 MiB.
    pub message: u64,
    /// `edge_messages`: messages that an in-process edge holds unless its stage says otherwise. Default 1,024.
    pub edge_messages: u64,
    /// `edge_bytes`: bytes that an in-process edge holds unless its stage says otherwise. Default 4 MiB.
    pub edge_bytes: u64,
    /// `dead_letters`: dead letters kept for a look; the oldest goes first. Default 1,000.
    pub dead_letters: u64,
    /// `dead_letter_bytes`: bytes of dead letters kept. Default 16 MiB.
    pub dead_letter_bytes: u64,
    /// `drain`: how long a stopping node waits for what it holds to be taken. Default 10 s.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            budget: 1 << 30,
            credit: 64 << 20,
            sessions: 64,
            message: 1 << 20,
            edge_messages: 1024,
            edge_bytes: 4 << 20,
            dead_letters: 1000,
            dead_letter_bytes: 16 << 20,
            drain: Duration::from_secs(10),
        }
    }
}

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;

impl Limits {
    pub(super) fn read(reader: TableReader<'_>) -> Self {
        let d = Self::default();
        let limits = Self {
            budget: reader
                .size("budget", 1024 * KIB..=1024 * GIB)
                .unwrap_or(d.budget),
            credit: reader
                .size("credit", 64 * KIB..=1024 * GIB)
                .unwrap_or(d.credit),
            sessions: reader
                .integer("sessions", 1..=100_000)
                .unwrap_or(d.sessions),
            message: reader.size("message", 1..=64 << 20).unwrap_or(d.message),
            edge_messages: reader
                .integer("edge_messages", 1..=1 << 24)
                .unwrap_or(d.edge_messages),
            edge_bytes: reader
                .size("edge_bytes", 1..=64 * GIB)
                .unwrap_or(d.edge_bytes),
            dead_letters: reader
                .integer("dead_letters", 0..=1 << 24)
                .unwrap_or(d.dead_letters),
            dead_letter_bytes: reader
                .size("dead_letter_bytes", 0..=64 * GIB)
                .unwrap_or(d.dead_letter_bytes),
            drain: reader
                .duration("drain", Duration::ZERO..=Duration::from_secs(3600))
                .unwrap_or(d.drain),
        };
        if limits.message > limits.credit {
            reader.mistake(
                "credit",
                "`limits.credit` is smaller than `limits.message`: no message could be admitted",
            );
        }
        reader.finish();
        limits
    }
}
