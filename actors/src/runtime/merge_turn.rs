//! The turn of a merge: take where a front is missing, let the merge choose, pass on, flush, settle.

use std::task::{Context, Poll};

use super::books::{Books, bury};
use super::turn::{MAX_BATCH, MAX_TAKE, Next, Turn, TurnEnvironment, flush, guarded};
use crate::channel::{Closed, EdgeId, Inlet, Waits};
use crate::message::{Batch, Envelope, Message, Reason, Rejection, Time};
use crate::stage::{Choice, Front, Merger, Outlet, Outputs};
use crate::telemetry::EdgeTelemetry;

/// A merge, its inbox, its output, and what it has taken of each input.
pub(crate) struct MergeTurn<S: Merger> {
    environment: TurnEnvironment,
    merger: S,
    inlet: Option<Inlet<S::Input>>,
    port: Outlet<S::Output>,
    lanes: Vec<Lane<S::Input>>,
    fronts: Vec<Front>,
    /// What was taken just now.
    taken: Batch<S::Input>,
    /// The input whose front is in the merge's hands: a panic ends it.
    at_merger: Option<usize>,
    /// The input whose front is being passed on.
    passing: Option<usize>,
    books: Books,
    phase: Phase,
    finish_when_empty: bool,
    consumed: u64,
    emitted: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Flushing,
    Ended,
}

/// What was taken of one input. While there is something, nothing more is taken of it.
struct Lane<M> {
    front: Option<Envelope<M>>,
    rest: Batch<M>,
}

impl<M: Message> Lane<M> {
    fn held(&self) -> u64 {
        u64::from(self.front.is_some()) + self.rest.len() as u64
    }
}

impl<S: Merger> MergeTurn<S> {
    pub(crate) fn new(
        environment: TurnEnvironment,
        merger: S,
        inlet: Inlet<S::Input>,
        port: Outlet<S::Output>,
        telemetry: Vec<EdgeTelemetry>,
    ) -> Self {
        let lane = |_: &EdgeTelemetry| Lane {
            front: None,
            rest: Batch::new(),
        };
        Self {
            environment,
            merger,
            inlet: Some(inlet),
            port,
            lanes: telemetry.iter().map(lane).collect(),
            fronts: vec![Front::Empty; telemetry.len()],
            taken: Batch::new(),
            at_merger: None,
            passing: None,
            books: Books::new(telemetry),
            phase: Phase::Open,
            finish_when_empty: false,
            consumed: 0,
            emitted: 0,
        }
    }

    /// Takes where a front is missing, as far as there is something.
    fn refill(&mut self, now: Time, cx: &mut Context<'_>) {
        for index in 0..self.lanes.len() {
            if self.fronts[index] == Front::Empty {
                self.pull(index, now);
            }
        }
        while self.fronts.contains(&Front::Empty) {
            let Some(inlet) = &mut self.inlet else { return };
            match inlet.poll_take(cx, &mut self.taken, MAX_TAKE) {
                Poll::Ready(Some(edge)) => {
                    inlet.set_paused(edge, true);
                    // Noted so that the edge is settled, and what is held of it counted.
                    self.books.touch(edge);
                    self.lanes[edge.0].rest.append(&mut self.taken);
                    self.pull(edge.0, now);
                }
                Poll::Ready(None) => return self.end_empty(|_| true),
                Poll::Pending if self.finish_when_empty => {
                    inlet.close();
                    return self.end_empty(|_| true);
                }
                Poll::Pending => {
                    let inlet = self.inlet.take();
                    self.end_empty(|index| {
                        inlet
                            .as_ref()
                            .is_some_and(|inlet| inlet.is_over(EdgeId(index)))
                    });
                    self.inlet = inlet;
                    return;
                }
            }
        }
    }

    /// Notes which empty inputs have ended.
    fn end_empty(&mut self, is_over: impl Fn(usize) -> bool) {
        for (index, front) in self.fronts.iter_mut().enumerate() {
            if *front == Front::Empty && is_over(index) {
                *front = Front::Ended;
            }
        }
    }

    /// Brings the next message of an input to its front, if one was taken.
    fn pull(&mut self, index: usize, now: Time) {
        let edge = EdgeId(index);
        loop {
            let lane = &mut self.lanes[index];
            let Some(envelope) = lane.rest.pop() else {
                if let Some(inlet) = &mut self.inlet {
                    inlet.set_paused(edge, false);
                }
                return;
            };
            if S::DROPS_EXPIRED && envelope.header.is_expired(now) {
                self.books.of(edge).expired += 1;
                continue;
            }
            let envelope = lane.front.insert(envelope);
            self.at_merger = Some(index);
            let (header, body) = (&envelope.header, &envelope.body);
            let arrived = self.merger.arrived(index, header, body);
            self.at_merger = None;
            match arrived {
                Ok(()) => {
                    self.fronts[index] = Front::Message;
                    return;
                }
                Err(rejection) => self.bury_front(index, rejection),
            }
        }
    }

    fn bury_front(&mut self, index: usize, rejection: Rejection) {
        if let Some(Envelope { header, body }) = self.lanes[index].front.take() {
            let (books, environment) = (&mut self.books, &self.environment);
            bury(
                books,
                environment,
                EdgeId(index),
                rejection,
                header,
                Some(body),
            );
        }
    }

    /// Passes the front of an input on.
    fn pass(&mut self, index: usize, now: Time) {
        self.fronts[index] = Front::Empty;
        let Some(envelope) = self.lanes[index].front.take() else {
            return;
        };
        if S::DROPS_EXPIRED && envelope.header.is_expired(now) {
            self.merger.gone(index);
            self.books.of(EdgeId(index)).expired += 1;
        } else {
            self.port.mark();
            self.passing = Some(index);
            self.merger.pass(index, envelope, &mut self.port.view(None));
            self.passing = None;
            self.books.touch(EdgeId(index)).settlement.delivered += 1;
        }
        self.pull(index, now);
    }

    /// After a panic: the message in the merge's hands is dead, everything else goes on.
    fn clean_up(&mut self) {
        if let Some(index) = self.at_merger.take() {
            let rejection = Rejection::new(Reason::Panic, "the merge panicked on it");
            self.bury_front(index, rejection);
        }
        if let Some(index) = self.passing.take() {
            // Only the weight of the message itself can have panicked, and it went with it.
            self.port.rollback();
            let dead = &mut self.books.of(EdgeId(index)).dead;
            dead.add(Reason::Panic, 1);
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Result<bool, Closed> {
        flush(&mut self.port, cx, &self.environment, &mut self.emitted)
    }

    fn settle(&mut self) {
        if let Some(inlet) = &self.inlet {
            let lanes = &self.lanes;
            self.consumed += self.books.settle(inlet, |edge| lanes[edge.0].held());
        }
    }

    /// Passes on what may pass now.
    fn advance(&mut self, now: Time, cx: &mut Context<'_>) -> Next {
        for _ in 0..MAX_BATCH {
            if self.port.is_full() {
                return Next::Again;
            }
            if self.fronts.contains(&Front::Empty) {
                self.refill(now, cx);
            }
            match self.merger.choose(&self.fronts, now) {
                Choice::Take(index) => self.pass(index, now),
                Choice::Wait(until) => return self.wait(until, cx),
            }
        }
        Next::Again
    }

    fn wait(&mut self, until: Option<Time>, cx: &mut Context<'_>) -> Next {
        if self.fronts.iter().all(|front| *front == Front::Ended) {
            self.phase = Phase::Flushing;
            return Next::Again;
        }
        match self.flush(cx) {
            Err(_) => Next::Cancelled,
            Ok(false) => Next::Wait { until: None },
            Ok(true) => {
                self.settle();
                Next::Wait { until }
            }
        }
    }

    fn step(&mut self, now: Time, cx: &mut Context<'_>) -> Next {
        match self.flush(cx) {
            Err(_) => return Next::Cancelled,
            Ok(false) => return Next::Wait { until: None },
            Ok(true) => self.settle(),
        }
        if self.phase == Phase::Flushing {
            self.phase = Phase::Ended;
            return Next::Finished;
        }
        match guarded(|| self.advance(now, cx)) {
            Ok(next) => next,
            Err(text) => {
                self.clean_up();
                Next::Panicked(text)
            }
        }
    }
}

impl<S: Merger> Turn for MergeTurn<S> {
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
                self.port.each(&mut |outlet| {
                    outlet.discard();
                });
                self.inlet = None;
                Next::Finished
            }
            next => next,
        }
    }

    /// What has passed is the merge's only state, and a panic does not touch it: the merge goes on as it is.
    fn rebuild(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn drain(&mut self) {}

    fn finish_when_empty(&mut self) {
        self.finish_when_empty = true;
    }

    fn cancel(&mut self) {
        self.books.cancel_delivered();
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let held = lane.held();
            if held > 0 {
                self.books.of(EdgeId(index)).cancelled += held;
            }
            lane.front = None;
            lane.rest.clear();
        }
        self.settle();
        self.port.each(&mut |outlet| {
            outlet.discard();
        });
        self.inlet = None;
        self.phase = Phase::Ended;
    }

    fn register<'a>(&'a self, waits: &mut Waits<'a>) {
        if Outputs::pending(&self.port) > 0 {
            self.port
                .each_filled_ref(&mut |outlet| outlet.register(waits));
        } else if let Some(inlet) = &self.inlet {
            inlet.register(waits);
        }
    }

    fn totals(&self) -> (u64, u64) {
        (self.consumed, self.emitted)
    }
}
