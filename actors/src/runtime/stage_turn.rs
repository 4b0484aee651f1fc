//! The turn of a stage: take a batch, handle it, flush, settle.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use super::books::{Books, bury, count_attempt, in_hand, settle_leases};
use super::turn::{MAX_BATCH, MAX_TAKE, Next, Turn, TurnEnvironment, emitted, flush, guarded};
use crate::channel::{EdgeId, Inlet, Settlement, Waits};
use crate::message::{Batch, Envelope, Header, Outcome, Reason, Rejection, Time};
use crate::stage::{Context as StageContext, Held, Input, Lease, Leases, Outputs, Progress, Stage};
use crate::telemetry::EdgeTelemetry;

/// A stage, its inbox, its outputs, and what it has in hand.
pub(crate) struct StageTurn<S: Stage> {
    environment: TurnEnvironment,
    factory: Box<dyn FnMut() -> S + Send>,
    stage: Option<S>,
    inlet: Option<Inlet<S::Input>>,
    ports: S::Outputs,
    /// What was taken of one edge and is not handled yet.
    hand: Batch<S::Input>,
    hand_edge: EdgeId,
    /// Deferred messages that are to be handled again.
    again: VecDeque<(EdgeId, Envelope<S::Input>)>,
    /// The message at the handler: survives a panic here.
    current: Option<(EdgeId, Header, Option<S::Input>)>,
    leases: Leases<S::Input>,
    settled: Vec<(Lease, Outcome)>,
    books: Books,
    phase: Phase,
    finish_when_empty: bool,
    consumed: u64,
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
            hand: Batch::new(),
            hand_edge: EdgeId(0),
            again: VecDeque::new(),
            current: None,
            leases: Leases::default(),
            settled: Vec::new(),
            books: Books::new(telemetry),
            phase: Phase::Open,
            finish_when_empty: false,
            consumed: 0,
        }
    }

    /// Handles what is in hand until it is empty or enough outputs are collected.
    fn handle(&mut self, now: Time) {
        let check_deadlines = self.hand.may_hold_expired(now) || !self.again.is_empty();
        let mut budget = MAX_BATCH;
        while budget > 0 && self.ports.pending() < MAX_BATCH && !self.ports.is_heavy() {
            budget -= 1;
            if self.current.is_none() {
                let next = match self.again.pop_front() {
                    Some((edge, envelope)) => Some((edge, envelope)),
                    None => self
                        .hand
                        .pop_unweighed()
                        .map(|envelope| (self.hand_edge, envelope)),
                };
                let Some((edge, Envelope { header, body })) = next else {
                    break;
                };
                if check_deadlines && header.is_expired(now) {
                    self.books.of(edge).expired += 1;
                    continue;
                }
                self.current = Some((edge, header, Some(body)));
            }
            let (Some((edge, header, body)), Some(stage)) = (&mut self.current, &mut self.stage)
            else {
                break;
            };
            self.ports.mark();
            let Some(input) = Input::new(header, body, &mut self.leases) else {
                self.current = None;
                continue;
            };
            let mut cx = StageContext::new(now, &mut self.settled);
            let outcome = stage.handle(input, self.ports.view(Some(header)), &mut cx);
            let edge = *edge;
            match outcome {
                Outcome::Done => {
                    self.leases.release_claim();
                    self.current = None;
                    self.books.of(edge).delivered += 1;
                }
                Outcome::Defer => self.defer(edge),
                Outcome::Retry(_) => {
                    self.ports.rollback();
                    self.leases.release_claim();
                    // The message stays the current one; the loop gives it to the handler again.
                    if let Some(rejection) =
                        count_attempt(&mut self.current, self.environment.max_deliver)
                    {
                        self.bury(rejection);
                    }
                }
                Outcome::Reject(rejection) => {
                    self.ports.rollback();
                    self.leases.release_claim();
                    self.bury(rejection);
                }
            }
            // Leases settled with `Retry` come before what is in hand, so that they keep their place in the order.
            if !self.settled.is_empty() {
                settle_leases(
                    &mut self.settled,
                    &mut self.leases,
                    &mut self.again,
                    &mut self.books,
                    &self.environment,
                );
            }
        }
    }

    fn defer(&mut self, edge: EdgeId) {
        if let Some((_, header, body)) = self.current.take()
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

    /// The current message becomes a dead letter.
    fn bury(&mut self, rejection: Rejection) {
        if let Some((edge, header, body)) = self.current.take() {
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

    /// After a panic: outputs of the attempt are taken back, the message in hand is dead, what the lost stage held is
    /// handled again where its body is still here.
    fn clean_up(&mut self) {
        self.ports.rollback();
        self.stage = None;
        self.settled.clear();
        let detail = Rejection::new(Reason::Panic, "its handler panicked");
        self.bury(detail);
        for Held {
            edge,
            mut header,
            body,
        } in self.leases.take_all()
        {
            header.set_attempt(header.attempt().saturating_add(1));
            match body {
                Some(body) if header.attempt() < self.environment.max_deliver => {
                    self.again.push_back((edge, Envelope { header, body }));
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
        let Some(inlet) = &self.inlet else { return };
        for (index, (settlement, touched)) in self.books.edges.iter_mut().enumerate() {
            if !*touched {
                continue;
            }
            let edge = EdgeId(index);
            let in_hand = in_hand(edge, self.hand_edge, &self.hand, &self.again, &self.leases);
            inlet.settle(edge, settlement, in_hand);
            self.consumed += settlement.total();
            if let Some(telemetry) = self.books.telemetry.get(index) {
                telemetry.settled(settlement);
            }
            *settlement = Settlement::default();
            *touched = false;
        }
    }

    fn has_work(&self) -> bool {
        !self.hand.is_empty() || !self.again.is_empty() || self.current.is_some()
    }

    fn step(&mut self, now: Time, cx: &mut Context<'_>) -> Next {
        match flush(&mut self.ports, cx, &self.environment) {
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
                self.clean_up();
                return Next::Panicked(text);
            }
            self.settle_leases();
        }
        if !self.has_work() && self.phase == Phase::Open {
            let Some(inlet) = &mut self.inlet else {
                return Next::Finished;
            };
            match inlet.poll_take(cx, &mut self.hand, MAX_TAKE) {
                Poll::Ready(Some(edge)) => {
                    self.hand_edge = edge;
                    // Noted so that the edge is settled, and its hand counted, even if all of it is deferred.
                    self.books.of(edge);
                }
                Poll::Ready(None) => self.phase = Phase::Finishing,
                Poll::Pending if self.finish_when_empty => {
                    inlet.close();
                    self.phase = Phase::Finishing;
                }
                Poll::Pending => return self.flush_and_wait(cx),
            }
        }
        if self.has_work() {
            if let Err(text) = guarded(|| self.handle(now)) {
                self.clean_up();
                return Next::Panicked(text);
            }
        } else if self.phase == Phase::Finishing {
            return self.finish(now);
        }
        Next::Again
    }

    /// Sends what a timer emitted before sleeping.
    fn flush_and_wait(&mut self, cx: &mut Context<'_>) -> Next {
        match flush(&mut self.ports, cx, &self.environment) {
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
                    self.clean_up();
                    return Next::Panicked(text);
                }
                Ok(progress) => {
                    self.settle_leases();
                    // Waiting makes no sense when nothing will come; the answer is taken as `More`.
                    if progress != Progress::Finished || self.has_work() {
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
            &mut self.again,
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
        // What was handled but whose outputs were not accepted is given up as well.
        for (settlement, touched) in &mut self.books.edges {
            if *touched {
                let delivered = std::mem::take(&mut settlement.delivered);
                settlement.cancelled += delivered;
            }
        }
        if let Some((edge, ..)) = self.current.take() {
            self.books.of(edge).cancelled += 1;
        }
        let in_hand = self.hand.len() as u64;
        self.hand.clear();
        if in_hand > 0 {
            self.books.of(self.hand_edge).cancelled += in_hand;
        }
        for (edge, _) in std::mem::take(&mut self.again) {
            self.books.of(edge).cancelled += 1;
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
            self.ports.each_ref(&mut |outlet| outlet.register(waits));
        } else if let Some(inlet) = &self.inlet {
            inlet.register(waits);
        }
    }

    fn totals(&self) -> (u64, u64) {
        (self.consumed, emitted(&self.ports))
    }
}
