//! What every link promises.
//!
//! # Laws
//!
//! 1. **Order.** The bytes written on a lane arrive complete and in order. Chunk boundaries may change.
//! 2. **End.** A reader sees the end of a lane only after [`LaneWriter::finish`]. A writer that is dropped before resets
//!    the lane, so that a record cut off in the middle is never taken for a whole one.
//! 3. **Bound.** A lane that is not read takes a bounded number of bytes, then its writer waits.
//! 4. **Independence.** A lane that is not read delays no other lane.
//! 5. **Cancel safety.** Dropping a future of [`LaneWriter::write_chunks`], [`LaneReader::read_chunk`],
//!    [`LaneReader::read_chunks`], [`Link::accept_lane`] or [`Link::closed`] before it is ready loses and repeats nothing.
//! 6. **Lanes are single use.** Each end opens a lane at most once per link, and none above [`Link::highest_lane`]. A peer
//!    that breaks this ends the link with [`CloseCode::PROTOCOL`].
//! 7. **Closing is at once.** [`Link::close`] discards what is under way, wakes everything that waits on the link, and tells
//!    the peer code and reason. Whoever wants delivery finishes its lanes, awaits [`LaneWriter::finished`], then closes.
//! 8. **Stopping.** When a reader is dropped before the end of its lane, the writer sees [`LinkError::LaneStopped`].
//!
//! [`laws::uphold`] runs the laws against a link.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use crate::identity::PeerIdentity;

pub mod laws;

/// The number of a lane of a link, in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(u8);

impl LaneId {
    /// The lane for credits, acknowledgements, heartbeats and commands. It is sent before all others.
    pub const CONTROL: Self = Self(0);
    /// The highest lane that any link has.
    pub const MAX: Self = Self(63);

    /// The lane with a number, or `None` above [`LaneId::MAX`].
    pub const fn new(number: u8) -> Option<Self> {
        if number <= Self::MAX.0 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number of the lane: 0 for control, from 1 on for data.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Whether this is the control lane.
    pub const fn is_control(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for LaneId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "lane {}", self.0)
    }
}

/// Why a link is closed, as a number for machines. A reason in words travels beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(pub u32);

impl CloseCode {
    /// Both sides are done.
    pub const NORMAL: Self = Self(0);
    /// The peer broke the protocol; connecting again with the same program will not help.
    pub const PROTOCOL: Self = Self(1);
    /// The peer's certificate does not name it.
    pub const UNNAMED_PEER: Self = Self(2);
    /// The first code that links leave to the sessions above them.
    pub const FIRST_OF_SESSIONS: Self = Self(16);
}

impl fmt::Display for CloseCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "code {}", self.0)
    }
}

/// A connection to one peer. See the laws of this module.
pub trait Link {
    /// The sending end of a lane.
    type Writer: LaneWriter;
    /// The receiving end of a lane.
    type Reader: LaneReader;

    /// Who is at the other end, verified by the link.
    fn peer(&self) -> &PeerIdentity;

    /// The highest lane that either end may open.
    fn highest_lane(&self) -> LaneId;

    /// Opens a lane towards the peer. The peer learns of it without anything being written.
    ///
    /// Dropping the future before it is ready leaves the lane unopened or, rarely, spent.
    ///
    /// # Errors
    ///
    /// [`LinkError::LaneTaken`] and [`LinkError::NoSuchLane`] are the caller's to avoid; otherwise the link has ended.
    fn open_lane(&self, lane: LaneId) -> impl Future<Output = Result<Self::Writer, LinkError>>;

    /// Waits for the next lane that the peer opens. Cancel safe.
    ///
    /// # Errors
    ///
    /// The link has ended. A peer that opens a lane twice, or one above [`Link::highest_lane`], ends it.
    fn accept_lane(&self) -> impl Future<Output = Result<(LaneId, Self::Reader), LinkError>>;

    /// The link's estimate of the time to the peer and back; `None` where there is none to speak of.
    fn round_trip_time(&self) -> Option<Duration>;

    /// Ends the link at once, for both ends. Of several calls the first counts. At most 255 bytes of `reason` travel.
    fn close(&self, code: CloseCode, reason: &str);

    /// Waits until the link has ended, and says why. Cancel safe; may be awaited by several at once.
    fn closed(&self) -> impl Future<Output = LinkError>;
}

/// The sending end of a lane.
///
/// Dropped before [`LaneWriter::finish`], it resets the lane.
pub trait LaneWriter {
    /// Waits until the lane takes some bytes, then gives it as many of `chunks` as it takes, and returns their number.
    ///
    /// What was taken is removed from the front of `chunks`, so that the call is cancel safe and can be repeated as it is;
    /// chunks may be appended between two calls. Returns 0 at once where there is nothing to write.
    ///
    /// # Errors
    ///
    /// [`LinkError::LaneStopped`] when the peer reads no more, [`LinkError::LaneFinished`] after
    /// [`LaneWriter::finish`], or the link has ended. What was not taken is still in `chunks`.
    fn write_chunks(
        &mut self,
        chunks: &mut VecDeque<Bytes>,
    ) -> impl Future<Output = Result<usize, LinkError>>;

    /// Says that no more bytes follow. What was written is still delivered. Repeated calls do nothing.
    fn finish(&mut self);

    /// Waits until the peer's end of the link has everything up to [`LaneWriter::finish`]. Cancel safe.
    ///
    /// It does not say that the peer has read or understood it; only a session's acknowledgement says that.
    ///
    /// # Errors
    ///
    /// [`LinkError::LaneStopped`] when the peer stopped reading before, or the link has ended.
    fn finished(&mut self) -> impl Future<Output = Result<(), LinkError>>;
}

/// The receiving end of a lane.
///
/// Dropped before the end of the lane, it makes the peer stop writing.
pub trait LaneReader {
    /// Waits for the next bytes, at least one and at most `max_bytes`, which must not be 0. `None` is the end of the lane,
    /// again and again. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`LinkError::LaneReset`] when the writer was dropped before it finished, or the link has ended.
    fn read_chunk(
        &mut self,
        max_bytes: usize,
    ) -> impl Future<Output = Result<Option<Bytes>, LinkError>>;

    /// Waits for at least one byte, then appends the chunks at hand to `into`, at most `max_chunks`, which must not be 0,
    /// and returns their number. `None` is the end of the lane. Cancel safe. Cheaper than one chunk at a time.
    ///
    /// # Errors
    ///
    /// As [`LaneReader::read_chunk`].
    fn read_chunks(
        &mut self,
        into: &mut VecDeque<Bytes>,
        max_chunks: usize,
    ) -> impl Future<Output = Result<Option<usize>, LinkError>>;
}

/// How a link was lost without either end closing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CutCause {
    /// Nothing was heard from the peer for the idle timeout.
    Silence,
    /// The peer answers, but knows nothing of this link: it was restarted.
    Restarted,
    /// An in-memory link was cut on purpose, or its other end was dropped.
    Severed,
}

/// Why an operation on a link or a lane failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkError {
    /// The peer closed the link. Whether to connect again follows from the code.
    ClosedByPeer {
        /// The peer's reason for machines.
        code: CloseCode,
        /// The peer's reason for people.
        reason: String,
    },
    /// This end closed the link.
    ClosedHere,
    /// The link was lost. The session connects again and resumes.
    Cut {
        /// How it was lost.
        cause: CutCause,
    },
    /// The link was ended because one end broke the protocol. Connecting again will not help; report the problem.
    Violation {
        /// What was broken.
        problem: String,
    },
    /// The peer dropped the writing end of the lane before it had finished. Other lanes go on.
    LaneReset {
        /// The lane.
        lane: LaneId,
    },
    /// The peer reads no more of this lane. Other lanes go on.
    LaneStopped {
        /// The lane.
        lane: LaneId,
    },
    /// The lane was finished at this end, so nothing can be written.
    LaneFinished {
        /// The lane.
        lane: LaneId,
    },
    /// The lane was opened before; a lane can be opened once per link. The caller keeps its writer.
    LaneTaken {
        /// The lane.
        lane: LaneId,
    },
    /// The link has no such lane. The caller takes a lower one.
    NoSuchLane {
        /// The lane asked for.
        lane: LaneId,
        /// The highest lane of this link.
        highest: LaneId,
    },
}

impl LinkError {
    /// Whether the whole link has ended, and not one lane only.
    pub fn ends_link(&self) -> bool {
        match self {
            Self::ClosedByPeer { .. }
            | Self::ClosedHere
            | Self::Cut { .. }
            | Self::Violation { .. } => true,
            Self::LaneReset { .. }
            | Self::LaneStopped { .. }
            | Self::LaneFinished { .. }
            | Self::LaneTaken { .. }
            | Self::NoSuchLane { .. } => false,
        }
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClosedByPeer { code, reason } if reason.is_empty() => {
                write!(formatter, "the peer closed the link ({code})")
            }
            Self::ClosedByPeer { code, reason } => {
                write!(formatter, "the peer closed the link: {reason} ({code})")
            }
            Self::ClosedHere => formatter.write_str("this end closed the link"),
            Self::Cut {
                cause: CutCause::Silence,
            } => formatter.write_str(
                "the link was lost: the peer has been silent for too long; connect again",
            ),
            Self::Cut {
                cause: CutCause::Restarted,
            } => formatter.write_str("the link was lost: the peer was restarted; connect again"),
            Self::Cut {
                cause: CutCause::Severed,
            } => formatter.write_str("the link was cut; connect again"),
            Self::Violation { problem } => {
                write!(
                    formatter,
                    "the link ended because the protocol was broken: {problem}"
                )
            }
            Self::LaneReset { lane } => {
                write!(formatter, "the peer abandoned {lane} before its end")
            }
            Self::LaneStopped { lane } => write!(formatter, "the peer stopped reading {lane}"),
            Self::LaneFinished { lane } => {
                write!(formatter, "{lane} is finished: nothing more can be written")
            }
            Self::LaneTaken { lane } => {
                write!(formatter, "{lane} was opened before: use its writer")
            }
            Self::NoSuchLane { lane, highest } => {
                write!(
                    formatter,
                    "the link has no {lane}: {highest} is its highest"
                )
            }
        }
    }
}

impl std::error::Error for LinkError {}

/// The lanes that were seen in one direction; each may be seen once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SeenLanes(u64);

impl SeenLanes {
    /// Marks a lane, and says whether it was new.
    pub(crate) fn insert(&mut self, lane: LaneId) -> bool {
        let bit = 1 << lane.number();
        let new = self.0 & bit == 0;
        self.0 |= bit;
        new
    }
}

/// As much of a reason as travels, cut between two characters.
pub(crate) fn short_reason(reason: &str) -> &str {
    let mut end = reason.len().min(255);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_between_two_characters() {
        assert_eq!(short_reason("done"), "done");
        assert_eq!(short_reason(&"x".repeat(300)).len(), 255);
        assert_eq!(short_reason(&"ä".repeat(200)).len(), 254);
    }

    #[test]
    fn lanes_are_seen_once() {
        let mut seen = SeenLanes::default();
        assert!(seen.insert(LaneId::CONTROL) && seen.insert(LaneId::MAX));
        assert!(!seen.insert(LaneId::CONTROL) && !seen.insert(LaneId::MAX));
        assert_eq!(LaneId::new(64), None);
    }
}
