//! When a stage that panicked is built anew, and when that has no point any more.

use std::collections::VecDeque;
use std::time::Duration;

use crate::message::Time;

/// One stage is restarted for itself, with growing pauses; too many restarts in a window end the topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Restarts allowed within `window`; one more ends the topology with an error.
    pub max_restarts: u32,
    /// The window in which restarts are counted.
    pub window: Duration,
    /// The pause before the second restart in a window; it doubles with each further one. The first has no pause.
    pub first_pause: Duration,
    /// The longest pause.
    pub max_pause: Duration,
}

impl Default for RestartPolicy {
    /// 100 restarts in a minute, pauses from 1 ms to 1 s.
    fn default() -> Self {
        Self {
            max_restarts: 100,
            window: Duration::from_secs(60),
            first_pause: Duration::from_millis(1),
            max_pause: Duration::from_secs(1),
        }
    }
}

impl RestartPolicy {
    /// Ends the topology at the first panic.
    #[must_use]
    pub fn never() -> Self {
        Self {
            max_restarts: 0,
            ..Self::default()
        }
    }
}

/// What to do about a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Build the stage anew at this time.
    RestartAt(Time),
    /// Stop the topology with an error.
    Escalate,
}

/// The restarts of the stages of one topology.
#[derive(Clone, Debug)]
pub struct Supervision {
    policy: RestartPolicy,
    history: Vec<VecDeque<Time>>,
}

impl Supervision {
    /// Supervises `stages` stages.
    #[must_use]
    pub fn new(policy: RestartPolicy, stages: usize) -> Self {
        Self {
            policy,
            history: vec![VecDeque::new(); stages],
        }
    }

    /// Decides about a panic of this stage at `now`.
    pub fn panicked(&mut self, stage: usize, now: Time) -> Decision {
        let Some(history) = self.history.get_mut(stage) else {
            return Decision::Escalate;
        };
        let oldest = now.saturating_sub(self.policy.window);
        while history.front().is_some_and(|time| *time < oldest) {
            history.pop_front();
        }
        let before = u32::try_from(history.len()).unwrap_or(u32::MAX);
        if before >= self.policy.max_restarts {
            return Decision::Escalate;
        }
        history.push_back(now);
        let pause = match before {
            0 => Duration::ZERO,
            _ => self
                .policy
                .first_pause
                .checked_mul(1u32.checked_shl(before - 1).unwrap_or(u32::MAX))
                .unwrap_or(self.policy.max_pause)
                .min(self.policy.max_pause),
        };
        Decision::RestartAt(now + pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_millis(milliseconds)
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_the_window_forgets() {
        let policy = RestartPolicy {
            max_restarts: 5,
            window: Duration::from_secs(1),
            first_pause: Duration::from_millis(10),
            max_pause: Duration::from_millis(30),
        };
        let mut supervision = Supervision::new(policy, 2);
        let pauses: Vec<u64> = (0..5)
            .map(|_| match supervision.panicked(0, at(5000)) {
                Decision::RestartAt(time) => {
                    u64::try_from(time.saturating_since(at(5000)).as_millis()).unwrap_or(0)
                }
                Decision::Escalate => 999,
            })
            .collect();
        assert_eq!(pauses, [0, 10, 20, 30, 30]);
        assert_eq!(supervision.panicked(0, at(5000)), Decision::Escalate);
        // Another stage has its own history, and after the window the first may restart again.
        assert_eq!(
            supervision.panicked(1, at(5000)),
            Decision::RestartAt(at(5000))
        );
        assert_eq!(
            supervision.panicked(0, at(6001)),
            Decision::RestartAt(at(6001))
        );
    }

    #[test]
    fn never_escalates_at_once() {
        assert_eq!(
            Supervision::new(RestartPolicy::never(), 1).panicked(0, Time::ZERO),
            Decision::Escalate
        );
    }
}
