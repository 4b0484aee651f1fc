//! Messages: what a body must tell about itself, what travels beside it, and how it ends.
//!
//! * [`Message`] gives a type its kind, weight and key; `#[derive(Message)]` writes it.
//! * [`Header`] is at most one cache line; [`Envelope`] is header and body; [`Batch`] is what channels move.
//! * [`Outcome`], [`Reason`] and [`ShedReason`] name every way a message can end; [`Ledger`] counts them.
//! * [`ErrorClass`] says what kind of error each of them is, and what follows from it.
//!
//! Invariant: a body and its header move together, and have exactly one owner at every instant.

mod batch;
mod buffer;
mod envelope;
mod error_class;
mod header;
mod key;
mod kind;
mod ledger;
mod outcome;
mod time;
mod weight;

pub use batch::Batch;
pub(crate) use batch::Handle;
pub(crate) use buffer::{Body, Mark, Then};
pub use envelope::Envelope;
pub use error_class::{ErrorClass, Handling, Repeat, Severity};
pub use header::{Flags, Header, Rest, TraceContext};
pub use key::Key;
pub use kind::Kind;
pub use ledger::{DeadCounts, EdgeCounts, EdgeLedger, Ledger, ShedCounts, StageLedger};
pub use outcome::{IntoOutcome, Outcome, Reason, Rejection, RetryClass, ShedReason};
pub use time::{Clock, ManualClock, SystemClock, Time};
pub use weight::HeapSize;

use std::sync::Arc;

/// A value that actors can exchange.
///
/// Derive it: `#[derive(Message)]`, with `#[message(name = "...", version = 2)]` on the type and
/// `#[message(key)]` on the field that is its key.
pub trait Message: Send + 'static {
    /// What it is, by name and shape.
    const KIND: Kind;

    /// What every value of this type weighs, if all weigh the same: then bytes are counted by the number of messages, and
    /// [`Message::weight`], which must say the same, is not asked for each one.
    const FIXED_WEIGHT: Option<usize> = None;

    /// Bytes it counts for in a bound, itself and what it owns on the heap. Must not change while it lies in a queue.
    fn weight(&self) -> usize;

    /// What order and stickiness are kept for; `None`: all messages of a producer on an edge are one sequence.
    fn key(&self) -> Option<Key> {
        None
    }
}

macro_rules! plain_message {
    ($($type:ty),* $(,)?) => {$(
        impl Message for $type {
            const KIND: Kind = Kind::new(stringify!($type), 1, stringify!($type));
            const FIXED_WEIGHT: Option<usize> = weight::fixed::<Self>();
            fn weight(&self) -> usize { size_of::<Self>() + self.heap_size() }
        }
    )*};
}
plain_message!(
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
    String,
    Vec<u8>,
    Box<str>,
    &'static str,
);

impl<T: Message + Sync> Message for Arc<T> {
    const KIND: Kind = T::KIND;
    fn weight(&self) -> usize {
        size_of::<Self>() + (**self).weight()
    }
    fn key(&self) -> Option<Key> {
        (**self).key()
    }
}

impl<T: Message> Message for Box<T> {
    const KIND: Kind = T::KIND;
    fn weight(&self) -> usize {
        size_of::<Self>() + (**self).weight()
    }
    fn key(&self) -> Option<Key> {
        (**self).key()
    }
}

/// The sum of weights, if all are fixed.
const fn sum(weights: &[Option<usize>]) -> Option<usize> {
    let (mut total, mut index) = (0, 0);
    while index < weights.len() {
        match weights[index] {
            Some(weight) => total += weight,
            None => return None,
        }
        index += 1;
    }
    Some(total)
}

macro_rules! tuple_message {
    ($(($text:literal, $($name:ident $index:tt),+)),+ $(,)?) => {$(
        impl<$($name: Message),+> Message for ($($name,)+) {
            const KIND: Kind = Kind::composed($text, &[$($name::KIND),+]);
            const FIXED_WEIGHT: Option<usize> = sum(&[$($name::FIXED_WEIGHT),+]);
            fn weight(&self) -> usize { 0 $(+ self.$index.weight())+ }
        }
    )+};
}
tuple_message!(("tuple2", A 0, B 1), ("tuple3", A 0, B 1, C 2), ("tuple4", A 0, B 1, C 2, D 3));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_are_messages() {
        assert_eq!(7u64.weight(), 8);
        assert_eq!(String::with_capacity(10).weight(), size_of::<String>() + 10);
        assert_eq!(
            (1u64, String::with_capacity(3)).weight(),
            8 + size_of::<String>() + 3
        );
        assert_ne!(<(u8, u64)>::KIND, <(u64, u8)>::KIND);
        assert_eq!(Arc::new(5u32).weight(), 8 + 4);
        assert_eq!(<(u8, u64)>::FIXED_WEIGHT, Some((1u8, 2u64).weight()));
        assert_eq!(<(u8, String)>::FIXED_WEIGHT, None);
    }
}
