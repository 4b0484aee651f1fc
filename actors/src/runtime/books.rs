//! The books of a stage: how its inputs ended, until their outputs have been accepted.

use std::collections::VecDeque;

use super::turn::TurnEnvironment;
use crate::channel::{EdgeId, Settlement};
use crate::message::{Batch, Envelope, Header, Message, Outcome, Reason, Rejection};
use crate::stage::{Held, Lease, Leases};
use crate::telemetry::EdgeTelemetry;

/// Outcomes that wait for the outputs to be accepted, by edge.
pub(super) struct Books {
    pub(super) edges: Vec<(Settlement, bool)>,
    pub(super) telemetry: Vec<EdgeTelemetry>,
}

impl Books {
    pub(super) fn new(telemetry: Vec<EdgeTelemetry>) -> Self {
        Self {
            edges: Vec::new(),
            telemetry,
        }
    }

    pub(super) fn of(&mut self, edge: EdgeId) -> &mut Settlement {
        if self.edges.len() <= edge.0 {
            self.edges
                .resize(edge.0 + 1, (Settlement::default(), false));
        }
        let (settlement, touched) = &mut self.edges[edge.0];
        *touched = true;
        settlement
    }
}

pub(super) fn in_hand<M: Message>(
    edge: EdgeId,
    hand_edge: EdgeId,
    hand: &Batch<M>,
    again: &VecDeque<(EdgeId, Envelope<M>)>,
    leases: &Leases<M>,
) -> u64 {
    let hand = if edge == hand_edge { hand.len() } else { 0 };
    let again = again.iter().filter(|(other, _)| *other == edge).count();
    (hand + again) as u64 + leases.held_of(edge)
}

/// Notes one more failed attempt of the current message; says why when it was the last.
pub(super) fn count_attempt<M>(
    current: &mut Option<(EdgeId, Header, Option<M>)>,
    max_deliver: u8,
) -> Option<Rejection> {
    let (_, header, body) = current.as_mut()?;
    header.set_attempt(header.attempt().saturating_add(1));
    if body.is_none() {
        return Some(Rejection::new(
            Reason::MaxDeliver,
            "its handler took the body and asked for another attempt",
        ));
    }
    (header.attempt() >= max_deliver).then(|| Rejection::from(Reason::MaxDeliver))
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
