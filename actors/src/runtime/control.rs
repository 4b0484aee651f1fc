//! The command slot of a stage, and what can be seen of it from outside.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use crate::message::Time;

/// What a stage can be told. Read between batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Take nothing until resumed.
    Pause,
    /// Go on.
    Resume,
    /// Sources give nothing more.
    Drain,
    /// An empty inbox is the end.
    FinishWhenEmpty,
    /// Build the stage anew and go on.
    Restart,
    /// Give everything up and end.
    Stop,
}

/// What a stage is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StageStatus {
    /// Not started yet.
    Created,
    /// Ready or in a handler.
    Running,
    /// Waits for input, for room in an output, or for a timer.
    Waiting,
    /// Told to pause.
    Paused,
    /// Its handler panicked; the supervisor decides.
    Panicked,
    /// Everything was handled and sent.
    Finished,
    /// Stopped before it had finished.
    Stopped,
}

impl StageStatus {
    /// In the order of their declaration, which makes their numbers.
    const ALL: [Self; 7] = [
        Self::Created,
        Self::Running,
        Self::Waiting,
        Self::Paused,
        Self::Panicked,
        Self::Finished,
        Self::Stopped,
    ];

    /// Whether it will never run again.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Stopped)
    }

    /// The stable name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Panicked => "panicked",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for StageStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[derive(Default)]
struct Slot {
    // One place per command: telling the same twice is telling it once, so the slot is bounded.
    paused: bool,
    drain: bool,
    finish_when_empty: bool,
    restart: bool,
    stop: bool,
    waker: Option<Waker>,
}

/// Commands that wait to be carried out.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Orders {
    pub(crate) paused: bool,
    pub(crate) drain: bool,
    pub(crate) finish_when_empty: bool,
    pub(crate) restart: bool,
    pub(crate) stop: bool,
}

/// What every turn reads and writes, on one cache line.
#[repr(align(64))]
struct TurnState {
    changed: AtomicBool,
    status: AtomicU8,
    /// When the turn that is running now began, in nanoseconds; `u64::MAX` outside of turns.
    busy_since: AtomicU64,
    consumed: AtomicU64,
    emitted: AtomicU64,
}

/// One stage as its supervisor and its running topology see it.
pub(crate) struct Control {
    turn: TurnState,
    pub(crate) name: Arc<str>,
    /// Whether it can be built anew after a panic.
    restartable: AtomicBool,
    slot: Mutex<Slot>,
    over: AtomicBool,
    panics: AtomicU64,
    last_panic: Mutex<Option<String>>,
}

impl Control {
    pub(crate) fn new(name: Arc<str>) -> Arc<Self> {
        Arc::new(Self {
            turn: TurnState {
                changed: AtomicBool::new(false),
                status: AtomicU8::new(StageStatus::Created as u8),
                busy_since: AtomicU64::new(u64::MAX),
                consumed: AtomicU64::new(0),
                emitted: AtomicU64::new(0),
            },
            name,
            restartable: AtomicBool::new(true),
            slot: Mutex::default(),
            over: AtomicBool::new(false),
            panics: AtomicU64::new(0),
            last_panic: Mutex::new(None),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_unrestartable(&self) {
        self.restartable.store(false, Ordering::Release);
    }

    pub(crate) fn is_restartable(&self) -> bool {
        self.restartable.load(Ordering::Acquire)
    }

    /// Tells the stage something; it hears it before its next batch.
    pub(crate) fn tell(&self, command: Command) {
        let waker = {
            let mut slot = self.lock();
            match command {
                Command::Pause => slot.paused = true,
                Command::Resume => slot.paused = false,
                Command::Drain => slot.drain = true,
                Command::FinishWhenEmpty => slot.finish_when_empty = true,
                Command::Restart => slot.restart = true,
                Command::Stop => slot.stop = true,
            }
            self.turn.changed.store(true, Ordering::Release);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether something was told since the last [`Control::orders`]. One load, for the hot path.
    pub(crate) fn has_changed(&self) -> bool {
        self.turn.changed.load(Ordering::Acquire)
    }

    /// Takes the commands: `restart` is taken once, the others stay in force.
    pub(crate) fn orders(&self) -> Orders {
        let mut slot = self.lock();
        self.turn.changed.store(false, Ordering::Release);
        Orders {
            paused: slot.paused,
            drain: slot.drain,
            finish_when_empty: slot.finish_when_empty,
            restart: std::mem::take(&mut slot.restart),
            stop: slot.stop,
        }
    }

    /// Asks to be woken by the next command. `false`: one has come already.
    pub(crate) fn listen(&self, waker: &Waker) -> bool {
        let mut slot = self.lock();
        if self.turn.changed.load(Ordering::Acquire) {
            return false;
        }
        match &mut slot.waker {
            Some(old) => old.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        true
    }

    pub(crate) fn status(&self) -> StageStatus {
        StageStatus::ALL
            .get(usize::from(self.turn.status.load(Ordering::Acquire)))
            .copied()
            .unwrap_or(StageStatus::Created)
    }

    pub(crate) fn set_status(&self, status: StageStatus) {
        self.turn.status.store(status as u8, Ordering::Release);
    }

    /// The stage is over, with this status; `false` if it was over before.
    pub(crate) fn end(&self, status: StageStatus) -> bool {
        let first = !self.over.swap(true, Ordering::AcqRel);
        if first {
            self.set_status(status);
        }
        first
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub(crate) fn enter(&self, now: Time) {
        self.turn
            .busy_since
            .store(now.as_nanos().min(u64::MAX - 1), Ordering::Release);
    }

    pub(crate) fn leave(&self, totals: (u64, u64)) {
        self.turn.busy_since.store(u64::MAX, Ordering::Release);
        self.set_totals(totals);
    }

    pub(crate) fn set_totals(&self, (consumed, emitted): (u64, u64)) {
        self.turn.consumed.store(consumed, Ordering::Release);
        self.turn.emitted.store(emitted, Ordering::Release);
    }

    /// For producers that send by themselves.
    pub(crate) fn add_emitted(&self, messages: u64) {
        self.turn.emitted.fetch_add(messages, Ordering::AcqRel);
    }

    /// How long the stage has been in its handler.
    pub(crate) fn busy_for(&self, now: Time) -> Option<Duration> {
        match self.turn.busy_since.load(Ordering::Acquire) {
            u64::MAX => None,
            since => Some(now.saturating_since(Time::from_nanos(since))),
        }
    }

    pub(crate) fn totals(&self) -> (u64, u64) {
        (
            self.turn.consumed.load(Ordering::Acquire),
            self.turn.emitted.load(Ordering::Acquire),
        )
    }

    pub(crate) fn note_panic(&self, text: String) {
        *self
            .last_panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(text);
        self.panics.fetch_add(1, Ordering::AcqRel);
        self.set_status(StageStatus::Panicked);
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Acquire)
    }

    pub(crate) fn last_panic(&self) -> Option<String> {
        self.last_panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
