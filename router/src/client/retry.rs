//! Deliveries that are to be tried again, and what waits behind them.
//!
//! A delivery that its consumer gives back stays with the client: it is not settled, so if the client dies the node
//! delivers it again. Until it is tried again its key is *parked*: later messages of that key wait behind it, so that
//! order per key holds. What waits here counts against the subscription's window, which bounds it.

use super::subscription::Delivery;
use mcpbus_actors::Key;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Shortest pause before a message is tried again; it doubles with each attempt.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A key of which a message is to be tried again.
struct Parked {
    /// Which message, by its sequence on its flow.
    first: u64,
    /// The message, until it is on its way back to the consumer.
    delivery: Option<Delivery>,
    /// What came behind it, in order.
    behind: VecDeque<Delivery>,
}

#[derive(Default)]
struct State {
    parked: BTreeMap<Option<u64>, Parked>,
    /// What waited behind a key that is not parked any more.
    ready: VecDeque<Delivery>,
}

/// The deliveries of one subscription that its consumer gave back.
#[derive(Default)]
pub(super) struct Retries {
    state: Mutex<State>,
    /// Whether there is anything in it, so that nobody locks it in vain.
    used: AtomicBool,
}

/// What to do with a delivery that came out of the channel.
pub(super) enum Sorted {
    /// Give it to the consumer.
    Now(Delivery),
    /// It waits behind a parked message of its key.
    Waits,
}

fn name(key: Option<Key>) -> Option<u64> {
    key.map(|key| key.value())
}

impl Retries {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is anything in it: before that nothing needs to be sorted.
    #[inline]
    pub(super) fn is_used(&self) -> bool {
        self.used.load(Ordering::Acquire)
    }

    /// Takes a delivery back. Returns its key if it is the one to be tried next.
    pub(super) fn give_back(&self, delivery: Delivery) -> Option<Option<u64>> {
        let key = name(delivery.key());
        let sequence = delivery.flow_sequence();
        let mut state = self.lock();
        self.used.store(true, Ordering::Release);
        let Some(parked) = state.parked.get_mut(&key) else {
            let parked = Parked {
                first: sequence,
                delivery: Some(delivery),
                behind: VecDeque::new(),
            };
            state.parked.insert(key, parked);
            return Some(key);
        };
        // The consumer had several of one key in its hands: the oldest goes first, unless another is on its way already.
        let next = if sequence < parked.first && parked.delivery.is_some() {
            parked.first = sequence;
            parked.delivery.replace(delivery)
        } else {
            Some(delivery)
        };
        if let Some(next) = next {
            insert(&mut parked.behind, next);
        }
        None
    }

    /// The message that a key is parked for, to be sent to its consumer.
    pub(super) fn take_due(&self, key: Option<u64>) -> Option<Delivery> {
        self.lock().parked.get_mut(&key)?.delivery.take()
    }

    /// Sorts a delivery that came out of the channel.
    pub(super) fn sort(&self, delivery: Delivery) -> Sorted {
        let key = name(delivery.key());
        let mut state = self.lock();
        match state.parked.get_mut(&key) {
            None => Sorted::Now(delivery),
            Some(parked) if parked.first == delivery.flow_sequence() => {
                let stale = state.parked.remove(&key).and_then(|parked| {
                    for delivery in parked.behind.into_iter().rev() {
                        state.ready.push_front(delivery);
                    }
                    parked.delivery
                });
                drop(state);
                // One of a session before this: nobody waits for it any more, and it is dropped outside of the lock.
                if let Some(mut stale) = stale {
                    stale.forget();
                }
                Sorted::Now(delivery)
            }
            Some(parked) => {
                insert(&mut parked.behind, delivery);
                Sorted::Waits
            }
        }
    }

    /// The next delivery that waited behind another one and may go on now.
    pub(super) fn next_ready(&self) -> Option<Delivery> {
        loop {
            let delivery = {
                let mut state = self.lock();
                let delivery = state.ready.pop_front();
                let used = delivery.is_some() || !state.parked.is_empty();
                self.used.store(used, Ordering::Release);
                delivery?
            };
            if let Sorted::Now(delivery) = self.sort(delivery) {
                return Some(delivery);
            }
        }
    }

    /// The node forgot the session and delivers everything again: what was given back is void.
    pub(super) fn clear(&self) {
        // Dropped outside the lock: a delivery that is dropped looks for its retries.
        let state = std::mem::take(&mut *self.lock());
        for mut delivery in state
            .parked
            .into_values()
            .flat_map(|parked| parked.delivery.into_iter().chain(parked.behind))
            .chain(state.ready)
        {
            delivery.forget();
        }
    }
}

/// Inserts by sequence; nearly always at the end.
fn insert(queue: &mut VecDeque<Delivery>, delivery: Delivery) {
    let sequence = delivery.flow_sequence();
    let place = queue.partition_point(|other| other.flow_sequence() < sequence);
    queue.insert(place, delivery);
}

/// How long to wait before attempt `attempt` (the first repeat is 1): full jitter, doubled with each.
pub(super) fn pause(attempt: u16, random: u64) -> Duration {
    let doubled = PAUSE_MIN.saturating_mul(1 << u32::from(attempt.clamp(1, 16) - 1));
    let longest = doubled.min(PAUSE_MAX);
    longest.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::super::outbox::record;
    use super::super::shared::{FIRST_GENERATION, Progress, Shared, SubscriptionState};
    use super::super::subscription::{Origin, Settle};
    use super::*;
    use crate::client::ClientConfig;
    use bytes::Bytes;
    use mcpbus_transport::wire::{AckLevel, Head, ProducerId};
    use std::sync::Arc;

    /// A client with one durable subscription whose deliveries go to these retries.
    fn shared(retries: &Arc<Retries>) -> Arc<Shared> {
        let clock = Arc::new(mcpbus_actors::SystemClock::new());
        let numbers = crate::random::Numbers::default();
        let shared = Arc::new(Shared::new(ClientConfig::default(), clock, numbers));
        let subscription = SubscriptionState {
            pattern: String::from("a"),
            group: None,
            durable: Some(String::from("d")),
            max_deliver: 5,
            retries: retries.clone(),
            sender: crate::client::inbox::inbox().0,
            state: tokio::sync::watch::channel(Progress::Ready).0,
            window: (8, 1024),
        };
        shared.lock().subscriptions.insert(1, subscription);
        shared
    }

    fn delivery(shared: &Arc<Shared>, retries: &Arc<Retries>, generation: u64) -> Delivery {
        let head = Arc::new(Head {
            producer: ProducerId { id: 1, epoch: 1 },
            subject: Arc::from("a"),
            kind: 0,
            ack: AckLevel::None,
            hops: 0,
        });
        let origin = Arc::new(Origin {
            shared: shared.clone(),
            generation,
            flow: 1,
            subscription: 1,
            durable: true,
            max_deliver: 5,
            retries: retries.clone(),
        });
        Delivery {
            record: record(head, 1, None, None, None, Bytes::new()),
            settle: Some(Settle {
                origin,
                sequence: 5,
                tries: 0,
                asked: None,
            }),
        }
    }

    #[test]
    fn one_of_an_earlier_session_holds_nothing_up_and_is_forgotten() {
        let retries = Arc::<Retries>::default();
        let shared = shared(&retries);
        // Parked before the node forgot; the flow counts from the beginning since.
        let old = delivery(&shared, &retries, FIRST_GENERATION);
        assert_eq!(retries.give_back(old), Some(None));
        let Sorted::Now(new) = retries.sort(delivery(&shared, &retries, FIRST_GENERATION)) else {
            panic!("it has the number that the key is parked for");
        };
        assert!(retries.next_ready().is_none() && !retries.is_used());
        // Given back after the news it is not parked at all.
        shared.lock().generation = FIRST_GENERATION + 1;
        new.retry();
        assert!(!retries.is_used());
        delivery(&shared, &retries, FIRST_GENERATION + 1).retry();
        assert!(retries.is_used());
    }

    #[test]
    fn pauses_grow_and_stay_below_the_longest() {
        for attempt in 0..100 {
            assert!(pause(attempt, u64::MAX) <= PAUSE_MAX);
            assert_eq!(pause(attempt, 0), Duration::ZERO);
        }
        assert!(pause(1, u64::MAX) <= PAUSE_MIN);
        assert!(pause(3, u64::MAX) > PAUSE_MIN * 3);
    }
}
