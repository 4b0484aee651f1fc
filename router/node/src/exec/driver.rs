//! `exec` carried out: blocks, so it belongs on its own thread.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mcpbus_actors::{Clock as _, SystemClock, Time};

use super::ExecSpec;
use super::child::{RunningChild, Said, kill_group};
use super::conversation::Conversation;

/// How long a child may take to end after its input has ended.
const FINISH_GRACE: Duration = Duration::from_secs(2);

/// What became of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// The child answered.
    Line {
        /// What was asked.
        item: T,
        /// The answer.
        line: Bytes,
    },
    /// The child answered with an empty line: the message ends here.
    Filtered {
        /// What was asked.
        item: T,
    },
    /// No child answered; the message becomes a dead letter.
    GivenUp {
        /// What was asked.
        item: T,
        /// Why.
        cause: GiveUp,
    },
}

/// Why a line was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// It holds a line break, so it is no line; reason `rejected`.
    LineBreak,
    /// It was given to as many children as allowed; reason `max_deliver`.
    MaxDeliver {
        /// How many had it.
        attempts: u32,
        /// What happened to the last one.
        last: String,
    },
}

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineBreak => write!(f, "holds a line break and cannot be a line of input"),
            Self::MaxDeliver { attempts, last } => {
                write!(
                    f,
                    "was not answered by {attempts} children; the last one {last}"
                )
            }
        }
    }
}

/// Why a child could not be started. The person who wrote the command recovers.
#[derive(Debug)]
pub struct ExecError {
    /// The program.
    pub program: String,
    /// The system's words.
    pub cause: io::Error,
}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot start `{}`: {}", self.program, self.cause)
    }
}

impl std::error::Error for ExecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// A supervised child. Dropping it kills the child; what it still holds is lost, so call [`Exec::settle`] first.
#[derive(Debug)]
pub struct Exec<T> {
    name: String,
    spec: ExecSpec,
    conversation: Conversation<(T, Bytes)>,
    child: Option<RunningChild>,
    clock: SystemClock,
    lost_children: u64,
    switch: KillSwitch,
}

/// Kills the present child of an [`Exec`] from another thread: for an end that does not wait.
#[derive(Clone, Debug, Default)]
pub struct KillSwitch {
    // The process id of the child that runs now; 0 when there is none.
    child: Arc<AtomicU32>,
}

impl KillSwitch {
    /// Kills the child with its process group, if one runs.
    pub fn kill(&self) {
        let id = self.child.swap(0, Ordering::AcqRel);
        if id != 0 {
            kill_group(id);
        }
    }
}

impl<T> Exec<T> {
    /// Starts the first child at once, so that a wrong command shows before the first message.
    ///
    /// # Errors
    /// [`ExecError`].
    pub fn start(name: &str, spec: ExecSpec) -> Result<Self, ExecError> {
        let mut exec = Self {
            name: name.to_owned(),
            conversation: Conversation::new(spec.window, spec.timeout, spec.max_deliver),
            spec,
            child: None,
            clock: SystemClock::new(),
            lost_children: 0,
            switch: KillSwitch::default(),
        };
        let child = exec.start_child()?;
        exec.install(child);
        Ok(exec)
    }

    fn start_child(&self) -> Result<RunningChild, ExecError> {
        RunningChild::start(
            &self.name,
            &self.spec.command,
            self.spec.window.max(1),
            self.spec.max_answer,
        )
        .map_err(|cause| ExecError {
            program: self.spec.command.first().cloned().unwrap_or_default(),
            cause,
        })
    }

    fn install(&mut self, child: RunningChild) {
        self.switch.child.store(child.id(), Ordering::Release);
        self.child = Some(child);
    }

    fn remove_child(&mut self) -> Option<RunningChild> {
        // Before the process can be waited for: afterwards its number may belong to another.
        self.switch.child.store(0, Ordering::Release);
        self.child.take()
    }

    /// A switch that kills whatever child runs at the time.
    pub fn kill_switch(&self) -> KillSwitch {
        self.switch.clone()
    }

    /// Children that were killed or died while they owed an answer.
    pub fn lost_children(&self) -> u64 {
        self.lost_children
    }

    /// Lines that wait for their answer.
    pub fn pending(&self) -> usize {
        self.conversation.pending()
    }

    /// Takes a line; blocks while `window` lines wait for their answers. What has ended is appended to `out`, in the
    /// order in which it was taken.
    pub fn take(&mut self, item: T, line: Bytes, out: &mut Vec<Answer<T>>) {
        if line.contains(&b'\n') {
            // Order: what was taken before ends before.
            self.settle(out);
            out.push(Answer::GivenUp {
                item,
                cause: GiveUp::LineBreak,
            });
            return;
        }
        let mut offered = (item, line);
        while let Err(back) = self.conversation.offer(offered) {
            offered = back;
            self.step(out);
        }
        if self.conversation.is_owed() || self.is_quiet(out) {
            self.send_ready();
        }
    }

    /// Before a line goes to a child that owes nothing: whether it has kept silent, as it should. One that died
    /// meanwhile costs the line no attempt.
    fn is_quiet(&mut self, out: &mut Vec<Answer<T>>) -> bool {
        let Some(child) = &self.child else {
            return false;
        };
        match child.hear(Duration::ZERO) {
            None => true,
            Some(Said::Closed) => {
                let what = self.describe_end();
                self.lose_child(&what, out);
                false
            }
            Some(Said::Line(_) | Said::TooLong { .. }) => {
                self.lose_child("said something that nobody had asked for", out);
                false
            }
        }
    }

    /// Waits at most about `longest` for the next answer, if any line waits for one.
    pub fn wait(&mut self, longest: Duration, out: &mut Vec<Answer<T>>) {
        if self.conversation.pending() > 0 {
            self.step_at_most(longest, out);
        }
    }

    /// Blocks until every line has ended.
    pub fn settle(&mut self, out: &mut Vec<Answer<T>>) {
        while self.conversation.pending() > 0 {
            self.step(out);
        }
    }

    /// Ends the child's input after everything is settled, and gives it two seconds to end by itself.
    pub fn finish(mut self, out: &mut Vec<Answer<T>>) {
        self.settle(out);
        if let Some(child) = self.remove_child()
            && !child.finish(FINISH_GRACE)
        {
            tracing::warn!(
                stage = self.name,
                "the child did not end after its input had ended and was killed"
            );
        }
    }

    /// One wait: for an answer, the deadline, or the next child.
    fn step(&mut self, out: &mut Vec<Answer<T>>) {
        self.step_at_most(Duration::MAX, out);
    }

    fn step_at_most(&mut self, longest: Duration, out: &mut Vec<Answer<T>>) {
        if self.child.is_none() && !self.replace_child(out) {
            return;
        }
        if !self.conversation.is_owed() && !self.is_quiet(out) {
            return;
        }
        self.send_ready();
        let Some(child) = &mut self.child else { return };
        let now = self.clock.now();
        let wait = self
            .conversation
            .deadline()
            .map_or(Duration::ZERO, |deadline| deadline.saturating_since(now));
        let said = child.hear(wait.min(longest));
        let now = self.clock.now();
        match said {
            Some(Said::Line(line)) => match self.conversation.answered(now) {
                Some((item, _)) if line.is_empty() => out.push(Answer::Filtered { item }),
                Some((item, _)) => out.push(Answer::Line { item, line }),
                // From here on no answer could be trusted to belong to its line.
                None => self.lose_child("answered a line that nobody had sent", out),
            },
            Some(Said::TooLong { length }) => {
                let what = format!(
                    "answered {length} bytes where {} are allowed",
                    self.spec.max_answer
                );
                self.lose_child(&what, out);
            }
            Some(Said::Closed) => {
                let what = self.describe_end();
                self.lose_child(&what, out);
            }
            None if self.is_overdue(now) => {
                let what = format!("did not answer in {:?}", self.spec.timeout);
                self.lose_child(&what, out);
            }
            None => {}
        }
    }

    fn is_overdue(&self, now: Time) -> bool {
        self.conversation
            .deadline()
            .is_some_and(|deadline| now >= deadline)
    }

    fn send_ready(&mut self) {
        let now = self.clock.now();
        let Some(child) = &self.child else { return };
        while let Some((_, line)) = self.conversation.next_to_send(now) {
            if !child.send(line.clone()) {
                // It is gone; its closed output says so at the next step.
                return;
            }
        }
    }

    fn describe_end(&mut self) -> String {
        let clock = self.clock;
        let until = clock.now() + Duration::from_millis(200);
        let Some(child) = &mut self.child else {
            return "ended".to_owned();
        };
        // The output closes a moment before the process can be waited for.
        loop {
            match child.exit_status() {
                Some(status) => return format!("ended with {status}"),
                None if clock.now() >= until => return "closed its output".to_owned(),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn lose_child(&mut self, what: &str, out: &mut Vec<Answer<T>>) {
        self.lost_children += 1;
        tracing::warn!(
            stage = self.name,
            pending = self.conversation.pending(),
            "the child {what}; the next one takes over"
        );
        self.remove_child();
        self.give_up(what, out);
    }

    fn give_up(&mut self, what: &str, out: &mut Vec<Answer<T>>) {
        while let Some(((item, _), attempts)) = self.conversation.lost() {
            out.push(Answer::GivenUp {
                item,
                cause: GiveUp::MaxDeliver {
                    attempts,
                    last: what.to_owned(),
                },
            });
        }
    }

    /// Starts the next child after a pause; a failure to start counts as a child that the oldest line was given to.
    fn replace_child(&mut self, out: &mut Vec<Answer<T>>) -> bool {
        std::thread::sleep(self.conversation.pause());
        match self.start_child() {
            Ok(child) => {
                self.install(child);
                true
            }
            Err(error) => {
                tracing::error!(stage = self.name, "{error}");
                let _counted = self.conversation.next_to_send(self.clock.now());
                self.give_up(&format!("could not be started: {}", error.cause), out);
                false
            }
        }
    }
}
