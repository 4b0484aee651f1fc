//! The channel under a scheduler that chooses who goes on at every step: whoever waits is woken, or the scheduler finds that
//! all wait; every message is accounted for; each sender's order is kept; no edge holds more than its capacity.
//!
//! `tests/run interleavings` runs them; `MCPBUS_INTERLEAVINGS` says how many schedules of each, half of them at random and half
//! with few changes of who comes first. The scheduler sees locks, atomics and parked threads as if memory were sequentially
//! consistent: weaker orders it cannot try. It cannot see edges between threads either, which wait inside of crossbeam.
#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use shuttle::future::{block_on, spawn};

use super::*;
use crate::message::{Batch, Envelope};

/// Where a number of a sender comes from.
const SENDER: u64 = 100;

fn explore(case: fn()) {
    let schedules = std::env::var("MCPBUS_INTERLEAVINGS").ok();
    let schedules = schedules.map_or(2_000, |number| number.parse::<usize>().unwrap());
    shuttle::check_random(case, schedules / 2);
    shuttle::check_pct(case, schedules / 2, 3);
}

/// The numbers of each sender rise.
fn assert_in_order(received: &[u64]) {
    for sender in 0..4 {
        let of = |number: &&u64| **number / SENDER == sender;
        assert!(received.iter().filter(of).is_sorted(), "{received:?}");
    }
}

fn assert_at_rest(probe: &Probe, most: usize) {
    let stats = probe.stats();
    assert_eq!(stats.counts.residual(), 0, "{stats:?}");
    assert_eq!(stats.counts.held, 0, "{stats:?}");
    assert!(stats.peak_messages <= most, "{stats:?}");
}

/// Tries once to send; gives up where it would have to wait. Whether it was sent.
async fn send_or_give_up(sender: &Sender<u64>, number: u64) -> bool {
    let mut future = sender.send_envelope(Envelope::new(number));
    std::future::poll_fn(|cx| {
        let sent = match Pin::new(&mut future).poll(cx) {
            Poll::Ready(result) => result.is_ok(),
            Poll::Pending => false,
        };
        Poll::Ready(sent)
    })
    .await
}

#[test]
fn senders_that_wait_are_woken_in_order() {
    explore(|| {
        for capacity in [1, 3] {
            let (sender, mut receiver) = channel::<u64>(Capacity::messages(capacity));
            let probe = sender.probe();
            for number in 0..2 {
                let sender = sender.clone();
                spawn(async move {
                    for message in 0..3 {
                        sender.send(number * SENDER + message).await.unwrap();
                    }
                });
            }
            drop(sender);
            let look = probe.clone();
            let looking = spawn(async move {
                let stats = look.stats();
                assert!(stats.queued_messages <= capacity, "{stats:?}");
            });
            let received = block_on(async move {
                let mut received = Vec::new();
                while let Some(number) = receiver.recv().await {
                    received.push(number);
                }
                looking.await.unwrap();
                received
            });
            assert_eq!(received.len(), 6);
            assert_in_order(&received);
            assert_at_rest(&probe, capacity);
        }
    });
}

#[test]
fn who_gives_up_a_wait_takes_no_room_along() {
    explore(|| {
        let (sender, mut receiver) = channel::<u64>(Capacity::messages(1));
        let probe = sender.probe();
        let hasty = sender.clone();
        let hasty = spawn(async move {
            let mut sent = 0;
            for number in 0..3 {
                sent += usize::from(send_or_give_up(&hasty, number).await);
            }
            sent
        });
        spawn(async move {
            for number in 0..3 {
                sender.send(SENDER + number).await.unwrap();
            }
        });
        let received = block_on(async move {
            let mut received = Vec::new();
            while let Some(number) = receiver.recv().await {
                received.push(number);
            }
            received
        });
        assert_eq!(received.len(), 3 + block_on(hasty).unwrap());
        assert_in_order(&received);
        assert_at_rest(&probe, 1);
    });
}

#[test]
fn batches_and_single_messages_of_several_edges_go_together() {
    explore(|| {
        let mut receiver = inbox::<u64>();
        let (first, one) = receiver.add_edge(Capacity::messages(2), Overflow::Wait);
        let (_, two) = receiver.add_edge(Capacity::messages(3), Overflow::Wait);
        let probes = [one.probe(), two.probe()];
        let more = one.clone();
        spawn(async move {
            let mut batch: Batch<u64> = (0..4).collect();
            one.send_batch(&mut batch).await.unwrap();
        });
        spawn(async move {
            for number in 0..2 {
                more.send(SENDER + number).await.unwrap();
            }
        });
        spawn(async move {
            let mut batch: Batch<u64> = (0..3).map(|number| 2 * SENDER + number).collect();
            two.send_batch(&mut batch).await.unwrap();
            two.send(2 * SENDER + 3).await.unwrap();
        });
        let received = block_on(async move {
            let mut received = Vec::new();
            let mut batch = Batch::new();
            // One by one, which takes ahead, and in batches, with a pause in between.
            received.extend(receiver.recv().await);
            received.extend(receiver.recv().await);
            receiver.pause(first);
            receiver.resume(first);
            while receiver.recv_batch(&mut batch, 2).await.is_some() {
                received.extend(batch.drain().map(|envelope| envelope.body));
                received.extend(receiver.recv().await);
            }
            received
        });
        assert_eq!(received.len(), 10);
        assert_in_order(&received);
        assert_at_rest(&probes[0], 2);
        assert_at_rest(&probes[1], 3);
    });
}

#[test]
fn who_waits_learns_that_the_receiver_is_gone() {
    explore(|| {
        for close in [true, false] {
            let (sender, mut receiver) = channel::<u64>(Capacity::messages(1));
            let probe = sender.probe();
            let senders = [0, 1].map(|number| {
                let sender = sender.clone();
                spawn(async move {
                    let mut sent = 0;
                    while sent < 3 && sender.send(number * SENDER + sent).await.is_ok() {
                        sent += 1;
                    }
                    sent
                })
            });
            drop(sender);
            let received = block_on(async move {
                let mut received = u64::from(receiver.recv().await.is_some());
                if close {
                    receiver.close();
                    while receiver.recv().await.is_some() {
                        received += 1;
                    }
                }
                received
            });
            let sent: u64 = senders.map(|sender| block_on(sender).unwrap()).iter().sum();
            let counts = probe.stats().counts;
            assert_eq!((counts.accepted, counts.delivered), (sent, received));
            assert_at_rest(&probe, 1);
        }
    });
}

#[test]
fn what_is_buffered_comes_whether_it_is_flushed_or_left_behind() {
    explore(|| {
        let (sender, mut receiver) = channel::<u64>(Capacity::messages(2));
        let probe = sender.probe();
        for number in 0..2 {
            let sender = sender.clone();
            spawn(async move {
                let mut buffered = sender.buffered();
                drop(sender);
                for message in 0..3 {
                    buffered.send(number * SENDER + message).await.unwrap();
                    if number == 0 && message == 1 {
                        buffered.flush().await.unwrap();
                    }
                }
            });
        }
        drop(sender);
        let received = block_on(async move {
            let mut received = Vec::new();
            while let Some(number) = receiver.recv().await {
                received.push(number);
            }
            received
        });
        assert_eq!(received.len(), 6);
        assert_in_order(&received);
        let stats = probe.stats();
        assert_eq!(
            (stats.counts.residual(), stats.counts.held),
            (0, 0),
            "{stats:?}"
        );
    });
}

#[test]
fn a_reader_of_the_latest_value_gets_the_last_one() {
    explore(|| {
        let (writer, reader) = latest(0_u64);
        let other = writer.clone();
        spawn(async move {
            writer.set(1);
            writer.set(2);
        });
        spawn(async move {
            other.set(3);
        });
        let readers = [reader.clone(), reader].map(|mut reader| {
            spawn(async move {
                let mut version = 0;
                while reader.changed().await.is_ok() {
                    assert!(reader.version() >= version);
                    version = reader.version();
                }
                (reader.version(), reader.get())
            })
        });
        let [one, two] = readers.map(|reader| block_on(reader).unwrap());
        assert_eq!(one, two);
        assert_eq!(one.0, 3);
        assert!(one.1 == 2 || one.1 == 3);
    });
}

#[test]
fn ends_that_park_their_threads_are_woken() {
    explore(|| {
        let (sender, mut receiver) = channel::<u64>(Capacity::messages(1));
        let probe = sender.probe();
        let sending = shuttle::thread::spawn(move || {
            for number in 0..4 {
                sender.blocking_send(number).unwrap();
            }
        });
        let mut received = Vec::new();
        while let Some(number) = receiver.blocking_recv() {
            received.push(number);
        }
        sending.join().unwrap();
        assert_eq!(received, [0, 1, 2, 3]);
        assert_at_rest(&probe, 1);
    });
}
