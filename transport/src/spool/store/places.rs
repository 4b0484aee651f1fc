//! Which messages of a batch: a set of offsets.

use super::super::contract::BATCH_MAX;
use crate::wire::cursor::put_varint;
use crate::wire::{Cursor, WireError};
use bytes::BytesMut;

const WORDS: usize = BATCH_MAX / 64;

/// A set of offsets below [`BATCH_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places([u64; WORDS]);

impl Places {
    pub(super) const NONE: Self = Self([0; WORDS]);

    /// The offsets below `count`.
    pub(super) fn below(count: usize) -> Self {
        let mut places = Self::NONE;
        (0..count.min(BATCH_MAX)).for_each(|offset| places.insert(offset));
        places
    }

    pub(super) fn insert(&mut self, offset: usize) {
        if let Some(word) = self.0.get_mut(offset / 64) {
            *word |= 1 << (offset % 64);
        }
    }

    pub(super) fn contains(&self, offset: usize) -> bool {
        self.0
            .get(offset / 64)
            .is_some_and(|word| word >> (offset % 64) & 1 == 1)
    }

    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(super) fn join(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word |= other;
        }
    }

    pub(super) fn without(mut self, other: &Self) -> Self {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word &= !other;
        }
        self
    }

    /// The offsets, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..BATCH_MAX).filter(|offset| self.contains(*offset))
    }

    /// As runs: how many there are, then for each how many offsets are skipped and how many follow.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for offset in self.iter() {
            match runs.last_mut() {
                Some((start, length)) if *start + *length == offset => *length += 1,
                _ => runs.push((offset, 1)),
            }
        }
        put_varint(out, runs.len() as u64);
        let mut end = 0;
        for (start, length) in runs {
            put_varint(out, (start - end) as u64);
            put_varint(out, length as u64);
            end = start + length;
        }
    }

    pub(super) fn decode(cursor: &mut Cursor, count: usize) -> Result<Self, WireError> {
        let mut places = Self::NONE;
        let runs = cursor.bounded("runs", BATCH_MAX as u64)?;
        let mut end = 0;
        for _ in 0..runs {
            let start = end + cursor.bounded("run start", (count - end) as u64)? as usize;
            let length = cursor.bounded("run length", (count - start) as u64)? as usize;
            (start..start + length).for_each(|offset| places.insert(offset));
            end = start + length;
        }
        Ok(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_set_comes_out_as_it_went_in(offsets in proptest::collection::btree_set(0..BATCH_MAX, 0..200)) {
            let mut places = Places::NONE;
            offsets.iter().for_each(|offset| places.insert(*offset));
            prop_assert_eq!(places.count(), offsets.len() as u64);
            prop_assert_eq!(places.iter().collect::<Vec<_>>(), offsets.into_iter().collect::<Vec<_>>());
            let mut out = BytesMut::new();
            places.encode(&mut out);
            let mut cursor = Cursor::new(out.freeze());
            prop_assert_eq!(Places::decode(&mut cursor, BATCH_MAX), Ok(places));
            prop_assert_eq!(cursor.remaining(), 0);
        }

        #[test]
        fn damaged_sets_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..50), count in 0..=BATCH_MAX) {
            if let Ok(places) = Places::decode(&mut Cursor::new(bytes.into()), count) {
                prop_assert!(places.iter().all(|offset| offset < count));
            }
        }
    }
}
