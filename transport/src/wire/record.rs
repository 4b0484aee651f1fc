//! A record: one message as bytes, between the process that encoded it and the process that decodes it.
//!
//! What the messages of one producer on one subject share stands once, in a [`Head`] that records point
//! to. A head is interned per lane, so a record costs one control byte and its length beside its body.

use super::cursor::{Cursor, WireError, put_varint};
use super::labels::Labels;
use bytes::{BufMut, Bytes, BytesMut};
use mcpbus_actors::{Key, Time};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Longest subject, in bytes.
pub const SUBJECT_MAX: usize = 255;
/// Longest encoded extension of a record, in bytes.
pub const EXTRA_MAX: usize = 4096;
/// What a record weighs in credit and memory beyond its body and extension, in bytes: its struct, its
/// place in a queue and its share of a head. Part of the wire: both ends count with it.
pub const RECORD_OVERHEAD: u64 = 128;

/// How much a publisher wants to know, and thereby who owns the message meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AckLevel {
    /// At most once: nothing is reported.
    #[default]
    None = 0,
    /// The next owner has it in memory.
    Accepted = 1,
    /// The next owner has synced it to disk.
    Stored = 2,
    /// A processor has handled it and its outputs were accepted.
    Processed = 3,
}

impl AckLevel {
    /// The level with this number.
    pub fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::None,
            1 => Self::Accepted,
            2 => Self::Stored,
            3 => Self::Processed,
            _ => return None,
        })
    }

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Accepted => "accepted",
            Self::Stored => "stored",
            Self::Processed => "processed",
        }
    }
}

impl fmt::Display for AckLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a message ended that did not end well. The numbers are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Failure {
    /// Nobody is subscribed to its subject.
    NoRoute = 1,
    /// Its consumer rejected it.
    Rejected = 2,
    /// Its deadline passed.
    Expired = 3,
    /// It was delivered too often without success.
    MaxDeliver = 4,
    /// It passed too many nodes.
    HopLimit = 5,
    /// It could not be decoded.
    Decode = 6,
    /// Its publisher may not publish it there.
    Access = 7,
    /// It is larger than a limit allows.
    Quota = 8,
    /// Its bytes were damaged.
    Corrupt = 9,
    /// Its handler panicked.
    Panic = 10,
    /// This node cannot store: it has no spool, or its disk has failed.
    NoSpool = 11,
    /// The node that held it died.
    PeerDied = 12,
    /// Its consumer went away before it settled it.
    Cancelled = 13,
    /// An overflow policy dropped it.
    Shed = 14,
    /// The spool of the node is full, or its disk is.
    SpoolFull = 15,
    /// Its route lets no more through at present: a rate limit, an open circuit breaker or a full bulkhead.
    Limited {
        /// After how many milliseconds it is worth publishing it again; 0: nobody can say.
        retry_after: u32,
    } = 16,
}

impl Failure {
    /// The failure with this number.
    pub fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::NoRoute,
            2 => Self::Rejected,
            3 => Self::Expired,
            4 => Self::MaxDeliver,
            5 => Self::HopLimit,
            6 => Self::Decode,
            7 => Self::Access,
            8 => Self::Quota,
            9 => Self::Corrupt,
            10 => Self::Panic,
            11 => Self::NoSpool,
            12 => Self::PeerDied,
            13 => Self::Cancelled,
            14 => Self::Shed,
            15 => Self::SpoolFull,
            16 => Self::Limited { retry_after: 0 },
            _ => return None,
        })
    }

    /// Its number on the wire.
    pub fn number(self) -> u8 {
        match self {
            Self::NoRoute => 1,
            Self::Rejected => 2,
            Self::Expired => 3,
            Self::MaxDeliver => 4,
            Self::HopLimit => 5,
            Self::Decode => 6,
            Self::Access => 7,
            Self::Quota => 8,
            Self::Corrupt => 9,
            Self::Panic => 10,
            Self::NoSpool => 11,
            Self::PeerDied => 12,
            Self::Cancelled => 13,
            Self::Shed => 14,
            Self::SpoolFull => 15,
            Self::Limited { .. } => 16,
        }
    }

    pub(super) fn encode(self, out: &mut BytesMut) {
        out.put_u8(self.number());
        if let Self::Limited { retry_after } = self {
            put_varint(out, u64::from(retry_after));
        }
    }

    pub(super) fn decode(cursor: &mut Cursor) -> Result<Self, WireError> {
        let number = cursor.u8("failure")?;
        match Self::from_u8(number) {
            Some(Self::Limited { .. }) => Ok(Self::Limited {
                retry_after: cursor.varint32("retry after")?,
            }),
            Some(failure) => Ok(failure),
            None => Err(WireError::Invalid {
                field: "failure",
                value: u64::from(number),
            }),
        }
    }

    /// When it is worth publishing the message again, if that is known.
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Limited { retry_after } if retry_after > 0 => {
                Some(Duration::from_millis(u64::from(retry_after)))
            }
            _ => None,
        }
    }

    /// The name in ledgers, logs and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::MaxDeliver => "max_deliver",
            Self::HopLimit => "hop_limit",
            Self::Decode => "decode",
            Self::Access => "access",
            Self::Quota => "quota",
            Self::Corrupt => "corrupt",
            Self::Panic => "panic",
            Self::NoSpool => "no_spool",
            Self::PeerDied => "peer_died",
            Self::Cancelled => "cancelled",
            Self::Shed => "shed",
            Self::SpoolFull => "spool_full",
            Self::Limited { .. } => "limited",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(after) = self.retry_after() {
            return write!(
                f,
                "limited: its route lets no more through at present; publish it again after {after:?}"
            );
        }
        f.write_str(match self {
            Self::Limited { .. } => "limited: its route lets no more through at present",
            Self::NoRoute => "no_route: nobody is subscribed to its subject",
            Self::Rejected => "rejected: its consumer refused it",
            Self::Expired => "expired: its deadline passed",
            Self::MaxDeliver => "max_deliver: it was delivered too often without success",
            Self::HopLimit => "hop_limit: it passed too many nodes",
            Self::Decode => "decode: it could not be decoded",
            Self::Access => "access: its publisher may not publish there",
            Self::Quota => "quota: it is larger than a limit allows",
            Self::Corrupt => "corrupt: its bytes were damaged",
            Self::Panic => "panic: its handler panicked",
            Self::NoSpool => {
                "no_spool: this node cannot store: it has no spool, or its disk has failed; publish with ack `accepted`"
            }
            Self::PeerDied => "peer_died: the node that held it died",
            Self::Cancelled => "cancelled: its consumer went away",
            Self::Shed => "shed: an overflow policy dropped it",
            Self::SpoolFull => {
                "spool_full: the node has no room to store it; publish again when its subscribers have caught up"
            }
        })
    }
}

/// Who first sent a message: an identity and its epoch, which rises with each start of that producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProducerId {
    /// The producer.
    pub id: u128,
    /// Which life of the producer.
    pub epoch: u64,
}

/// What the messages of one producer on one subject have in common. Shared by pointer; two heads are the
/// same to a lane when they are the same allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Who sent them.
    pub producer: ProducerId,
    /// Where to, as text; the floor above knows its grammar.
    pub subject: Arc<str>,
    /// Fingerprint of the type of the bodies; 0 says "just bytes".
    pub kind: u64,
    /// What the publisher wants to know.
    pub ack: AckLevel,
    /// How many nodes they have passed.
    pub hops: u8,
}

/// Where the answer to a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplyAddress {
    /// The node the requester is connected to.
    pub node: u128,
    /// The requester's session there.
    pub session: u64,
    /// Which of its requests.
    pub correlation: u64,
}

/// What few messages carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// When the event happened, in microseconds since 1970 (UTC).
    pub event_time: Option<i64>,
    /// Which delivery attempt this is; the first is 0.
    pub attempt: u16,
    /// Priority; 0 is ordinary, higher is sooner.
    pub priority: u8,
    /// W3C trace context: trace id, span id, flags.
    pub trace: Option<(u128, u64, u8)>,
    /// Set on a request.
    pub reply: Option<ReplyAddress>,
    /// Whether the sender may have sent it before, to a node that has forgotten it since.
    pub repeat: bool,
    /// What its publisher says of it, for routes to go by.
    pub labels: Labels,
}

impl Extra {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One message as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it shares with its neighbours.
    pub head: Arc<Head>,
    /// Its number at its producer.
    pub sequence: u64,
    /// Its key; messages of one key stay in order.
    pub key: Option<Key>,
    /// When it stops being worth anything, on this process's clock.
    pub deadline: Option<Time>,
    /// What few messages carry.
    pub extra: Option<Box<Extra>>,
    /// Its encoded body.
    pub body: Bytes,
}

impl Record {
    /// What it weighs in credit and in memory bounds, in bytes.
    #[inline]
    pub fn cost(&self) -> u64 {
        let labels = self.extra.as_ref().map_or(0, |extra| extra.labels.weight());
        RECORD_OVERHEAD + labels + self.body.len() as u64
    }

    /// Whether its deadline has passed.
    #[inline]
    pub fn expired(&self, now: Time) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}
