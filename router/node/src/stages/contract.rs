//! The contract of a built-in stage.

use mcpbus_actors::Time;
use std::fmt;

use crate::record::Record;

/// Plain logic of a stage: takes a record, gives zero or more.
///
/// Laws: a stage neither reads a clock nor waits; `now` is time since an origin that stays the same for the life of
/// the stage and never goes back. A refused record comes back whole, and the stage's state is as if it had never
/// been offered. After `finish` nothing is offered any more.
pub trait RecordStage: Send {
    /// Takes one record; outputs are appended to `out`.
    ///
    /// # Errors
    /// [`Refusal`] gives the record back with the reason under which it becomes a dead letter.
    fn take(&mut self, record: Record, now: Time, out: &mut Vec<Record>) -> Result<(), Refusal>;

    /// When [`RecordStage::handle_timeout`] wants to be called, if ever.
    fn next_timeout(&self) -> Option<Time> {
        None
    }

    /// Called at or after [`RecordStage::next_timeout`].
    fn handle_timeout(&mut self, now: Time, out: &mut Vec<Record>) {
        let _nothing_is_due = (now, out);
    }

    /// The input has ended: gives what is still held.
    fn finish(&mut self, out: &mut Vec<Record>) {
        let _nothing_is_held = out;
    }
}

/// Why a record is refused, in the words of dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// It could not be understood.
    Decode,
    /// It was understood and is not wanted.
    Rejected,
    /// Accepting it would exceed a limit.
    Quota,
    /// It was tried as often as allowed.
    MaxDeliver,
}

impl RefusalReason {
    /// The stable name in ledgers and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Rejected => "rejected",
            Self::Quota => "quota",
            Self::MaxDeliver => "max_deliver",
        }
    }
}

/// A refused record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The record, whole. Boxed, so that the good path does not carry its size.
    pub record: Box<Record>,
    /// The reason of the dead letter.
    pub reason: RefusalReason,
    /// What exactly is wrong, as one clause.
    pub detail: String,
}

impl Refusal {
    /// A refusal as `decode`.
    pub fn decode(record: Record, detail: impl fmt::Display) -> Self {
        Self {
            record: Box::new(record),
            reason: RefusalReason::Decode,
            detail: detail.to_string(),
        }
    }

    /// A refusal for another reason.
    pub fn new(record: Record, reason: RefusalReason, detail: impl fmt::Display) -> Self {
        Self {
            record: Box::new(record),
            reason,
            detail: detail.to_string(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "record {} {} ({})",
            self.record.number(),
            self.detail,
            self.reason.name()
        )
    }
}

impl std::error::Error for Refusal {}
