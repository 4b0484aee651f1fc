//! A limit for each identity or each subject, in a table that does not grow.

use super::config_error::{ConfigError, within};
use super::token_bucket::Level;
use super::{Admission, Headers, MessageGuard, Refusal, RefusalReason, TokenBucketConfig};
use foldhash::fast::RandomState;
use mcpbus_actors::Time;
use std::collections::HashMap;

/// What happens to the messages of a key that finds no place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// All such keys share one bucket.
    Share,
    /// They are refused.
    Refuse,
}

/// The setting of [`KeyedLimits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedLimitsConfig {
    each: TokenBucketConfig,
    keys: usize,
    when_full: WhenFull,
}

impl KeyedLimitsConfig {
    /// `each` key has a bucket of its own, for at most `keys` (1 to 1,000,000) at a time.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] where the number of keys cannot be.
    pub fn new(
        each: TokenBucketConfig,
        keys: usize,
        when_full: WhenFull,
    ) -> Result<Self, ConfigError> {
        within("keys", keys as f64, 1.0, 1e6, "keys")?;
        Ok(Self {
            each,
            keys,
            when_full,
        })
    }

    /// Whether messages that are too early wait for their turn.
    #[must_use]
    pub const fn delays(&self) -> bool {
        self.each.delays()
    }

    /// Bytes that the table takes when it is full, for the memory bound.
    #[must_use]
    pub fn memory_bound(&self) -> u64 {
        // The map is made for twice as many, keeps one place in eight free, rounds up to a power of two, and has a byte
        // of its own for each.
        let places = (self.keys as u64 * 2 * 8 / 7 + 1).next_power_of_two();
        places * (size_of::<(u64, u32)>() as u64 + 1) + self.keys as u64 * size_of::<Slot>() as u64
    }
}

/// Slots that are looked at for one that can be reused, when a new key finds the table full.
const LOOKS: usize = 8;

#[derive(Clone, Debug)]
struct Slot {
    key: u64,
    level: Level,
}

/// A token bucket for each key ([`Headers::limit_key`]), for a bounded number of keys.
///
/// A bucket that is full again is as good as one that was never used: when the table is full a new key takes the
/// place of such a one, of which a few are looked at each time. Where there is none, [`WhenFull`] says what happens.
/// All its memory is taken when it is made. Its state is the shard's.
#[derive(Clone, Debug)]
pub struct KeyedLimits {
    config: KeyedLimitsConfig,
    places: HashMap<u64, u32, RandomState>,
    slots: Vec<Slot>,
    /// Where the search for a reusable slot goes on.
    hand: usize,
    shared: Level,
    overflowed: u64,
}

impl KeyedLimits {
    /// An empty table.
    #[must_use]
    pub fn new(config: KeyedLimitsConfig) -> Self {
        Self {
            config,
            // Where at least half is free, the map tidies up in place and never grows.
            places: HashMap::with_capacity_and_hasher(2 * config.keys, RandomState::default()),
            slots: Vec::with_capacity(config.keys),
            hand: 0,
            shared: Level::full(&config.each, Time::ZERO),
            overflowed: 0,
        }
    }

    /// Keys in the table.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.slots.len()
    }

    /// Messages whose key found no place.
    #[must_use]
    pub const fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// A place for a new key.
    #[cold]
    fn place(&mut self, key: u64, now: Time) -> Option<usize> {
        let level = Level::full(&self.config.each, now);
        if self.slots.len() < self.config.keys {
            self.places.insert(key, self.slots.len() as u32);
            self.slots.push(Slot { key, level });
            return Some(self.slots.len() - 1);
        }
        for _ in 0..LOOKS.min(self.slots.len()) {
            let index = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            let slot = &mut self.slots[index];
            if slot.level.is_full(&self.config.each, now) {
                self.places.remove(&slot.key);
                *slot = Slot { key, level };
                self.places.insert(key, index as u32);
                return Some(index);
            }
        }
        None
    }
}

impl MessageGuard for KeyedLimits {
    fn name(&self) -> &'static str {
        "keyed_limits"
    }

    fn admit(&mut self, headers: &Headers, now: Time) -> Admission {
        let known = self
            .places
            .get(&headers.limit_key)
            .map(|index| *index as usize);
        let level = match known.or_else(|| self.place(headers.limit_key, now)) {
            Some(index) => &mut self.slots[index].level,
            None => {
                self.overflowed += 1;
                match self.config.when_full {
                    WhenFull::Share => &mut self.shared,
                    WhenFull::Refuse => {
                        return Admission::Refuse(Refusal::new(RefusalReason::RateLimited));
                    }
                }
            }
        };
        level.admit(&self.config.each, headers, now)
    }

    fn give_back(&mut self, headers: &Headers, _now: Time) {
        let level = match self.places.get(&headers.limit_key) {
            Some(index) => &mut self.slots[*index as usize].level,
            None => &mut self.shared,
        };
        level.give_back(&self.config.each);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::resilience::{TokenBucket, WhenLimited, laws};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn each(rate: f64, burst: u32) -> TokenBucketConfig {
        TokenBucketConfig::new(rate, burst, WhenLimited::Reject).unwrap()
    }

    fn limits(keys: usize, when_full: WhenFull) -> KeyedLimits {
        KeyedLimits::new(KeyedLimitsConfig::new(each(10.0, 2), keys, when_full).unwrap())
    }

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_millis(milliseconds)
    }

    fn passes(limits: &mut KeyedLimits, key: u64, now: Time) -> bool {
        limits.admit(&Headers::new(now).limit_key(key), now) == Admission::Pass
    }

    #[test]
    fn one_key_that_sends_too_much_takes_nothing_from_the_others() {
        let mut limits = limits(100, WhenFull::Share);
        for _ in 0..1000 {
            passes(&mut limits, 1, at(0));
        }
        assert!(!passes(&mut limits, 1, at(0)));
        assert!(passes(&mut limits, 2, at(0)) && passes(&mut limits, 2, at(0)));
        assert!(!passes(&mut limits, 2, at(0)));
    }

    #[test]
    fn the_table_does_not_grow_and_what_finds_no_place_has_a_named_fate() {
        let mut sharing = limits(4, WhenFull::Share);
        let mut refusing = limits(4, WhenFull::Refuse);
        let passed =
            |limits: &mut KeyedLimits| (0..1000).filter(|key| passes(limits, *key, at(0))).count();
        assert_eq!(
            passed(&mut sharing),
            4 + 2,
            "four keys, and the shared bucket's burst"
        );
        assert_eq!(passed(&mut refusing), 4);
        assert_eq!((sharing.keys(), sharing.overflowed()), (4, 996));
        // The buckets are full again, so their places can be taken.
        assert!(passes(&mut refusing, 5000, at(100)));
        assert_eq!(refusing.keys(), 4);
    }

    #[test]
    fn nothing_is_allocated_after_the_start() {
        let mut limits = limits(1000, WhenFull::Share);
        let capacity = limits.places.capacity();
        for message in 0..100_000 {
            passes(&mut limits, message * 7919, at(message * 10));
        }
        // What was removed takes room until the map tidies up, so its capacity may also be seen below.
        assert!(limits.places.capacity() <= capacity, "the map grew");
        assert_eq!(limits.slots.capacity(), 1000);
    }

    #[test]
    fn it_keeps_the_laws() {
        for when_full in [WhenFull::Share, WhenFull::Refuse] {
            laws::check_message_guard(|| Box::new(limits(3, when_full)));
            laws::check_message_guard(|| Box::new(limits(100, when_full)));
        }
    }

    proptest! {
        /// The plain model: a bucket for each key, for ever. Keys that the table forgot had full buckets.
        #[test]
        fn while_the_table_has_room_it_is_a_bucket_for_each_key(
            steps in proptest::collection::vec((0u64..30, 0u64..6), 1..300),
        ) {
            let mut limits = limits(6, WhenFull::Refuse);
            let mut model: BTreeMap<u64, TokenBucket> = BTreeMap::new();
            let mut now = 0;
            for (step, key) in steps {
                now += step;
                let bucket = model.entry(key).or_insert_with(|| TokenBucket::new(each(10.0, 2)));
                prop_assert_eq!(passes(&mut limits, key, at(now)), bucket.take(at(now)).is_ok());
            }
        }

        #[test]
        fn a_key_never_gets_more_than_its_bucket_while_others_come_and_go(
            steps in proptest::collection::vec((0u64..60, 0u64..20), 1..300),
        ) {
            let mut limits = limits(4, WhenFull::Refuse);
            let mut model: BTreeMap<u64, TokenBucket> = BTreeMap::new();
            let mut now = 0;
            for (step, key) in steps {
                now += step;
                let bucket = model.entry(key).or_insert_with(|| TokenBucket::new(each(10.0, 2)));
                if passes(&mut limits, key, at(now)) {
                    prop_assert!(bucket.take(at(now)).is_ok(), "key {} at {}", key, now);
                }
            }
        }
    }
}
