//! Batch frames: many records of one flow.
//!
//! ```text
//! flags u8 | flow | first sequence | count | heads | head references | records
//! ```
//!
//! All numbers without a size are varints. A head reference is `0` and a whole head (which the reader
//! appends to the lane's table) or `n + 1` for entry `n` of the table; the producer sequence of the head's
//! first record in this frame follows it. A record is a control byte, the optional fields that it
//! announces, the length of its body, its body.

mod decode;
mod encode;

pub use decode::BatchDecoder;
#[cfg(feature = "spool")]
pub(crate) use decode::{decode_extra, decode_head};
pub use encode::BatchEncoder;
#[cfg(feature = "spool")]
pub(crate) use encode::{encode_extra, encode_head};

/// Most heads in a lane's table; when it is full, both ends empty it together.
pub const HEADS_MAX: usize = 4096;
/// Most records in one frame.
pub const RECORDS_MAX: usize = 1024;

const FLAG_RESET_HEADS: u8 = 1;

const KEY_MASK: u8 = 0b11;
const KEY_NONE: u8 = 0;
const KEY_SAME: u8 = 1;
const KEY_VALUE: u8 = 2;
const OTHER_HEAD: u8 = 1 << 2;
const OTHER_SEQUENCE: u8 = 1 << 3;
const DEADLINE_MASK: u8 = 0b11 << 4;
const DEADLINE_SAME: u8 = 1 << 4;
const DEADLINE_VALUE: u8 = 2 << 4;
const EXTENSION: u8 = 1 << 6;
const RESERVED: u8 = 1 << 7;

const HEAD_ACK_MASK: u8 = 0b11;
const HEAD_KIND: u8 = 1 << 2;

const EXTRA_EVENT_TIME: u8 = 1;
const EXTRA_ATTEMPT: u8 = 2;
const EXTRA_PRIORITY: u8 = 3;
const EXTRA_TRACE: u8 = 4;
const EXTRA_REPLY: u8 = 5;
const EXTRA_REPEAT: u8 = 6;
const EXTRA_LABELS: u8 = 7;

/// What stands before the records of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The flow they belong to.
    pub flow: u32,
    /// The sequence of the first; the others follow without gaps.
    pub first: u64,
    /// How many there are.
    pub count: usize,
}
