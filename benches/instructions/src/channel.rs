//! A channel of 1,024 messages, whose receiver takes turns with its sender.

use std::task::{Context, Poll, Waker};

use mcpbus_actors::channel::{Capacity, channel};
use mcpbus_actors::{Batch, Envelope};

use crate::{MESSAGES, Order, orders};

/// Messages that are sent before they are received.
const AT_ONCE: usize = 256;

/// `try_send` and `try_recv`, one by one.
#[must_use]
pub fn one_by_one() -> u64 {
    let (sender, mut receiver) = channel::<Order>(Capacity::messages(1024));
    let mut sum = 0;
    let mut orders = orders(MESSAGES);
    loop {
        let mut sent = 0;
        for order in orders.by_ref().take(AT_ONCE) {
            sender.try_send(order).expect("room");
            sent += 1;
        }
        if sent == 0 {
            return sum;
        }
        while let Ok(order) = receiver.try_recv() {
            sum += order.fields[0];
        }
    }
}

/// Batches of 256, offered and taken as a stage does.
#[must_use]
pub fn batches() -> u64 {
    let (sender, mut receiver) = channel::<Order>(Capacity::messages(1024));
    let mut cx = Context::from_waker(Waker::noop());
    let (mut out, mut hand) = (Batch::new(), Batch::new());
    let mut sum = 0;
    let mut orders = orders(MESSAGES);
    loop {
        out.extend(orders.by_ref().take(AT_ONCE).map(Envelope::new));
        if out.is_empty() {
            return sum;
        }
        sender.offer_batch(&mut out).expect("a receiver");
        while let Poll::Ready(Some(_)) = receiver.poll_recv_batch(&mut cx, &mut hand, AT_ONCE) {
            sum += hand.drain().map(|order| order.body.fields[0]).sum::<u64>();
        }
    }
}
