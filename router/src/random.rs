//! Numbers that no other process has.

use std::hash::{BuildHasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

/// A random number; the standard library seeds its hashers from the system's source.
pub(crate) fn u64() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// A random number of 128 bits.
pub(crate) fn u128() -> u128 {
    u128::from(u64()) << 64 | u128::from(u64())
}

/// A number that rises with each start on one host: microseconds since 1970.
pub(crate) fn epoch() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(1, |time| time.as_micros() as u64)
}
