//! A new version gets more and more, or nothing.

mod sample;

use self::sample::Sample;
use super::config_error::{ConfigError, HOUR, duration, within};
use super::{Ended, Scope};
use mcpbus_actors::Time;
use std::fmt;
use std::time::Duration;

/// The setting of a [`Canary`].
#[derive(Clone, Debug, PartialEq)]
pub struct CanaryConfig {
    /// Shares of the new version, in percent, one step after the other: each from 1 to 100 and above the one before; 1 to
    /// 20 of them (default 5, 25, 50, 100).
    pub steps: Vec<u32>,
    /// How long a step lasts at least: 1 s to an hour (default 60 s).
    pub min_step_time: Duration,
    /// Outcomes of each version that a comparison needs: 10 to 1,000,000 (default 50).
    pub min_samples: u32,
    /// By how many points of a percent the share of errors may be above the stable version's: 0 to 100 (default 1).
    pub max_error_delta: f64,
    /// The same for messages that its consumers reject (default 1).
    pub max_reject_delta: f64,
    /// How many times the stable version's mean latency it may take: 1 to 100 (default 1.5).
    pub max_latency_factor: f64,
    /// A mean latency that is not longer by this is as good: up to an hour (default 5 ms).
    pub min_latency_delta: Duration,
    /// Failures one after the other that end it at once, before there are enough outcomes: 1 to 1,000,000 (default 10).
    pub consecutive_failures: u32,
}

impl Default for CanaryConfig {
    fn default() -> Self {
        Self {
            steps: vec![5, 25, 50, 100],
            min_step_time: Duration::from_secs(60),
            min_samples: 50,
            max_error_delta: 1.0,
            max_reject_delta: 1.0,
            max_latency_factor: 1.5,
            min_latency_delta: Duration::from_millis(5),
            consecutive_failures: 10,
        }
    }
}

impl CanaryConfig {
    fn check(&self) -> Result<(), ConfigError> {
        within("steps", self.steps.len() as f64, 1.0, 20.0, "steps")?;
        let mut least = 1.0;
        for step in &self.steps {
            let step = within("steps", f64::from(*step), least, 100.0, "percent, rising")?;
            least = step + 1.0;
        }
        duration("min_step_time", self.min_step_time, 1000.0, HOUR)?;
        within(
            "min_samples",
            f64::from(self.min_samples),
            10.0,
            1e6,
            "outcomes",
        )?;
        within(
            "max_error_delta",
            self.max_error_delta,
            0.0,
            100.0,
            "points",
        )?;
        within(
            "max_reject_delta",
            self.max_reject_delta,
            0.0,
            100.0,
            "points",
        )?;
        within(
            "max_latency_factor",
            self.max_latency_factor,
            1.0,
            100.0,
            "times",
        )?;
        duration("min_latency_delta", self.min_latency_delta, 0.0, HOUR)?;
        let failures = f64::from(self.consecutive_failures);
        within("consecutive_failures", failures, 1.0, 1e6, "failures")?;
        Ok(())
    }
}

/// Which version handled a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The one that was there.
    Stable,
    /// The new one.
    Canary,
}

/// Why a new version gets nothing any more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RollbackReason {
    /// It failed this often without a success between.
    ConsecutiveFailures(u32),
    /// Its share of errors, in percent, and the stable version's.
    Errors(f64, f64),
    /// Its share of rejected messages, in percent, and the stable version's.
    Rejects(f64, f64),
    /// Its mean latency, and the stable version's.
    Latency(Duration, Duration),
    /// Somebody asked for it.
    Asked,
}

impl fmt::Display for RollbackReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsecutiveFailures(count) => write!(f, "{count} failures one after the other"),
            Self::Errors(canary, stable) => {
                write!(
                    f,
                    "{canary:.1} % errors, the stable version has {stable:.1} %"
                )
            }
            Self::Rejects(canary, stable) => {
                write!(
                    f,
                    "{canary:.1} % rejected, the stable version has {stable:.1} %"
                )
            }
            Self::Latency(canary, stable) => {
                write!(
                    f,
                    "takes {canary:?} on average, the stable version {stable:?}"
                )
            }
            Self::Asked => f.write_str("somebody asked for it"),
        }
    }
}

/// Where a new version stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CanaryState {
    /// At this step, from 0.
    Step(usize),
    /// It is the stable version now.
    Promoted,
    /// It gets nothing any more, until it is started anew.
    RolledBack(RollbackReason),
}

/// Shares out between a stable version and a new one, step by step, and takes everything back when the new one is worse.
///
/// The outcomes of both are compared, over the last 5 to 10 seconds and since the step began: share of errors
/// ([`ErrorClass::counts`](super::ErrorClass::counts)), share of rejected messages, mean latency of successes. A share is
/// worse if it is above the stable one's by more than allowed and by more than chance explains (two proportions, five
/// standard deviations, ten errors). Worse in one of them, or so many failures in a row, and its weight is 0 from then on. A step
/// ends well when its time has passed and both versions have enough outcomes; where the stable version gets nothing (100 %)
/// or has too little to compare, only failures in a row count and the step ends by time and the canary's outcomes.
///
/// It decides for the node: with several shards one keeps it and the others are told the weight.
#[derive(Clone, Debug)]
pub struct Canary {
    config: CanaryConfig,
    state: CanaryState,
    since: Time,
    row: u32,
    /// By version: since the step began, and two halves of the last ten seconds.
    step: [Sample; 2],
    recent: [Sample; 2],
    before: [Sample; 2],
    turns_at: Time,
}

/// Half of the time that is looked back over.
const HALF: Duration = Duration::from_secs(5);

impl Canary {
    /// Begins the first step.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a setting cannot be.
    pub fn new(config: CanaryConfig, now: Time) -> Result<Self, ConfigError> {
        config.check()?;
        let mut canary = Self {
            config,
            state: CanaryState::Step(0),
            since: now,
            row: 0,
            step: Default::default(),
            recent: Default::default(),
            before: Default::default(),
            turns_at: now,
        };
        canary.begin(0, now);
        Ok(canary)
    }

    fn begin(&mut self, step: usize, now: Time) {
        self.state = CanaryState::Step(step);
        self.since = now;
        self.step = Default::default();
        self.recent = Default::default();
        self.before = Default::default();
        self.turns_at = now + HALF;
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> CanaryState {
        self.state
    }

    /// The share of the new version, in percent; the stable one has the rest.
    #[must_use]
    pub fn weight(&self) -> u32 {
        match self.state {
            CanaryState::Step(step) => self.config.steps.get(step).copied().unwrap_or(100),
            CanaryState::Promoted => 100,
            CanaryState::RolledBack(_) => 0,
        }
    }

    /// Whose state it keeps.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        Scope::Node
    }

    /// A message has ended at one of the versions. Gives the state if it has changed: then so has the weight.
    pub fn ended(&mut self, version: Version, ended: Ended, now: Time) -> Option<CanaryState> {
        if !matches!(self.state, CanaryState::Step(_)) {
            return None;
        }
        self.turn(now);
        let index = version as usize;
        for sample in [&mut self.step[index], &mut self.recent[index]] {
            sample.record(&ended);
        }
        if version == Version::Canary {
            match ended.counts_as_failure() {
                Some(true) => self.row += 1,
                Some(false) => self.row = 0,
                None => {}
            }
            if self.row >= self.config.consecutive_failures {
                return self.roll_back(RollbackReason::ConsecutiveFailures(self.row));
            }
        }
        // Comparing costs more than counting, and a few outcomes more hardly change what it says.
        if self.step[index].all.is_multiple_of(8) {
            return self.judge();
        }
        None
    }

    fn turn(&mut self, now: Time) {
        if now >= self.turns_at {
            let recent = std::mem::take(&mut self.recent);
            let paused = now >= self.turns_at + HALF;
            self.before = if paused { Default::default() } else { recent };
            self.turns_at = now + HALF;
        }
    }

    fn judge(&mut self) -> Option<CanaryState> {
        let last = [0, 1].map(|version| self.recent[version].plus(&self.before[version]));
        let worse = self
            .config
            .compare(&last)
            .or_else(|| self.config.compare(&self.step));
        worse.and_then(|reason| self.roll_back(reason))
    }

    fn roll_back(&mut self, reason: RollbackReason) -> Option<CanaryState> {
        self.state = CanaryState::RolledBack(reason);
        Some(self.state)
    }

    /// Takes everything back because somebody asks for it; also after it was promoted.
    pub fn abort(&mut self) -> CanaryState {
        self.state = CanaryState::RolledBack(RollbackReason::Asked);
        self.state
    }

    /// When the present step may end.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        match self.state {
            CanaryState::Step(_) => Some(self.since + self.config.min_step_time),
            CanaryState::Promoted | CanaryState::RolledBack(_) => None,
        }
    }

    /// Ends the step if its time has come and enough is known. Gives the state if it has changed. Without enough outcomes
    /// it is to be asked again, say every second.
    pub fn handle_timeout(&mut self, now: Time) -> Option<CanaryState> {
        let CanaryState::Step(step) = self.state else {
            return None;
        };
        if let Some(changed) = self.judge() {
            return Some(changed);
        }
        let enough = |version: Version| {
            self.step[version as usize].all >= u64::from(self.config.min_samples)
        };
        let comparable = self.weight() == 100 || enough(Version::Stable);
        if now < self.since + self.config.min_step_time || !enough(Version::Canary) || !comparable {
            return None;
        }
        if step + 1 < self.config.steps.len() {
            self.begin(step + 1, now);
        } else {
            self.state = CanaryState::Promoted;
        }
        Some(self.state)
    }
}

#[cfg(test)]
mod tests;
