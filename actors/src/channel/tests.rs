#![allow(clippy::unwrap_used)]
//! The channel against a plain model, under threads, and its promises one by one.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::message::{Batch, Envelope, ShedReason};

/// Counts how often it is woken.
#[derive(Default)]
pub(super) struct Count(pub(super) AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

pub(super) fn counting() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count::default());
    (Arc::clone(&count), Waker::from(count))
}

pub(super) fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

#[test]
fn the_sixth_of_five_comes_back() {
    let (sender, mut receiver) = channel(Capacity::messages(5));
    for number in 0..5u64 {
        sender.try_send(number).unwrap();
    }
    assert_eq!(sender.try_send(5), Err(TrySendError::Full(5)));
    assert_eq!(receiver.try_recv(), Ok(0));
    sender.try_send(5).unwrap();
    drop(receiver);
    assert_eq!(sender.try_send(6), Err(TrySendError::Closed(6)));
    let counts = sender.stats().counts;
    assert_eq!(
        (
            counts.accepted,
            counts.delivered,
            counts.cancelled,
            counts.residual()
        ),
        (6, 1, 5, 0)
    );
}

#[test]
fn bytes_are_bounded_and_a_heavy_message_enters_alone() {
    let heavy = || vec![0u8; 1000];
    let (sender, mut receiver) = channel(Capacity::messages(100).bytes(500));
    sender.try_send(heavy()).unwrap();
    assert!(matches!(
        sender.try_send(vec![]),
        Err(TrySendError::Full(_))
    ));
    receiver.try_recv().unwrap();
    sender.try_send(vec![]).unwrap();
    assert!(matches!(
        sender.try_send(heavy()),
        Err(TrySendError::Full(_))
    ));
    receiver.try_recv().unwrap();
    sender.try_send(heavy()).unwrap();
}

#[test]
fn who_waits_longest_gets_room_first_and_nobody_overtakes() {
    let (sender, mut receiver) = channel(Capacity::messages(1));
    let (first_woken, first_waker) = counting();
    let (second_woken, second_waker) = counting();
    sender.try_send(0u64).unwrap();
    let mut first = sender.send_envelope(Envelope::new(1));
    let mut second = sender.send_envelope(Envelope::new(2));
    assert!(poll(&mut first, &first_waker).is_pending());
    assert!(poll(&mut second, &second_waker).is_pending());
    assert_eq!(receiver.try_recv(), Ok(0));
    assert_eq!(
        (
            first_woken.0.load(Ordering::SeqCst),
            second_woken.0.load(Ordering::SeqCst)
        ),
        (1, 0)
    );
    // The room is the first one's even though it has not run yet.
    assert_eq!(sender.try_send(9), Err(TrySendError::Full(9)));
    assert!(poll(&mut second, &second_waker).is_pending());
    // Given up, it passes to the second.
    assert_eq!(first.take().unwrap().body, 1);
    assert_eq!(second_woken.0.load(Ordering::SeqCst), 1);
    assert!(poll(&mut second, &second_waker).is_ready());
    assert_eq!(receiver.try_recv(), Ok(2));
}

#[test]
fn one_wake_up_per_batch() {
    let (sender, mut receiver) = channel(Capacity::messages(1000));
    let (woken, waker) = counting();
    let mut hand = Batch::new();
    let mut cx = Context::from_waker(&waker);
    assert!(
        receiver
            .poll_recv_batch(&mut cx, &mut hand, 256)
            .is_pending()
    );
    let mut batch: Batch<u64> = (0..300).collect();
    assert_eq!(sender.offer_batch(&mut batch), Ok(300));
    assert_eq!(sender.try_send(300), Ok(()));
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(receiver.poll_recv_batch(&mut cx, &mut hand, 256).is_ready());
    assert_eq!(hand.len(), 256);
}

#[test]
fn a_batch_that_waits_is_not_woken_for_every_place() {
    let (sender, mut receiver) = channel(Capacity::messages(8));
    let (woken, waker) = counting();
    let mut cx = Context::from_waker(&waker);
    let mut poller = PollSender::new(sender);
    let mut batch: Batch<u64> = (0..20).collect();
    assert_eq!(poller.poll_send_batch(&mut cx, &mut batch), (8, Ok(false)));
    for expected in 0..3 {
        assert_eq!(receiver.try_recv(), Ok(expected));
    }
    assert_eq!(woken.0.load(Ordering::SeqCst), 0);
    assert_eq!(receiver.try_recv(), Ok(3));
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert_eq!(poller.poll_send_batch(&mut cx, &mut batch), (4, Ok(false)));
}

#[test]
fn overflow_policies_drop_or_fail_as_they_say() {
    let receiver = inbox::<u64>();
    let (_, newest) = receiver.add_edge(Capacity::messages(2), Overflow::DropNewest);
    let (_, oldest) = receiver.add_edge(Capacity::messages(2), Overflow::DropOldest);
    let (_, fail) = receiver.add_edge(Capacity::messages(2), Overflow::Fail);
    for number in 0..5 {
        newest.try_send(number).unwrap();
        oldest.try_send(number).unwrap();
        assert_eq!(fail.try_send(number).is_ok(), number < 2);
    }
    let (_, waker) = counting();
    let mut failing = fail.send_envelope(Envelope::new(7));
    assert!(
        matches!(poll(&mut failing, &waker), Poll::Ready(Err(SendError::Full(envelope))) if envelope.body == 7)
    );
    let mut receiver = receiver;
    let mut got = Vec::new();
    while let Ok(number) = receiver.try_recv() {
        got.push(number);
    }
    got.sort_unstable();
    assert_eq!(got, [0, 0, 1, 1, 3, 4]);
    for (sender, shed) in [(&newest, 3), (&oldest, 3), (&fail, 0)] {
        let counts = sender.stats().counts;
        assert_eq!(
            (counts.shed.get(ShedReason::Overflow), counts.residual()),
            (shed, 0)
        );
    }
}

#[test]
fn edges_take_turns_and_one_can_be_paused() {
    let mut receiver = inbox::<u64>();
    let (left_id, left) = receiver.add_edge(Capacity::messages(10), Overflow::Wait);
    let (_, right) = receiver.add_edge(Capacity::messages(10), Overflow::Wait);
    for number in 0..3 {
        left.try_send(number).unwrap();
        right.try_send(10 + number).unwrap();
    }
    assert_eq!(
        [receiver.try_recv().unwrap(), receiver.try_recv().unwrap()],
        [0, 10]
    );
    receiver.pause(left_id);
    assert_eq!(
        [receiver.try_recv().unwrap(), receiver.try_recv().unwrap()],
        [11, 12]
    );
    assert_eq!(receiver.try_recv(), Err(TryReceiveError::Empty));
    drop((left, right));
    // Paused is not finished.
    assert_eq!(receiver.try_recv(), Err(TryReceiveError::Empty));
    receiver.resume(left_id);
    assert_eq!(
        [receiver.try_recv().unwrap(), receiver.try_recv().unwrap()],
        [1, 2]
    );
    assert_eq!(receiver.try_recv(), Err(TryReceiveError::Closed));
}

#[test]
fn nothing_hides_in_a_buffer() {
    let (sender, mut receiver) = channel(Capacity::messages(10));
    let (woken, waker) = counting();
    let mut cx = Context::from_waker(&waker);
    assert!(receiver.poll_recv(&mut cx).is_pending());
    let mut buffered = sender.buffered();
    buffered.blocking_send(1u64).unwrap();
    buffered.blocking_send(2).unwrap();
    assert_eq!(
        woken.0.load(Ordering::SeqCst),
        1,
        "the first message in the buffer wakes the receiver"
    );
    assert_eq!(receiver.try_recv(), Ok(1));
    assert_eq!(receiver.try_recv(), Ok(2));
    buffered.blocking_send(3).unwrap();
    drop((buffered, sender));
    assert_eq!(
        receiver.try_recv(),
        Ok(3),
        "dropped with something in it, the buffer is still emptied"
    );
    assert_eq!(receiver.try_recv(), Err(TryReceiveError::Closed));
}

#[test]
fn a_forgotten_message_is_a_residual_of_one() {
    let (sender, mut receiver) = channel(Capacity::messages(10));
    for number in 0..3u64 {
        sender.try_send(number).unwrap();
    }
    assert!(sender.forget_one());
    while receiver.try_recv().is_ok() {}
    assert_eq!(sender.stats().counts.residual(), 1);
}

#[test]
fn a_permit_is_room_that_nobody_else_gets() {
    let (sender, mut receiver) = channel(Capacity::messages(1));
    let (_, waker) = counting();
    let mut reserve = Box::pin(sender.reserve(100));
    let Poll::Ready(Ok(permit)) = poll(&mut reserve, &waker) else {
        panic!("there is room")
    };
    assert!(sender.try_send(1u64).is_err());
    permit.send(2).unwrap();
    assert_eq!(receiver.try_recv(), Ok(2));
    let mut reserve = Box::pin(sender.reserve(100));
    drop(poll(&mut reserve, &waker));
    sender.try_send(3).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_send_with_a_time_limit_gives_the_message_back() {
    let (sender, mut receiver) = channel(Capacity::messages(1));
    sender.send(1u64).await.unwrap();
    let error = sender
        .send_timeout(2, Duration::from_secs(1))
        .await
        .unwrap_err();
    assert_eq!(error.into_message(), 2);
    assert_eq!(receiver.recv().await, Some(1));
    sender
        .send_timeout(3, Duration::from_secs(1))
        .await
        .unwrap();
    drop(sender);
    assert_eq!(
        (receiver.recv().await, receiver.recv().await),
        (Some(3), None)
    );
}

#[test]
fn the_newest_value_wins_and_versions_only_rise() {
    let (writer, mut reader) = latest(0u64);
    let mut slow = reader.clone();
    let (woken, waker) = counting();
    let mut cx = Context::from_waker(&waker);
    assert!(reader.poll_changed(&mut cx).is_pending());
    for value in 1..=5 {
        assert_eq!(writer.set(value), value);
    }
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert_eq!(reader.poll_changed(&mut cx), Poll::Ready(Ok(5)));
    assert_eq!(slow.get(), 5);
    assert!(slow.poll_changed(&mut cx).is_pending());
    drop(writer);
    assert_eq!(slow.poll_changed(&mut cx), Poll::Ready(Err(Closed)));
}

#[test]
fn threads_lose_nothing_and_keep_order_per_sender() {
    const SENDERS: u64 = 4;
    const EACH: u64 = 5_000;
    for capacity in [1, 3, 64] {
        let mut receiver = inbox::<(u64, u64)>();
        let (_, shared) = receiver.add_edge(Capacity::messages(capacity), Overflow::Wait);
        let probe = shared.probe();
        let threads: Vec<_> = (0..SENDERS)
            .map(|id| {
                let sender = if id < 2 {
                    shared.clone()
                } else {
                    receiver
                        .add_edge(Capacity::messages(capacity), Overflow::Wait)
                        .1
                };
                std::thread::spawn(move || match id {
                    1 => {
                        let mut buffered = sender.buffered();
                        (0..EACH).for_each(|number| buffered.blocking_send((id, number)).unwrap());
                    }
                    2 => {
                        let mut batch = Batch::new();
                        for number in 0..EACH {
                            batch.push(Envelope::new((id, number)));
                            if batch.len() == 7 || number + 1 == EACH {
                                sender.blocking_send_batch(&mut batch).unwrap();
                            }
                        }
                    }
                    _ => (0..EACH).for_each(|number| sender.blocking_send((id, number)).unwrap()),
                })
            })
            .collect();
        drop(shared);
        let mut next = [0; SENDERS as usize];
        let mut batch = Batch::new();
        while receiver.blocking_recv_batch(&mut batch, 16).is_some() {
            for envelope in batch.drain() {
                let (id, number) = envelope.body;
                assert_eq!(next[usize::try_from(id).unwrap()], number);
                next[usize::try_from(id).unwrap()] += 1;
            }
        }
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(next, [EACH; SENDERS as usize]);
        let counts = probe.stats().counts;
        assert_eq!(
            (counts.accepted, counts.delivered, counts.residual()),
            (2 * EACH, 2 * EACH, 0)
        );
    }
}

#[derive(Clone, Debug)]
enum Step {
    TrySend(usize),
    StartSend(usize),
    PollSend,
    CancelSend,
    OfferBatch(usize),
    Take(usize),
    Close,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..40usize).prop_map(Step::TrySend),
        4 => (0..40usize).prop_map(Step::StartSend),
        3 => Just(Step::PollSend),
        1 => Just(Step::CancelSend),
        2 => (1..6usize).prop_map(Step::OfferBatch),
        4 => (1..5usize).prop_map(Step::Take),
        1 => Just(Step::Close),
    ];
    proptest::collection::vec(step, 1..80)
}

fn body(number: usize, size: usize) -> Vec<u8> {
    let mut body = vec![0; size.max(4)];
    body[..4].copy_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
    body.shrink_to_fit();
    body
}

proptest! {
    /// Random sends, waits, cancels, batches, takes and a close: what is taken is what was accepted, in that order,
    /// never more than fits, and the account is right after every step.
    #[test]
    fn the_channel_behaves_like_a_queue(messages in 1..5usize, bytes in 100..400usize, steps in steps()) {
        let (sender, mut receiver) = channel::<Vec<u8>>(Capacity::messages(messages).bytes(bytes));
        let (_, waker) = counting();
        let mut model: VecDeque<Vec<u8>> = VecDeque::new();
        let mut waiting: VecDeque<(SendFuture<'_, Vec<u8>>, Vec<u8>)> = VecDeque::new();
        let mut number = 0;
        let mut closed = false;
        let mut accepted = 0u64;
        for step in steps {
            match step {
                Step::TrySend(size) => {
                    let message = body(number, size);
                    number += 1;
                    match sender.try_send(message.clone()) {
                        Ok(()) => { prop_assert!(!closed); accepted += 1; model.push_back(message) }
                        Err(TrySendError::Full(back)) => prop_assert_eq!(back, message),
                        Err(TrySendError::Closed(back)) => { prop_assert!(closed); prop_assert_eq!(back, message) }
                    }
                }
                Step::StartSend(size) => {
                    let message = body(number, size);
                    number += 1;
                    let mut future = sender.send_envelope(Envelope::new(message.clone()));
                    match poll(&mut future, &waker) {
                        Poll::Ready(Ok(())) => { accepted += 1; model.push_back(message) }
                        Poll::Ready(Err(_)) => prop_assert!(closed),
                        Poll::Pending => waiting.push_back((future, message)),
                    }
                }
                Step::PollSend => {
                    if let Some((mut future, message)) = waiting.pop_front() {
                        match poll(&mut future, &waker) {
                            Poll::Ready(Ok(())) => { accepted += 1; model.push_back(message) }
                            Poll::Ready(Err(error)) => {
                                prop_assert!(closed);
                                prop_assert_eq!(error.into_message().body, message);
                            }
                            Poll::Pending => waiting.push_front((future, message)),
                        }
                    }
                }
                Step::CancelSend => {
                    if let Some((mut future, message)) = waiting.pop_back() {
                        prop_assert_eq!(future.take().map(|envelope| envelope.body), Some(message));
                    }
                }
                Step::OfferBatch(count) => {
                    let bodies: Vec<_> = (0..count).map(|index| body(number + index, 8)).collect();
                    number += count;
                    let mut batch: Batch<Vec<u8>> = bodies.iter().cloned().collect();
                    match sender.offer_batch(&mut batch) {
                        Ok(moved) => {
                            prop_assert_eq!(batch.len(), count - moved);
                            accepted += moved as u64;
                            model.extend(bodies.into_iter().take(moved));
                        }
                        Err(Closed) => { prop_assert!(closed); prop_assert_eq!(batch.len(), count) }
                    }
                }
                Step::Take(max) => {
                    let mut batch = Batch::new();
                    let mut cx = Context::from_waker(&waker);
                    match receiver.poll_recv_batch(&mut cx, &mut batch, max) {
                        Poll::Ready(Some(_)) => {
                            prop_assert!(!batch.is_empty() && batch.len() <= max);
                            for envelope in batch.drain() {
                                prop_assert_eq!(Some(envelope.body), model.pop_front());
                            }
                        }
                        Poll::Ready(None) => prop_assert!(closed && model.is_empty()),
                        Poll::Pending => prop_assert!(model.is_empty()),
                    }
                }
                Step::Close => { receiver.close(); closed = true }
            }
            let stats = sender.stats();
            prop_assert!(stats.queued_messages <= messages);
            prop_assert!(stats.queued_bytes <= bytes || stats.queued_messages == 1);
            prop_assert_eq!(stats.queued_messages, model.len());
            prop_assert_eq!(stats.counts.accepted, accepted);
            prop_assert_eq!(stats.counts.residual(), 0);
            let weight: usize = model.iter().map(|body| Envelope::new(body.clone()).weight()).sum();
            prop_assert_eq!(stats.queued_bytes, weight);
        }
        // Everyone who still waits gets through once there is room: no wake-up was lost.
        while !closed && (!waiting.is_empty() || !model.is_empty()) {
            let mut batch = Batch::new();
            let mut cx = Context::from_waker(&waker);
            if receiver.poll_recv_batch(&mut cx, &mut batch, 64).is_ready() {
                for envelope in batch.drain() {
                    prop_assert_eq!(Some(envelope.body), model.pop_front());
                }
            }
            let mut progressed = false;
            let mut rest = VecDeque::new();
            for (mut future, message) in waiting.drain(..) {
                match poll(&mut future, &waker) {
                    Poll::Ready(Ok(())) => { progressed = true; model.push_back(message) }
                    Poll::Ready(Err(_)) => prop_assert!(false, "nobody closed it"),
                    Poll::Pending => rest.push_back((future, message)),
                }
            }
            waiting = rest;
            prop_assert!(progressed || waiting.is_empty());
        }
    }
}
