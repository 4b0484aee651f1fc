#![allow(clippy::unwrap_used)]
//! Messages one by one: what is taken ahead must not be seen, and loops must let others run.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::tests::{counting, poll};
use super::super::{Capacity, Overflow, Sender, TryReceiveError, TrySendError, channel, inbox};
use crate::message::Envelope;

/// Counts turns of a task beside one that always has something to do.
async fn turns_beside(busy: impl Future<Output = ()>) -> usize {
    let turns = Arc::new(AtomicUsize::new(0));
    let other = tokio::spawn({
        let turns = Arc::clone(&turns);
        async move {
            loop {
                turns.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        }
    });
    busy.await;
    other.abort();
    turns.load(Ordering::SeqCst)
}

#[tokio::test]
async fn who_always_has_something_to_send_or_receive_lets_others_run() {
    const COUNT: u64 = 100_000;
    let (sender, mut receiver) = channel(Capacity::messages(COUNT as usize).bytes(usize::MAX));
    let sending = turns_beside(async {
        for number in 0..COUNT {
            sender.send(number).await.unwrap();
        }
    });
    assert!(sending.await > 2);
    let receiving = turns_beside(async {
        for number in 0..COUNT {
            assert_eq!(receiver.recv().await, Some(number));
        }
    });
    assert!(receiving.await > 2);
}

/// Capacity is exact between threads too: with so many received, just so many more can be sent, and whoever waits for a place is
/// woken by the message that makes it, even if none is received after it. Where that is missed, this never ends.
#[test]
fn a_place_is_free_as_soon_as_its_message_is_received() {
    for capacity in [1, 2, 3, 8, 64] {
        let (sender, mut receiver) = channel(Capacity::messages(capacity));
        let (sent, progress) = std::sync::mpsc::channel();
        let rounds = 4_000_u64;
        let messages = (1..=rounds).map(|round| 1 + round % capacity as u64);
        let all = messages.clone().sum::<u64>() + capacity as u64;
        let producer = std::thread::spawn(move || {
            for number in 0..all {
                sender.blocking_send(number).unwrap();
                sent.send(number + 1).unwrap();
            }
        });
        let mut received = 0;
        for count in messages {
            for _ in 0..count {
                assert_eq!(receiver.blocking_recv(), Some(received));
                received += 1;
            }
            while progress.recv().unwrap() < received + capacity as u64 {}
        }
        producer.join().unwrap();
    }
}

#[test]
fn what_is_taken_ahead_counts_as_queued_until_it_is_given_out() {
    let mut receiver = inbox::<u64>();
    let (left_id, left) = receiver.add_edge(Capacity::messages(4), Overflow::Wait);
    let (_, right) = receiver.add_edge(Capacity::messages(4), Overflow::Wait);
    let account = |sender: &Sender<u64>| {
        let stats = sender.stats();
        let counts = &stats.counts;
        assert_eq!(counts.residual(), 0);
        (counts.delivered, counts.held, stats.queued_messages)
    };
    for number in 0..4 {
        left.try_send(number).unwrap();
    }
    for expected in 0..2 {
        assert_eq!(receiver.try_recv(), Ok(expected));
    }
    assert_eq!(account(&left), (2, 2, 2));
    assert_eq!(left.room().0, 2);
    // Two places are free, and not one more.
    left.try_send(4).unwrap();
    left.try_send(5).unwrap();
    assert_eq!(left.try_send(6), Err(TrySendError::Full(6)));
    // Who waits is woken by the next message that is given out.
    let (woken, waker) = counting();
    let mut waiting = left.send_envelope(Envelope::new(6));
    assert!(poll(&mut waiting, &waker).is_pending());
    assert_eq!(receiver.try_recv(), Ok(2));
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(poll(&mut waiting, &waker).is_ready());
    // Another edge has its turn as if nothing had been taken ahead, and a pause holds at once.
    assert_eq!(receiver.try_recv(), Ok(3));
    right.try_send(10).unwrap();
    assert_eq!([receiver.try_recv(), receiver.try_recv()], [Ok(4), Ok(10)]);
    assert_eq!(receiver.try_recv(), Ok(5));
    receiver.pause(left_id);
    assert_eq!(receiver.try_recv(), Err(TryReceiveError::Empty));
    receiver.resume(left_id);
    left.try_send(7).unwrap();
    left.try_send(8).unwrap();
    assert_eq!(receiver.try_recv(), Ok(6));
    assert_eq!(account(&left), (7, 2, 2));
    drop(receiver);
    let stats = left.stats();
    assert_eq!((stats.counts.cancelled, stats.counts.residual()), (2, 0));
    assert_eq!(stats.peak_messages, 4);
}
