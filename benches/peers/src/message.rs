//! What is sent: 64 bytes with a key.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use mcpbus_actors::{Clock, Envelope, Message, SystemClock, Time};

use crate::checksum::Checksum;

/// The bound of every hop, in messages.
pub const CAPACITY: usize = 1024;

/// How far away deadlines are: never reached, always compared.
pub const FAR: Duration = Duration::from_secs(3600);

/// What a candidate moves. Stages written by hand know no more of a message than this.
pub trait Item: Clone + Send + 'static {
    /// What a deadline is compared with; nothing where messages have none.
    type Now: Copy + Send;

    /// The message of this number.
    fn new(number: u64) -> Self;

    /// Whose it is: what it is routed by.
    fn account(&self) -> u64;

    /// What a processor does to its copy.
    fn raise(&mut self);

    /// Adds all of it to the checksum.
    fn add_to(&self, checksum: &mut Checksum);

    /// The time to compare deadlines with.
    fn now() -> Self::Now;

    /// Whether its deadline has passed.
    fn is_late(&self, now: Self::Now) -> bool;

    /// The way that it goes: 0 or 1.
    #[inline(always)]
    fn way(&self) -> usize {
        usize::from(self.account() % 2 == 1)
    }

    /// The processor: a copy with one field changed.
    #[inline(always)]
    fn processed(&self) -> Self {
        let mut copy = self.clone();
        copy.raise();
        copy
    }
}

/// Plain numbers.
#[derive(Clone, Debug, Message)]
pub struct Order {
    /// Whose it is.
    #[message(key)]
    pub account: u64,
    /// The rest.
    pub fields: [u64; 7],
}

const _: () = assert!(size_of::<Order>() == 64);

impl Item for Order {
    type Now = ();

    #[inline(always)]
    fn new(number: u64) -> Self {
        Self {
            account: number,
            fields: [number; 7],
        }
    }

    #[inline(always)]
    fn account(&self) -> u64 {
        self.account
    }

    #[inline(always)]
    fn raise(&mut self) {
        self.fields[0] += 1;
    }

    #[inline(always)]
    fn add_to(&self, checksum: &mut Checksum) {
        checksum.add(self.account, self.fields);
    }

    #[inline(always)]
    fn now() {}

    #[inline(always)]
    fn is_late(&self, (): ()) -> bool {
        false
    }
}

/// Plain numbers over which a processor computes for about a tenth of a microsecond.
#[derive(Clone, Debug, Message)]
pub struct Busy {
    /// Whose it is.
    #[message(key)]
    pub account: u64,
    /// The rest.
    pub fields: [u64; 7],
}

impl Item for Busy {
    type Now = ();

    #[inline(always)]
    fn new(number: u64) -> Self {
        Self {
            account: number,
            fields: [number; 7],
        }
    }

    #[inline(always)]
    fn account(&self) -> u64 {
        self.account
    }

    // Each step waits for the one before it, so that nobody's compiler makes less of it than another's.
    #[inline(always)]
    fn raise(&mut self) {
        let mut state = self.fields[0] | 1;
        for _ in 0..64 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
        self.fields[0] = state;
    }

    #[inline(always)]
    fn add_to(&self, checksum: &mut Checksum) {
        checksum.add(self.account, self.fields);
    }

    #[inline(always)]
    fn now() {}

    #[inline(always)]
    fn is_late(&self, (): ()) -> bool {
        false
    }
}

/// Numbers and a text, which owns memory: whoever makes or copies one allocates, whoever drops one frees.
#[derive(Clone, Debug, Message)]
pub struct Named {
    /// Whose it is.
    #[message(key)]
    pub account: u64,
    /// 24 bytes elsewhere.
    pub name: String,
    /// The rest.
    pub fields: [u64; 4],
}

const _: () = assert!(size_of::<Named>() == 64);

const NAMES: [&str; 4] = [
    "instrument of the north.",
    "instrument of the south.",
    "instrument of the west..",
    "instrument of the east..",
];

impl Item for Named {
    type Now = ();

    #[inline(always)]
    fn new(number: u64) -> Self {
        Self {
            account: number,
            name: NAMES[(number / 2 % 4) as usize].to_owned(),
            fields: [number; 4],
        }
    }

    #[inline(always)]
    fn account(&self) -> u64 {
        self.account
    }

    #[inline(always)]
    fn raise(&mut self) {
        self.fields[0] += 1;
    }

    #[inline(always)]
    fn add_to(&self, checksum: &mut Checksum) {
        let mut text = [0_u64; 3];
        for (word, bytes) in text.iter_mut().zip(self.name.as_bytes().chunks(8)) {
            let mut all = [0; 8];
            all[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(all);
        }
        let [a, b, c, d] = self.fields;
        checksum.add(self.account, [a, b, c, d, text[0], text[1], text[2]]);
    }

    #[inline(always)]
    fn now() {}

    #[inline(always)]
    fn is_late(&self, (): ()) -> bool {
        false
    }
}

/// A body with a deadline beside it, for stages that are written by hand.
#[derive(Clone, Debug)]
pub struct Due<B> {
    deadline: Instant,
    body: B,
}

impl<B: Item> Item for Due<B> {
    type Now = Instant;

    #[inline(always)]
    fn new(number: u64) -> Self {
        static DEADLINE: LazyLock<Instant> = LazyLock::new(|| Instant::now() + FAR);
        Self {
            deadline: *DEADLINE + Duration::from_nanos(number),
            body: B::new(number),
        }
    }

    #[inline(always)]
    fn account(&self) -> u64 {
        self.body.account()
    }

    #[inline(always)]
    fn raise(&mut self) {
        self.body.raise();
    }

    #[inline(always)]
    fn add_to(&self, checksum: &mut Checksum) {
        self.body.add_to(checksum);
    }

    #[inline(always)]
    fn now() -> Instant {
        Instant::now()
    }

    #[inline(always)]
    fn is_late(&self, now: Instant) -> bool {
        self.deadline <= now
    }
}

/// The clock of deadlines in envelopes.
static CLOCK: LazyLock<SystemClock> = LazyLock::new(SystemClock::new);

/// A body in the envelope that mcpbus moves, for calls and for stages that send envelopes themselves.
impl<B: Item + Message> Item for Envelope<B> {
    type Now = Time;

    #[inline(always)]
    fn new(number: u64) -> Self {
        let mut envelope = Envelope::new(B::new(number));
        envelope.header.set_identity(1, 0, number);
        envelope
    }

    #[inline(always)]
    fn account(&self) -> u64 {
        self.header
            .key()
            .map_or_else(|| self.body.account(), |key| key.value())
    }

    #[inline(always)]
    fn raise(&mut self) {
        self.body.raise();
    }

    #[inline(always)]
    fn add_to(&self, checksum: &mut Checksum) {
        self.body.add_to(checksum);
    }

    #[inline(always)]
    fn now() -> Time {
        CLOCK.now()
    }

    #[inline(always)]
    fn is_late(&self, now: Time) -> bool {
        self.header
            .deadline()
            .is_some_and(|deadline| deadline <= now)
    }

    #[inline(always)]
    fn processed(&self) -> Self {
        let mut header = self.header.child();
        header.set_identity(2, 0, self.header.sequence());
        Self {
            header,
            body: self.body.processed(),
        }
    }
}

/// An envelope with a deadline far away.
#[derive(Clone, Debug)]
pub struct DueEnvelope<B>(pub Envelope<B>);

impl<B: Item + Message> Item for DueEnvelope<B> {
    type Now = Time;

    #[inline(always)]
    fn new(number: u64) -> Self {
        let mut envelope = <Envelope<B> as Item>::new(number);
        let deadline = Time::ZERO + FAR + Duration::from_nanos(number);
        envelope.header.set_deadline(Some(deadline));
        Self(envelope)
    }

    #[inline(always)]
    fn account(&self) -> u64 {
        self.0.account()
    }

    #[inline(always)]
    fn raise(&mut self) {
        self.0.raise();
    }

    #[inline(always)]
    fn add_to(&self, checksum: &mut Checksum) {
        self.0.add_to(checksum);
    }

    #[inline(always)]
    fn now() -> Time {
        Envelope::<B>::now()
    }

    #[inline(always)]
    fn is_late(&self, now: Time) -> bool {
        self.0.is_late(now)
    }

    #[inline(always)]
    fn processed(&self) -> Self {
        Self(self.0.processed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_processed_once<T: Item>() {
        let (even, odd) = (T::new(4), T::new(7));
        assert_eq!((even.way(), odd.way()), (0, 1));
        let mut checksum = Checksum::default();
        for item in [&even, &odd] {
            assert!(!item.is_late(T::now()));
            item.processed().add_to(&mut checksum);
        }
        assert_eq!(checksum, Checksum::expected::<T>([4, 7].into_iter()));
    }

    #[test]
    fn every_kind_of_message_goes_the_same_way() {
        is_processed_once::<Order>();
        is_processed_once::<Named>();
        is_processed_once::<Busy>();
        is_processed_once::<Due<Order>>();
        is_processed_once::<Envelope<Order>>();
        is_processed_once::<DueEnvelope<Order>>();
    }

    #[test]
    fn a_deadline_that_has_passed_is_noticed() {
        let due = Due::<Order>::new(1);
        assert!(due.is_late(Instant::now() + FAR + FAR));
        let due = DueEnvelope::<Order>::new(1);
        assert!(due.is_late(Time::ZERO + FAR + FAR));
        assert!(!Order::new(1).is_late(()));
    }

    #[test]
    fn every_name_has_24_bytes() {
        assert!(NAMES.iter().all(|name| name.len() == 24));
    }
}
