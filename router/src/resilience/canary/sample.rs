//! Outcomes of one version, and whether those of another are worse.

use super::{CanaryConfig, RollbackReason};
use crate::resilience::{Ended, ErrorClass};
use std::time::Duration;

/// How many standard deviations are more than chance. It is looked at again and again, so three would not do.
const DEVIATIONS: f64 = 5.0;
/// Fewer errors than this are no share of anything: the deviation is that of many.
const LEAST: f64 = 10.0;

/// What is counted of one version over some time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    pub(super) all: u64,
    failed: u64,
    rejected: u64,
    succeeded: u64,
    /// Of those that succeeded, in nanoseconds.
    latency: u128,
}

impl Sample {
    pub(super) fn record(&mut self, ended: &Ended) {
        match ended.class {
            None => {
                self.succeeded += 1;
                self.latency += ended.latency.as_nanos();
            }
            Some(ErrorClass::Validation) => self.rejected += 1,
            Some(class) if class.counts() => self.failed += 1,
            // It says nothing about a version.
            Some(_) => return,
        }
        self.all += 1;
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        Self {
            all: self.all + other.all,
            failed: self.failed + other.failed,
            rejected: self.rejected + other.rejected,
            succeeded: self.succeeded + other.succeeded,
            latency: self.latency + other.latency,
        }
    }

    fn mean(&self) -> Option<Duration> {
        let nanoseconds = self.latency.checked_div(u128::from(self.succeeded))?;
        Some(Duration::from_nanos(
            u64::try_from(nanoseconds).unwrap_or(u64::MAX),
        ))
    }
}

/// Two shares, in percent, if the second is above the first by more than `delta` points and more than chance explains.
fn above(first: (u64, u64), second: (u64, u64), delta: f64) -> Option<(f64, f64)> {
    let [(part, all), (other_part, other_all)] =
        [first, second].map(|(part, all)| (part as f64, all as f64));
    let (share, other) = (part / all, other_part / other_all);
    let pooled = (part + other_part) / (all + other_all);
    let deviation = (pooled * (1.0 - pooled) * (1.0 / all + 1.0 / other_all)).sqrt();
    let worse = other_part >= LEAST
        && (other - share) * 100.0 > delta
        && other - share > DEVIATIONS * deviation;
    worse.then_some((share * 100.0, other * 100.0))
}

impl CanaryConfig {
    /// Why the second of two samples, the canary's, is worse than the first; `None` if it is not or too little is known.
    pub(super) fn compare(&self, [stable, canary]: &[Sample; 2]) -> Option<RollbackReason> {
        if stable.all.min(canary.all) < u64::from(self.min_samples) {
            return None;
        }
        let share = |part: fn(&Sample) -> u64, delta| {
            above(
                (part(stable), stable.all),
                (part(canary), canary.all),
                delta,
            )
        };
        if let Some((stable, canary)) = share(|sample| sample.failed, self.max_error_delta) {
            return Some(RollbackReason::Errors(canary, stable));
        }
        if let Some((stable, canary)) = share(|sample| sample.rejected, self.max_reject_delta) {
            return Some(RollbackReason::Rejects(canary, stable));
        }
        let (before, after) = (stable.mean()?, canary.mean()?);
        let enough = canary.succeeded.min(stable.succeeded) >= u64::from(self.min_samples);
        let longer = after.as_secs_f64() > before.as_secs_f64() * self.max_latency_factor;
        if enough && longer && after > before + self.min_latency_delta {
            return Some(RollbackReason::Latency(after, before));
        }
        None
    }
}
