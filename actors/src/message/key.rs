//! The key of a message: what order and stickiness are kept for.

use std::fmt;
use xxhash_rust::xxh3::xxh3_64;

/// The key of a message as 64 bits. Messages with equal keys keep their order.
///
/// [`Key::from_bytes`] is xxh3-64 with seed 0, so it is equal on every node and in every version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key(pub u64);

impl Key {
    /// The key of these bytes: their xxh3-64.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(xxh3_64(bytes))
    }

    /// The key as a number.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::from_bytes(text.as_bytes())
    }
}

impl From<&String> for Key {
    fn from(text: &String) -> Self {
        Self::from_bytes(text.as_bytes())
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        Self::from_bytes(bytes)
    }
}

macro_rules! key_from_number {
    ($($number:ty),*) => {$(
        impl From<$number> for Key {
            fn from(value: $number) -> Self {
                Self(value as u64)
            }
        }
        impl From<&$number> for Key {
            fn from(value: &$number) -> Self {
                Self(*value as u64)
            }
        }
    )*};
}
key_from_number!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_bytes_is_the_published_hash_and_a_number_is_itself() {
        // Reference value of xxh3-64 for the empty input: peers in other languages must agree.
        assert_eq!(Key::from_bytes(b"").value(), 0x2d06_8005_38d3_94c2);
        assert_eq!(Key::from("a"), Key::from_bytes(b"a"));
        assert_eq!(Key::from(7u64), Key(7));
        assert_eq!(Key::from(-1i64), Key(u64::MAX));
    }
}
