//! Checked reading and writing of the primitive fields that all frames are made of.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::fmt;

/// Longest name or reason, in bytes.
pub(super) const TEXT_MAX: usize = 1024;

/// Why bytes from a peer were refused. The session ends the link; nothing of the frame takes effect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// The frame ended in the middle of a field.
    Truncated {
        /// The field that was being read.
        field: &'static str,
    },
    /// A field is larger than its limit.
    TooLarge {
        /// The field that was being read.
        field: &'static str,
        /// Its value, in the field's unit.
        value: u64,
        /// The limit it exceeds.
        limit: u64,
    },
    /// A field has a value that does not exist.
    Invalid {
        /// The field that was being read.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The frame goes on after its last field.
    Trailing {
        /// How many bytes are left over.
        bytes: usize,
    },
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { field } => write!(f, "the frame ends inside `{field}`"),
            Self::TooLarge {
                field,
                value,
                limit,
            } => {
                write!(f, "`{field}` is {value}, the limit is {limit}")
            }
            Self::Invalid { field, value } => write!(f, "`{field}` has the unknown value {value}"),
            Self::Trailing { bytes } => {
                write!(f, "{bytes} bytes are left over at the end of the frame")
            }
        }
    }
}

impl std::error::Error for WireError {}

/// Reads the fields of one frame and refuses to pass its end.
#[derive(Debug)]
pub struct Cursor {
    bytes: Bytes,
}

impl Cursor {
    /// A cursor at the first byte of `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self, field: &'static str) -> Result<u8, WireError> {
        if self.bytes.is_empty() {
            return Err(WireError::Truncated { field });
        }
        Ok(self.bytes.get_u8())
    }

    /// Eight bytes, little endian.
    #[inline]
    pub fn u64(&mut self, field: &'static str) -> Result<u64, WireError> {
        if self.bytes.len() < 8 {
            return Err(WireError::Truncated { field });
        }
        Ok(self.bytes.get_u64_le())
    }

    /// Sixteen bytes, little endian.
    pub fn u128(&mut self, field: &'static str) -> Result<u128, WireError> {
        if self.bytes.len() < 16 {
            return Err(WireError::Truncated { field });
        }
        Ok(self.bytes.get_u128_le())
    }

    /// A variable-length integer of at most 64 bits (LEB128, at most ten bytes).
    #[inline]
    pub fn varint(&mut self, field: &'static str) -> Result<u64, WireError> {
        // One byte is by far the most frequent form: lengths and indexes of small things.
        if let Some(&first) = self.bytes.first()
            && first < 0x80
        {
            self.bytes.advance(1);
            return Ok(u64::from(first));
        }
        self.long_varint(field)
    }

    fn long_varint(&mut self, field: &'static str) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for (index, &byte) in self.bytes.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            let shift = 7 * index as u32;
            if shift == 63 && bits > 1 {
                return Err(WireError::Invalid {
                    field,
                    value: u64::from(byte),
                });
            }
            value |= bits << shift;
            if byte < 0x80 {
                self.bytes.advance(index + 1);
                return Ok(value);
            }
        }
        if self.bytes.len() < 10 {
            Err(WireError::Truncated { field })
        } else {
            Err(WireError::Invalid { field, value })
        }
    }

    /// A variable-length integer that must not exceed `limit`.
    #[inline]
    pub fn bounded(&mut self, field: &'static str, limit: u64) -> Result<u64, WireError> {
        let value = self.varint(field)?;
        if value > limit {
            return Err(WireError::TooLarge {
                field,
                value,
                limit,
            });
        }
        Ok(value)
    }

    /// A variable-length integer that must fit 32 bits.
    #[inline]
    pub fn varint32(&mut self, field: &'static str) -> Result<u32, WireError> {
        self.bounded(field, u64::from(u32::MAX))
            .map(|value| value as u32)
    }

    /// `length` bytes, shared with the frame they stand in.
    #[inline]
    pub fn take(&mut self, field: &'static str, length: usize) -> Result<Bytes, WireError> {
        if self.bytes.len() < length {
            return Err(WireError::Truncated { field });
        }
        Ok(self.bytes.split_to(length))
    }

    /// A length of at most `limit`, then as many bytes.
    #[inline]
    pub fn blob(&mut self, field: &'static str, limit: usize) -> Result<Bytes, WireError> {
        let length = self.bounded(field, limit as u64)? as usize;
        self.take(field, length)
    }

    /// All that is left, shared with the frame it stands in.
    pub fn into_rest(self) -> Bytes {
        self.bytes
    }

    /// Refuses bytes that are left over.
    pub fn finish(self) -> Result<(), WireError> {
        match self.bytes.len() {
            0 => Ok(()),
            bytes => Err(WireError::Trailing { bytes }),
        }
    }
}

/// Appends a variable-length integer.
#[inline]
pub fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Appends a length and the bytes.
pub fn put_blob(out: &mut BytesMut, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

/// Text of a peer is for people only, so what is not UTF-8 is shown as it can be.
pub(super) fn text(bytes: Bytes) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn truncated(text: &str) -> &str {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
