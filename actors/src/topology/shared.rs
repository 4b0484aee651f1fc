//! What the stages, the supervisor and the handle of one run share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::check::Cycle;
use super::report::{EdgeReport, Report, StageReport};
use super::running::RunError;
use super::wiring::Share;
use crate::channel::{LatestWriter, Probe};
use crate::message::{Clock, EdgeLedger, Ledger, StageLedger, Time};
use crate::runtime::{Command, Control, DriverEvents, StageStatus};
use crate::stage::DeadLetters;
use crate::supervisor::{Nudge, RestartPolicy, Supervised};

/// Takes the sender of a blocking producer away.
pub(super) type Closer = Arc<dyn Fn() + Send + Sync>;

pub(super) struct EdgeEntry {
    pub(super) name: String,
    pub(super) probe: Probe,
    pub(super) share: Share,
    /// An open input: draining ends it.
    pub(super) open_input: bool,
}

/// What the stages, the supervisor and the handle of one run share.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) controls: Vec<Arc<Control>>,
    pub(super) edges: Vec<EdgeEntry>,
    pub(super) cycles: Vec<Cycle>,
    pub(super) closers: Mutex<Vec<(usize, Closer)>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) started: Time,
    pub(super) policy: RestartPolicy,
    pub(super) stuck_after: Duration,
    pub(super) dead_letters: DeadLetters,
    pub(super) remaining: AtomicUsize,
    pub(super) over: LatestWriter<bool>,
    pub(super) escalated: Mutex<Option<usize>>,
    pub(super) panicked: Mutex<Vec<usize>>,
    pub(super) nudge: OnceLock<Nudge>,
    pub(super) last_report: Mutex<(Time, Vec<u64>)>,
    pub(super) quiet: Mutex<Vec<Option<u64>>>,
    pub(super) reported_stuck: Mutex<Vec<bool>>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn tell_all(&self, command: Command) {
        for control in &self.controls {
            control.tell(command);
        }
    }

    /// Lets blocking producers know; `stop` also counts them as over, since nobody can end their threads.
    fn close_producers(&self) {
        let closers = std::mem::take(&mut *locked(&self.closers));
        for (stage, close) in closers {
            close();
            if self.controls[stage].end(StageStatus::Stopped) {
                self.ended(stage);
            }
        }
    }

    pub(super) fn drain(&self) {
        self.close_producers();
        for edge in self.edges.iter().filter(|edge| edge.open_input) {
            edge.probe.end_edge();
        }
        self.tell_all(Command::Drain);
    }

    pub(super) fn stop(&self) {
        self.close_producers();
        self.tell_all(Command::Stop);
    }

    pub(super) fn ledger(&self) -> Ledger {
        let edges = self
            .edges
            .iter()
            .map(|edge| {
                let mut counts = edge.probe.stats().counts;
                match edge.share {
                    Share::Whole => {}
                    // Taken by whoever carries it: its outcome is counted by the part that receives it.
                    Share::Sending => counts.delivered = 0,
                    Share::Receiving => counts.accepted = 0,
                }
                EdgeLedger {
                    edge: edge.name.clone(),
                    counts,
                }
            })
            .collect();
        let stages = self
            .controls
            .iter()
            .map(|control| {
                let (consumed, emitted) = control.totals();
                StageLedger {
                    stage: control.name.to_string(),
                    consumed,
                    emitted,
                }
            })
            .collect();
        Ledger { edges, stages }
    }

    pub(super) fn report(&self) -> Report {
        let now = self.clock.now();
        let ledger = self.ledger();
        let mut last = locked(&self.last_report);
        let seconds = now.saturating_since(last.0).as_secs_f64();
        last.1.resize(self.edges.len(), 0);
        let edges = self
            .edges
            .iter()
            .zip(&mut last.1)
            .map(|(edge, before)| {
                let stats = edge.probe.stats();
                let accepted = stats.counts.accepted;
                let new = accepted.saturating_sub(*before);
                *before = accepted;
                EdgeReport {
                    name: edge.name.clone(),
                    queued_messages: stats.queued_messages,
                    queued_bytes: stats.queued_bytes,
                    peak_messages: stats.peak_messages,
                    capacity: stats.capacity,
                    overflow: stats.overflow,
                    accepted,
                    // Precise below 2^53 messages, which no run between two reports reaches.
                    #[allow(clippy::cast_precision_loss)]
                    accepted_per_second: if seconds > 0.0 {
                        new as f64 / seconds
                    } else {
                        0.0
                    },
                }
            })
            .collect();
        last.0 = now;
        drop(last);
        let stages = self
            .controls
            .iter()
            .map(|control| {
                let (consumed, emitted) = control.totals();
                let busy_for = control.busy_for(now);
                StageReport {
                    name: control.name.to_string(),
                    status: control.status(),
                    consumed,
                    emitted,
                    panics: control.panics(),
                    last_panic: control.last_panic(),
                    busy_for,
                    stuck: busy_for.is_some_and(|busy| busy >= self.stuck_after),
                }
            })
            .collect();
        Report {
            name: self.name.clone(),
            elapsed: now.saturating_since(self.started),
            stages,
            edges,
            ledger,
            dead_letters: self.dead_letters.totals(),
        }
    }

    pub(super) fn result(&self) -> Result<Report, RunError> {
        let report = self.report();
        match *locked(&self.escalated) {
            None => Ok(report),
            Some(stage) => Err(RunError::StagePanicked {
                stage: self.controls[stage].name.to_string(),
                text: self.controls[stage].last_panic().unwrap_or_default(),
                panics: self.controls[stage].panics(),
                report: Box::new(report),
            }),
        }
    }

    /// A cycle never ends by its inputs. When nothing can enter it any more and nothing is in it, twice with the same
    /// number of messages accepted in between, its stages may finish.
    fn end_quiet_cycles(&self) {
        let mut quiet = locked(&self.quiet);
        quiet.resize(self.cycles.len(), None);
        for (cycle, before) in self.cycles.iter().zip(quiet.iter_mut()) {
            let entry = |edge: &usize| self.edges.get(*edge).map(|edge| edge.probe.stats());
            let closed = cycle
                .entering
                .iter()
                .filter_map(entry)
                .all(|stats| stats.senders == 0 && stats.counts.held == 0);
            let mut accepted = 0;
            let mut empty = true;
            for stats in cycle.inside.iter().filter_map(entry) {
                accepted += stats.counts.accepted;
                empty &= stats.counts.held == 0;
            }
            if !closed || !empty {
                *before = None;
            } else if *before == Some(accepted) {
                for stage in &cycle.stages {
                    self.controls[*stage].tell(Command::FinishWhenEmpty);
                }
            } else {
                *before = Some(accepted);
            }
        }
    }
}

impl DriverEvents for Shared {
    fn panicked(&self, stage: usize) {
        locked(&self.panicked).push(stage);
        if let Some(nudge) = self.nudge.get() {
            nudge.nudge();
        }
    }

    fn ended(&self, _: usize) {
        if self.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.over.set(true);
        }
    }
}

impl Supervised for Shared {
    fn now(&self) -> Time {
        self.clock.now()
    }

    fn policy(&self) -> RestartPolicy {
        self.policy
    }

    fn stage_count(&self) -> usize {
        self.controls.len()
    }

    fn take_panicked(&self) -> Vec<(usize, bool)> {
        let stages = std::mem::take(&mut *locked(&self.panicked));
        stages
            .into_iter()
            .map(|stage| (stage, self.controls[stage].is_restartable()))
            .collect()
    }

    fn restart(&self, stage: usize) {
        let control = &self.controls[stage];
        tracing::warn!(
            topology = %self.name,
            stage = %control.name,
            panic = control.last_panic().unwrap_or_default(),
            "stage panicked; it is built anew"
        );
        control.tell(Command::Restart);
    }

    fn escalate(&self, stage: usize) {
        let control = &self.controls[stage];
        tracing::error!(
            topology = %self.name,
            stage = %control.name,
            panic = control.last_panic().unwrap_or_default(),
            "stage panicked too often or cannot be built anew; the topology is stopped"
        );
        locked(&self.escalated).get_or_insert(stage);
        self.stop();
    }

    fn look_around(&self) {
        let now = self.clock.now();
        let mut reported = locked(&self.reported_stuck);
        reported.resize(self.controls.len(), false);
        for (control, reported) in self.controls.iter().zip(reported.iter_mut()) {
            let stuck = control
                .busy_for(now)
                .filter(|busy| *busy >= self.stuck_after);
            if let Some(busy) = stuck
                && !*reported
            {
                let seconds = busy.as_secs();
                tracing::warn!(topology = %self.name, stage = %control.name, seconds, "stage is stuck in its handler");
            }
            *reported = stuck.is_some();
        }
        drop(reported);
        if !self.cycles.is_empty() {
            self.end_quiet_cycles();
        }
    }

    fn look_interval(&self) -> Duration {
        // Cycles end only by being looked at.
        if self.cycles.is_empty() {
            Duration::from_secs(1)
        } else {
            Duration::from_millis(10)
        }
    }

    fn is_over(&self) -> bool {
        self.remaining.load(Ordering::Acquire) == 0
    }
}
