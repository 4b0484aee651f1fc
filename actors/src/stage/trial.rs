//! Trying a stage without a runtime: give it messages and time, look at outcomes and outputs.

use std::cell::Cell;

use super::{Context, Input, Lease, Leases, Outputs, Progress, Stage};
use crate::message::{Batch, Body, Envelope, Handle, Header, Message, Outcome, Then, Time};

/// Runs a stage by hand, under the tester's own time. For unit tests of stages and roles.
///
/// ```
/// use mcpbus_actors::stage::{Out, Trial};
/// use mcpbus_actors::Outcome;
///
/// let mut trial = Trial::of_processor(|n: &u64, out: &mut Out<'_, u64>| out.emit(n * 2));
/// assert_eq!(trial.give(4), Outcome::Done);
/// assert_eq!(trial.outputs(), [8]);
/// ```
pub struct Trial<S: Stage> {
    stage: S,
    outputs: S::Outputs,
    hand: Batch<S::Input>,
    runs: u64,
    leases: Leases<S::Input>,
    settled: Vec<(Lease, Outcome)>,
    now: Time,
}

/// Handles one message.
struct Once<'a, S: Stage> {
    stage: &'a mut S,
    outputs: &'a mut S::Outputs,
    leases: &'a mut Leases<S::Input>,
    cx: Context<'a>,
    outcome: Outcome,
}

impl<S: Stage> Handle<S::Input> for Once<'_, S> {
    fn handle(&mut self, header: &Header, body: Body<'_, S::Input>) -> Then {
        let attention = Cell::new(false);
        let input = Input::new(header, body, self.leases, &attention);
        let view = self.outputs.view(Some(header));
        self.outcome = self.stage.handle(input, view, &mut self.cx);
        Then::Next
    }
}

impl<S: Stage> Trial<S> {
    /// Tries `stage`, which writes to `outputs` (for example [`Outlet::detached`](super::Outlet::detached)).
    pub fn new(stage: S, outputs: S::Outputs) -> Self {
        Self {
            stage,
            outputs,
            hand: Batch::new(),
            runs: 0,
            leases: Leases::default(),
            settled: Vec::new(),
            now: Time::ZERO,
        }
    }

    /// Gives one message; its outputs are taken back unless it is done or deferred, as the runtime does.
    pub fn give(&mut self, message: S::Input) -> Outcome {
        self.give_envelope(Envelope::new(message))
    }

    /// As [`Trial::give`], with a header of the tester's.
    pub fn give_envelope(&mut self, envelope: Envelope<S::Input>) -> Outcome {
        self.hand.push(envelope);
        self.outputs.mark();
        let mut once = Once {
            stage: &mut self.stage,
            outputs: &mut self.outputs,
            leases: &mut self.leases,
            cx: Context::new(self.now, &mut self.settled),
            outcome: Outcome::Done,
        };
        self.runs += 1;
        self.hand.handle_each(self.runs, 1, &mut once);
        let outcome = once.outcome;
        if matches!(outcome, Outcome::Retry(_) | Outcome::Reject(_)) {
            self.outputs.rollback();
        }
        outcome
    }

    /// Moves time forward to `now`, calling the stage's timers as they become due.
    pub fn advance_to(&mut self, now: Time) {
        while let Some(timeout) = self.stage.next_timeout().filter(|timeout| *timeout <= now) {
            self.now = self.now.max(timeout);
            let mut cx = Context::new(self.now, &mut self.settled);
            self.stage.handle_timeout(self.outputs.view(None), &mut cx);
            if self.stage.next_timeout() == Some(timeout) {
                // A timer that is not moved would fire for ever.
                break;
            }
        }
        self.now = now;
    }

    /// Tells the stage that nothing will come any more, until it has given everything.
    pub fn finish(&mut self) {
        loop {
            let mut cx = Context::new(self.now, &mut self.settled);
            if self.stage.finish(self.outputs.view(None), &mut cx) == Progress::Finished {
                return;
            }
        }
    }

    /// What was settled through leases since the last call.
    pub fn settled(&mut self) -> Vec<(Lease, Outcome)> {
        std::mem::take(&mut self.settled)
    }

    /// The outputs themselves.
    pub fn ports(&mut self) -> &mut S::Outputs {
        &mut self.outputs
    }

    /// The stage itself.
    pub fn stage(&mut self) -> &mut S {
        &mut self.stage
    }
}

impl<S, O> Trial<S>
where
    O: Message,
    S: Stage<Outputs = super::Outlet<O>>,
{
    /// Takes what was emitted since the last call, with headers.
    pub fn output_envelopes(&mut self) -> Vec<Envelope<O>> {
        self.outputs.take_pending().drain().collect()
    }

    /// Takes what was emitted since the last call.
    pub fn outputs(&mut self) -> Vec<O> {
        self.outputs
            .take_pending()
            .drain()
            .map(|envelope| envelope.body)
            .collect()
    }
}

impl<P, I, O> Trial<super::ProcessorStage<P, I, O>>
where
    I: Message,
    O: Message,
    P: super::Processor<I, O>,
{
    /// Tries a processor.
    pub fn of_processor(processor: P) -> Self {
        Self::new(
            super::ProcessorStage(processor, std::marker::PhantomData),
            super::Outlet::detached(),
        )
    }
}

impl<A, I, O> Trial<super::AggregatorStage<A, I, O>>
where
    I: Message,
    O: Message,
    A: super::Aggregator<I, O>,
{
    /// Tries an aggregator.
    pub fn of_aggregator(aggregator: A) -> Self {
        Self::new(
            super::AggregatorStage(aggregator, std::marker::PhantomData),
            super::Outlet::detached(),
        )
    }
}

impl<C, I> Trial<super::ConsumerStage<C, I>>
where
    I: Message,
    C: super::Consumer<I>,
{
    /// Tries a consumer.
    pub fn of_consumer(consumer: C) -> Self {
        Self::new(super::ConsumerStage(consumer, std::marker::PhantomData), ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Key, Kind, Reason};
    use crate::stage::{Out, RouterStage, Ways, by_key, fold};

    #[test]
    fn outputs_inherit_and_those_of_a_failed_attempt_are_taken_back() {
        let mut trial = Trial::of_processor(|n: &u64, out: &mut Out<'_, u64>| {
            out.emit(*n);
            if *n == 2 {
                Outcome::reject(Reason::Rejected)
            } else {
                Outcome::Done
            }
        });
        let mut header = Header::with_key(Some(Key(9)));
        header.set_deadline(Some(Time::from_nanos(77)));
        trial.give_envelope(Envelope { header, body: 1 });
        assert_eq!(trial.give(2), Outcome::reject(Reason::Rejected));
        let outputs = trial.output_envelopes();
        assert_eq!(outputs.len(), 1);
        assert_eq!(outputs[0].header.key(), Some(Key(9)));
        assert_eq!(outputs[0].header.deadline(), Some(Time::from_nanos(77)));
        assert_eq!(outputs[0].header.sequence(), 1);
    }

    /// Its key is there or not.
    struct MaybeKeyed(Option<u64>);

    impl Message for MaybeKeyed {
        const KIND: Kind = Kind::new("maybe_keyed", 1, "Option<u64>");
        fn weight(&self) -> usize {
            size_of::<Self>()
        }
        fn key(&self) -> Option<Key> {
            self.0.map(Key)
        }
    }

    #[test]
    fn what_comes_from_an_iterator_is_as_if_emitted_one_by_one() {
        let keys = |input: u64| (0..input).map(|n| MaybeKeyed((n / 70 % 2 == 1).then_some(n)));
        let mut alone = Trial::of_processor(move |input: &u64, out: &mut Out<'_, MaybeKeyed>| {
            keys(*input).for_each(|message| out.emit(message));
        });
        let mut together =
            Trial::of_processor(move |input: &u64, out: &mut Out<'_, MaybeKeyed>| {
                let mut messages = keys(*input);
                assert!(out.emit_from(&mut messages, 5));
                assert_eq!(out.pending(), 5);
                assert!(!out.emit_from(&mut messages, usize::MAX));
            });
        // Without a key in the cause, outputs with and without a key differ in what headers have in common.
        let inputs = [6, 64, 65, 300];
        let causes = [Some(Key(7)), None].into_iter();
        for (key, input) in causes.flat_map(|key| inputs.map(|input| (key, input))) {
            let envelope = || Envelope {
                header: Header::with_key(key),
                body: input,
            };
            alone.give_envelope(envelope());
            together.give_envelope(envelope());
            let (one, other) = (alone.output_envelopes(), together.output_envelopes());
            assert_eq!((one.len() as u64, other.len()), (input, one.len()));
            for (one, other) in one.into_iter().zip(other) {
                assert_eq!((one.header, one.body.0), (other.header, other.body.0));
            }
        }
    }

    #[test]
    fn a_fold_emits_its_state_at_the_end() {
        let mut trial = Trial::of_aggregator(fold(10u64, |sum: &mut u64, n: &u64| *sum += n));
        trial.give(1);
        trial.give(2);
        assert!(trial.outputs().is_empty());
        trial.finish();
        assert_eq!(trial.outputs(), [13]);
    }

    #[test]
    fn a_router_keeps_headers_and_refuses_a_way_that_is_not_there() {
        let stage = RouterStage(
            |n: &u64| usize::try_from(*n).unwrap_or(9),
            std::marker::PhantomData,
        );
        let mut trial = Trial::new(stage, Ways::<u64>::detached(2));
        let mut envelope = Envelope::new(1);
        envelope.header.set_identity(5, 6, 7);
        assert_eq!(trial.give_envelope(envelope.clone()), Outcome::Done);
        assert_eq!(trial.ports().take_pending(1).pop(), Some(envelope));
        assert!(
            matches!(trial.give(2), Outcome::Reject(rejection) if rejection.reason == Reason::NoRoute)
        );
    }

    #[test]
    fn by_key_keeps_a_key_on_its_way_and_uses_all_ways() {
        let mut trial = Trial::new(
            RouterStage(by_key(), std::marker::PhantomData),
            Ways::<u64>::detached(4),
        );
        for round in 0..2 {
            for key in 0..100u64 {
                let header = Header::with_key(Some(Key(key)));
                assert_eq!(
                    trial.give_envelope(Envelope {
                        header,
                        body: round
                    }),
                    Outcome::Done
                );
            }
        }
        for way in 0..4 {
            let batch = trial.ports().take_pending(way);
            let keys = |round: u64| {
                batch
                    .iter()
                    .filter(|(_, body)| **body == round)
                    .map(|(header, _)| header.key())
                    .collect::<Vec<_>>()
            };
            assert!(keys(0).len() > 10);
            assert_eq!(keys(0), keys(1));
        }
    }
}
