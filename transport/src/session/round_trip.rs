//! How long a ping takes to come back, smoothed.

use mcpbus_actors::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// Most pings that are waited for; with the usual times a peer is silent long before.
const PINGS_MAX: usize = 16;

/// Pings of one link, and what their pongs said.
#[derive(Debug, Default)]
pub(super) struct RoundTrip {
    /// When those were written that are not answered. The time is the nonce.
    pings: VecDeque<Time>,
    smoothed: Option<Duration>,
}

impl RoundTrip {
    /// A ping is written; its nonce.
    pub(super) fn ping(&mut self, now: Time) -> u64 {
        if self.pings.len() == PINGS_MAX {
            self.pings.pop_front();
        }
        self.pings.push_back(now);
        now.as_nanos()
    }

    /// A pong came. One that answers nothing says nothing.
    pub(super) fn pong(&mut self, nonce: u64, now: Time) {
        let Some(place) = self.pings.iter().position(|ping| ping.as_nanos() == nonce) else {
            return;
        };
        let sample = now.saturating_since(self.pings[place]);
        self.pings.drain(..=place);
        // As TCP does: an eighth of what is new.
        self.smoothed = Some(match self.smoothed {
            None => sample,
            Some(smoothed) => (smoothed * 7 + sample) / 8,
        });
    }

    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_from_ping_to_pong_is_smoothed_and_a_pong_counts_once() {
        let mut round_trip = RoundTrip::default();
        let at = |millis| Time::ZERO + Duration::from_millis(millis);
        let first = round_trip.ping(at(100));
        let second = round_trip.ping(at(600));
        round_trip.pong(77, at(650));
        assert_eq!(round_trip.smoothed(), None);
        // Later than the next ping: a long way is measured too.
        round_trip.pong(first, at(900));
        assert_eq!(round_trip.smoothed(), Some(Duration::from_millis(800)));
        round_trip.pong(second, at(1400));
        round_trip.pong(second, at(9000));
        assert_eq!(round_trip.smoothed(), Some(Duration::from_millis(800)));
        let third = round_trip.ping(at(2000));
        round_trip.pong(third, at(2000));
        assert_eq!(round_trip.smoothed(), Some(Duration::from_millis(700)));
    }
}
