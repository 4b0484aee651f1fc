//! Codecs: how one message's body becomes bytes where it leaves the process, and a value again where it arrives.
//!
//! Invariants of this room:
//! * Bytes from a peer are never trusted: a codec bounds what it decodes, and malformed bytes are an error, not a panic.
//! * A body is decoded whole: bytes that are left over are an error.
//! * The numbers in [`CodecId`] are part of the wire format and never change their meaning.
//!
//! | file | subject |
//! | --- | --- |
//! | `contract.rs` | [`Codec`], its errors and laws |
//! | `raw.rs` | [`RawCodec`]: bytes as they are |
//! | `bincode.rs` | [`BincodeCodec`]: compact, for messages between our own processes |
//! | `json.rs` | [`JsonCodec`]: for messages that other languages and people read |

mod bincode;
pub mod contract;
mod json;
mod raw;

pub use bincode::BincodeCodec;
pub use contract::{Codec, CodecId, DecodeError, EncodeError, MAX_BODY_BYTES, WireMessage};
pub use json::JsonCodec;
pub use raw::RawCodec;
