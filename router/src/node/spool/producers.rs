//! What of which producer is stored already, so that a repeat is not stored twice.
//!
//! A producer's messages come on several flows, each in order, so what is stored of it is a few ranges of sequences.
//! Only a message that its sender marks as a repeat is looked up: a gap that was forgotten can never swallow a message
//! that is new.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use mcpbus_transport::wire::ProducerId;
use std::collections::BTreeMap;

/// Most ranges that are kept of one producer; beyond, the oldest is forgotten.
const RANGES_MAX: usize = 1024;
/// Most producers that are remembered; beyond, the one that has stored nothing for longest is forgotten.
pub(super) const PRODUCERS_MAX: usize = 4096;
/// First byte of the key of a producer's value.
pub(super) const PRODUCER_KEY: u8 = b'p';

/// Sequences as ranges: first to last, both included, not touching each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sequences {
    ranges: BTreeMap<u64, u64>,
}

impl Sequences {
    pub(super) fn contains(&self, sequence: u64) -> bool {
        self.ranges
            .range(..=sequence)
            .next_back()
            .is_some_and(|(_, last)| *last >= sequence)
    }

    pub(super) fn insert(&mut self, sequence: u64) {
        if self.contains(sequence) {
            return;
        }
        let mut first = sequence;
        let mut last = sequence;
        if let Some((&before, &end)) = self.ranges.range(..sequence).next_back()
            && end + 1 == sequence
        {
            self.ranges.remove(&before);
            first = before;
        }
        if let Some(end) = sequence
            .checked_add(1)
            .and_then(|next| self.ranges.remove(&next))
        {
            last = end;
        }
        self.ranges.insert(first, last);
        // A repeat of what is forgotten is stored twice; joined to the next range, what never came would count as stored.
        if self.ranges.len() > RANGES_MAX {
            self.ranges.pop_first();
        }
    }

    fn remove(&mut self, sequence: u64) {
        let Some((&first, &last)) = self.ranges.range(..=sequence).next_back() else {
            return;
        };
        if last < sequence {
            return;
        }
        self.ranges.remove(&first);
        if first < sequence {
            self.ranges.insert(first, sequence - 1);
        }
        if sequence < last {
            self.ranges.insert(sequence + 1, last);
        }
    }

    fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.ranges.len() * 16);
        for (first, last) in &self.ranges {
            out.put_u64_le(*first);
            out.put_u64_le(*last);
        }
        out.freeze()
    }

    fn decode(mut bytes: Bytes) -> Self {
        let mut ranges = BTreeMap::new();
        while bytes.remaining() >= 16 && ranges.len() < RANGES_MAX {
            let (first, last) = (bytes.get_u64_le(), bytes.get_u64_le());
            if first <= last {
                ranges.insert(first, last);
            }
        }
        Self { ranges }
    }
}

/// A producer, and the scope in which its messages were stored: 0 where they entered the bus, otherwise for whom they are
/// and after how many hops. A message may pass a node once for each node behind it, and once more after a detour.
type Id = (u128, u128, u64);

/// Whose message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) producer: ProducerId,
    pub(super) scope: u128,
}

impl Source {
    fn id(self) -> Id {
        (self.scope, self.producer.id, self.producer.epoch)
    }
}

/// What is known of one producer.
#[derive(Clone, Debug, Default)]
struct Known {
    stored: Sequences,
    /// When it last stored something, as a number that rises.
    used: u64,
}

/// What of which producer is stored, or will be with the next commits.
#[derive(Debug, Default)]
pub(super) struct Producers {
    known: BTreeMap<Id, Known>,
    uses: u64,
}

impl Producers {
    pub(super) fn contains(&self, source: Source, sequence: u64) -> bool {
        self.known
            .get(&source.id())
            .is_some_and(|known| known.stored.contains(sequence))
    }

    /// Notes a message. Returns a producer that is forgotten for it.
    pub(super) fn insert(&mut self, source: Source, sequence: u64) -> Option<Bytes> {
        self.uses += 1;
        let known = self.known.entry(source.id()).or_default();
        known.used = self.uses;
        known.stored.insert(sequence);
        if self.known.len() <= PRODUCERS_MAX {
            return None;
        }
        let (&oldest, _) = self.known.iter().min_by_key(|(_, known)| known.used)?;
        self.known.remove(&oldest);
        Some(key(oldest))
    }

    /// The message was not stored after all.
    pub(super) fn remove(&mut self, source: Source, sequence: u64) {
        if let Some(known) = self.known.get_mut(&source.id()) {
            known.stored.remove(sequence);
        }
    }

    /// The key and the value to keep for a producer.
    pub(super) fn value(&self, source: Source) -> Option<(Bytes, Bytes)> {
        let id = source.id();
        Some((key(id), self.known.get(&id)?.stored.encode()))
    }

    /// Takes over a value of an earlier life.
    pub(super) fn recover(&mut self, key: &Bytes, value: Bytes) {
        let mut key = key.clone();
        if key.remaining() == 41 && key.get_u8() == PRODUCER_KEY {
            let id = (key.get_u128(), key.get_u128(), key.get_u64());
            let known = self.known.entry(id).or_default();
            known.stored = Sequences::decode(value);
        }
    }
}

fn key((scope, id, epoch): Id) -> Bytes {
    let mut key = BytesMut::with_capacity(41);
    key.put_u8(PRODUCER_KEY);
    key.put_u128(scope);
    key.put_u128(id);
    key.put_u64(epoch);
    key.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn ranges_are_a_set(changes in proptest::collection::vec((any::<bool>(), 0u64..60), 0..200)) {
            let mut ranges = Sequences::default();
            let mut model = BTreeSet::new();
            for (add, sequence) in changes {
                if add {
                    ranges.insert(sequence);
                    model.insert(sequence);
                } else {
                    ranges.remove(sequence);
                    model.remove(&sequence);
                }
                for sequence in 0..61 {
                    prop_assert_eq!(ranges.contains(sequence), model.contains(&sequence));
                }
                prop_assert_eq!(&Sequences::decode(ranges.encode()), &ranges);
            }
        }
    }

    #[test]
    fn the_number_of_ranges_is_bounded_and_what_never_came_is_not_stored() {
        let mut ranges = Sequences::default();
        let most = 3 * RANGES_MAX as u64;
        for sequence in 0..most {
            ranges.insert(sequence * 2);
        }
        assert_eq!(ranges.ranges.len(), RANGES_MAX);
        for sequence in 0..most {
            let kept = sequence >= most - RANGES_MAX as u64;
            assert_eq!(ranges.contains(sequence * 2), kept);
            assert!(!ranges.contains(sequence * 2 + 1));
        }
    }

    #[test]
    fn the_number_of_producers_is_bounded_and_the_idle_one_goes() {
        let mut producers = Producers::default();
        let id = |id| Source {
            producer: ProducerId { id, epoch: 1 },
            scope: 0,
        };
        for number in 0..PRODUCERS_MAX as u128 {
            assert_eq!(producers.insert(id(number), 1), None);
        }
        producers.insert(id(0), 2);
        let gone = producers.insert(id(u128::MAX), 1);
        assert_eq!(gone, Some(key((0, 1, 1))));
        assert!(producers.contains(id(0), 1) && !producers.contains(id(1), 1));
    }
}
