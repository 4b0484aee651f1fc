//! What every codec promises.
//!
//! # Laws
//!
//! 1. **Round trip.** What is encoded decodes to an equal value.
//! 2. **Appending.** Encoding appends to the buffer and never touches what is in it; after an error the buffer is as before.
//! 3. **Whole.** A body that is cut short or has bytes left over is an error.
//! 4. **Bound.** Neither encoding nor decoding goes beyond the limit given, and decoding allocates no more than a small
//!    multiple of the bytes that it was given.
//! 5. **No panic.** Any bytes decode to a value or an error.
//!
//! [`uphold`] runs the laws against a codec.

use std::fmt;
use std::io;

use mcpbus_actors::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest body that any codec handles, in bytes, whatever limit it is given: 16 MiB.
pub const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// Which codec wrote a body. The number travels with the body's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CodecId(u8);

impl CodecId {
    /// Bytes as they are.
    pub const RAW: Self = Self(0);
    /// bincode 2, standard configuration.
    pub const BINCODE: Self = Self(1);
    /// JSON in UTF-8.
    pub const JSON: Self = Self(2);

    /// The codec with a number from the wire, or `None` where the number has no meaning.
    pub const fn from_number(number: u8) -> Option<Self> {
        if number <= Self::JSON.0 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The codec's name in words.
    pub const fn name(self) -> &'static str {
        match self.0 {
            0 => "raw",
            1 => "bincode",
            _ => "json",
        }
    }
}

impl fmt::Display for CodecId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A message that can leave the process. Every message that serde can write and read is one; it is asked for only on an
/// edge that crosses a link.
pub trait WireMessage: Message + Serialize + DeserializeOwned {}

impl<M: Message + Serialize + DeserializeOwned> WireMessage for M {}

/// Turns messages of type `M` into bytes and back. See the laws of this module.
pub trait Codec<M> {
    /// Which codec this is, for the wire.
    const ID: CodecId;

    /// Appends the message's body to `buffer`: at most `limit` bytes, and at most [`MAX_BODY_BYTES`].
    ///
    /// # Errors
    ///
    /// [`EncodeError`]; the sender recovers, by a smaller or another message. `buffer` is as it was before.
    fn encode(&self, message: &M, limit: usize, buffer: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// Decodes a whole body of at most `limit` bytes, and at most [`MAX_BODY_BYTES`].
    ///
    /// # Errors
    ///
    /// [`DecodeError`]; nobody can recover, and the message is dead-lettered with the reason `decode`.
    fn decode(&self, body: &[u8], limit: usize) -> Result<M, DecodeError>;
}

/// Why a message could not be encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The body would be larger than allowed. The sender splits it, or the limit is raised at both ends.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The message has no form in this codec, for example a map with keys that are no text in JSON.
    Unsupported {
        /// Which codec.
        codec: CodecId,
        /// What it said.
        problem: String,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => {
                write!(
                    formatter,
                    "the body is larger than {limit} bytes: send less, or raise the limit at both ends"
                )
            }
            Self::Unsupported { codec, problem } => {
                write!(
                    formatter,
                    "the message has no form in {codec}: {problem}; use another codec"
                )
            }
        }
    }
}

impl std::error::Error for EncodeError {}

/// Why a body could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The body is larger than allowed. The limit is raised at this end, or the sender sends less.
    TooLarge {
        /// The body's size in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The bytes are no body of the expected type. Sender and receiver disagree on the type, or the bytes are damaged.
    Malformed {
        /// Which codec.
        codec: CodecId,
        /// What it said.
        problem: String,
    },
    /// The body goes on after the value. Sender and receiver disagree on the type.
    LeftOver {
        /// Which codec.
        codec: CodecId,
        /// How many bytes are left over.
        bytes: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes, limit } => {
                write!(
                    formatter,
                    "the body has {bytes} bytes and {limit} are allowed: send less, or raise the limit"
                )
            }
            Self::Malformed { codec, problem } => {
                write!(
                    formatter,
                    "the bytes are no {codec} body of the expected type: {problem}"
                )
            }
            Self::LeftOver { codec, bytes } => {
                write!(
                    formatter,
                    "{bytes} bytes are left over after the {codec} body: the types at both ends differ"
                )
            }
        }
    }
}

impl std::error::Error for DecodeError {}

/// The limit that counts, and an error where the body is above it.
pub(super) fn check_size(body: &[u8], limit: usize) -> Result<(), DecodeError> {
    let limit = limit.min(MAX_BODY_BYTES);
    match body.len() > limit {
        true => Err(DecodeError::TooLarge {
            bytes: body.len(),
            limit,
        }),
        false => Ok(()),
    }
}

/// Appends to a buffer up to a limit, and takes everything back unless told that it is whole.
pub(super) struct BoundedAppend<'a> {
    buffer: &'a mut Vec<u8>,
    start: usize,
    limit: usize,
    overflowed: bool,
}

impl<'a> BoundedAppend<'a> {
    pub(super) fn new(buffer: &'a mut Vec<u8>, limit: usize) -> Self {
        let start = buffer.len();
        Self {
            buffer,
            start,
            limit: limit.min(MAX_BODY_BYTES),
            overflowed: false,
        }
    }

    /// Keeps what was appended where `result` is Ok, and otherwise says what went wrong.
    pub(super) fn settle<E: fmt::Display>(
        self,
        codec: CodecId,
        result: Result<(), E>,
    ) -> Result<(), EncodeError> {
        result.map_err(|error| {
            self.buffer.truncate(self.start);
            match self.overflowed {
                true => EncodeError::TooLarge { limit: self.limit },
                false => EncodeError::Unsupported {
                    codec,
                    problem: error.to_string(),
                },
            }
        })
    }
}

impl io::Write for BoundedAppend<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit - (self.buffer.len() - self.start) {
            self.overflowed = true;
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs the laws against a codec, with a message whose body has at least two bytes. Called from tests only.
///
/// `self_delimiting` says whether the codec knows where a body ends; [`RawCodec`](super::RawCodec) does not, so the third
/// law cannot hold for it.
///
/// # Panics
///
/// When a law is broken; the message names the law.
pub fn uphold<M, C>(codec: &C, message: &M, self_delimiting: bool)
where
    M: PartialEq + fmt::Debug,
    C: Codec<M>,
{
    let before = b"before".to_vec();
    let mut buffer = before.clone();
    codec
        .encode(message, MAX_BODY_BYTES, &mut buffer)
        .unwrap_or_else(|error| panic!("law 1, round trip: {error}"));
    assert!(buffer.starts_with(&before), "law 2: encoding appends");
    let body = buffer.split_off(before.len());
    assert!(
        body.len() >= 2,
        "the laws need a message with a body of at least two bytes"
    );
    assert_eq!(
        codec.decode(&body, body.len()).as_ref(),
        Ok(message),
        "law 1: what is encoded decodes"
    );

    let limit = body.len() - 1;
    assert_eq!(
        codec.encode(message, limit, &mut buffer),
        Err(EncodeError::TooLarge { limit }),
        "law 4: encoding is bounded"
    );
    assert_eq!(
        buffer, before,
        "law 2: after an error the buffer is as before"
    );
    let too_large = DecodeError::TooLarge {
        bytes: body.len(),
        limit,
    };
    assert_eq!(
        codec.decode(&body, limit),
        Err(too_large),
        "law 4: decoding is bounded"
    );

    if self_delimiting {
        for end in 0..body.len() {
            assert!(
                codec.decode(&body[..end], MAX_BODY_BYTES).is_err(),
                "law 3: a body cut short is an error"
            );
        }
        let mut longer = body.clone();
        longer.push(b'x');
        assert!(
            codec.decode(&longer, MAX_BODY_BYTES).is_err(),
            "law 3: bytes left over are an error"
        );
    }
    for position in 0..body.len() {
        for value in [0, 1, 0x7f, 0x80, 0xfb, 0xfc, 0xfd, 0xfe, 0xff] {
            let mut damaged = body.clone();
            damaged[position] = value;
            // Law 5: a value or an error, never a panic.
            let _ = codec.decode(&damaged, MAX_BODY_BYTES);
        }
    }
}
