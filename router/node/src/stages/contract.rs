//! The contract of a built-in stage.

use mcpbus_actors::Time;
use std::fmt;

use crate::record::Record;

/// Plain logic of a stage: looks at a record, gives zero or more.
///
/// Laws: a stage neither reads a clock nor waits; `now` never goes back. A refused record is unchanged, no output has
/// anything of it, and the stage's state is as if it had never been offered, but for the time that has passed with it. After
/// `finish` nothing is offered any more.
pub trait RecordStage: Send {
    /// Takes one record; outputs are appended to `out`, also what time completes when the record itself is refused.
    ///
    /// # Errors
    /// [`Refusal`] with the reason under which the record becomes a dead letter.
    fn take(&mut self, record: &Record, now: Time, out: &mut Vec<Record>)
    -> Result<Taken, Refusal>;

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

/// What becomes of a record that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It ended here; what came of it is in the outputs.
    Consumed,
    /// It goes on as it is.
    Passed,
}

/// Why a record was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason of the dead letter.
    pub reason: RefusalReason,
    /// What exactly is wrong, as one clause.
    pub detail: String,
}

impl Refusal {
    /// A refusal as `decode`.
    pub fn decode(detail: impl fmt::Display) -> Self {
        Self::new(RefusalReason::Decode, detail)
    }

    /// A refusal for another reason.
    pub fn new(reason: RefusalReason, detail: impl fmt::Display) -> Self {
        Self {
            reason,
            detail: detail.to_string(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.name(), self.detail)
    }
}

impl std::error::Error for Refusal {}
