//! A rate limit for log lines: a burst, then so many a second, then a count of what was left out.

use std::time::Duration;

use mcpbus_actors::Time;

/// The decision, without a clock.
#[derive(Debug)]
pub struct LogLimit {
    burst: u32,
    per_second: u32,
    tokens: f64,
    last: Option<Time>,
    suppressed: u64,
}

impl LogLimit {
    /// A limit of `burst` lines at once and `per_second` on average.
    pub fn new(burst: u32, per_second: u32) -> Self {
        Self {
            burst,
            per_second,
            tokens: f64::from(burst),
            last: None,
            suppressed: 0,
        }
    }

    /// Whether a line may be logged now; if so, how many before it were left out.
    pub fn admit(&mut self, now: Time) -> Option<u64> {
        let passed = now.saturating_since(self.last.unwrap_or(now));
        self.last = Some(now);
        let gained =
            passed.min(Duration::from_secs(3600)).as_secs_f64() * f64::from(self.per_second);
        self.tokens = (self.tokens + gained).min(f64::from(self.burst));
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            Some(std::mem::take(&mut self.suppressed))
        } else {
            self.suppressed += 1;
            None
        }
    }

    /// Lines left out since the last admitted one.
    pub fn suppressed(&self) -> u64 {
        self.suppressed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_to_burst_and_rate_and_counted() {
        let mut limit = LogLimit::new(10, 5);
        let admitted = (0..100)
            .filter(|_| limit.admit(Time::ZERO).is_some())
            .count();
        assert_eq!((admitted, limit.suppressed()), (10, 90));
        let later = Time::ZERO + Duration::from_secs(1);
        assert_eq!(limit.admit(later), Some(90));
        let admitted = (0..100).filter(|_| limit.admit(later).is_some()).count();
        assert_eq!(admitted, 4);
    }
}
