//! One output that several edges share: each message goes to whichever of them takes it first.

use std::task::Context as TaskContext;

use super::{AnyOutlet, Out, Outlet};
use crate::channel::Closed;
use crate::message::{Batch, Header, Message, Reason, Rejection};
use crate::stage::DeadLetters;
use crate::stage::outputs::{Connect, Declare, Outputs};
use crate::stage::port::Port;

/// One output that several edges share. Edges take turns; one that is full is passed over, and only when all are full does
/// the stage wait, for the first of them that has room.
pub struct Shared<T: Message> {
    /// What was emitted, in its order.
    collected: Outlet<T>,
    /// The message that is being offered: none, or one.
    front: Batch<T>,
    edges: Vec<Outlet<T>>,
    /// The edge whose turn it is.
    turn: usize,
    emitted: u64,
}

impl<T: Message> Shared<T> {
    /// An output that leads nowhere. For tests of stages.
    #[must_use]
    pub fn detached() -> Self {
        Self::of(Vec::new())
    }

    /// Takes what was emitted and not sent.
    pub fn take_pending(&mut self) -> Batch<T> {
        let mut taken = std::mem::take(&mut self.front);
        taken.append(&mut self.collected.take_pending());
        taken
    }

    fn of(edges: Vec<Outlet<T>>) -> Self {
        let mut collected = Outlet::detached();
        if let Some(first) = edges.first() {
            collected.producer = first.producer;
            collected.limit_bytes(edges.iter().map(|edge| edge.max_bytes).min());
        }
        Self {
            collected,
            front: Batch::new(),
            edges,
            turn: 0,
            emitted: 0,
        }
    }

    /// Offers the message in front to each edge in turn; whether it is gone. Where no edge waits for room, and all are full, it
    /// becomes a dead letter of the edge whose turn it is.
    fn offer(
        &mut self,
        cx: &mut TaskContext<'_>,
        stage: &str,
        dead_letters: &DeadLetters,
    ) -> Result<bool, Closed> {
        let count = self.edges.len();
        let mut waits = false;
        for step in 0..count {
            let way = (self.turn + step) % count;
            let outlet = &mut self.edges[way];
            let Some(edge) = &mut outlet.edge else {
                continue;
            };
            let (moved, result) = edge.poll_send_batch(cx, &mut self.front);
            if moved > 0 {
                self.emitted += moved as u64;
                if let Some(accepted) = &outlet.accepted {
                    accepted.add(moved as u64);
                }
                self.turn = (way + 1) % count;
            }
            waits |= !result?;
            if self.front.is_empty() {
                return Ok(true);
            }
        }
        if !waits && let Some(edge) = self.edges.get(self.turn).and_then(|way| way.edge.as_ref()) {
            self.emitted += 1;
            edge.count_refused(1);
            let text = "all edges were full and their overflow policy is `fail`";
            let rejection = Rejection::new(Reason::Quota, text);
            dead_letters.add_all(stage, &rejection, &mut self.front);
            return Ok(true);
        }
        Ok(false)
    }
}

impl<T: Message> AnyOutlet for Shared<T> {
    fn pending(&self) -> usize {
        self.front.len() + self.collected.pending.len()
    }

    fn poll_flush(
        &mut self,
        cx: &mut TaskContext<'_>,
        stage: &str,
        dead_letters: &DeadLetters,
    ) -> Result<bool, Closed> {
        if self.edges.is_empty() {
            return Ok(true);
        }
        while AnyOutlet::pending(self) > 0 {
            if self.front.is_empty() {
                // One by one: a batch that goes to one edge would leave the others without work.
                self.collected.pending.move_to(&mut self.front, 1);
            }
            if !self.offer(cx, stage, dead_letters)? {
                self.collected.sent();
                return Ok(false);
            }
        }
        self.collected.sent();
        Ok(true)
    }

    fn emitted(&self) -> u64 {
        self.emitted
    }

    fn discard(&mut self) -> u64 {
        let count = AnyOutlet::pending(self) as u64;
        self.front.clear();
        self.collected.discard();
        for edge in &mut self.edges {
            edge.discard();
        }
        count
    }

    fn register<'a>(&'a self, waits: &mut crate::channel::Waits<'a>) {
        if AnyOutlet::pending(self) > 0 {
            for edge in self.edges.iter().filter_map(|outlet| outlet.edge.as_ref()) {
                edge.register(waits);
            }
        }
    }
}

impl<T: Message> Outputs for Shared<T> {
    type View<'a> = Out<'a, T>;
    type Ports = Vec<Port<T>>;
    #[inline]
    fn view<'a>(&'a mut self, cause: Option<&'a Header>) -> Self::View<'a> {
        self.collected.view(cause)
    }
    #[inline]
    fn mark(&mut self) {
        self.collected.set_mark();
    }
    fn rollback(&mut self) {
        self.collected.take_back();
    }
    #[inline]
    fn pending(&self) -> usize {
        AnyOutlet::pending(self)
    }
    #[inline(always)]
    fn is_full(&self) -> bool {
        Outlet::is_full(&self.collected)
    }
    fn each(&mut self, visit: &mut dyn FnMut(&mut dyn AnyOutlet)) {
        visit(self);
    }
    fn each_filled_ref<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn AnyOutlet)) {
        visit(self);
    }
    fn declare(declare: &mut impl Declare, ways: usize) -> Self::Ports {
        (0..ways).map(|_| declare.output::<T>()).collect()
    }
    fn connect(wiring: &mut impl Connect) -> Self {
        let mut edges = Vec::new();
        while wiring.has_more_outputs() {
            edges.push(wiring.outlet::<T>());
        }
        Self::of(edges)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::channel::{Capacity, EdgeSender, Overflow, PollSender, Receiver, inbox};
    use crate::stage::DeadLetterLimits;
    use std::task::Waker;

    fn shared(overflow: Overflow) -> (Shared<u64>, Vec<Receiver<u64>>) {
        let mut receivers = Vec::new();
        let edges = (0..2).map(|_| {
            let receiver = inbox();
            let (_, sender) = receiver.add_edge(Capacity::messages(1), overflow);
            receivers.push(receiver);
            let mut outlet = Outlet::detached();
            outlet.edge = Some(EdgeSender::Channel(PollSender::new(sender)));
            outlet
        });
        (Shared::of(edges.collect()), receivers)
    }

    #[test]
    fn each_message_goes_to_the_first_edge_with_room() {
        let (mut shared, mut receivers) = shared(Overflow::Wait);
        let dead_letters = DeadLetters::new(DeadLetterLimits::default(), None);
        let mut cx = TaskContext::from_waker(Waker::noop());
        (0..5u64).for_each(|n| shared.view(None).emit(n));
        assert!(!shared.poll_flush(&mut cx, "s", &dead_letters).unwrap());
        // Only the second one has room now, however often.
        for expected in [1, 2] {
            assert_eq!(receivers[1].try_recv(), Ok(expected));
            assert!(!shared.poll_flush(&mut cx, "s", &dead_letters).unwrap());
        }
        assert_eq!(Outputs::pending(&shared), 1);
        assert_eq!(receivers[0].try_recv(), Ok(0));
        assert!(shared.poll_flush(&mut cx, "s", &dead_letters).unwrap());
        assert_eq!(
            (receivers[0].try_recv(), receivers[1].try_recv()),
            (Ok(4), Ok(3))
        );
        assert_eq!(shared.emitted(), 5);
    }

    #[test]
    fn where_no_edge_waits_what_all_refuse_is_a_dead_letter() {
        let (mut shared, receivers) = shared(Overflow::Fail);
        let dead_letters = DeadLetters::new(DeadLetterLimits::default(), None);
        let mut cx = TaskContext::from_waker(Waker::noop());
        (0..5u64).for_each(|n| shared.view(None).emit(n));
        assert!(shared.poll_flush(&mut cx, "s", &dead_letters).unwrap());
        let stats: Vec<_> = receivers.iter().flat_map(Receiver::stats).collect();
        let dead: u64 = stats
            .iter()
            .map(|edge| edge.counts.dead.get(Reason::Quota))
            .sum();
        assert_eq!((dead, shared.emitted()), (3, 5));
        assert!(stats.iter().all(|edge| edge.counts.residual() == 0));
    }
}
