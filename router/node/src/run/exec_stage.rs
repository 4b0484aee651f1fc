//! `exec` as a processor: a message is settled when its answer has been accepted.

use std::time::Duration;

use mcpbus_actors::stage::{Context, Input, Lease, Out, Processor, Progress};
use mcpbus_actors::{Envelope, Header, Outcome, Reason, Rejection, Time};

use super::events::{Event, Events};
use crate::exec::{Answer, Exec, ExecSpec, GiveUp, KillSwitch};
use crate::record::Record;

/// How long a turn waits for an answer when no input is waiting.
const WAIT: Duration = Duration::from_millis(20);

/// A message that waits for its answer.
#[derive(Debug)]
struct Asked {
    lease: Lease,
    header: Header,
    number: u64,
}

/// The stage. It blocks for its child, so it has its own thread.
#[derive(Debug)]
pub struct ExecStage {
    exec: Option<Exec<Asked>>,
    answers: Vec<Answer<Asked>>,
    failure: String,
}

impl ExecStage {
    /// A stage over a child that was started.
    pub fn new(exec: ExecHandle) -> Self {
        Self {
            exec: Some(exec.0),
            answers: Vec::new(),
            failure: String::new(),
        }
    }

    /// Starts a child; without one every message is refused, and the run ends.
    pub fn restart(name: &str, spec: ExecSpec, events: &Events) -> Self {
        match ExecHandle::start(name, spec) {
            Ok(exec) => Self::new(exec),
            Err(error) => {
                let reason = error.to_string();
                events.report(Event::Failed {
                    stage: name.to_owned(),
                    reason: reason.clone(),
                });
                Self {
                    exec: None,
                    answers: Vec::new(),
                    failure: reason,
                }
            }
        }
    }

    fn give(&mut self, out: &mut Out<'_, Record>, cx: &mut Context<'_>) {
        for answer in self.answers.drain(..) {
            match answer {
                Answer::Line { item, line } => {
                    let body = Record::from_line(line, item.number);
                    out.emit_envelope(Envelope {
                        header: item.header.child(),
                        body,
                    });
                    cx.settle(item.lease, Outcome::Done);
                }
                Answer::Filtered { item } => cx.settle(item.lease, Outcome::Done),
                Answer::GivenUp { item, cause } => {
                    let reason = match cause {
                        GiveUp::LineBreak => Reason::Rejected,
                        GiveUp::MaxDeliver { .. } => Reason::MaxDeliver,
                    };
                    cx.settle(
                        item.lease,
                        Outcome::Reject(Rejection::new(reason, cause.to_string())),
                    );
                }
            }
        }
    }
}

/// A started child whose messages are this stage's.
#[derive(Debug)]
pub struct ExecHandle(Exec<Asked>);

impl ExecHandle {
    /// Starts the child.
    ///
    /// # Errors
    /// [`crate::exec::ExecError`]; the person who wrote the command recovers.
    pub fn start(name: &str, spec: ExecSpec) -> Result<Self, crate::exec::ExecError> {
        Exec::start(name, spec).map(Self)
    }

    /// Kills the child from another thread.
    pub fn kill_switch(&self) -> KillSwitch {
        self.0.kill_switch()
    }
}

impl Processor<Record, Record> for ExecStage {
    fn process(
        &mut self,
        mut input: Input<'_, Record>,
        out: &mut Out<'_, Record>,
        cx: &mut Context<'_>,
    ) -> Outcome {
        let Some(exec) = &mut self.exec else {
            return Outcome::Reject(Rejection::new(Reason::Rejected, self.failure.as_str()));
        };
        let line = input.to_body();
        let asked = Asked {
            number: input.number(),
            header: input.header().clone(),
            lease: input.lease(),
        };
        exec.take(asked, line, &mut self.answers);
        self.give(out, cx);
        Outcome::Defer
    }

    fn next_timeout(&self) -> Option<Time> {
        self.exec
            .as_ref()
            .is_some_and(|exec| exec.pending() > 0)
            .then_some(Time::ZERO)
    }

    fn handle_timeout(&mut self, out: &mut Out<'_, Record>, cx: &mut Context<'_>) {
        if let Some(exec) = &mut self.exec {
            exec.wait(WAIT, &mut self.answers);
        }
        self.give(out, cx);
    }

    fn finish(&mut self, out: &mut Out<'_, Record>, cx: &mut Context<'_>) -> Progress {
        if let Some(exec) = self.exec.take() {
            exec.finish(&mut self.answers);
        }
        self.give(out, cx);
        Progress::Finished
    }
}
