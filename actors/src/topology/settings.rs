//! What holds for all stages of a topology.

use std::sync::Arc;
use std::time::Duration;

use super::builder::Topology;
use super::check::CheckError;
use super::fusion::Fusion;
use super::plan::Placement;
use crate::channel::Capacity;
use crate::message::{Clock, SystemClock};
use crate::stage::{DeadLetter, DeadLetterLimits};
use crate::supervisor::RestartPolicy;

pub(super) type Hook = Arc<dyn Fn(&DeadLetter) + Send + Sync>;

/// What holds for all stages.
pub(super) struct Settings {
    pub(super) placement: Placement,
    pub(super) capacity: Capacity,
    pub(super) fusion: Fusion,
    pub(super) policy: RestartPolicy,
    pub(super) max_deliver: u8,
    pub(super) stuck_after: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) dead_letters: DeadLetterLimits,
    pub(super) hook: Option<Hook>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            placement: Placement::default(),
            capacity: Capacity::default(),
            fusion: Fusion::default(),
            policy: RestartPolicy::default(),
            max_deliver: 5,
            stuck_after: Duration::from_secs(5),
            clock: Arc::new(SystemClock::new()),
            dead_letters: DeadLetterLimits::default(),
            hook: None,
        }
    }
}

impl Topology {
    /// Where the stages run; [`Placement::Tasks`] if nothing is said.
    pub fn placement(&mut self, placement: Placement) -> &mut Self {
        self.settings.placement = placement;
        self
    }

    /// Puts one stage on a thread of its own, where it may block.
    pub fn on_thread(&mut self, stage: &str) -> &mut Self {
        match self
            .stages
            .iter_mut()
            .find(|draft| draft.plan.name == stage)
        {
            Some(draft) => draft.plan.on_thread = true,
            None => self.faults.push(CheckError::UnknownStage {
                name: stage.to_owned(),
            }),
        }
        self
    }

    /// The bound of edges whose ports name none; 1,024 messages and 1 MiB if nothing is said.
    pub fn default_capacity(&mut self, capacity: Capacity) -> &mut Self {
        self.settings.capacity = capacity;
        self
    }

    /// What happens after panics.
    pub fn restart_policy(&mut self, policy: RestartPolicy) -> &mut Self {
        self.settings.policy = policy;
        self
    }

    /// How often a message is given to a handler that asks for another attempt before it is a dead letter; 5 if nothing
    /// is said, at least 1.
    pub fn max_deliver(&mut self, times: u8) -> &mut Self {
        self.settings.max_deliver = times.max(1);
        self
    }

    /// After how long in one turn a stage is reported as stuck; 5 s if nothing is said.
    pub fn stuck_after(&mut self, duration: Duration) -> &mut Self {
        self.settings.stuck_after = duration;
        self
    }

    /// The clock of deadlines and timers; the system's if nothing is said.
    pub fn clock(&mut self, clock: impl Clock) -> &mut Self {
        self.settings.clock = Arc::new(clock);
        self
    }

    /// How many dead letters are kept.
    pub fn dead_letter_limits(&mut self, limits: DeadLetterLimits) -> &mut Self {
        self.settings.dead_letters = limits;
        self
    }

    /// Shows each dead letter to `hook` before it is kept, on the stage's thread: it must not block.
    pub fn on_dead_letter(
        &mut self,
        hook: impl Fn(&DeadLetter) + Send + Sync + 'static,
    ) -> &mut Self {
        self.settings.hook = Some(Arc::new(hook));
        self
    }
}
