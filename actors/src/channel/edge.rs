//! One edge inside an inbox: its queue, its bound, its counters, and who waits for room in it. Plain data
//! under the inbox's lock.

use std::sync::Arc;
use std::task::Waker;

use super::ahead::Ahead;
use super::line::{Line, Need};
use super::queue::Queue;
use super::turns::Place;
use super::wakers::Wakers;
use super::{Capacity, Overflow};
use crate::message::{Batch, EdgeCounts, Envelope, Key, Message, ShedReason};

// In this order, so that what every message needs lies together: with many edges most of the time goes to fetching it.
#[repr(C)]
pub(super) struct Edge<M> {
    /// Nothing more may be sent into this edge, whoever still holds its sender.
    pub(super) ended: bool,
    pub(super) paused: bool,
    /// Whether somebody waits for room.
    waited_for: bool,
    pub(super) overflow: Overflow,
    pub(super) place: Place,
    pub(super) capacity: Capacity,
    reserved: Need,
    /// What the receiver had taken ahead and not given out, when it was looked at last.
    ahead: Need,
    pub(super) accepted: u64,
    pub(super) delivered: u64,
    pub(super) peak: usize,
    pub(super) in_hand: u64,
    pub(super) queue: Queue<M>,
    /// All that happens less often than being accepted and delivered.
    pub(super) counts: EdgeCounts,
    waiting: Line,
    receiver: Option<Arc<Ahead>>,
    pub(super) senders: usize,
}

impl<M: Message> Edge<M> {
    pub(super) fn new(capacity: Capacity, overflow: Overflow) -> Self {
        Self {
            queue: Queue::new(capacity),
            capacity,
            overflow,
            senders: 1,
            paused: false,
            ended: false,
            waited_for: false,
            accepted: 0,
            delivered: 0,
            place: Place::default(),
            counts: EdgeCounts::default(),
            in_hand: 0,
            peak: 0,
            waiting: Line::default(),
            reserved: Need::default(),
            ahead: Need::default(),
            receiver: None,
        }
    }

    /// The account of the edge now.
    pub(super) fn account(&mut self) -> EdgeCounts {
        let queued = self.queued();
        EdgeCounts {
            accepted: self.accepted,
            delivered: self.delivered,
            held: queued.messages as u64 + self.in_hand,
            ..self.counts.clone()
        }
    }

    /// Whether it belongs among those that wait for their turn, and is not there yet.
    #[inline]
    pub(super) fn may_have_turn(&self) -> bool {
        !self.queue.is_empty() && !self.place.is_listed() && !self.paused
    }

    /// Messages that were sent and not given out, and their bytes.
    pub(super) fn queued(&mut self) -> Need {
        self.look_ahead();
        Need {
            messages: self.queue.len() + self.ahead.messages,
            bytes: self.queue.bytes() + self.ahead.bytes,
        }
    }

    /// Whether there is room for `need` beside what is queued and reserved.
    #[inline]
    fn fits(&mut self, need: Need) -> bool {
        self.seems_to_fit(need)
            || (self.ahead.messages > 0 && {
                self.recall();
                self.seems_to_fit(need)
            })
    }

    #[inline]
    fn seems_to_fit(&self, need: Need) -> bool {
        let messages = self.queue.len() + self.reserved.messages + self.ahead.messages;
        let bytes = self.queue.bytes() + self.reserved.bytes + self.ahead.bytes;
        messages == 0
            || (messages + need.messages <= self.capacity.max_messages()
                && bytes + need.bytes <= self.capacity.max_bytes())
    }

    /// Whether a message that asks now may enter: nobody waits longer, and there is room.
    #[inline]
    pub(super) fn admits(&mut self, weight: usize) -> bool {
        !self.waited_for
            && self.fits(Need {
                messages: 1,
                bytes: weight,
            })
    }

    pub(super) fn free(&mut self) -> (usize, usize) {
        if self.waited_for {
            return (0, 0);
        }
        let queued = self.queued();
        let (messages, bytes) = (self.capacity.max_messages(), self.capacity.max_bytes());
        (
            messages.saturating_sub(queued.messages + self.reserved.messages),
            bytes.saturating_sub(queued.bytes + self.reserved.bytes),
        )
    }

    // ---- what the receiver has taken ahead

    /// The receiver has taken messages ahead; what is left of them stands there.
    pub(super) fn lend(&mut self, left: &Arc<Ahead>) {
        self.ahead = left.left();
        self.receiver.get_or_insert_with(|| Arc::clone(left));
    }

    /// Counts what was given out since the last look.
    #[inline]
    pub(super) fn look_ahead(&mut self) {
        if self.ahead.messages > 0
            && let Some(receiver) = &self.receiver
        {
            let left = receiver.left();
            self.delivered += (self.ahead.messages - left.messages) as u64;
            self.ahead = left;
        }
    }

    /// Asks for what was taken ahead to be put back.
    #[cold]
    pub(super) fn recall(&mut self) {
        if let Some(receiver) = &self.receiver {
            receiver.recall();
        }
        self.look_ahead();
    }

    /// What was taken ahead and is left comes back.
    pub(super) fn put_back(&mut self, left: &mut Batch<M>) {
        self.look_ahead();
        self.queue.put_back(left);
        self.ahead = Need::default();
    }

    /// Whether somebody waits for room.
    pub(super) fn is_waited_for(&self) -> bool {
        self.waited_for
    }

    // ---- in

    /// Appends a message whose header says nothing but its key.
    #[inline(always)]
    pub(super) fn push_plain(
        &mut self,
        key: Option<Key>,
        body: &mut Option<M>,
        body_weight: usize,
        weight: usize,
    ) {
        self.accepted += 1;
        self.queue.push_plain(key, body, body_weight, weight);
        self.note_peak();
    }

    #[inline]
    fn note_peak(&mut self) {
        if self.queue.len() + self.ahead.messages > self.peak {
            self.look_ahead();
            self.peak = self.peak.max(self.queue.len() + self.ahead.messages);
        }
    }

    pub(super) fn push(&mut self, envelope: Envelope<M>, weight: usize) {
        self.accepted += 1;
        self.queue.push(envelope, weight);
        self.note_peak();
    }

    /// Whether all of `batch` may enter now: nobody waits longer, and there is room.
    #[inline]
    pub(super) fn admits_all(&mut self, batch: &Batch<M>) -> bool {
        let whole = Need {
            messages: batch.len(),
            bytes: batch.bytes(),
        };
        !self.waited_for && self.may_hold(whole) && self.fits(whole)
    }

    /// Whether so much is not more than the edge may ever hold.
    #[inline]
    pub(super) fn may_hold(&self, whole: Need) -> bool {
        whole.messages <= self.capacity.max_messages() && whole.bytes <= self.capacity.max_bytes()
    }

    /// Appends all of `batch`.
    #[inline]
    pub(super) fn append(&mut self, batch: &mut Batch<M>) {
        self.accepted += batch.len() as u64;
        self.queue.append(batch);
        self.note_peak();
    }

    /// Moves as much of `batch` as fits, in order; the whole of it by swapping when that is possible. With a
    /// `grant` its room is used even though others wait, and while they do, no more than that. One that can `wait` for
    /// room is not split when it is small beside the edge: it costs less to move it whole a little later.
    pub(super) fn push_batch(
        &mut self,
        batch: &mut Batch<M>,
        grant: Option<Need>,
        wait: bool,
    ) -> usize {
        let limit = match grant {
            _ if !self.waited_for => usize::MAX,
            Some(grant) => grant.messages,
            None => 0,
        };
        if batch.is_empty() || limit == 0 {
            return 0;
        }
        let whole = Need {
            messages: batch.len(),
            bytes: batch.bytes(),
        };
        let moved = if whole.messages <= limit && self.may_hold(whole) && self.fits(whole) {
            self.queue.append(batch);
            whole.messages
        } else if wait
            && grant.is_none()
            && whole.messages <= self.capacity.max_messages() / 4
            && whole.bytes <= self.capacity.max_bytes() / 4
        {
            0
        } else {
            let mut moved = 0;
            while moved < limit
                && let Some(weight) = batch.first_weight()
                && self.fits(Need {
                    messages: 1,
                    bytes: weight,
                })
                && let Some(envelope) = batch.pop()
            {
                self.queue.push(envelope, weight);
                moved += 1;
            }
            moved
        };
        self.accepted += moved as u64;
        self.note_peak();
        moved
    }

    /// Takes the oldest messages out until there is room for `need`, and counts them as shed.
    pub(super) fn make_room(&mut self, need: Need, dropped: &mut Batch<M>) {
        while !self.fits(need) {
            let messages = self.queue.len() + self.reserved.messages + need.messages;
            // As many as are too many; where it is bytes, one after the other.
            let too_many = messages.saturating_sub(self.capacity.max_messages());
            let taken = self.queue.take(dropped, too_many.max(1));
            if taken == 0 {
                break;
            }
            self.counts.shed.add(ShedReason::Overflow, taken as u64);
        }
    }

    /// Counts new messages that are not let in.
    pub(super) fn refuse_newest(&mut self, count: usize) {
        self.accepted += count as u64;
        self.counts.shed.add(ShedReason::Overflow, count as u64);
    }

    /// What a sender of `batch` should wait for: not one place, which would wake it for every message, but half of
    /// the edge or the whole batch, whichever is less.
    pub(super) fn need_for(&self, batch: &Batch<M>) -> Need {
        let first = batch.first_weight().unwrap_or(0);
        let messages = batch.len().min(self.capacity.max_messages() / 2).max(1);
        if messages == 1
            || batch.bytes() / batch.len().max(1) * messages > self.capacity.max_bytes() / 2
        {
            return Need {
                messages: 1,
                bytes: first,
            };
        }
        Need {
            messages,
            bytes: if messages == batch.len() {
                batch.bytes()
            } else {
                (batch.bytes() / batch.len() * messages).max(first)
            },
        }
    }

    /// Puts a sender at the end of the waiting ones, or renews its waker.
    pub(super) fn wait(&mut self, ticket: &mut Option<u64>, need: Need, waker: &Waker) {
        self.waiting.wait(ticket, need, waker);
        self.waited_for = true;
    }

    pub(super) fn is_waiting(&self, ticket: u64) -> bool {
        self.waiting.is_waiting(ticket)
    }

    /// Reserves room at once if nobody waits longer and it is there.
    pub(super) fn try_reserve(&mut self, need: Need) -> bool {
        let free = !self.waited_for && self.fits(need);
        if free {
            self.hold(need);
        }
        free
    }

    /// Ends a wait; gives the room that had been reserved for it, which is free again.
    pub(super) fn leave(&mut self, ticket: u64) -> Option<Need> {
        let need = self.waiting.leave(ticket);
        self.waited_for = !self.waiting.is_empty();
        let need = need?;
        self.release(need);
        Some(need)
    }

    pub(super) fn hold(&mut self, need: Need) {
        self.reserved.messages += need.messages;
        self.reserved.bytes += need.bytes;
    }

    pub(super) fn release(&mut self, need: Need) {
        self.reserved.messages -= need.messages;
        self.reserved.bytes -= need.bytes;
    }

    #[inline]
    pub(super) fn grant(&mut self, wakers: &mut Wakers) {
        if self.waited_for {
            self.grant_first(wakers);
        }
    }

    /// Gives free room to those who wait longest, in their order; each is woken once, when it has its room.
    fn grant_first(&mut self, wakers: &mut Wakers) {
        while let Some(need) = self.waiting.first() {
            if !self.fits(need) {
                break;
            }
            self.hold(need);
            wakers.add(self.waiting.grant_first());
        }
        self.waited_for = !self.waiting.is_empty();
    }

    /// Nobody will ever take anything: all who wait are woken to find out.
    pub(super) fn wake_all(&mut self, wakers: &mut Wakers) {
        self.waiting
            .take_all()
            .for_each(|waker| wakers.add(Some(waker)));
        self.waited_for = false;
    }
}
