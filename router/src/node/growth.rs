//! How far a window is worth to be widened: twice what its flow delivers in the time that one message needs.
//!
//! That time is the shortest in which a window's worth of messages was delivered: with a window that is always used
//! up it is the time from a grant to its return. It is at least the round trip to the sender. When the next owner
//! or the link is the limit, a wider window makes the time longer and delivers no more, so the bound stays.

use mcpbus_actors::Time;
use std::time::Duration;

/// What one flow delivered, as its sender asked for more.
#[derive(Debug, Default)]
pub(super) struct Growth {
    since: Time,
    delivered: (u64, u64),
    shortest: Option<Duration>,
    bound: Option<(u64, u64)>,
}

impl Growth {
    /// The sender has used up its window and asks for more. `delivered` is what was ever settled on the flow and
    /// `window` what it has, each in messages and bytes. `None` as long as its rate is not known.
    pub(super) fn bound(
        &mut self,
        now: Time,
        delivered: (u64, u64),
        window: (u64, u64),
        round_trip: Option<Duration>,
    ) -> Option<(u64, u64)> {
        let messages = delivered.0.saturating_sub(self.delivered.0);
        let bytes = delivered.1.saturating_sub(self.delivered.1);
        let elapsed = now.saturating_since(self.since).as_nanos() as u64;
        if self.since == Time::default() {
            // What came before the first question came at the sender's pace.
            (self.since, self.delivered) = (now, delivered);
            return None;
        }
        // Less than half a window says little about a rate.
        let enough = 2 * messages >= window.0 || 2 * bytes >= window.1;
        if elapsed == 0 || messages == 0 || bytes == 0 || !enough {
            return self.bound;
        }
        let took = scale(elapsed, window.0, messages).min(scale(elapsed, window.1, bytes));
        let shortest = self
            .shortest
            .map_or(u64::MAX, |shortest| shortest.as_nanos() as u64)
            .min(took);
        self.shortest = Some(Duration::from_nanos(shortest));
        let way = shortest.max(round_trip.map_or(0, |time| time.as_nanos() as u64));
        self.bound = Some((
            scale(messages, way, elapsed).saturating_mul(2),
            scale(bytes, way, elapsed).saturating_mul(2),
        ));
        (self.since, self.delivered) = (now, delivered);
        self.bound
    }
}

/// `value * times / by`, as large as it gets.
fn scale(value: u64, times: u64, by: u64) -> u64 {
    let product = u128::from(value) * u128::from(times);
    u64::try_from(product / u128::from(by.max(1))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: u64 = 1000;

    /// A flow whose window doubles while the bound allows, over a way of `round_trip` at whose end `rate` messages a
    /// second are taken. Its window after `questions`.
    fn widened(round_trip: Duration, rate: u64, questions: usize, known: bool) -> u64 {
        let mut growth = Growth::default();
        let (mut window, mut delivered) = (64_u64, 0);
        let mut now = Time::ZERO + Duration::from_secs(1);
        for _ in 0..questions {
            // A window goes and comes back, as fast as the slower of the way and the consumer.
            let consumed = Duration::from_nanos(1_000_000_000 * window / rate);
            now += round_trip.max(consumed);
            delivered += window;
            let (sum, bytes) = ((delivered, delivered * BODY), (window, window * BODY));
            let bound = growth.bound(now, sum, bytes, known.then_some(round_trip));
            let goal = bound.map_or(2 * window, |bound| bound.0.min(2 * window));
            window = goal.clamp(window, 16_384);
        }
        window
    }

    #[test]
    fn a_long_way_gets_what_it_needs() {
        for known in [true, false] {
            // 100,000 a second over 100 ms are 10,000 on their way.
            let window = widened(Duration::from_millis(100), 100_000, 40, known);
            assert!(window >= 10_000, "{window}");
        }
    }

    #[test]
    fn a_fast_consumer_next_door_gets_twice_what_is_on_its_way_at_most() {
        // 100,000 a second over 2 ms are 200.
        let window = widened(Duration::from_millis(2), 100_000, 40, true);
        assert!((200..=800).contains(&window), "{window}");
    }

    #[test]
    fn a_slow_consumer_gets_no_wide_window() {
        let window = widened(Duration::from_millis(1), 100, 40, true);
        assert!(window <= 256, "{window}");
    }

    #[test]
    fn without_a_window_delivered_nothing_is_known() {
        let mut growth = Growth::default();
        let at = |millis| Time::ZERO + Duration::from_millis(millis);
        assert_eq!(growth.bound(at(5), (10, 1000), (64, 64_000), None), None);
        assert_eq!(growth.bound(at(6), (20, 2000), (64, 64_000), None), None);
        assert!(
            growth
                .bound(at(9), (80, 8000), (64, 64_000), None)
                .is_some()
        );
        assert_eq!(
            growth.bound(at(9), (81, 8100), (64, 64_000), None),
            growth.bound,
            "what was known stays known"
        );
    }
}
