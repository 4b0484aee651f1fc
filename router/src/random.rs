//! Numbers that no other process has.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A random number; the standard library seeds its hashers from the system's source.
pub(crate) fn u64() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// A number that rises with each start on one host: microseconds since 1970.
pub(crate) fn epoch() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(1, |time| time.as_micros() as u64)
}

/// Where one part of the process takes its random numbers from: the system, or in simulation a seed.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    seeded: Option<AtomicU64>,
}

impl Numbers {
    /// Numbers that follow from a seed.
    #[cfg(feature = "quic")]
    pub(crate) fn of_seed(seed: u64) -> Self {
        Self {
            seeded: Some(AtomicU64::new(seed)),
        }
    }

    /// A number.
    pub(crate) fn u64(&self) -> u64 {
        let Some(seeded) = &self.seeded else {
            return u64();
        };
        // splitmix64
        let step = 0x9e37_79b9_7f4a_7c15_u64;
        let value = seeded.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
        let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number of 128 bits.
    pub(crate) fn u128(&self) -> u128 {
        u128::from(self.u64()) << 64 | u128::from(self.u64())
    }

    /// A number that rises with each start; the same in each simulation.
    pub(crate) fn epoch(&self) -> u64 {
        if self.seeded.is_some() { 1 } else { epoch() }
    }
}
