//! What publishers have queued and the session has not taken yet: one bounded queue per flow.

use super::config::ClientConfig;
use bytes::Bytes;
use foldhash::HashMap;
use mcpbus_actors::{Key, Time};
use mcpbus_transport::wire::{Extra, Head, Record};
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use tokio::sync::oneshot;

use super::error::ReceiptError;

/// Who is told how a message ended.
#[derive(Debug)]
pub(super) enum Notify {
    /// Nobody; it is counted.
    Count,
    /// One who waits.
    Receipt(oneshot::Sender<Result<(), ReceiptError>>),
    /// The requester with this correlation, if it fails.
    Request(u64),
}

/// A message that waits.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) record: Record,
    pub(super) notify: Notify,
}

/// The queue of one flow.
#[derive(Debug, Default)]
struct Slot {
    queue: VecDeque<Queued>,
    /// What the messages of the queue weigh.
    bytes: u64,
    waiters: VecDeque<(u64, Waker)>,
    dirty: bool,
}

/// All queues of a client's publishers.
#[derive(Debug)]
pub(super) struct Outbox {
    slots: Vec<Slot>,
    /// Slots of the first subjects; later ones share slots by hash.
    subjects: HashMap<Arc<str>, usize>,
    dirty: VecDeque<usize>,
    bytes: usize,
    /// Whether publishers wait whose slots had room for messages.
    wait_for_bytes: bool,
    messages_max: usize,
    bytes_max: usize,
    slots_max: usize,
    next_waiter: u64,
}

/// A message could not be queued now.
pub(super) struct NoRoom(pub(super) Record);

/// The slot of answers to requests.
pub(super) const REPLIES: usize = 0;

impl Outbox {
    pub(super) fn new(config: &ClientConfig) -> Self {
        Self {
            slots: vec![Slot::default()],
            subjects: HashMap::default(),
            dirty: VecDeque::new(),
            bytes: 0,
            wait_for_bytes: false,
            messages_max: config.flow_messages.max(1),
            bytes_max: config.queue_bytes,
            slots_max: config.flows.max(2) as usize,
            next_waiter: 0,
        }
    }

    /// The slot of a subject: its own while there are few subjects, a shared one beyond.
    pub(super) fn slot(&mut self, subject: &Arc<str>) -> usize {
        if let Some(slot) = self.subjects.get(subject) {
            return *slot;
        }
        if self.slots.len() < self.slots_max {
            let slot = self.slots.len();
            self.slots.push(Slot::default());
            self.subjects.insert(subject.clone(), slot);
            return slot;
        }
        let shared = self.slots_max as u64 - 1;
        1 + (Key::from_bytes(subject.as_bytes()).value() % shared) as usize
    }

    /// Queues a message, or gives its record back when there is no room.
    pub(super) fn push(
        &mut self,
        slot: usize,
        record: Record,
        notify: Notify,
    ) -> Result<(), (NoRoom, Notify)> {
        let size = record.cost() as usize;
        let full = self.slots[slot].queue.len() >= self.messages_max
            || (self.bytes > 0 && self.bytes + size > self.bytes_max);
        if full {
            return Err((NoRoom(record), notify));
        }
        self.bytes += size;
        let state = &mut self.slots[slot];
        state.bytes += size as u64;
        state.queue.push_back(Queued { record, notify });
        if !state.dirty {
            state.dirty = true;
            self.dirty.push_back(slot);
        }
        Ok(())
    }

    /// Registers a publisher that waits for room; `number` is what it was given before, if it was.
    pub(super) fn wait(&mut self, slot: usize, number: Option<u64>, waker: &Waker) -> u64 {
        self.wait_for_bytes |= self.slots[slot].queue.len() < self.messages_max;
        let waiters = &mut self.slots[slot].waiters;
        if let Some(number) = number
            && let Some((_, known)) = waiters.iter_mut().find(|(known, _)| *known == number)
        {
            known.clone_from(waker);
            return number;
        }
        self.next_waiter += 1;
        waiters.push_back((self.next_waiter, waker.clone()));
        self.next_waiter
    }

    /// A publisher does not wait any more. If it had been woken, the next one is.
    pub(super) fn cancel(&mut self, slot: usize, number: u64) -> Option<Waker> {
        let waiters = &mut self.slots[slot].waiters;
        let before = waiters.len();
        waiters.retain(|(known, _)| *known != number);
        if waiters.len() == before {
            waiters.pop_front().map(|(_, waker)| waker)
        } else {
            None
        }
    }

    /// How many slots have something new in them.
    pub(super) fn dirty(&self) -> usize {
        self.dirty.len()
    }

    /// The next slot with something new in it.
    pub(super) fn next_dirty(&mut self) -> Option<usize> {
        let slot = self.dirty.pop_front()?;
        self.slots[slot].dirty = false;
        Some(slot)
    }

    /// Lists a slot to be looked at again.
    pub(super) fn mark(&mut self, slot: usize) {
        let state = &mut self.slots[slot];
        if !state.dirty && !state.queue.is_empty() {
            state.dirty = true;
            self.dirty.push_back(slot);
        }
    }

    /// What the first message of a slot weighs, and how many wait there.
    pub(super) fn front(&self, slot: usize) -> Option<(u64, u64)> {
        let queue = &self.slots[slot].queue;
        queue
            .front()
            .map(|queued| (queued.record.cost(), queue.len() as u64))
    }

    /// Takes the first message of a slot; publishers that the room concerns are put into `wake`.
    pub(super) fn pop(&mut self, slot: usize, wake: &mut Vec<Waker>) -> Option<Queued> {
        let queued = self.slots[slot].queue.pop_front()?;
        self.freed(slot, &queued.record, wake);
        Some(queued)
    }

    /// Takes a request out that is still here. Whether it was.
    pub(super) fn take_request(
        &mut self,
        slot: usize,
        correlation: u64,
        wake: &mut Vec<Waker>,
    ) -> bool {
        let queue = &mut self.slots[slot].queue;
        let asked = |queued: &Queued| matches!(queued.notify, Notify::Request(number) if number == correlation);
        let taken = queue
            .iter()
            .position(asked)
            .and_then(|place| queue.remove(place));
        if let Some(queued) = &taken {
            self.freed(slot, &queued.record, wake);
        }
        taken.is_some()
    }

    /// A message has left a slot: publishers that the room concerns are put into `wake`.
    fn freed(&mut self, slot: usize, record: &Record, wake: &mut Vec<Waker>) {
        self.slots[slot].bytes -= record.cost();
        self.has_room(slot, record.cost() as usize, wake);
    }

    /// Takes everything out of a slot, if there is credit for all of it: so many messages and bytes. `all` must be empty; its memory
    /// is used for what comes next.
    pub(super) fn take_all(
        &mut self,
        slot: usize,
        (messages, bytes): (u64, u64),
        all: &mut VecDeque<Queued>,
        wake: &mut Vec<Waker>,
    ) {
        let state = &mut self.slots[slot];
        if state.queue.len() as u64 <= messages && state.bytes <= bytes {
            std::mem::swap(&mut state.queue, all);
            let freed = std::mem::take(&mut state.bytes);
            self.has_room(slot, freed as usize, wake);
        }
    }

    /// So many bytes have left a slot: publishers that the room concerns are put into `wake`.
    fn has_room(&mut self, slot: usize, freed: usize, wake: &mut Vec<Waker>) {
        let state = &mut self.slots[slot];
        self.bytes -= freed;
        // Woken when a part of the queue is free, so that the price of a wake-up is shared by many messages.
        if state.queue.len() <= self.messages_max / 2 && !state.waiters.is_empty() {
            wake.extend(state.waiters.drain(..).map(|(_, waker)| waker));
        }
        if self.wait_for_bytes && self.bytes * 2 <= self.bytes_max {
            self.wait_for_bytes = false;
            for state in &mut self.slots {
                wake.extend(state.waiters.drain(..).map(|(_, waker)| waker));
            }
        }
    }

    /// Messages that wait, counted one by one.
    pub(super) fn waiting(&self) -> usize {
        self.slots.iter().map(|slot| slot.queue.len()).sum()
    }

    /// Takes everything out: the client is closed.
    pub(super) fn close(&mut self) -> Vec<Queued> {
        let mut all = Vec::new();
        for slot in &mut self.slots {
            all.extend(slot.queue.drain(..));
            slot.bytes = 0;
            for (_, waker) in slot.waiters.drain(..) {
                waker.wake();
            }
        }
        self.bytes = 0;
        all
    }
}

/// Makes a record.
pub(super) fn record(
    head: Arc<Head>,
    sequence: u64,
    key: Option<Key>,
    deadline: Option<Time>,
    extra: Option<Box<Extra>>,
    body: Bytes,
) -> Record {
    Record {
        head,
        sequence,
        key,
        deadline,
        extra,
        body,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use mcpbus_transport::wire::{AckLevel, ProducerId};

    fn message(size: usize) -> Record {
        let head = Arc::new(Head {
            producer: ProducerId { id: 1, epoch: 1 },
            subject: Arc::from("a"),
            kind: 0,
            ack: AckLevel::None,
            hops: 0,
        });
        record(head, 1, None, None, None, Bytes::from(vec![0; size]))
    }

    fn outbox(flow_messages: usize, queue_bytes: usize, flows: u32) -> Outbox {
        Outbox::new(&ClientConfig {
            flow_messages,
            queue_bytes,
            flows,
            ..ClientConfig::default()
        })
    }

    #[test]
    fn a_full_flow_gives_the_message_back_and_others_go_on() {
        let mut outbox = outbox(2, 10_000, 8);
        let (a, b) = (outbox.slot(&Arc::from("a")), outbox.slot(&Arc::from("b")));
        assert_ne!(a, b);
        assert!(outbox.push(a, message(1), Notify::Count).is_ok());
        assert!(outbox.push(a, message(1), Notify::Count).is_ok());
        assert!(outbox.push(a, message(1), Notify::Count).is_err());
        assert!(outbox.push(b, message(1), Notify::Count).is_ok());
        assert_eq!(outbox.waiting(), 3);
    }

    #[test]
    fn bytes_bound_all_flows_and_one_large_message_passes_alone() {
        let mut outbox = outbox(100, 1000, 8);
        let slot = outbox.slot(&Arc::from("a"));
        assert!(outbox.push(slot, message(5000), Notify::Count).is_ok());
        assert!(outbox.push(slot, message(1), Notify::Count).is_err());
        outbox.pop(slot, &mut Vec::new());
        assert!(outbox.push(slot, message(1), Notify::Count).is_ok());
    }

    #[test]
    fn one_large_message_waits_for_others_and_is_woken_when_they_are_gone() {
        let mut outbox = outbox(100, 1000, 8);
        let (a, b) = (outbox.slot(&Arc::from("a")), outbox.slot(&Arc::from("b")));
        assert!(outbox.push(b, message(1), Notify::Count).is_ok());
        assert!(outbox.push(a, message(950), Notify::Count).is_err());
        outbox.wait(a, None, Waker::noop());
        let mut wake = Vec::new();
        outbox.pop(b, &mut wake);
        assert_eq!(wake.len(), 1);
        assert!(outbox.push(a, message(950), Notify::Count).is_ok());
    }

    #[test]
    fn many_subjects_share_a_bounded_number_of_flows_and_keep_theirs() {
        let mut outbox = outbox(1, 1000, 8);
        let subjects: Vec<Arc<str>> = (0..1000)
            .map(|index| Arc::from(format!("a.{index}")))
            .collect();
        let first: Vec<_> = subjects
            .iter()
            .map(|subject| outbox.slot(subject))
            .collect();
        let again: Vec<_> = subjects
            .iter()
            .map(|subject| outbox.slot(subject))
            .collect();
        assert_eq!(first, again);
        assert!(first.iter().all(|slot| *slot != REPLIES && *slot < 8));
        assert!(outbox.slots.len() <= 8);
    }
}
