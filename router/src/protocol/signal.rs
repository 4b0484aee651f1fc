//! Ordered control messages between clients and nodes, and between nodes.

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
}

impl fmt::Display for SubscribeRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pattern => "the pattern is not valid",
            Self::Duplicate => "the subscription's number is in use",
            Self::Limit => "the node takes no more subscriptions",
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
    /// Between nodes: an interest message, opaque here.
    Interest {
        /// Its bytes.
        message: Bytes,
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
            } => {
                out.put_u8(1);
                put_varint(&mut out, u64::from(*subscription));
                put_blob(&mut out, pattern.as_bytes());
                out.put_u8(u8::from(group.is_some()));
                if let Some(group) = group {
                    put_blob(&mut out, group.as_bytes());
                }
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
        }
        out.freeze()
    }

    /// From bytes.
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(bytes);
        let signal = match cursor.u8("signal kind")? {
            1 => Self::Subscribe {
                subscription: cursor.varint32("subscription")?,
                pattern: text(&mut cursor, "pattern", SUBJECT_MAX)?,
                group: match cursor.u8("group")? {
                    0 => None,
                    _ => Some(text(&mut cursor, "group", GROUP_MAX)?),
                },
            },
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
            7 => Self::Interest {
                message: cursor.blob("interest", INTEREST_MAX)?,
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
