//! What travels beside every body: one cache line, no allocation for an ordinary message.

use std::fmt;

use super::{Key, Time};

/// The header of a message: at most 64 bytes; what most messages do not need lies behind one pointer.
#[derive(Default)]
pub struct Header {
    pub(super) sequence: u64,
    pub(super) key: u64,
    pub(super) common: Common,
    /// Names, at the handler of a batch, what all its headers have in common, so that outputs need not compare it; 0 is
    /// no name. Copies have none.
    pub(super) run: u64,
}

/// What messages that travel together usually have in common: a batch holds it once as long as they do.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Common {
    deadline: Option<std::num::NonZeroU64>,
    event_time: i64,
    producer: u32,
    epoch: u32,
    small: Small,
    rest: Option<Box<Rest>>,
}

impl Common {
    /// Whether it owns no memory: then it may stand for many messages.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.rest.is_none()
    }

    /// A copy of one that is plain.
    #[inline]
    pub(super) fn plain(&self) -> Self {
        debug_assert!(self.is_plain(), "only what owns no memory is copied");
        Self {
            rest: None,
            deadline: self.deadline,
            event_time: self.event_time,
            producer: self.producer,
            epoch: self.epoch,
            small: self.small,
        }
    }

    #[inline]
    pub(super) fn deadline(&self) -> Option<Time> {
        self.deadline
            .map(|nanoseconds| Time::from_nanos(nanoseconds.get()))
    }

    /// Bytes that it holds beside itself.
    #[inline]
    pub(super) fn heap_size(&self) -> usize {
        match &self.rest {
            None => 0,
            Some(rest) => rest.weight(),
        }
    }

    /// One more attempt has failed: how many have.
    pub(super) fn count_attempt(&mut self) -> u8 {
        let attempts = self.small.byte(Small::ATTEMPT).saturating_add(1);
        self.small = self.small.with_byte(Small::ATTEMPT, attempts);
        attempts
    }

    pub(super) fn set_producer(&mut self, producer: u32) {
        self.producer = producer;
        self.epoch = 0;
    }
}

impl Clone for Header {
    #[inline]
    fn clone(&self) -> Self {
        Self {
            sequence: self.sequence,
            key: self.key,
            common: self.common.clone(),
            run: 0,
        }
    }
}

impl PartialEq for Header {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            sequence,
            key,
            common,
            run: _,
        } = self;
        (sequence, key, common) == (&other.sequence, &other.key, &other.common)
    }
}

impl Eq for Header {}

/// Flags, priority, hops and attempt in one word.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Small(u64);

impl Small {
    const PRIORITY: u32 = 16;
    const HOPS: u32 = 24;
    const ATTEMPT: u32 = 32;

    #[inline]
    const fn flags(self) -> Flags {
        let [low, high, ..] = self.0.to_le_bytes();
        Flags(u16::from_le_bytes([low, high]))
    }

    #[inline]
    const fn with_flags(self, flags: Flags) -> Self {
        Self(self.0 & !0xffff | flags.0 as u64)
    }

    #[inline]
    const fn byte(self, shift: u32) -> u8 {
        self.0.to_le_bytes()[(shift / 8) as usize]
    }

    #[inline]
    const fn with_byte(self, shift: u32, value: u8) -> Self {
        Self(self.0 & !(0xff << shift) | (value as u64) << shift)
    }
}

const _: () = assert!(
    size_of::<Header>() <= 64,
    "a header fits into one cache line"
);

/// Yes/no properties of a message. Bits below 8 belong to this library, the others to whoever forwards it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct Flags(pub u16);

impl Flags {
    const HAS_KEY: u16 = 1;
    const HAS_EVENT_TIME: u16 = 2;
    /// Order per key is not asked for.
    pub const UNORDERED: Self = Self(4);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What few messages carry: trace context, labels, a reply address.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Rest {
    /// W3C trace context, if this message is sampled.
    pub trace: Option<TraceContext>,
    /// Labels, in the order in which they were set.
    pub labels: Vec<(Box<str>, Box<str>)>,
    /// Where an answer goes: opaque to this crate.
    pub reply_to: Option<Box<[u8]>>,
}

/// The identity of a sampled trace (W3C trace context).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: u128,
    /// The span that caused this message.
    pub span_id: u64,
    /// W3C trace flags.
    pub flags: u8,
}

impl Header {
    /// A header that says nothing.
    #[must_use]
    #[inline]
    pub fn new() -> Self {
        Self::default()
    }

    /// A header with this key.
    #[must_use]
    #[inline]
    pub fn with_key(key: Option<Key>) -> Self {
        let mut header = Self::default();
        header.set_key(key);
        header
    }

    /// The header of an output that this message causes: key, deadline, event time, priority, hops and trace
    /// are inherited; identity and attempt are not.
    #[must_use]
    pub fn child(&self) -> Self {
        let common = &self.common;
        Self {
            sequence: 0,
            key: self.key,
            common: Common {
                producer: 0,
                epoch: 0,
                deadline: common.deadline,
                event_time: common.event_time,
                small: common.small.with_byte(Small::ATTEMPT, 0),
                rest: common.rest.as_ref().and_then(|rest| rest.child()),
            },
            run: 0,
        }
    }

    /// Who made it, as a handle local to its process (0: unknown).
    #[must_use]
    pub const fn producer(&self) -> u32 {
        self.common.producer
    }

    /// The start of its producer that it belongs to.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.common.epoch
    }

    /// Its number among its producer's messages.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The name of the run of messages it stands for at a handler; 0: none.
    #[inline]
    pub(crate) fn run(&self) -> u64 {
        self.run
    }

    /// Sets the identity: producer handle, the producer's epoch, sequence.
    #[inline]
    pub fn set_identity(&mut self, producer: u32, epoch: u32, sequence: u64) {
        self.common.producer = producer;
        self.common.epoch = epoch;
        self.sequence = sequence;
    }

    /// Its key, if it has one.
    #[must_use]
    #[inline]
    pub const fn key(&self) -> Option<Key> {
        if self.common.small.0 & Flags::HAS_KEY as u64 != 0 {
            Some(Key(self.key))
        } else {
            None
        }
    }

    /// Its key as a number, 0 if it has none.
    #[inline]
    pub(crate) const fn key_number(&self) -> u64 {
        self.key
    }

    /// Sets or removes the key.
    #[inline]
    pub fn set_key(&mut self, key: Option<Key>) {
        match key {
            Some(Key(key)) => {
                self.key = key;
                self.common.small.0 |= u64::from(Flags::HAS_KEY);
            }
            None => {
                self.key = 0;
                self.common.small.0 &= !u64::from(Flags::HAS_KEY);
            }
        }
    }

    /// The point after which nobody should work on it any more.
    #[must_use]
    #[inline]
    pub fn deadline(&self) -> Option<Time> {
        self.common.deadline()
    }

    /// Sets or removes the deadline. A deadline at the origin of the clock is moved one nanosecond later.
    pub fn set_deadline(&mut self, deadline: Option<Time>) {
        self.common.deadline =
            deadline.and_then(|time| std::num::NonZeroU64::new(time.as_nanos().max(1)));
    }

    /// Whether its deadline has passed at `now`.
    #[must_use]
    #[inline]
    pub fn is_expired(&self, now: Time) -> bool {
        self.common
            .deadline
            .is_some_and(|deadline| deadline.get() <= now.as_nanos())
    }

    /// When what it tells happened: nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn event_time(&self) -> Option<i64> {
        if self.common.small.0 & Flags::HAS_EVENT_TIME as u64 != 0 {
            Some(self.common.event_time)
        } else {
            None
        }
    }

    /// Sets or removes the event time (nanoseconds since the Unix epoch).
    pub fn set_event_time(&mut self, event_time: Option<i64>) {
        match event_time {
            Some(time) => {
                self.common.event_time = time;
                self.common.small.0 |= u64::from(Flags::HAS_EVENT_TIME);
            }
            None => {
                self.common.event_time = 0;
                self.common.small.0 &= !u64::from(Flags::HAS_EVENT_TIME);
            }
        }
    }

    /// Its flags.
    #[must_use]
    pub const fn flags(&self) -> Flags {
        self.common.small.flags()
    }

    /// Sets the bits of `flags`.
    pub fn set_flags(&mut self, flags: Flags) {
        let new = flags.0 & !(Flags::HAS_KEY | Flags::HAS_EVENT_TIME);
        self.common.small = self.common.small.with_flags(Flags(self.flags().0 | new));
    }

    /// Its priority; 0 is ordinary, higher is more urgent.
    #[must_use]
    pub const fn priority(&self) -> u8 {
        self.common.small.byte(Small::PRIORITY)
    }

    /// Sets the priority.
    pub fn set_priority(&mut self, priority: u8) {
        self.common.small = self.common.small.with_byte(Small::PRIORITY, priority);
    }

    /// How many nodes it has passed.
    #[must_use]
    pub const fn hops(&self) -> u8 {
        self.common.small.byte(Small::HOPS)
    }

    /// Sets the number of nodes passed.
    pub fn set_hops(&mut self, hops: u8) {
        self.common.small = self.common.small.with_byte(Small::HOPS, hops);
    }

    /// How many times it has been given to a handler and did not end there.
    #[must_use]
    pub const fn attempt(&self) -> u8 {
        self.common.small.byte(Small::ATTEMPT)
    }

    /// Sets the number of failed attempts.
    pub fn set_attempt(&mut self, attempt: u8) {
        self.common.small = self.common.small.with_byte(Small::ATTEMPT, attempt);
    }

    /// The rare rest, if there is one.
    #[must_use]
    pub fn rest(&self) -> Option<&Rest> {
        self.common.rest.as_deref()
    }

    /// The rare rest, made if there is none: this allocates.
    pub fn rest_mut(&mut self) -> &mut Rest {
        self.common.rest.get_or_insert_default()
    }

    /// Bytes a header counts for beside its rest.
    pub(crate) const WEIGHT: usize = size_of::<Self>() - size_of::<u64>();

    /// Bytes this header counts for in a bound, itself included.
    #[must_use]
    #[inline]
    pub fn weight(&self) -> usize {
        Self::WEIGHT + self.common.heap_size()
    }
}

impl Rest {
    /// What an output inherits of it.
    fn child(&self) -> Option<Box<Self>> {
        self.trace.map(|trace| {
            Box::new(Self {
                trace: Some(trace),
                ..Self::default()
            })
        })
    }

    #[cold]
    fn weight(&self) -> usize {
        let labels: usize = self
            .labels
            .iter()
            .map(|(name, value)| 32 + name.len() + value.len())
            .sum();
        size_of::<Self>() + labels + self.reply_to.as_ref().map_or(0, |address| address.len())
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("producer", &self.common.producer)
            .field("epoch", &self.common.epoch)
            .field("sequence", &self.sequence)
            .field("key", &self.key())
            .field("deadline", &self.deadline())
            .field("event_time", &self.event_time())
            .field("flags", &self.flags())
            .field("priority", &self.priority())
            .field("hops", &self.hops())
            .field("attempt", &self.attempt())
            .field("rest", &self.common.rest)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_child_inherits_what_belongs_to_the_matter_and_not_the_identity() {
        let mut header = Header::with_key(Some(Key(0)));
        header.set_identity(3, 1, 9);
        header.set_deadline(Some(Time::from_nanos(50)));
        header.set_event_time(Some(-4));
        header.set_attempt(2);
        header.rest_mut().trace = Some(TraceContext {
            trace_id: 1,
            span_id: 2,
            flags: 1,
        });
        header.rest_mut().reply_to = Some(Box::from(&b"x"[..]));
        let child = header.child();
        assert_eq!(child.key(), Some(Key(0)));
        assert_eq!(child.deadline(), Some(Time::from_nanos(50)));
        assert_eq!(child.event_time(), Some(-4));
        assert_eq!(
            (child.producer(), child.sequence(), child.attempt()),
            (0, 0, 0)
        );
        let rest = child.rest().cloned().unwrap_or_default();
        assert!(rest.trace.is_some() && rest.reply_to.is_none());
    }

    #[test]
    fn a_deadline_expires_at_its_instant() {
        let mut header = Header::new();
        assert!(!header.is_expired(Time::MAX));
        header.set_deadline(Some(Time::ZERO + Duration::from_nanos(5)));
        assert!(!header.is_expired(Time::from_nanos(4)));
        assert!(header.is_expired(Time::from_nanos(5)));
    }
}
