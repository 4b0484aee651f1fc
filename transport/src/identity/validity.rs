//! From when until when a certificate counts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// From when until when a certificate counts, in wall-clock time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Validity {
    /// A certificate counts from this long before its issue, because the clocks of two hosts are never equal.
    pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);
    /// How long an identity counts unless its issuer says otherwise: 90 days.
    pub const IDENTITY_DAYS: u32 = 90;
    /// How long an authority counts: 10 years.
    pub const AUTHORITY_DAYS: u32 = 3650;

    /// From `now` less [`Validity::CLOCK_SKEW`] until `days` days after `now`.
    pub fn days_from(now: SystemTime, days: u32) -> Self {
        let not_before = now.checked_sub(Self::CLOCK_SKEW).unwrap_or(UNIX_EPOCH);
        let not_after = now.checked_add(DAY.saturating_mul(days)).unwrap_or(now);
        Self {
            not_before,
            not_after,
        }
    }

    /// The default for identities: [`Validity::IDENTITY_DAYS`] days from `now`.
    pub fn identity_from(now: SystemTime) -> Self {
        Self::days_from(now, Self::IDENTITY_DAYS)
    }

    /// Exactly between two instants, which may lie in the past: an issuer refuses a span that is empty.
    pub fn between(not_before: SystemTime, not_after: SystemTime) -> Self {
        Self {
            not_before,
            not_after,
        }
    }

    /// The first instant at which the certificate counts.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// The last instant at which the certificate counts.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The same span, ending no later than `end`: a certificate never outlives its issuer's.
    pub(super) fn ending_by(self, end: SystemTime) -> Self {
        Self {
            not_after: self.not_after.min(end),
            ..self
        }
    }

    /// Both ends as calendar times; `None` where the span is empty or an end is outside the years of X.509.
    pub(super) fn calendar(&self) -> Option<(OffsetDateTime, OffsetDateTime)> {
        if self.not_before >= self.not_after {
            return None;
        }
        Some((
            calendar_time(self.not_before)?,
            calendar_time(self.not_after)?,
        ))
    }
}

fn calendar_time(instant: SystemTime) -> Option<OffsetDateTime> {
    let seconds = instant.duration_since(UNIX_EPOCH).ok()?.as_secs();
    OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()
}
