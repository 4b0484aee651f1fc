//! The load of one destination: what was handed to it, and how long that takes.

use mcpbus_actors::Time;
use std::time::Duration;

/// After this time without a message, half of what is known of the latency is left.
const DECAY: u64 = 10_000_000_000;

/// Counts the messages that were handed to a destination and have not ended, and keeps the moving average of the time they
/// took. A time above the average replaces it at once, shorter ones pull it down as time passes (the *peak EWMA* of the
/// Finagle library): who becomes slow is noticed with the first message, who becomes fast is trusted by and by.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    in_flight: u32,
    /// In nanoseconds; 0 while nothing is known.
    latency: u64,
    /// When the last message ended.
    at: Option<Time>,
}

impl Load {
    /// No messages, and nothing known of the latency.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A message was handed to the destination.
    pub fn started(&mut self) {
        self.in_flight = self.in_flight.saturating_add(1);
    }

    /// A message came back unused: it says nothing of the time that messages take.
    pub fn given_back(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// A message ended after this time.
    pub fn ended(&mut self, took: Duration, now: Time) {
        self.given_back();
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let idle = self.idle(now);
        self.latency = if took >= self.latency {
            took
        } else {
            let above = u128::from(self.latency - took);
            took + (above * u128::from(DECAY) / u128::from(DECAY.saturating_add(idle))) as u64
        };
        self.at = Some(now);
    }

    /// Messages that were handed over and have not ended.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// How long messages take, in nanoseconds; 0 while nothing is known. What is known fades while nothing is under way, so
    /// that a destination that was slow is tried again.
    #[must_use]
    pub fn latency(&self, now: Time) -> u64 {
        if self.in_flight > 0 || self.latency == 0 {
            return self.latency;
        }
        let decay = u128::from(DECAY);
        let fading = decay + u128::from(self.idle(now));
        ((u128::from(self.latency) * decay / fading) as u64).max(1)
    }

    fn idle(&self, now: Time) -> u64 {
        let idle = self.at.map_or(0, |at| now.saturating_since(at).as_nanos());
        u64::try_from(idle).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_peak_counts_at_once_and_fades_with_time() {
        let mut load = Load::new();
        assert_eq!((load.in_flight(), load.latency(at(0))), (0, 0));
        let mut take = |milliseconds: u64, now: u64| {
            load.started();
            assert_eq!(load.in_flight(), 1);
            load.ended(Duration::from_millis(milliseconds), at(now));
            load.latency(at(now)) / 1_000_000
        };
        assert_eq!(take(2, 10), 2);
        assert_eq!(take(500, 600), 500);
        // Many fast ones in a short time pull less than one after a long time.
        assert!(take(2, 601) > 490);
        assert!((200..300).contains(&take(2, 10_601)));
        assert_eq!(load.in_flight(), 0);
        let before = load.latency(at(10_601));
        assert_eq!(load.latency(at(20_601)), before / 2);
    }

    #[test]
    fn what_is_under_way_keeps_the_latency_and_what_came_back_does_not_change_it() {
        let mut load = Load::new();
        load.started();
        load.ended(Duration::from_secs(1), at(0));
        load.started();
        assert_eq!(load.latency(at(60_000)), 1_000_000_000);
        load.given_back();
        load.given_back();
        assert_eq!(load.in_flight(), 0);
        assert!(load.latency(at(60_000)) < 200_000_000);
    }
}
