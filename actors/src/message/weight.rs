//! How many bytes a value holds outside itself, so that channels can be bounded in bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Key, Time};

/// Bytes a value owns on the heap, besides its own `size_of`.
///
/// It is an estimate for bounds: cheap to compute, and it must not change while the value lies in a queue.
pub trait HeapSize {
    /// Whether no value of this type ever owns memory: then all weigh the same, and channels need not ask each one.
    const OWNS_NOTHING: bool = false;

    /// Bytes on the heap that belong to this value.
    fn heap_size(&self) -> usize;
}

/// What every value of a type weighs that never owns memory.
#[must_use]
pub(super) const fn fixed<T: HeapSize>() -> Option<usize> {
    if T::OWNS_NOTHING {
        Some(size_of::<T>())
    } else {
        None
    }
}

macro_rules! no_heap {
    ($($type:ty),* $(,)?) => {$(
        impl HeapSize for $type {
            const OWNS_NOTHING: bool = true;
            #[inline]
            fn heap_size(&self) -> usize { 0 }
        }
    )*};
}
no_heap!(
    (),
    bool,
    char,
    u8,
    u16,
    u32,
    u64,
    u128,
    usize,
    i8,
    i16,
    i32,
    i64,
    i128,
    isize,
    f32,
    f64,
    Duration,
    SystemTime,
    Time,
    Key,
    &'static str,
);

impl HeapSize for String {
    fn heap_size(&self) -> usize {
        self.capacity()
    }
}

impl HeapSize for Box<str> {
    fn heap_size(&self) -> usize {
        self.len()
    }
}

// A shared body counts once for each edge that holds it: that is an upper bound, and needs no bookkeeping.
impl HeapSize for Arc<str> {
    fn heap_size(&self) -> usize {
        self.len()
    }
}

impl<T: HeapSize> HeapSize for Arc<T> {
    fn heap_size(&self) -> usize {
        size_of::<T>() + (**self).heap_size()
    }
}

impl<T: HeapSize> HeapSize for Box<T> {
    fn heap_size(&self) -> usize {
        size_of::<T>() + (**self).heap_size()
    }
}

impl<T: HeapSize> HeapSize for Option<T> {
    const OWNS_NOTHING: bool = T::OWNS_NOTHING;
    fn heap_size(&self) -> usize {
        self.as_ref().map_or(0, HeapSize::heap_size)
    }
}

impl<T: HeapSize, E: HeapSize> HeapSize for Result<T, E> {
    const OWNS_NOTHING: bool = T::OWNS_NOTHING && E::OWNS_NOTHING;
    fn heap_size(&self) -> usize {
        match self {
            Ok(value) => value.heap_size(),
            Err(error) => error.heap_size(),
        }
    }
}

impl<T: HeapSize> HeapSize for Vec<T> {
    fn heap_size(&self) -> usize {
        self.capacity() * size_of::<T>() + self.iter().map(HeapSize::heap_size).sum::<usize>()
    }
}

impl<T: HeapSize> HeapSize for VecDeque<T> {
    fn heap_size(&self) -> usize {
        self.capacity() * size_of::<T>() + self.iter().map(HeapSize::heap_size).sum::<usize>()
    }
}

impl<T: HeapSize, const N: usize> HeapSize for [T; N] {
    const OWNS_NOTHING: bool = T::OWNS_NOTHING;
    fn heap_size(&self) -> usize {
        self.iter().map(HeapSize::heap_size).sum()
    }
}

impl<K: HeapSize, V: HeapSize> HeapSize for BTreeMap<K, V> {
    fn heap_size(&self) -> usize {
        self.iter()
            .map(|(key, value)| size_of::<(K, V)>() + key.heap_size() + value.heap_size())
            .sum()
    }
}

impl<T: HeapSize> HeapSize for BTreeSet<T> {
    fn heap_size(&self) -> usize {
        self.iter()
            .map(|value| size_of::<T>() + value.heap_size())
            .sum()
    }
}

impl<K: HeapSize, V: HeapSize, S> HeapSize for HashMap<K, V, S> {
    fn heap_size(&self) -> usize {
        self.capacity() * size_of::<(K, V)>()
            + self
                .iter()
                .map(|(key, value)| key.heap_size() + value.heap_size())
                .sum::<usize>()
    }
}

impl<T: HeapSize, S> HeapSize for HashSet<T, S> {
    fn heap_size(&self) -> usize {
        self.capacity() * size_of::<T>() + self.iter().map(HeapSize::heap_size).sum::<usize>()
    }
}

macro_rules! tuple_heap {
    ($(($($name:ident $index:tt),+)),+ $(,)?) => {$(
        impl<$($name: HeapSize),+> HeapSize for ($($name,)+) {
            const OWNS_NOTHING: bool = true $(&& $name::OWNS_NOTHING)+;
            fn heap_size(&self) -> usize { 0 $(+ self.$index.heap_size())+ }
        }
    )+};
}
tuple_heap!((A 0), (A 0, B 1), (A 0, B 1, C 2), (A 0, B 1, C 2, D 3), (A 0, B 1, C 2, D 3, E 4), (A 0, B 1, C 2, D 3, E 4, F 5));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_values_are_counted() {
        let value = vec![String::with_capacity(10), String::with_capacity(20)];
        assert_eq!(value.heap_size(), 2 * size_of::<String>() + 30);
        assert_eq!((1u8, Some(Box::new(3u64))).heap_size(), 8);
        assert_eq!([String::with_capacity(4), String::new()].heap_size(), 4);
    }

    #[test]
    fn what_owns_nothing_says_so() {
        assert_eq!(fixed::<(u64, Option<[u64; 3]>)>(), Some(40));
        assert_eq!(fixed::<(u8, Option<[String; 3]>)>(), None);
        assert_eq!(fixed::<Result<u8, Box<u8>>>(), None);
    }
}
