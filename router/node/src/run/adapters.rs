//! Plain stage logic in the roles of a topology.

use std::collections::VecDeque;

use mcpbus_actors::runtime::Emitter;
use mcpbus_actors::stage::{
    Aggregator, Consumer, Context, Input, Out, Processor, Producer, Progress,
};
use mcpbus_actors::{Clock as _, Outcome, Reason, Rejection, SystemClock, Time};

use super::events::{Event, Events};
use crate::exec::log_limit::LogLimit;
use crate::payments::Generator;
use crate::payments::GeneratorSpec;
use crate::payments::payment::COLUMNS;
use crate::record::{Record, Schema};
use crate::stages::lines::{Line, LineSource};
use crate::stages::{RecordStage, Refusal, RefusalReason, Taken};

/// Outputs given out at once; the rest follows in the next turn.
const CHUNK: usize = 256;

/// The outcome of a refused record.
pub fn refused(refusal: Refusal) -> Outcome {
    let reason = match refusal.reason {
        RefusalReason::Decode => Reason::Decode,
        RefusalReason::Rejected => Reason::Rejected,
        RefusalReason::Quota => Reason::Quota,
        RefusalReason::MaxDeliver => Reason::MaxDeliver,
    };
    Outcome::Reject(Rejection::new(reason, refusal.detail))
}

/// A [`RecordStage`] as a processor and as an aggregator.
#[derive(Debug)]
pub struct Adapted<S> {
    stage: S,
    produced: Vec<Record>,
    // When what was produced with a refused record is given out.
    due: Option<Time>,
    // What the end of the input gave, until it is given out.
    last: Option<VecDeque<Record>>,
}

impl<S: RecordStage> Adapted<S> {
    /// Adapts a stage.
    pub fn new(stage: S) -> Self {
        Self {
            stage,
            produced: Vec::new(),
            due: None,
            last: None,
        }
    }

    fn take(&mut self, input: Input<'_, Record>, out: &mut Out<'_, Record>, now: Time) -> Outcome {
        match self.stage.take(&input, now, &mut self.produced) {
            Ok(taken) => {
                self.produced.drain(..).for_each(|record| out.emit(record));
                if taken == Taken::Passed {
                    out.forward(input);
                }
                Outcome::Done
            }
            Err(refusal) => {
                // Windows that its time completes are made of others. With it they would not be given out: they are at once
                // after it.
                if !self.produced.is_empty() {
                    self.due = Some(now);
                }
                refused(refusal)
            }
        }
    }

    fn due(&self) -> Option<Time> {
        self.due.or_else(|| self.stage.next_timeout())
    }

    fn timeout(&mut self, out: &mut Out<'_, Record>, now: Time) {
        self.due = None;
        self.stage.handle_timeout(now, &mut self.produced);
        self.produced.drain(..).for_each(|record| out.emit(record));
    }

    fn end(&mut self, out: &mut Out<'_, Record>) -> Progress {
        let (stage, produced) = (&mut self.stage, &mut self.produced);
        let last = self.last.get_or_insert_with(|| {
            let mut records = std::mem::take(produced);
            stage.finish(&mut records);
            records.into()
        });
        for record in last.drain(..last.len().min(CHUNK)) {
            out.emit(record);
        }
        if last.is_empty() {
            Progress::Finished
        } else {
            Progress::More
        }
    }
}

impl<S: RecordStage + 'static> Processor<Record, Record> for Adapted<S> {
    fn process(
        &mut self,
        input: Input<'_, Record>,
        out: &mut Out<'_, Record>,
        cx: &mut Context<'_>,
    ) -> Outcome {
        self.take(input, out, cx.now())
    }

    fn next_timeout(&self) -> Option<Time> {
        self.due()
    }

    fn handle_timeout(&mut self, out: &mut Out<'_, Record>, cx: &mut Context<'_>) {
        self.timeout(out, cx.now());
    }

    fn finish(&mut self, out: &mut Out<'_, Record>, _: &mut Context<'_>) -> Progress {
        self.end(out)
    }
}

impl<S: RecordStage + 'static> Aggregator<Record, Record> for Adapted<S> {
    fn add(
        &mut self,
        input: Input<'_, Record>,
        out: &mut Out<'_, Record>,
        cx: &mut Context<'_>,
    ) -> Outcome {
        self.take(input, out, cx.now())
    }

    fn next_timeout(&self) -> Option<Time> {
        self.due()
    }

    fn handle_timeout(&mut self, out: &mut Out<'_, Record>, cx: &mut Context<'_>) {
        self.timeout(out, cx.now());
    }

    fn finish(&mut self, out: &mut Out<'_, Record>, _: &mut Context<'_>) -> Progress {
        self.end(out)
    }
}

/// `discard`.
#[derive(Clone, Copy, Debug)]
pub struct Discard;

impl Consumer<Record> for Discard {
    fn consume(&mut self, _: Input<'_, Record>, _: &mut Context<'_>) -> Outcome {
        Outcome::Done
    }
}

/// `generator` at its rate.
#[derive(Debug)]
pub struct Generate {
    generator: Generator,
    schema: std::sync::Arc<Schema>,
    rate: u64,
    start: Option<Time>,
}

impl Generate {
    /// A producer by this specification.
    pub fn new(spec: &GeneratorSpec) -> Self {
        Self {
            generator: Generator::new(spec),
            schema: Schema::new(COLUMNS),
            rate: spec.rate,
            start: None,
        }
    }

    /// How many may be made by `now`, and when the next one is due if none may.
    fn due(&mut self, now: Time) -> Result<u64, Time> {
        if self.rate == 0 {
            return Ok(u64::MAX);
        }
        let start = *self.start.get_or_insert(now);
        let passed = now.saturating_since(start).as_nanos();
        let allowed =
            u64::try_from(passed * u128::from(self.rate) / 1_000_000_000).unwrap_or(u64::MAX);
        let left = (allowed + 1).saturating_sub(self.generator.made());
        if left > 0 {
            return Ok(left);
        }
        let next = u128::from(self.generator.made()) * 1_000_000_000 / u128::from(self.rate) + 1;
        Err(start + std::time::Duration::from_nanos(u64::try_from(next).unwrap_or(u64::MAX)))
    }
}

impl Producer<Record> for Generate {
    fn produce(&mut self, out: &mut Out<'_, Record>, cx: &mut Context<'_>) -> Progress {
        let due = match self.due(cx.now()) {
            Ok(due) => due.min(64),
            Err(next) => return Progress::Until(next),
        };
        for _ in 0..due {
            match self.generator.next(cx.now().as_nanos()) {
                Some(payment) => out.emit(payment.to_record(&self.schema)),
                None => return Progress::Finished,
            }
        }
        Progress::More
    }
}

/// `lines`: reads until the end, or until the topology wants no more. Blocks.
pub fn read_lines(stage: &str, mut source: LineSource, emitter: &Emitter<Record>, events: &Events) {
    let clock = SystemClock::new();
    let mut limit = LogLimit::new(10, 1);
    loop {
        match source.next_line(|| emitter.is_stopped()) {
            Ok(Some(Line::Whole { bytes, number })) => {
                if emitter.send(Record::from_line(bytes, number)).is_err() {
                    return;
                }
            }
            Ok(Some(Line::TooLong { length, number, .. })) => {
                events.line_too_long();
                if limit.admit(clock.now()).is_some() {
                    tracing::warn!(
                        stage,
                        line = number,
                        length,
                        "the line is longer than max_line and is left out"
                    );
                }
            }
            Ok(None) => return,
            Err(error) => {
                events.report(Event::Failed {
                    stage: stage.to_owned(),
                    reason: error.to_string(),
                });
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::json::parse_object;
    use mcpbus_actors::stage::{ProcessorStage, Trial};

    /// Completes a window with each record, and refuses the record.
    #[derive(Debug)]
    struct Refuses;

    impl RecordStage for Refuses {
        fn take(
            &mut self,
            record: &Record,
            _: Time,
            out: &mut Vec<Record>,
        ) -> Result<Taken, Refusal> {
            out.push(record.clone());
            Err(Refusal::decode("has no time"))
        }
    }

    #[test]
    fn a_refused_record_does_not_take_the_results_of_a_window_along() {
        let mut trial: Trial<ProcessorStage<_, Record, Record>> =
            Trial::of_processor(Adapted::new(Refuses));
        let outcome = trial.give(parse_object(br#"{"k":1}"#, 1).unwrap());
        assert!(matches!(outcome, Outcome::Reject(_)), "{outcome:?}");
        trial.advance_to(Time::ZERO);
        assert_eq!(trial.outputs().len(), 1);
        trial.give(parse_object(br#"{"k":2}"#, 2).unwrap());
        trial.finish();
        assert_eq!(trial.outputs().len(), 1);
    }
}
