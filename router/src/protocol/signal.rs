//! Ordered control messages between clients and nodes, and between nodes.

use super::cancel::{Cancel, decode_cancels, encode_cancels};
use bytes::{BufMut, Bytes, BytesMut};
use mcpbus_transport::wire::cursor::{put_blob, put_varint};
use mcpbus_transport::wire::record::SUBJECT_MAX;
use mcpbus_transport::wire::{Cursor, WireError};
use std::fmt;

/// Longest reason in words, in bytes.
pub const REASON_MAX: usize = 512;
/// Longest name of a group, in bytes.
const GROUP_MAX: usize = 255;
/// Longest interest message, in bytes.
const INTEREST_MAX: usize = 128 * 1024;

/// Why a node does not take a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum SubscribeRefusal {
    /// The pattern is none.
    Pattern = 1,
    /// The number is in use.
    Duplicate = 2,
    /// The limit of subscriptions is reached.
    Limit = 3,
    /// The node keeps nothing on a disk, so it has no durable subscriptions.
    NoSpool = 4,
    /// The durable subscription is another one, or cannot be.
    Durable = 5,
    /// Somebody else takes the durable subscription's messages now, or it was deleted.
    TakenOver = 6,
}

impl fmt::Display for SubscribeRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pattern => "the pattern is not valid",
            Self::Duplicate => "the subscription's number is in use",
            Self::Limit => "the node takes no more subscriptions",
            Self::NoSpool => "nothing durable is possible at this node",
            Self::Durable => "the durable subscription is not possible",
            Self::TakenOver => "the durable subscription has ended here",
        })
    }
}

/// A control message of the router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A client subscribes.
    Subscribe {
        /// The client's number for it.
        subscription: u32,
        /// Which subjects.
        pattern: String,
        /// The group whose members share the messages.
        group: Option<String>,
        /// The name under which the node keeps its messages while nobody takes them.
        durable: Option<String>,
    },
    /// A client ends a subscription.
    Unsubscribe {
        /// Which.
        subscription: u32,
    },
    /// A node has confirmed a subscription: every reachable node knows of it.
    Ready {
        /// Which.
        subscription: u32,
    },
    /// A node does not take a subscription.
    Refused {
        /// Which.
        subscription: u32,
        /// Why, for programs.
        refusal: SubscribeRefusal,
        /// Why, for people.
        reason: String,
    },
    /// A client asks how many subscribers a subject has, over all reachable nodes.
    Count {
        /// The client's number for the question.
        question: u32,
        /// The subject.
        subject: String,
    },
    /// The answer to [`Signal::Count`].
    Counted {
        /// The client's number for the question.
        question: u32,
        /// How many.
        subscribers: u64,
    },
    /// A client ends a durable subscription for good, with what waits for it. Answered with [`Signal::Counted`]: how
    /// many there were, 1 or 0.
    Delete {
        /// The client's number for the question.
        question: u32,
        /// Its name.
        durable: String,
    },
    /// Between nodes: an interest message, opaque here.
    Interest {
        /// Its bytes.
        message: Bytes,
    },
    /// Between nodes: whether everything that came on a flow, all of which its receiver has settled, has come to its end,
    /// also beyond the receiver. Answered with [`Signal::Drained`] as soon as it has.
    Drain {
        /// The asker's number for the flow.
        flow: u32,
    },
    /// The answer to [`Signal::Drain`].
    Drained {
        /// The asker's number for the flow.
        flow: u32,
    },
    /// Nobody waits for the answers to these requests any more. It goes the way that they went.
    Cancel {
        /// Which, at most [`CANCELS_MAX`](super::CANCELS_MAX).
        requests: Vec<Cancel>,
    },
}

impl Signal {
    /// As bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Subscribe {
                subscription,
                pattern,
                group,
                durable,
            } => {
                out.put_u8(1);
                put_varint(&mut out, u64::from(*subscription));
                put_blob(&mut out, pattern.as_bytes());
                out.put_u8(u8::from(group.is_some()) | u8::from(durable.is_some()) << 1);
                for name in [group, durable].into_iter().flatten() {
                    put_blob(&mut out, name.as_bytes());
                }
            }
            Self::Delete { question, durable } => {
                out.put_u8(8);
                put_varint(&mut out, u64::from(*question));
                put_blob(&mut out, durable.as_bytes());
            }
            Self::Unsubscribe { subscription } => {
                out.put_u8(2);
                put_varint(&mut out, u64::from(*subscription));
            }
            Self::Ready { subscription } => {
                out.put_u8(3);
                put_varint(&mut out, u64::from(*subscription));
            }
            Self::Refused {
                subscription,
                refusal,
                reason,
            } => {
                out.put_u8(4);
                put_varint(&mut out, u64::from(*subscription));
                out.put_u8(*refusal as u8);
                let mut end = reason.len().min(REASON_MAX);
                while !reason.is_char_boundary(end) {
                    end -= 1;
                }
                put_blob(&mut out, &reason.as_bytes()[..end]);
            }
            Self::Count { question, subject } => {
                out.put_u8(5);
                put_varint(&mut out, u64::from(*question));
                put_blob(&mut out, subject.as_bytes());
            }
            Self::Counted {
                question,
                subscribers,
            } => {
                out.put_u8(6);
                put_varint(&mut out, u64::from(*question));
                put_varint(&mut out, *subscribers);
            }
            Self::Interest { message } => {
                out.put_u8(7);
                put_blob(&mut out, message);
            }
            Self::Drain { flow } => {
                out.put_u8(9);
                put_varint(&mut out, u64::from(*flow));
            }
            Self::Drained { flow } => {
                out.put_u8(10);
                put_varint(&mut out, u64::from(*flow));
            }
            Self::Cancel { requests } => {
                out.put_u8(11);
                encode_cancels(requests, &mut out);
            }
        }
        out.freeze()
    }

    /// From bytes.
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(bytes);
        let signal = match cursor.u8("signal kind")? {
            1 => {
                let subscription = cursor.varint32("subscription")?;
                let pattern = text(&mut cursor, "pattern", SUBJECT_MAX)?;
                let flags = cursor.u8("subscription flags")?;
                if flags > 3 {
                    return Err(WireError::Invalid {
                        field: "subscription flags",
                        value: u64::from(flags),
                    });
                }
                let mut name = |bit: u8, field| {
                    (flags & bit != 0)
                        .then(|| text(&mut cursor, field, GROUP_MAX))
                        .transpose()
                };
                Self::Subscribe {
                    subscription,
                    pattern,
                    group: name(1, "group")?,
                    durable: name(2, "durable name")?,
                }
            }
            2 => Self::Unsubscribe {
                subscription: cursor.varint32("subscription")?,
            },
            3 => Self::Ready {
                subscription: cursor.varint32("subscription")?,
            },
            4 => Self::Refused {
                subscription: cursor.varint32("subscription")?,
                refusal: match cursor.u8("refusal")? {
                    1 => SubscribeRefusal::Pattern,
                    2 => SubscribeRefusal::Duplicate,
                    3 => SubscribeRefusal::Limit,
                    4 => SubscribeRefusal::NoSpool,
                    5 => SubscribeRefusal::Durable,
                    6 => SubscribeRefusal::TakenOver,
                    other => {
                        return Err(WireError::Invalid {
                            field: "refusal",
                            value: u64::from(other),
                        });
                    }
                },
                reason: text(&mut cursor, "reason", REASON_MAX)?,
            },
            5 => Self::Count {
                question: cursor.varint32("question")?,
                subject: text(&mut cursor, "subject", SUBJECT_MAX)?,
            },
            6 => Self::Counted {
                question: cursor.varint32("question")?,
                subscribers: cursor.varint("subscribers")?,
            },
            8 => Self::Delete {
                question: cursor.varint32("question")?,
                durable: text(&mut cursor, "durable name", GROUP_MAX)?,
            },
            7 => Self::Interest {
                message: cursor.blob("interest", INTEREST_MAX)?,
            },
            9 => Self::Drain {
                flow: cursor.varint32("flow")?,
            },
            10 => Self::Drained {
                flow: cursor.varint32("flow")?,
            },
            11 => Self::Cancel {
                requests: decode_cancels(&mut cursor)?,
            },
            other => {
                return Err(WireError::Invalid {
                    field: "signal kind",
                    value: u64::from(other),
                });
            }
        };
        cursor.finish()?;
        Ok(signal)
    }
}

fn text(cursor: &mut Cursor, field: &'static str, limit: usize) -> Result<String, WireError> {
    let bytes = cursor.blob(field, limit)?;
    String::from_utf8(bytes.to_vec()).map_err(|error| WireError::Invalid {
        field,
        value: error.utf8_error().valid_up_to() as u64,
    })
}
