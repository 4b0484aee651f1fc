//! The decisions about one direction.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mcpbus_actors::Time;

use super::config::{ImpairmentConfig, ImpairmentConfigError};
use super::random::Random;

/// What became of the datagrams of one direction so far. `offered + duplicated` is the sum of `passed`, `lost`,
/// `lost_in_bursts`, `cut` and `queue_full`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImpairmentCounts {
    /// Datagrams that came in.
    pub offered: u64,
    /// Copies that were let through.
    pub passed: u64,
    /// Datagrams lost each by itself.
    pub lost: u64,
    /// Datagrams lost in bursts.
    pub lost_in_bursts: u64,
    /// Copies that left or would have arrived during a cut.
    pub cut: u64,
    /// Copies that found a queue full.
    pub queue_full: u64,
    /// Second copies.
    pub duplicated: u64,
    /// Copies with changed bits.
    pub corrupted: u64,
    /// Datagrams that others may overtake.
    pub reordered: u64,
}

/// Decides what becomes of the datagrams of one direction: the same for the same seed, times and lengths. The default
/// changes nothing.
#[derive(Clone, Debug, Default)]
pub struct Impairment {
    config: ImpairmentConfig,
    random: Random,
    counts: ImpairmentCounts,
    /// Since when the path is in a burst of loss.
    bad_since: Option<Time>,
    /// When the last datagram that waits for the rate has left.
    busy_until: Time,
    /// When the last datagram that keeps the order arrives.
    last_arrival: Time,
    /// From when until when nothing passes; ends are not included.
    cuts: Vec<(Time, Time)>,
}

impl Impairment {
    /// An impairment by a seed.
    ///
    /// # Errors
    ///
    /// [`ImpairmentConfigError`] names the value that cannot be kept.
    pub fn new(config: ImpairmentConfig, seed: u64) -> Result<Self, ImpairmentConfigError> {
        config.validate()?;
        Ok(Self {
            config,
            random: Random::new(seed),
            ..Self::default()
        })
    }

    /// Lets nothing pass from `from` until `until`: what leaves or arrives between them is dropped.
    pub fn cut(&mut self, from: Time, until: Time) {
        self.cuts.push((from, until));
    }

    /// Whether nothing passes at a point in time.
    #[must_use]
    pub fn is_cut(&self, at: Time) -> bool {
        self.cuts
            .iter()
            .any(|(from, until)| (*from..*until).contains(&at))
    }

    /// What became of the datagrams so far.
    #[must_use]
    pub fn counts(&self) -> ImpairmentCounts {
        self.counts
    }

    /// For how long the path has been in a burst of loss.
    #[cfg(test)]
    pub(super) fn bad_for(&self, now: Time) -> Option<Duration> {
        self.bad_since.map(|since| now.saturating_since(since))
    }

    /// Counts a copy that was decided to arrive and then dropped, because a cut or a bound came in between.
    pub(super) fn take_back(&mut self, cut: bool) {
        self.counts.passed -= 1;
        if cut {
            self.counts.cut += 1;
        } else {
            self.counts.queue_full += 1;
        }
    }

    /// Decides about a datagram that leaves now. `deliver` is called for each copy that arrives, with the time at which it
    /// does: never, once or twice.
    pub fn decide(&mut self, now: Time, datagram: Bytes, mut deliver: impl FnMut(Time, Bytes)) {
        self.counts.offered += 1;
        // A cut that is over needs no more thought.
        self.cuts.retain(|(_, until)| *until > now);
        if self.is_cut(now) {
            self.counts.cut += 1;
            return;
        }
        if self.is_lost(now) {
            return;
        }
        let Some(left) = self.leave(now, datagram.len()) else {
            self.counts.queue_full += 1;
            return;
        };
        let arrival = self.arrival(left);
        if self.random.happens(self.config.duplicate) {
            self.counts.duplicated += 1;
            let later = arrival + self.random.up_to(self.config.reorder_by);
            self.copy(arrival, datagram.clone(), &mut deliver);
            self.copy(later, datagram, &mut deliver);
        } else {
            self.copy(arrival, datagram, &mut deliver);
        }
    }

    fn is_lost(&mut self, now: Time) -> bool {
        if let Some(bursts) = self.config.bursts {
            let over = |since| now.saturating_since(since) >= bursts.longest;
            if self.bad_since.is_some_and(over) {
                self.bad_since = None;
            }
            self.bad_since = match self.bad_since {
                None => self.random.happens(bursts.begins).then_some(now),
                Some(since) => (!self.random.happens(bursts.ends)).then_some(since),
            };
            if self.bad_since.is_some() && self.random.happens(bursts.loss) {
                self.counts.lost_in_bursts += 1;
                return true;
            }
        }
        let lost = self.random.happens(self.config.loss);
        self.counts.lost += u64::from(lost);
        lost
    }

    /// When a datagram has left at the limited rate; `None` when the queue has no room.
    fn leave(&mut self, now: Time, length: usize) -> Option<Time> {
        let Some(rate) = self.config.rate else {
            return Some(now);
        };
        let waits = self.busy_until.saturating_since(now);
        let queued = waits.as_secs_f64() * rate.bytes_per_second as f64;
        if !waits.is_zero() && queued + length as f64 > rate.queue_bytes as f64 {
            return None;
        }
        let takes = Duration::from_secs_f64(length as f64 / rate.bytes_per_second as f64);
        self.busy_until = self.busy_until.max(now) + takes;
        Some(self.busy_until)
    }

    fn arrival(&mut self, left: Time) -> Time {
        let (delay, jitter) = (self.config.delay, self.config.jitter);
        let earliest = left + (delay - jitter) + self.random.up_to(jitter * 2);
        if self.random.happens(self.config.reorder) {
            self.counts.reordered += 1;
            // It does not hold up those behind it, so that they overtake it.
            return earliest.max(self.last_arrival) + self.random.up_to(self.config.reorder_by);
        }
        self.last_arrival = self.last_arrival.max(earliest);
        self.last_arrival
    }

    fn copy(&mut self, at: Time, datagram: Bytes, deliver: &mut impl FnMut(Time, Bytes)) {
        if self.is_cut(at) {
            self.counts.cut += 1;
            return;
        }
        self.counts.passed += 1;
        if !datagram.is_empty() && self.random.happens(self.config.corrupt) {
            self.counts.corrupted += 1;
            deliver(at, self.corrupted(&datagram));
        } else {
            deliver(at, datagram);
        }
    }

    fn corrupted(&mut self, datagram: &Bytes) -> Bytes {
        let mut changed = BytesMut::from(&datagram[..]);
        for _ in 0..=self.random.below(3) {
            let (place, bit) = (self.random.below(changed.len()), self.random.below(8));
            changed[place] ^= 1 << bit;
        }
        // Two flips of one bit undo each other.
        if changed == datagram {
            changed[0] ^= 1;
        }
        changed.freeze()
    }
}
