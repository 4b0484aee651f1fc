//! The books of a stage: how its inputs ended, until their outputs have been accepted.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::turn::TurnEnvironment;
use crate::channel::{EdgeId, Inlet, Settlement};
use crate::message::{Envelope, Header, Message, Outcome, Reason, Rejection};
use crate::stage::{Held, Lease, Leases};
use crate::telemetry::EdgeTelemetry;

/// Outcomes that wait for the outputs to be accepted, by edge.
pub(super) struct Books {
    /// Most stages have one input, whose book then lies in the stage itself.
    pub(super) edges: SmallVec<[Book; 1]>,
    pub(super) telemetry: SmallVec<[EdgeTelemetry; 1]>,
}

/// The outcomes of one edge's messages.
#[derive(Clone, Default)]
pub(super) struct Book {
    pub(super) settlement: Settlement,
    /// Whether there is anything to be told.
    pub(super) touched: bool,
    /// Whether there is more to tell than that messages were delivered.
    pub(super) rare: bool,
}

impl Books {
    pub(super) fn new(telemetry: Vec<EdgeTelemetry>) -> Self {
        Self {
            edges: SmallVec::new(),
            telemetry: telemetry.into(),
        }
    }

    /// The book of an edge about which something is to be told.
    pub(super) fn touch(&mut self, edge: EdgeId) -> &mut Book {
        if self.edges.len() <= edge.0 {
            self.edges.resize(edge.0 + 1, Book::default());
        }
        let book = &mut self.edges[edge.0];
        book.touched = true;
        book
    }

    /// Tells the edges about outcomes whose outputs have been accepted; `in_hand` counts what is held of an edge. How many
    /// inputs have ended.
    #[inline]
    pub(super) fn settle<M: Message>(
        &mut self,
        inlet: &Inlet<M>,
        in_hand: impl Fn(EdgeId) -> u64,
    ) -> u64 {
        let mut ended = 0;
        for (index, book) in self.edges.iter_mut().enumerate() {
            if !std::mem::take(&mut book.touched) {
                continue;
            }
            let edge = EdgeId(index);
            let in_hand = in_hand(edge);
            let telemetry = self.telemetry.get(index);
            if std::mem::take(&mut book.rare) {
                inlet.settle(edge, &book.settlement, in_hand);
                ended += book.settlement.total();
                if let Some(telemetry) = telemetry {
                    telemetry.settled(&book.settlement);
                }
                book.settlement = Settlement::default();
            } else {
                let delivered = std::mem::take(&mut book.settlement.delivered);
                inlet.settle_delivered(edge, delivered, in_hand);
                ended += delivered;
                if let Some(telemetry) = telemetry {
                    telemetry.delivered(delivered);
                }
            }
        }
        ended
    }

    /// What was handled but whose outputs were not accepted is given up.
    pub(super) fn cancel_delivered(&mut self) {
        for book in self.edges.iter_mut().filter(|book| book.touched) {
            let delivered = std::mem::take(&mut book.settlement.delivered);
            book.settlement.cancelled += delivered;
            book.rare = true;
        }
    }

    /// For any outcome.
    pub(super) fn of(&mut self, edge: EdgeId) -> &mut Settlement {
        let book = self.touch(edge);
        book.rare = true;
        &mut book.settlement
    }
}

pub(super) fn bury<M: Message>(
    books: &mut Books,
    environment: &TurnEnvironment,
    edge: EdgeId,
    rejection: Rejection,
    header: Header,
    body: Option<M>,
) {
    books.of(edge).dead.add(rejection.reason, 1);
    environment
        .dead_letters
        .add(&environment.stage, rejection, header, body);
}

pub(super) fn settle_leases<M: Message>(
    settled: &mut Vec<(Lease, Outcome)>,
    leases: &mut Leases<M>,
    again: &mut VecDeque<(EdgeId, Envelope<M>)>,
    books: &mut Books,
    environment: &TurnEnvironment,
) {
    for (lease, outcome) in settled.drain(..) {
        let Some(Held {
            edge,
            mut header,
            body,
        }) = leases.settle(lease)
        else {
            continue;
        };
        match outcome {
            // A deferral of what is deferred already would lose the lease; it counts as handled.
            Outcome::Done | Outcome::Defer => books.of(edge).delivered += 1,
            Outcome::Reject(rejection) => bury(books, environment, edge, rejection, header, body),
            Outcome::Retry(_) => {
                header.set_attempt(header.attempt().saturating_add(1));
                match body {
                    Some(body) if header.attempt() < environment.max_deliver => {
                        again.push_back((edge, Envelope { header, body }));
                    }
                    body => bury(
                        books,
                        environment,
                        edge,
                        Reason::MaxDeliver.into(),
                        header,
                        body,
                    ),
                }
            }
        }
    }
}
