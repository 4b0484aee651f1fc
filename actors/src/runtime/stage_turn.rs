//! The turn of a stage: take a batch, handle it, flush, settle.

use std::cell::Cell;
use std::task::{Context, Poll};

use super::books::{Books, bury, settle_leases};
use super::hand::Hand;
use super::stint::{Stint, Unusual};
use super::turn::{MAX_BATCH, MAX_TAKE, Next, Turn, TurnEnvironment, flush, guarded};
use crate::channel::{Closed, Inlet, Waits};
use crate::message::{Envelope, Outcome, Reason, Rejection, Time};
use crate::stage::{Context as StageContext, Held, Lease, Leases, Outputs, Progress, Stage};
use crate::telemetry::EdgeTelemetry;

/// A stage, its inbox, its outputs, and what it has in hand.
pub(crate) struct StageTurn<S: Stage> {
    environment: TurnEnvironment,
    factory: Box<dyn FnMut() -> S + Send>,
    stage: Option<S>,
    inlet: Option<Inlet<S::Input>>,
    ports: S::Outputs,
    hand: Hand<S::Input>,
    leases: Leases<S::Input>,
    settled: Vec<(Lease, Outcome)>,
    books: Books,
    phase: Phase,
    finish_when_empty: bool,
    consumed: u64,
    emitted: u64,
    /// Names runs of messages for the outputs.
    runs: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Finishing,
    Flushing,
    Ended,
}

impl<S: Stage> StageTurn<S> {
    pub(crate) fn new(
        environment: TurnEnvironment,
        factory: Box<dyn FnMut() -> S + Send>,
        inlet: Inlet<S::Input>,
        ports: S::Outputs,
        telemetry: Vec<EdgeTelemetry>,
    ) -> Self {
        Self {
            environment,
            factory,
            stage: None,
            inlet: Some(inlet),
            ports,
            hand: Hand::new(),
            leases: Leases::default(),
            settled: Vec::new(),
            books: Books::new(telemetry),
            phase: Phase::Open,
            finish_when_empty: false,
            consumed: 0,
            emitted: 0,
            runs: 0,
        }
    }

    /// Handles what is in hand until it is empty, enough outputs are collected or `budget` messages were handled; gives what
    /// is left of it.
    fn handle(&mut self, now: Time, mut budget: usize) -> usize {
        while budget > 0 && !self.ports.is_full() {
            if self.hand.must_turn() {
                self.note_done();
                if !self.hand.turn() {
                    break;
                }
            }
            budget = self.handle_each(now, budget);
            if !self.settled.is_empty() {
                // Leases settled with `Retry` come before what is in hand, so that they keep their place in the order.
                self.settle_leases();
            }
        }
        budget
    }

    /// Handles messages of the batch in hand until one of them, or its outputs, asks for something else; gives what is left
    /// of `budget`.
    fn handle_each(&mut self, now: Time, budget: usize) -> usize {
        let before = self.hand.batch.len();
        if self.hand.batch.is_expired(now) {
            let expired = &mut self.books.of(self.hand.edge).expired;
            // One by one: a body may panic when it is dropped, and must be counted all the same.
            while let Some(message) = self.hand.batch.take_first() {
                *expired += 1;
                self.ports.ended(&message.0);
                drop(message);
            }
            return budget.saturating_sub(before);
        }
        let Self {
            stage: Some(stage),
            ports,
            hand,
            leases,
            settled,
            runs,
            ..
        } = self
        else {
            return 0;
        };
        hand.before = before;
        let mut stint = Stint {
            stage,
            ports,
            leases,
            settled,
            now,
            attention: Cell::new(false),
            unusual: None,
        };
        *runs += 1;
        hand.batch.handle_each(*runs, budget, &mut stint);
        let unusual = stint.unusual;
        hand.count_done();
        let done = before - hand.batch.len();
        match unusual {
            None => {}
            Some(Unusual::Expired) => {
                self.books.of(self.hand.edge).expired += 1;
                if let Some(message) = self.hand.batch.take_first() {
                    self.ports.ended(&message.0);
                }
            }
            Some(Unusual::Outcome(outcome)) => self.not_done(outcome),
        }
        // What stayed has had its try too.
        budget.saturating_sub(done.max(1))
    }

    /// The first message in hand is not simply done.
    #[cold]
    fn not_done(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Done => {}
            Outcome::Defer => self.defer(),
            Outcome::Retry(_) => {
                self.take_back();
                self.leases.release_claim();
                // The message stays the first one; the loop gives it to the handler again.
                if let Some(rejection) = self.count_attempt() {
                    self.bury(rejection);
                }
            }
            Outcome::Reject(rejection) => {
                self.take_back();
                self.leases.release_claim();
                self.bury(rejection);
            }
        }
    }

    /// Takes back what the first message in hand has emitted.
    fn take_back(&mut self) {
        if !S::EMITS_LAST {
            self.ports.rollback();
        }
    }

    /// Notes one more failed attempt of the first message; says why when it was the last.
    fn count_attempt(&mut self) -> Option<Rejection> {
        let attempts = self.hand.batch.count_attempt();
        if self.hand.batch.is_first_hollow() {
            return Some(Rejection::new(
                Reason::MaxDeliver,
                "its handler took the body and asked for another attempt",
            ));
        }
        (attempts >= self.environment.max_deliver).then(|| Rejection::from(Reason::MaxDeliver))
    }

    fn defer(&mut self) {
        let edge = self.hand.edge;
        if let Some((header, body)) = self.hand.batch.take_first()
            && let Err(Held { header, body, .. }) = self.leases.keep(Held { edge, header, body })
        {
            let rejection = Rejection::new(
                Reason::Rejected,
                "deferred without a lease, so it could never be settled",
            );
            bury(
                &mut self.books,
                &self.environment,
                edge,
                rejection,
                header,
                body,
            );
        }
    }

    /// The first message becomes a dead letter.
    fn bury(&mut self, rejection: Rejection) {
        if let Some((header, body)) = self.hand.batch.take_first() {
            self.ports.ended(&header);
            bury(
                &mut self.books,
                &self.environment,
                self.hand.edge,
                rejection,
                header,
                body,
            );
        }
    }

    fn note_done(&mut self) {
        let done = std::mem::take(&mut self.hand.done);
        if done > 0 {
            self.books.touch(self.hand.edge).settlement.delivered += done;
        }
    }

    /// After a panic: outputs of the attempt are taken back, the message at the handler is dead, what the lost stage held is
    /// handled again where its body is still here.
    fn clean_up(&mut self) {
        self.stage = None;
        self.settled.clear();
        self.hand.count_done();
        if self.hand.batch.take_at_handler() {
            self.take_back();
            self.bury(Rejection::new(Reason::Panic, "its handler panicked"));
        }
        for Held {
            edge,
            mut header,
            body,
        } in self.leases.take_all()
        {
            header.set_attempt(header.attempt().saturating_add(1));
            match body {
                Some(body) if header.attempt() < self.environment.max_deliver => {
                    self.hand.again.push_back((edge, Envelope { header, body }));
                }
                body => {
                    let rejection =
                        Rejection::new(Reason::Panic, "the stage that held it panicked");
                    bury(
                        &mut self.books,
                        &self.environment,
                        edge,
                        rejection,
                        header,
                        body,
                    );
                }
            }
        }
    }

    /// Counts outcomes whose outputs have been accepted.
    fn settle(&mut self) {
        self.note_done();
        if let Some(inlet) = &self.inlet {
            let (hand, leases) = (&self.hand, &self.leases);
            let in_hand = |edge| hand.held_of(edge) + leases.held_of(edge);
            self.consumed += self.books.settle(inlet, in_hand);
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Result<bool, Closed> {
        flush(&mut self.ports, cx, &self.environment, &mut self.emitted)
    }

    fn step(&mut self, now: Time, cx: &mut Context<'_>) -> Next {
        match self.flush(cx) {
            Err(_) => return Next::Cancelled,
            // Outputs wait for room, so nothing more is taken. A stage's own timer waits with them.
            Ok(false) => return Next::Wait { until: None },
            Ok(true) => self.settle(),
        }
        if self.phase == Phase::Flushing {
            self.phase = Phase::Ended;
            return Next::Finished;
        }
        if self.stage.is_none() {
            let factory = &mut self.factory;
            match guarded(factory) {
                Ok(stage) => self.stage = Some(stage),
                Err(text) => return Next::Panicked(text),
            }
        }
        if let Some(stage) = &mut self.stage
            && self.phase == Phase::Open
            && stage.next_timeout().is_some_and(|timeout| timeout <= now)
        {
            self.ports.mark();
            let mut context = StageContext::new(now, &mut self.settled);
            let view = self.ports.view(None);
            if let Err(text) = guarded(|| stage.handle_timeout(view, &mut context)) {
                self.ports.rollback();
                self.clean_up();
                return Next::Panicked(text);
            }
            self.settle_leases();
        }
        let mut budget = MAX_BATCH;
        loop {
            if self.hand.is_empty() && self.phase == Phase::Open {
                let Some(inlet) = &mut self.inlet else {
                    return Next::Finished;
                };
                match inlet.poll_take(cx, &mut self.hand.batch, MAX_TAKE) {
                    Poll::Ready(Some(edge)) => {
                        self.hand.edge = edge;
                        // Noted so that the edge is settled, and its hand counted, even if all of it is deferred.
                        self.books.touch(edge);
                    }
                    Poll::Ready(None) => self.phase = Phase::Finishing,
                    Poll::Pending if self.finish_when_empty => {
                        inlet.close();
                        self.phase = Phase::Finishing;
                    }
                    Poll::Pending => return self.flush_and_wait(cx),
                }
            }
            if self.hand.is_empty() {
                // What was handled in this turn is sent before the end.
                return if self.ports.pending() == 0 && self.phase == Phase::Finishing {
                    self.finish(now)
                } else {
                    Next::Again
                };
            }
            match guarded(|| self.handle(now, budget)) {
                Ok(left) => budget = left,
                Err(text) => {
                    self.clean_up();
                    return Next::Panicked(text);
                }
            }
            // Small batches are handled together, as far as they are there and go together.
            if budget == 0 || !self.hand.is_empty() || self.ports.pending() >= MAX_BATCH / 2 {
                return Next::Again;
            }
            self.note_done();
        }
    }

    /// Sends what a timer emitted before sleeping.
    fn flush_and_wait(&mut self, cx: &mut Context<'_>) -> Next {
        match self.flush(cx) {
            Err(_) => return Next::Cancelled,
            Ok(false) => return Next::Wait { until: None },
            Ok(true) => self.settle(),
        }
        let until = self.stage.as_ref().and_then(Stage::next_timeout);
        Next::Wait { until }
    }

    fn finish(&mut self, now: Time) -> Next {
        if let Some(stage) = &mut self.stage {
            self.ports.mark();
            let mut context = StageContext::new(now, &mut self.settled);
            let view = self.ports.view(None);
            match guarded(|| stage.finish(view, &mut context)) {
                Err(text) => {
                    self.ports.rollback();
                    self.clean_up();
                    return Next::Panicked(text);
                }
                Ok(progress) => {
                    self.settle_leases();
                    // Waiting makes no sense when nothing will come; the answer is taken as `More`.
                    if progress != Progress::Finished || !self.hand.is_empty() {
                        return Next::Again;
                    }
                }
            }
        }
        for Held { edge, .. } in self.leases.take_all() {
            self.books.of(edge).cancelled += 1;
        }
        self.phase = Phase::Flushing;
        Next::Again
    }

    fn settle_leases(&mut self) {
        settle_leases(
            &mut self.settled,
            &mut self.leases,
            &mut self.hand.again,
            &mut self.books,
            &self.environment,
        );
    }
}

impl<S: Stage> Turn for StageTurn<S> {
    fn turn(&mut self, now: Time, cx: &mut Context<'_>) -> Next {
        if self.phase == Phase::Ended {
            return Next::Finished;
        }
        match self.step(now, cx) {
            Next::Cancelled => {
                self.cancel();
                Next::Cancelled
            }
            Next::Finished => {
                self.ports.each(&mut |outlet| {
                    outlet.discard();
                });
                self.inlet = None;
                self.stage = None;
                Next::Finished
            }
            next => next,
        }
    }

    fn rebuild(&mut self) -> Result<(), String> {
        let factory = &mut self.factory;
        self.stage = Some(guarded(factory)?);
        Ok(())
    }

    fn drain(&mut self) {}

    fn finish_when_empty(&mut self) {
        self.finish_when_empty = true;
    }

    fn cancel(&mut self) {
        self.note_done();
        self.books.cancel_delivered();
        for (edge, count) in self.hand.give_up() {
            self.books.of(edge).cancelled += count;
        }
        for Held { edge, .. } in self.leases.take_all() {
            self.books.of(edge).cancelled += 1;
        }
        self.settle();
        self.ports.each(&mut |outlet| {
            outlet.discard();
        });
        self.inlet = None;
        // A panic while the stage is dropped must not escape either.
        let stage = self.stage.take();
        let _ = guarded(move || drop(stage));
        self.phase = Phase::Ended;
    }

    fn register<'a>(&'a self, waits: &mut Waits<'a>) {
        if self.ports.pending() > 0 {
            self.ports
                .each_filled_ref(&mut |outlet| outlet.register(waits));
        } else if let Some(inlet) = &self.inlet {
            inlet.register(waits);
        }
    }

    fn totals(&self) -> (u64, u64) {
        (self.consumed, self.emitted)
    }
}
