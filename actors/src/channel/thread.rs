//! Edges between two threads: batches over crossbeam, with a gauge that bounds messages and bytes.
//!
//! One sender, one receiver per edge. Nothing here parks by itself: ends offer and take what goes now, and tell
//! [`Waits`] what would wake them, so that a stage's thread sleeps in one place on everything it waits for.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use crossbeam_channel::{
    Receiver as Queue, Sender as QueueSender, TryRecvError, TrySendError, bounded,
};

use super::Waits;
use super::probe::{Probe, ProbeSource};
use super::{Capacity, Closed, EdgeId, EdgeStats, Overflow, Settlement, TURN_BYTES};
use crate::message::{Batch, EdgeCounts, Header, Message, Reason};

/// The most batches in flight on one edge, whose messages are bounded by the gauge: at least 256, and enough to fill a large
/// edge twice over.
fn most_batches(capacity: Capacity) -> usize {
    let (messages, bytes) = (capacity.max_messages(), capacity.max_bytes());
    let filled = (messages / 128).max(bytes / TURN_BYTES * 2);
    messages.min(filled.clamp(256, 1 << 14))
}

/// The most emptied batches on their way back to the sender: their memory is used again.
const MAX_EMPTIED: usize = 8;

/// Shared numbers of one edge.
struct Gauge {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    /// Bytes that batches in flight take, beside what their messages own.
    allocated: AtomicUsize,
    peak: AtomicUsize,
    accepted: AtomicU64,
    refused: AtomicU64,
    in_hand: AtomicU64,
    outcomes: Mutex<Settlement>,
    sender_waits: AtomicBool,
    sender_alive: AtomicBool,
    receiver_gone: AtomicBool,
    capacity: Capacity,
}

impl Gauge {
    fn fits(&self, count: usize, weight: usize) -> bool {
        let messages = self.messages.load(Ordering::SeqCst);
        messages == 0
            || (messages + count <= self.capacity.max_messages()
                && self.bytes.load(Ordering::SeqCst) + weight <= self.capacity.max_bytes())
    }
}

impl Gauge {
    /// Counts everything left in the queue of a receiver that is gone as cancelled.
    fn give_up<M: Message>(&self, queue: &Queue<Batch<M>>) {
        while let Ok(batch) = queue.try_recv() {
            self.cancel(batch.len());
        }
    }

    fn cancel(&self, count: usize) {
        self.messages.fetch_sub(count, Ordering::SeqCst);
        self.outcomes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .cancelled += count as u64;
    }
}

impl ProbeSource for Gauge {
    fn edge_stats(&self, _: usize) -> EdgeStats {
        let outcomes = *self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = self.refused.load(Ordering::Acquire);
        let queued = self.messages.load(Ordering::SeqCst);
        let mut counts = EdgeCounts {
            accepted: self.accepted.load(Ordering::Acquire) + refused,
            delivered: outcomes.delivered,
            dead: outcomes.dead,
            expired: outcomes.expired,
            shed: outcomes.shed,
            cancelled: outcomes.cancelled,
            held: queued as u64 + self.in_hand.load(Ordering::Acquire),
            lost: outcomes.lost,
        };
        counts.dead.add(Reason::Quota, refused);
        EdgeStats {
            counts,
            queued_messages: queued,
            queued_bytes: self.bytes.load(Ordering::SeqCst),
            peak_messages: self.peak.load(Ordering::Relaxed),
            capacity: self.capacity,
            overflow: Overflow::Wait,
            senders: usize::from(self.sender_alive.load(Ordering::Acquire)),
        }
    }

    // Only open inputs are ended from outside, and those are never thread edges.
    fn end_edge(&self, _: usize) {}
}

/// The sending end of a thread edge. Its policy is `Wait`.
pub(crate) struct ThreadSender<M: Message> {
    queue: QueueSender<Batch<M>>,
    room: Queue<()>,
    emptied: Queue<Batch<M>>,
    /// The other end of the queue, to account for a batch that crossed with the receiver's end.
    leftover: Queue<Batch<M>>,
    gauge: Arc<Gauge>,
}

/// The receiving end of a thread edge.
struct ThreadReceiver<M> {
    queue: Queue<Batch<M>>,
    room: QueueSender<()>,
    emptied: QueueSender<Batch<M>>,
    gauge: Arc<Gauge>,
    stash: Batch<M>,
    finished: bool,
    paused: bool,
}

fn edge<M: Message>(capacity: Capacity) -> (ThreadSender<M>, ThreadReceiver<M>) {
    let gauge = Arc::new(Gauge {
        messages: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
        allocated: AtomicUsize::new(0),
        peak: AtomicUsize::new(0),
        accepted: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        in_hand: AtomicU64::new(0),
        outcomes: Mutex::default(),
        sender_waits: AtomicBool::new(false),
        sender_alive: AtomicBool::new(true),
        receiver_gone: AtomicBool::new(false),
        capacity,
    });
    let (queue, queue_end) = bounded(most_batches(capacity));
    let (room, room_end) = bounded(1);
    let (emptied, emptied_end) = bounded(MAX_EMPTIED);
    (
        ThreadSender {
            queue,
            room: room_end,
            emptied: emptied_end,
            leftover: queue_end.clone(),
            gauge: Arc::clone(&gauge),
        },
        ThreadReceiver {
            queue: queue_end,
            room,
            emptied,
            gauge,
            stash: Batch::new(),
            finished: false,
            paused: false,
        },
    )
}

impl<M: Message> ThreadSender<M> {
    /// Moves what fits from the front of `batch`; `(moved, all)`. What did not fit waits for [`ThreadSender::register`].
    pub(crate) fn offer(&self, batch: &mut Batch<M>) -> (usize, Result<bool, Closed>) {
        let mut moved = 0;
        while self.room.try_recv().is_ok() {}
        loop {
            if self.gauge.receiver_gone.load(Ordering::Acquire) {
                self.gauge.give_up(&self.leftover);
                return (moved, Err(Closed));
            }
            if batch.is_empty() {
                self.gauge.sender_waits.store(false, Ordering::SeqCst);
                return (moved, Ok(true));
            }
            let now = self.offer_once(batch);
            moved += now;
            if now == 0 {
                // The flag comes before the second look, and the receiver frees room before it reads the flag: one
                // of the two sees the other.
                if self.gauge.sender_waits.swap(true, Ordering::SeqCst) {
                    return (moved, Ok(false));
                }
            }
        }
    }

    fn offer_once(&self, batch: &mut Batch<M>) -> usize {
        let mut part = Batch::new();
        let small = batch.len() <= self.gauge.capacity.max_messages() / 4
            && batch.bytes() <= self.gauge.capacity.max_bytes() / 4;
        if self.gauge.fits(batch.len(), batch.bytes())
            && batch.len() <= self.gauge.capacity.max_messages()
            && batch.bytes() <= self.gauge.capacity.max_bytes()
        {
            part = if self.wastes(batch) {
                batch.take_fitting()
            } else {
                std::mem::replace(batch, self.emptied.try_recv().unwrap_or_default())
            };
        } else if !small {
            // One that is small beside the edge is not split: it goes whole a little later.
            while let Some(weight) = batch.first_weight()
                && (self.gauge.fits(part.len() + 1, part.bytes() + weight))
                && (part.is_empty()
                    || (part.len() < self.gauge.capacity.max_messages()
                        && part.bytes() + weight <= self.gauge.capacity.max_bytes()))
                && let Some(envelope) = batch.pop()
            {
                part.push_weighed(envelope, weight);
            }
        }
        if part.is_empty() {
            return 0;
        }
        let (count, bytes) = (part.len(), part.bytes());
        let allocated = part.allocated_bytes();
        self.gauge.allocated.fetch_add(allocated, Ordering::AcqRel);
        self.gauge.bytes.fetch_add(bytes, Ordering::SeqCst);
        let messages = self.gauge.messages.fetch_add(count, Ordering::SeqCst) + count;
        self.gauge.peak.fetch_max(messages, Ordering::Relaxed);
        self.gauge
            .accepted
            .fetch_add(count as u64, Ordering::AcqRel);
        match self.queue.try_send(part) {
            Ok(()) => count,
            Err(TrySendError::Full(mut part) | TrySendError::Disconnected(mut part)) => {
                self.gauge.messages.fetch_sub(count, Ordering::SeqCst);
                self.gauge.bytes.fetch_sub(bytes, Ordering::SeqCst);
                self.gauge.allocated.fetch_sub(allocated, Ordering::AcqRel);
                self.gauge
                    .accepted
                    .fetch_sub(count as u64, Ordering::AcqRel);
                // Back to the front, in order.
                part.append(batch);
                std::mem::swap(&mut part, batch);
                0
            }
        }
    }

    /// Whether a batch would bring more places without messages than the edge allows.
    fn wastes(&self, batch: &Batch<M>) -> bool {
        let allocated = batch.allocated_bytes();
        let each = Header::WEIGHT + size_of::<M>();
        let messages = self.gauge.messages.load(Ordering::SeqCst) + batch.len();
        let unused = self.gauge.capacity.unused_bytes();
        allocated > batch.len() * each
            && self.gauge.allocated.load(Ordering::Acquire) + allocated > messages * each + unused
    }

    pub(crate) fn count_refused(&self, count: u64) {
        self.gauge.refused.fetch_add(count, Ordering::AcqRel);
    }

    pub(crate) fn register<'a>(&'a self, waits: &mut Waits<'a>) {
        waits.select.recv(&self.room);
    }
}

impl<M: Message> Drop for ThreadSender<M> {
    fn drop(&mut self) {
        if self.gauge.receiver_gone.load(Ordering::Acquire) {
            self.gauge.give_up(&self.leftover);
        }
        self.gauge.sender_alive.store(false, Ordering::Release);
    }
}

/// The inbox of a stage whose inputs all come from threads.
pub(crate) struct ThreadInbox<M: Message> {
    edges: Vec<ThreadReceiver<M>>,
    next: usize,
    closed: bool,
}

impl<M: Message> ThreadInbox<M> {
    pub(crate) fn new() -> Self {
        Self {
            edges: Vec::new(),
            next: 0,
            closed: false,
        }
    }

    pub(crate) fn add_edge(&mut self, capacity: Capacity) -> (EdgeId, ThreadSender<M>) {
        let (sender, receiver) = edge(capacity);
        self.edges.push(receiver);
        (EdgeId(self.edges.len() - 1), sender)
    }

    pub(crate) fn probe(&self, edge: EdgeId) -> Probe {
        Probe::new(
            Arc::clone(&self.edges[edge.0].gauge) as Arc<dyn ProbeSource>,
            0,
        )
    }

    /// As [`Receiver::poll_take`](super::Receiver::poll_take).
    pub(crate) fn poll_take(&mut self, batch: &mut Batch<M>, max: usize) -> Poll<Option<EdgeId>> {
        let count = self.edges.len();
        for step in 0..count {
            let index = (self.next + step) % count;
            let edge = &mut self.edges[index];
            if edge.paused {
                continue;
            }
            if edge.stash.is_empty() && !edge.finished {
                match edge.queue.try_recv() {
                    Ok(mut received) => {
                        let allocated = received.allocated_bytes();
                        edge.gauge.allocated.fetch_sub(allocated, Ordering::AcqRel);
                        edge.stash.append(&mut received);
                        // The other one has memory; where nobody waits for it, it is given back.
                        let _ = edge.emptied.try_send(received);
                    }
                    Err(TryRecvError::Disconnected) => edge.finished = true,
                    Err(TryRecvError::Empty) => {}
                }
            }
            if edge.stash.is_empty() {
                continue;
            }
            let before = edge.stash.bytes();
            let max = if before > TURN_BYTES {
                max.min(edge.stash.count_within(TURN_BYTES))
            } else {
                max
            };
            let taken = edge.stash.move_to(batch, max.max(1));
            edge.gauge.in_hand.fetch_add(taken as u64, Ordering::AcqRel);
            edge.gauge
                .bytes
                .fetch_sub(before - edge.stash.bytes(), Ordering::SeqCst);
            edge.gauge.messages.fetch_sub(taken, Ordering::SeqCst);
            if edge.gauge.sender_waits.swap(false, Ordering::SeqCst) {
                let _ = edge.room.try_send(());
            }
            self.next = (index + 1) % count;
            return Poll::Ready(Some(EdgeId(index)));
        }
        if self.closed || self.edges.iter().all(|edge| edge.finished) {
            return Poll::Ready(None);
        }
        Poll::Pending
    }

    pub(crate) fn settle(&self, edge: EdgeId, settlement: &Settlement, in_hand: u64) {
        let gauge = &self.edges[edge.0].gauge;
        gauge
            .outcomes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .merge(settlement);
        gauge.in_hand.store(in_hand, Ordering::Release);
    }

    /// As [`Receiver::pause`](super::Receiver::pause) and its contrary.
    pub(crate) fn set_paused(&mut self, edge: EdgeId, paused: bool) {
        self.edges[edge.0].paused = paused;
    }

    /// Whether an edge that was looked at is empty and will stay so.
    pub(crate) fn is_over(&self, edge: EdgeId) -> bool {
        let edge = &self.edges[edge.0];
        (edge.finished || self.closed) && edge.stash.is_empty()
    }

    pub(crate) fn close(&mut self) {
        self.closed = true;
        for edge in &self.edges {
            edge.gauge.receiver_gone.store(true, Ordering::Release);
            let _ = edge.room.try_send(());
        }
    }

    pub(crate) fn register<'a>(&'a self, waits: &mut Waits<'a>) {
        let open = |edge: &&ThreadReceiver<M>| !edge.finished && !edge.paused;
        for edge in self.edges.iter().filter(open) {
            waits.select.recv(&edge.queue);
        }
    }
}

impl<M: Message> Drop for ThreadInbox<M> {
    fn drop(&mut self) {
        self.close();
        for edge in &mut self.edges {
            edge.gauge.cancel(edge.stash.len());
            edge.gauge.give_up(&edge.queue);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::thread_wait::WakeChannel;
    use super::*;
    use crate::message::Envelope;

    fn batch(range: std::ops::Range<u64>) -> Batch<u64> {
        range.collect()
    }

    #[test]
    fn the_gauge_bounds_messages_and_the_rest_stays() {
        let mut inbox = ThreadInbox::new();
        let (edge, sender) = inbox.add_edge(Capacity::messages(5));
        let mut out = batch(0..8);
        assert_eq!(sender.offer(&mut out), (5, Ok(false)));
        assert_eq!(out.len(), 3);
        let mut hand = Batch::new();
        assert_eq!(inbox.poll_take(&mut hand, 256), Poll::Ready(Some(edge)));
        assert_eq!(hand.len(), 5);
        assert_eq!(sender.offer(&mut out), (3, Ok(true)));
        let stats = inbox.probe(edge).stats();
        assert_eq!(
            (
                stats.counts.accepted,
                stats.counts.held,
                stats.peak_messages
            ),
            (8, 8, 5)
        );
    }

    #[test]
    fn two_threads_keep_order_and_account() {
        const COUNT: u64 = 20_000;
        let mut inbox = ThreadInbox::new();
        let (edge, sender) = inbox.add_edge(Capacity::messages(7));
        let probe = inbox.probe(edge);
        let producer = std::thread::spawn(move || {
            let (_waker, wake) = WakeChannel::pair();
            let mut next = 0;
            let mut pending = Batch::new();
            while next < COUNT || !pending.is_empty() {
                while pending.len() < 3 && next < COUNT {
                    pending.push(Envelope::new(next));
                    next += 1;
                }
                if sender.offer(&mut pending).1 == Ok(false) {
                    let mut waits = Waits::new(&wake);
                    sender.register(&mut waits);
                    waits.sleep(None);
                }
            }
        });
        let (_waker, wake) = WakeChannel::pair();
        let mut expected = 0;
        let mut hand = Batch::new();
        loop {
            match inbox.poll_take(&mut hand, 4) {
                Poll::Ready(Some(edge)) => {
                    let count = hand.len() as u64;
                    for envelope in hand.drain() {
                        assert_eq!(envelope.body, expected);
                        expected += 1;
                    }
                    inbox.settle(
                        edge,
                        &Settlement {
                            delivered: count,
                            ..Settlement::default()
                        },
                        0,
                    );
                }
                Poll::Ready(None) => break,
                Poll::Pending => {
                    let mut waits = Waits::new(&wake);
                    inbox.register(&mut waits);
                    waits.sleep(None);
                }
            }
        }
        producer.join().unwrap();
        let counts = probe.stats().counts;
        assert_eq!(
            (
                expected,
                counts.accepted,
                counts.delivered,
                counts.residual()
            ),
            (COUNT, COUNT, COUNT, 0)
        );
    }

    #[test]
    fn what_is_queued_when_the_receiver_goes_is_cancelled() {
        let mut inbox = ThreadInbox::new();
        let (edge, sender) = inbox.add_edge(Capacity::messages(5));
        let probe = inbox.probe(edge);
        let mut out = batch(0..3);
        sender.offer(&mut out).1.unwrap();
        drop(inbox);
        assert_eq!(sender.offer(&mut batch(0..1)).1, Err(Closed));
        let counts = probe.stats().counts;
        assert_eq!((counts.cancelled, counts.residual()), (3, 0));
    }
}
