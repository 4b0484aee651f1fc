//! One direction with the datagrams that are under way.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytes::Bytes;
use mcpbus_actors::Time;

use super::decide::{Impairment, ImpairmentCounts};

/// How many bytes may be under way on a path; what comes beyond is dropped and counted as of a full queue.
pub const UNDER_WAY_BYTES: usize = 64 * 1024 * 1024;

/// A direction that datagrams take: decided by an [`Impairment`] when they leave, held until they arrive.
///
/// `M` is what belongs to a datagram besides its bytes, such as addresses.
#[derive(Debug)]
pub struct ImpairedPath<M> {
    impairment: Impairment,
    under_way: BinaryHeap<Reverse<Held<M>>>,
    bytes: usize,
    next: u64,
}

#[derive(Debug)]
struct Held<M> {
    at: Time,
    number: u64,
    with: M,
    bytes: Bytes,
}

impl<M> Held<M> {
    fn place(&self) -> (Time, u64) {
        (self.at, self.number)
    }
}

impl<M> PartialEq for Held<M> {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl<M> Eq for Held<M> {}

impl<M> PartialOrd for Held<M> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<M> Ord for Held<M> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.place().cmp(&other.place())
    }
}

impl<M: Clone> ImpairedPath<M> {
    /// A path with nothing under way.
    pub fn new(impairment: Impairment) -> Self {
        Self {
            impairment,
            under_way: BinaryHeap::new(),
            bytes: 0,
            next: 0,
        }
    }

    /// A datagram leaves now.
    pub fn send(&mut self, now: Time, with: M, datagram: Bytes) {
        let (under_way, bytes, next) = (&mut self.under_way, &mut self.bytes, &mut self.next);
        let mut refused = 0;
        self.impairment.decide(now, datagram, |at, datagram| {
            if *bytes + datagram.len() > UNDER_WAY_BYTES {
                refused += 1;
                return;
            }
            *bytes += datagram.len();
            *next += 1;
            under_way.push(Reverse(Held {
                at,
                number: *next,
                with: with.clone(),
                bytes: datagram,
            }));
        });
        for _ in 0..refused {
            self.impairment.take_back(false);
        }
    }

    /// When the next datagram arrives.
    pub fn next_arrival(&self) -> Option<Time> {
        self.under_way.peek().map(|Reverse(copy)| copy.at)
    }

    /// The next datagram that has arrived by now.
    pub fn receive(&mut self, now: Time) -> Option<(M, Bytes)> {
        if self.next_arrival()? > now {
            return None;
        }
        let Reverse(copy) = self.under_way.pop()?;
        self.bytes -= copy.bytes.len();
        Some((copy.with, copy.bytes))
    }

    /// Lets nothing pass from `from` until `until`, also not what is under way and would arrive between them.
    pub fn cut(&mut self, from: Time, until: Time) {
        self.impairment.cut(from, until);
        let impairment = &mut self.impairment;
        self.under_way.retain(|Reverse(copy)| {
            let passes = !impairment.is_cut(copy.at);
            if !passes {
                impairment.take_back(true);
                self.bytes -= copy.bytes.len();
            }
            passes
        });
    }

    /// What became of the datagrams so far.
    pub fn counts(&self) -> ImpairmentCounts {
        self.impairment.counts()
    }

    /// How many copies are under way.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }
}
