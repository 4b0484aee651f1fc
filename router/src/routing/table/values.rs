//! The values that stand under one pattern.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::quality::FixedState;

use super::hash_trie::HashTrie;

/// Up to this many values are kept as a list, in the order in which they came: a list is read faster, and at
/// this size copying it costs no more than copying a path of a tree.
const LIST: usize = 16;

/// A persistent set: cheap to clone, and to change while clones exist, at any size.
#[derive(Debug, Clone)]
pub(super) enum Values<V> {
    None,
    One(V),
    Few(Arc<Vec<V>>),
    /// Boxed, because most patterns have few values and all pay for the largest form.
    Many(Box<HashTrie<V, ()>>),
}

impl<V: Clone + Eq + Hash> Values<V> {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(super) fn contains(&self, value: &V, hasher: &FixedState) -> bool {
        match self {
            Self::None => false,
            Self::One(held) => held == value,
            Self::Few(list) => list.contains(value),
            Self::Many(set) => set
                .get(hasher.hash_one(value), |held| held == value)
                .is_some(),
        }
    }

    /// Adds a value that is known to be absent.
    pub(super) fn insert(&mut self, value: V, hasher: &FixedState) {
        match self {
            Self::None => *self = Self::One(value),
            Self::One(first) => *self = Self::Few(Arc::new(vec![first.clone(), value])),
            Self::Few(list) if list.len() < LIST => Arc::make_mut(list).push(value),
            Self::Few(list) => {
                let mut set = HashTrie::new();
                for held in list.iter().chain([&value]) {
                    set.entry(hasher.hash_one(held), held, || ());
                }
                *self = Self::Many(Box::new(set));
            }
            Self::Many(set) => *set.entry(hasher.hash_one(&value), &value, || ()) = (),
        }
    }

    /// Takes out a value that is known to be present.
    pub(super) fn remove(&mut self, value: &V, hasher: &FixedState) {
        match self {
            Self::None => {}
            Self::One(_) => *self = Self::None,
            Self::Few(list) => {
                Arc::make_mut(list).retain(|held| held != value);
                if let [last] = list.as_slice() {
                    *self = Self::One(last.clone());
                }
            }
            Self::Many(set) => {
                set.remove(hasher.hash_one(value), value);
                // Half of the list's size keeps a set that hovers around it from changing shape each time.
                if set.len() <= LIST / 2 {
                    let mut list = Vec::with_capacity(LIST);
                    set.for_each(&mut |held, ()| list.push(held.clone()));
                    *self = Self::Few(Arc::new(list));
                }
            }
        }
    }

    pub(super) fn for_each(&self, visit: &mut impl FnMut(&V)) {
        match self {
            Self::None => {}
            Self::One(value) => visit(value),
            Self::Few(list) => list.iter().for_each(visit),
            Self::Many(set) => set.for_each(&mut |value, ()| visit(value)),
        }
    }
}
