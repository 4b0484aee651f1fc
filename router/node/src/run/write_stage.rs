//! `write` as a consumer: a record counts as delivered when the system has taken its line.

use mcpbus_actors::stage::{Consumer, Context, Input, Lease};
use mcpbus_actors::{Outcome, Reason, Rejection, Time};

use super::events::{Event, Events};
use crate::record::Record;
use crate::stages::write::{LineSink, WriteError};

/// Lines taken before they are written even if more are waiting.
const MOST_UNWRITTEN: usize = 1024;

/// The stage. It blocks while the output does, so it has its own thread.
#[derive(Debug)]
pub struct Write {
    name: String,
    // None after a failure: then every record is refused.
    sink: Option<LineSink>,
    events: Events,
    unwritten: Vec<Lease>,
    failure: String,
}

impl Write {
    /// A stage over an open output.
    pub fn new(name: &str, sink: LineSink, events: Events) -> Self {
        Self {
            name: name.to_owned(),
            sink: Some(sink),
            events,
            unwritten: Vec::new(),
            failure: String::new(),
        }
    }

    /// A stage whose output is gone, for the place of one that panicked.
    pub fn broken(name: &str, events: Events) -> Self {
        let failure = "the output was given up after a panic".to_owned();
        Self {
            name: name.to_owned(),
            sink: None,
            events,
            unwritten: Vec::new(),
            failure,
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) {
        let result = self.sink.as_mut().map_or(Ok(()), LineSink::flush);
        self.settle(result, cx);
    }

    fn settle(&mut self, result: Result<(), WriteError>, cx: &mut Context<'_>) {
        if let Err(error) = result {
            self.fail(&error);
        }
        for lease in self.unwritten.drain(..) {
            let outcome = match self.sink {
                Some(_) => Outcome::Done,
                None => Outcome::Reject(Rejection::new(Reason::Rejected, self.failure.as_str())),
            };
            cx.settle(lease, outcome);
        }
    }

    fn fail(&mut self, error: &WriteError) {
        self.sink = None;
        self.failure = error.to_string();
        self.events.report(match error {
            WriteError::Closed => Event::OutputClosed,
            other => Event::Failed {
                stage: self.name.clone(),
                reason: other.to_string(),
            },
        });
    }
}

impl Consumer<Record> for Write {
    fn consume(&mut self, mut input: Input<'_, Record>, cx: &mut Context<'_>) -> Outcome {
        let Some(sink) = &mut self.sink else {
            return Outcome::Reject(Rejection::new(Reason::Rejected, self.failure.as_str()));
        };
        let taken = match sink.take(&input) {
            Err(WriteError::Template(error)) => {
                return Outcome::Reject(Rejection::new(Reason::Decode, error.to_string()));
            }
            taken => taken,
        };
        self.unwritten.push(input.lease());
        // The sink writes by itself when its buffer is full; then everything before is settled.
        let written =
            taken.is_err() || self.sink.as_ref().is_some_and(|sink| sink.unwritten() == 0);
        if written {
            self.settle(taken, cx);
        } else if self.unwritten.len() >= MOST_UNWRITTEN {
            self.flush(cx);
        }
        Outcome::Defer
    }

    fn next_timeout(&self) -> Option<Time> {
        // At once: when no more input is waiting, what is here is written.
        (!self.unwritten.is_empty()).then_some(Time::ZERO)
    }

    fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        self.flush(cx);
    }

    fn finish(&mut self, cx: &mut Context<'_>) {
        self.flush(cx);
    }
}
