//! Limits and identities of a session.

use crate::wire::Role;
use std::time::Duration;

/// Largest body that a session can be told to take, in bytes: 64 MiB.
pub const MESSAGE_MAX: u64 = 64 << 20;

/// Limits and times of a session. All are finite.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Largest body in either direction, in bytes (default 1 MiB, at most [`MESSAGE_MAX`]).
    pub message_max: u64,
    /// Most flows in each direction (default 4,096).
    pub flows_max: u32,
    /// Most data lanes (default 4); the smaller number of both ends is used.
    pub lanes: u8,
    /// Pause between pings (default 500 ms).
    pub heartbeat: Duration,
    /// A peer that is silent for this long is taken for gone (default 3 s).
    pub dead_after: Duration,
    /// How long an ack that nobody waits for may ride along with others (default 2 ms).
    pub ack_delay: Duration,
    /// Most signals that may wait for their ack (default 262,144).
    pub signals_max: usize,
    /// Bytes that a data frame is filled to (default 64 KiB, at most [`FRAME_TARGET_MAX`]). A record with a longer body
    /// is written in several frames, between which frames of other flows come.
    ///
    /// [`FRAME_TARGET_MAX`]: crate::wire::frame::FRAME_TARGET_MAX
    pub frame_target: usize,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            message_max: 1 << 20,
            flows_max: 4096,
            lanes: 4,
            heartbeat: Duration::from_millis(500),
            dead_after: Duration::from_secs(3),
            ack_delay: Duration::from_millis(2),
            signals_max: 262_144,
            frame_target: 64 * 1024,
        }
    }
}

/// Who this end is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// What it is.
    pub role: Role,
    /// Its identity.
    pub id: u128,
    /// Which life of it this is.
    pub epoch: u64,
    /// Its name, for people.
    pub name: String,
}

/// Who the other end is, as it says in its hello; the link has authenticated its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What it is.
    pub role: Role,
    /// Its identity.
    pub id: u128,
    /// Which life of it this is.
    pub epoch: u64,
    /// Its name, for people.
    pub name: String,
}
