//! The books of a stage: how its inputs ended, until their outputs have been accepted.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::turn::TurnEnvironment;
use crate::channel::{EdgeId, Settlement};
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
