//! The frames of the control lane.

use super::cursor::{Cursor, TEXT_MAX, WireError, put_blob, put_varint, text, truncated};
use super::frame::{FrameKind, begin_frame, end_frame};
use super::hello::Hello;
use super::record::Failure;
use bytes::{BufMut, Bytes, BytesMut};
use std::fmt;

/// Largest control frame, in bytes.
pub const CONTROL_FRAME_MAX: usize = 256 * 1024;
/// Longest definition of a flow, in bytes.
pub const DEFINITION_MAX: usize = 16 * 1024;
/// Longest payload of a signal, in bytes.
pub const SIGNAL_MAX: usize = 128 * 1024;
/// Most entries in one frame that lists flows.
pub const ENTRIES_MAX: u64 = 4096;

/// Why a peer says goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum GoodbyeCode {
    /// It is done or shuts down.
    Done = 0,
    /// It has this session on another link already.
    Duplicate = 1,
    /// No common wire version.
    Version = 2,
    /// Its limits are reached.
    Limit = 3,
    /// The peer broke the protocol.
    Protocol = 4,
    /// The peer may not connect.
    Access = 5,
    /// The peer was silent for too long.
    Silent = 6,
}

impl GoodbyeCode {
    fn from_u8(value: u8) -> Result<Self, WireError> {
        Ok(match value {
            0 => Self::Done,
            1 => Self::Duplicate,
            2 => Self::Version,
            3 => Self::Limit,
            4 => Self::Protocol,
            5 => Self::Access,
            6 => Self::Silent,
            other => {
                return Err(WireError::Invalid {
                    field: "goodbye code",
                    value: u64::from(other),
                });
            }
        })
    }
}

impl fmt::Display for GoodbyeCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Duplicate => "duplicate",
            Self::Version => "version",
            Self::Limit => "limit",
            Self::Protocol => "protocol",
            Self::Access => "access",
            Self::Silent => "silent",
        })
    }
}

/// Positions of one flow as its receiver sees them; all absolute, so that a repeated ack changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowAck {
    /// Which flow.
    pub flow: u32,
    /// Everything up to this sequence was received: the receiver owns it.
    pub received: u64,
    /// Everything up to this sequence was passed on or ended: the receiver no longer holds it.
    pub settled: u64,
    /// The sender may send up to this sequence.
    pub grant_messages: u64,
    /// The sender may send until the flow's bytes reach this number.
    pub grant_bytes: u64,
}

/// A control frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// First frame.
    Hello(Hello),
    /// How far the receiving flows have come when a link is resumed.
    Resume {
        /// The link it is written for.
        link: u64,
        /// Positions of flows.
        flows: Vec<FlowAck>,
        /// Last signal received.
        signals: u64,
        /// Last frame of failures received.
        failures: u64,
        /// Whether this is the last of the resume frames.
        last: bool,
    },
    /// A flow begins.
    Open {
        /// Its number; the sender of the flow chooses it.
        flow: u32,
        /// What it means to the floor above.
        definition: Bytes,
    },
    /// A flow ends.
    Close {
        /// Which.
        flow: u32,
        /// The last sequence that was written whole on it; it may still be on its way.
        last: u64,
        /// How many bytes of the body of the record after it were written. It does not become whole.
        begun: u64,
    },
    /// Positions of flows and of signals.
    Ack {
        /// The link it is written for.
        link: u64,
        /// Last signal received.
        signals: u64,
        /// Last frame of failures received.
        failures: u64,
        /// Positions of flows.
        flows: Vec<FlowAck>,
    },
    /// Messages of a flow that did not end well.
    Failed {
        /// The number of this frame.
        sequence: u64,
        /// Which flow.
        flow: u32,
        /// Sequence and reason of each.
        messages: Vec<(u64, Failure)>,
    },
    /// A flow waits for credit.
    Pending {
        /// The link it is written for.
        link: u64,
        /// Which flow.
        flow: u32,
        /// How many messages wait.
        messages: u64,
        /// How many bytes wait.
        bytes: u64,
        /// What the first of them weighs, in bytes.
        next: u64,
    },
    /// An ordered message of the floor above.
    Signal {
        /// Its number.
        sequence: u64,
        /// Its content.
        payload: Bytes,
    },
    /// Are you there?
    Ping {
        /// Repeated in the answer.
        nonce: u64,
    },
    /// I am.
    Pong {
        /// That of the ping.
        nonce: u64,
    },
    /// The receiver of a flow takes back what was granted beyond these positions and is not used.
    Revoke {
        /// The link it is written for.
        link: u64,
        /// Which flow.
        flow: u32,
        /// The sender may go to this sequence, or to where it is if that is further.
        messages: u64,
        /// The same for the flow's bytes.
        bytes: u64,
    },
    /// The sender of a flow confirms a revoke.
    Revoked {
        /// The link it is written for.
        link: u64,
        /// Which flow.
        flow: u32,
        /// It goes to this sequence at most, until more is granted.
        messages: u64,
        /// The same for the flow's bytes.
        bytes: u64,
    },
    /// Known to the next version only.
    #[cfg(test)]
    Newer,
    /// The peer leaves.
    Goodbye {
        /// Why, for programs.
        code: GoodbyeCode,
        /// Why, for people.
        reason: String,
    },
}

impl Control {
    /// Appends this frame.
    pub fn encode(&self, out: &mut BytesMut) {
        let start = begin_frame(out, self.kind());
        match self {
            Self::Hello(hello) => hello.encode(out),
            Self::Resume {
                link,
                flows,
                signals,
                failures,
                last,
            } => {
                put_varint(out, *link);
                out.put_u8(u8::from(*last));
                put_varint(out, *signals);
                put_varint(out, *failures);
                encode_flows(flows, out);
            }
            Self::Open { flow, definition } => {
                put_varint(out, u64::from(*flow));
                put_blob(out, definition);
            }
            Self::Close { flow, last, begun } => {
                put_varint(out, u64::from(*flow));
                put_varint(out, *last);
                put_varint(out, *begun);
            }
            Self::Ack {
                link,
                signals,
                failures,
                flows,
            } => {
                put_varint(out, *link);
                put_varint(out, *signals);
                put_varint(out, *failures);
                encode_flows(flows, out);
            }
            Self::Failed {
                sequence,
                flow,
                messages,
            } => {
                put_varint(out, *sequence);
                put_varint(out, u64::from(*flow));
                put_varint(out, messages.len() as u64);
                for (sequence, failure) in messages {
                    put_varint(out, *sequence);
                    failure.encode(out);
                }
            }
            Self::Pending {
                link,
                flow,
                messages,
                bytes,
                next,
            } => {
                put_varint(out, *link);
                put_varint(out, u64::from(*flow));
                put_varint(out, *messages);
                put_varint(out, *bytes);
                put_varint(out, *next);
            }
            Self::Signal { sequence, payload } => {
                put_varint(out, *sequence);
                put_blob(out, payload);
            }
            Self::Ping { nonce } | Self::Pong { nonce } => out.put_u64_le(*nonce),
            Self::Revoke {
                link,
                flow,
                messages,
                bytes,
            }
            | Self::Revoked {
                link,
                flow,
                messages,
                bytes,
            } => {
                put_varint(out, *link);
                put_varint(out, u64::from(*flow));
                put_varint(out, *messages);
                put_varint(out, *bytes);
            }
            #[cfg(test)]
            Self::Newer => {}
            Self::Goodbye { code, reason } => {
                out.put_u8(*code as u8);
                put_blob(out, truncated(reason).as_bytes());
            }
        }
        end_frame(out, start);
    }

    /// Reads a frame of this kind.
    pub fn decode(kind: FrameKind, payload: Bytes) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(payload);
        let frame = match kind {
            FrameKind::Hello => Self::Hello(Hello::decode(&mut cursor)?),
            FrameKind::Resume => {
                let link = cursor.varint("link")?;
                let last = cursor.u8("last")? != 0;
                let signals = cursor.varint("signals")?;
                let failures = cursor.varint("failures")?;
                Self::Resume {
                    link,
                    flows: decode_flows(&mut cursor)?,
                    signals,
                    failures,
                    last,
                }
            }
            FrameKind::Open => Self::Open {
                flow: cursor.varint32("flow")?,
                definition: cursor.blob("definition", DEFINITION_MAX)?,
            },
            FrameKind::Close => Self::Close {
                flow: cursor.varint32("flow")?,
                last: cursor.varint("last")?,
                begun: cursor.varint("begun")?,
            },
            FrameKind::Ack => {
                let link = cursor.varint("link")?;
                let signals = cursor.varint("signals")?;
                let failures = cursor.varint("failures")?;
                Self::Ack {
                    link,
                    signals,
                    failures,
                    flows: decode_flows(&mut cursor)?,
                }
            }
            FrameKind::Failed => decode_failed(&mut cursor)?,
            FrameKind::Pending => Self::Pending {
                link: cursor.varint("link")?,
                flow: cursor.varint32("flow")?,
                messages: cursor.varint("messages")?,
                bytes: cursor.varint("bytes")?,
                next: cursor.varint("next")?,
            },
            FrameKind::Signal => Self::Signal {
                sequence: cursor.varint("sequence")?,
                payload: cursor.blob("payload", SIGNAL_MAX)?,
            },
            FrameKind::Ping => Self::Ping {
                nonce: cursor.u64("nonce")?,
            },
            FrameKind::Pong => Self::Pong {
                nonce: cursor.u64("nonce")?,
            },
            FrameKind::Revoke => Self::Revoke {
                link: cursor.varint("link")?,
                flow: cursor.varint32("flow")?,
                messages: cursor.varint("messages")?,
                bytes: cursor.varint("bytes")?,
            },
            FrameKind::Revoked => Self::Revoked {
                link: cursor.varint("link")?,
                flow: cursor.varint32("flow")?,
                messages: cursor.varint("messages")?,
                bytes: cursor.varint("bytes")?,
            },
            #[cfg(test)]
            FrameKind::Newer => Self::Newer,
            FrameKind::Goodbye => Self::Goodbye {
                code: GoodbyeCode::from_u8(cursor.u8("goodbye code")?)?,
                reason: text(cursor.blob("reason", TEXT_MAX)?),
            },
            FrameKind::Batch | FrameKind::Large | FrameKind::Part => {
                return Err(WireError::Invalid {
                    field: "frame kind on the control lane",
                    value: kind as u64,
                });
            }
        };
        cursor.finish()?;
        Ok(frame)
    }

    /// The link that the frame is written for, where it tells positions: it says nothing about another one.
    pub fn link(&self) -> Option<u64> {
        match self {
            Self::Resume { link, .. }
            | Self::Ack { link, .. }
            | Self::Pending { link, .. }
            | Self::Revoke { link, .. }
            | Self::Revoked { link, .. } => Some(*link),
            _ => None,
        }
    }

    /// What kind of frame it is.
    pub fn kind(&self) -> FrameKind {
        match self {
            Self::Hello(_) => FrameKind::Hello,
            Self::Resume { .. } => FrameKind::Resume,
            Self::Open { .. } => FrameKind::Open,
            Self::Close { .. } => FrameKind::Close,
            Self::Ack { .. } => FrameKind::Ack,
            Self::Failed { .. } => FrameKind::Failed,
            Self::Pending { .. } => FrameKind::Pending,
            Self::Signal { .. } => FrameKind::Signal,
            Self::Ping { .. } => FrameKind::Ping,
            Self::Pong { .. } => FrameKind::Pong,
            Self::Goodbye { .. } => FrameKind::Goodbye,
            Self::Revoke { .. } => FrameKind::Revoke,
            Self::Revoked { .. } => FrameKind::Revoked,
            #[cfg(test)]
            Self::Newer => FrameKind::Newer,
        }
    }
}

fn encode_flows(flows: &[FlowAck], out: &mut BytesMut) {
    put_varint(out, flows.len() as u64);
    for ack in flows {
        put_varint(out, u64::from(ack.flow));
        put_varint(out, ack.received);
        // What is settled or granted lies near what is received: the distance is shorter than the position.
        put_varint(out, ack.received.saturating_sub(ack.settled));
        put_varint(out, ack.grant_messages.saturating_sub(ack.received));
        put_varint(out, ack.grant_bytes);
    }
}

fn decode_flows(cursor: &mut Cursor) -> Result<Vec<FlowAck>, WireError> {
    let count = cursor.bounded("flows", ENTRIES_MAX)?;
    let mut flows = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let flow = cursor.varint32("flow")?;
        let received = cursor.varint("received")?;
        let unsettled = cursor.bounded("unsettled", received)?;
        let granted = cursor.bounded("granted", u64::MAX - received)?;
        flows.push(FlowAck {
            flow,
            received,
            settled: received - unsettled,
            grant_messages: received + granted,
            grant_bytes: cursor.varint("grant_bytes")?,
        });
    }
    Ok(flows)
}

fn decode_failed(cursor: &mut Cursor) -> Result<Control, WireError> {
    let frame = cursor.varint("sequence")?;
    let flow = cursor.varint32("flow")?;
    let count = cursor.bounded("failed messages", ENTRIES_MAX)?;
    let mut messages = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let sequence = cursor.varint("sequence")?;
        let failure = Failure::decode(cursor)?;
        messages.push((sequence, failure));
    }
    Ok(Control::Failed {
        sequence: frame,
        flow,
        messages,
    })
}
