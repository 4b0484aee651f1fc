//! A persistent hash map: a clone is one reference count, a change copies one path of small nodes.

use std::sync::Arc;

/// Bits of the hash that one level consumes; a level has at most 32 slots.
const LEVEL_BITS: u32 = 5;

/// A map whose caller supplies the hash of each key, so that a key hashed once is looked up in many maps.
///
/// A node shared with a clone is copied when it is changed; a node held once is changed in place.
#[derive(Debug)]
pub(super) struct HashTrie<K, V> {
    root: Branch<K, V>,
    length: usize,
}

/// One level. The bitmap lies beside the pointer, so that a level costs one cache miss.
#[derive(Debug)]
struct Branch<K, V> {
    /// Bit `i` is set when the slot for hash digit `i` exists; slots are stored in the order of their bits.
    bitmap: u32,
    slots: Arc<[Slot<K, V>]>,
}

#[derive(Debug)]
enum Slot<K, V> {
    Leaf {
        hash: u64,
        key: K,
        value: V,
    },
    Branch(Branch<K, V>),
    /// Keys whose whole hash is equal.
    Collision(Arc<Vec<(K, V)>>),
}

impl<K, V> Clone for HashTrie<K, V> {
    fn clone(&self) -> Self {
        Self {
            root: self.root.clone(),
            length: self.length,
        }
    }
}

impl<K, V> Clone for Branch<K, V> {
    fn clone(&self) -> Self {
        Self {
            bitmap: self.bitmap,
            slots: self.slots.clone(),
        }
    }
}

impl<K: Clone, V: Clone> Clone for Slot<K, V> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf { hash, key, value } => Self::Leaf {
                hash: *hash,
                key: key.clone(),
                value: value.clone(),
            },
            Self::Branch(branch) => Self::Branch(branch.clone()),
            Self::Collision(entries) => Self::Collision(Arc::clone(entries)),
        }
    }
}

impl<K, V> HashTrie<K, V> {
    pub(super) fn new() -> Self {
        Self {
            root: Branch::empty(),
            length: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn get(&self, hash: u64, is: impl Fn(&K) -> bool) -> Option<&V> {
        let mut branch = &self.root;
        let mut shift = 0;
        loop {
            match branch.slot(hash, shift)? {
                Slot::Leaf {
                    hash: held,
                    key,
                    value,
                } => return (*held == hash && is(key)).then_some(value),
                Slot::Branch(next) => branch = next,
                Slot::Collision(entries) => {
                    return entries
                        .iter()
                        .find(|(key, _)| is(key))
                        .map(|(_, value)| value);
                }
            }
            shift += LEVEL_BITS;
        }
    }

    pub(super) fn for_each(&self, visit: &mut impl FnMut(&K, &V)) {
        self.root.for_each(visit);
    }
}

impl<K: Clone + Eq, V: Clone> HashTrie<K, V> {
    /// The value of `key`, made by `make` when it was absent, for change in place.
    pub(super) fn entry(&mut self, hash: u64, key: &K, make: impl Fn() -> V) -> &mut V {
        let length = &mut self.length;
        self.root.entry(hash, 0, key, &mut || {
            *length += 1;
            make()
        })
    }

    /// The value of `key` for change in place; nothing is copied when the key is absent.
    pub(super) fn get_mut(&mut self, hash: u64, key: &K) -> Option<&mut V> {
        self.get(hash, |held| held == key)?;
        Some(self.entry_of_present(hash, key))
    }

    fn entry_of_present(&mut self, hash: u64, key: &K) -> &mut V {
        let mut branch = &mut self.root;
        let mut shift = 0;
        loop {
            let index = branch.index(hash, shift);
            match &mut Arc::make_mut(&mut branch.slots)[index] {
                Slot::Leaf { value, .. } => return value,
                Slot::Branch(next) => branch = next,
                Slot::Collision(entries) => {
                    let entries = Arc::make_mut(entries);
                    let at = entries
                        .iter()
                        .position(|(held, _)| held == key)
                        .unwrap_or(0);
                    return &mut entries[at].1;
                }
            }
            shift += LEVEL_BITS;
        }
    }

    /// Takes `key` out; `false` when it was absent.
    pub(super) fn remove(&mut self, hash: u64, key: &K) -> bool {
        if self.get(hash, |held| held == key).is_none() {
            return false;
        }
        self.root.remove(hash, 0, key);
        self.length -= 1;
        true
    }
}

impl<K, V> Branch<K, V> {
    fn empty() -> Self {
        Self {
            bitmap: 0,
            slots: Arc::from([]),
        }
    }

    fn bit(hash: u64, shift: u32) -> u32 {
        1 << ((hash >> shift) & 31)
    }

    /// Where the slot for this digit stands, or would stand.
    fn index(&self, hash: u64, shift: u32) -> usize {
        (self.bitmap & (Self::bit(hash, shift) - 1)).count_ones() as usize
    }

    fn slot(&self, hash: u64, shift: u32) -> Option<&Slot<K, V>> {
        (self.bitmap & Self::bit(hash, shift) != 0).then(|| &self.slots[self.index(hash, shift)])
    }

    fn for_each(&self, visit: &mut impl FnMut(&K, &V)) {
        for slot in self.slots.iter() {
            match slot {
                Slot::Leaf { key, value, .. } => visit(key, value),
                Slot::Branch(branch) => branch.for_each(visit),
                Slot::Collision(entries) => {
                    entries.iter().for_each(|(key, value)| visit(key, value))
                }
            }
        }
    }
}

impl<K: Clone + Eq, V: Clone> Branch<K, V> {
    fn entry(&mut self, hash: u64, shift: u32, key: &K, make: &mut impl FnMut() -> V) -> &mut V {
        let bit = Self::bit(hash, shift);
        let index = self.index(hash, shift);
        if self.bitmap & bit == 0 {
            self.bitmap |= bit;
            let added = Slot::Leaf {
                hash,
                key: key.clone(),
                value: make(),
            };
            let (left, right) = self.slots.split_at(index);
            self.slots = left
                .iter()
                .cloned()
                .chain([added])
                .chain(right.iter().cloned())
                .collect();
        } else if let Slot::Leaf {
            hash: held,
            key: other,
            ..
        } = &self.slots[index]
            && (*held != hash || other != key)
        {
            self.split(index, hash, shift);
        }
        match &mut Arc::make_mut(&mut self.slots)[index] {
            Slot::Leaf { value, .. } => value,
            Slot::Branch(branch) => branch.entry(hash, shift + LEVEL_BITS, key, make),
            Slot::Collision(entries) => {
                let entries = Arc::make_mut(entries);
                let at = entries
                    .iter()
                    .position(|(held, _)| held == key)
                    .unwrap_or_else(|| {
                        entries.push((key.clone(), make()));
                        entries.len() - 1
                    });
                &mut entries[at].1
            }
        }
    }

    /// Makes room beside the leaf at `index` for a key of `hash`.
    fn split(&mut self, index: usize, hash: u64, shift: u32) {
        let Slot::Leaf {
            hash: held,
            key,
            value,
        } = self.slots[index].clone()
        else {
            return;
        };
        Arc::make_mut(&mut self.slots)[index] = if held == hash {
            Slot::Collision(Arc::new(vec![(key, value)]))
        } else {
            let bitmap = Self::bit(held, shift + LEVEL_BITS);
            Slot::Branch(Self {
                bitmap,
                slots: Arc::from([Slot::Leaf {
                    hash: held,
                    key,
                    value,
                }]),
            })
        };
    }

    /// Takes out a key that is known to be present.
    fn remove(&mut self, hash: u64, shift: u32, key: &K) {
        let index = self.index(hash, shift);
        let emptied = match &mut Arc::make_mut(&mut self.slots)[index] {
            Slot::Leaf { .. } => true,
            Slot::Branch(branch) => {
                branch.remove(hash, shift + LEVEL_BITS, key);
                branch.slots.is_empty()
            }
            Slot::Collision(entries) => {
                let entries = Arc::make_mut(entries);
                entries.retain(|(held, _)| held != key);
                entries.is_empty()
            }
        };
        if emptied {
            self.bitmap &= !Self::bit(hash, shift);
            let kept = self.slots.iter().enumerate().filter(|(at, _)| *at != index);
            self.slots = kept.map(|(_, slot)| slot.clone()).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn content(map: &HashTrie<u32, u32>) -> BTreeMap<u32, u32> {
        let mut all = BTreeMap::new();
        map.for_each(&mut |key, value| assert!(all.insert(*key, *value).is_none()));
        assert_eq!(all.len(), map.len());
        all
    }

    proptest! {
        /// Hashes of few bits make collisions and deep branches common.
        #[test]
        fn behaves_as_a_map_and_leaves_snapshots_alone(
            steps in proptest::collection::vec((0u32..60, 0u32..1000, 0u8..4), 1..300),
            deep in any::<bool>(),
        ) {
            let hash = |key: u32| if deep { u64::from(key % 7) << 60 } else { u64::from(key % 7) * 0x0421 };
            let mut map = HashTrie::new();
            let mut model = BTreeMap::new();
            let mut snapshots = Vec::new();
            for (key, value, action) in steps {
                match action {
                    0 => prop_assert_eq!(map.remove(hash(key), &key), model.remove(&key).is_some()),
                    1 => snapshots.push((map.clone(), model.clone())),
                    _ => {
                        *map.entry(hash(key), &key, || 0) = value;
                        model.insert(key, value);
                    }
                }
                prop_assert_eq!(map.get(hash(key), |held| *held == key), model.get(&key));
                prop_assert_eq!(map.get_mut(hash(key), &key).copied(), model.get(&key).copied());
            }
            prop_assert_eq!(content(&map), model);
            for (map, model) in snapshots {
                prop_assert_eq!(content(&map), model);
            }
        }
    }
}
