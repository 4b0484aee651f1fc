//! One message at a time over channels between five threads.

use std::thread;

use mcpbus_actors::Message;
use mcpbus_actors::channel::{Buffered, Capacity, Receiver, Sender, channel};

use super::{Arrived, BY_HAND, Candidate, Case, Failure, Family, Variant};
use crate::checksum::Checksum;
use crate::message::{CAPACITY, Due, DueEnvelope, Item, Named, Order};

/// The rows of this family.
pub const ROWS: &[Candidate] = &[
    Candidate {
        name: "send_threads",
        family: Family::Mcpbus,
        about: "mcpbus `blocking_send` one by one, five threads of the user's",
        messages: 1_000_000,
        variants: BY_HAND,
        run: |case| match case.variant {
            Variant::Order => run::<Order, McpbusSend>(case.messages),
            Variant::String => run::<Named, McpbusSend>(case.messages),
            Variant::Deadline => run::<DueEnvelope<Order>, McpbusSend>(case.messages),
            Variant::Panic | Variant::Busy => Err(Failure::NotApplicable(case.variant)),
        },
    },
    Candidate {
        name: "buffered_threads",
        family: Family::Mcpbus,
        about: "mcpbus `buffered()`, five threads of the user's",
        messages: 3_000_000,
        variants: &[Variant::Order, Variant::String],
        run: |case| match case.variant {
            Variant::Order => run::<Order, McpbusBuffer>(case.messages),
            Variant::String => run::<Named, McpbusBuffer>(case.messages),
            // A buffer takes bodies, not envelopes.
            Variant::Deadline | Variant::Panic | Variant::Busy => {
                Err(Failure::NotApplicable(case.variant))
            }
        },
    },
    Candidate {
        name: "crossbeam",
        family: Family::OneByOne,
        about: "crossbeam, five threads",
        messages: 5_000_000,
        variants: BY_HAND,
        run: by_hand::<Crossbeam>,
    },
    Candidate {
        name: "kanal",
        family: Family::OneByOne,
        about: "kanal, five threads",
        messages: 3_000_000,
        variants: BY_HAND,
        run: by_hand::<Kanal>,
    },
];

/// A channel whose ends block their thread.
trait Channel<T> {
    type Sender: Send;
    type Receiver: Send;

    /// A channel of [`CAPACITY`] messages with so many senders.
    fn open<const SENDERS: usize>() -> ([Self::Sender; SENDERS], Self::Receiver);

    /// Sends; whether somebody will receive it.
    fn send(sender: &mut Self::Sender, item: T) -> bool;

    fn receive(receiver: &mut Self::Receiver) -> Option<T>;
}

fn by_hand<C>(case: &Case) -> Result<Arrived, Failure>
where
    C: Channel<Order> + Channel<Named> + Channel<Due<Order>>,
{
    match case.variant {
        Variant::Order => run::<Order, C>(case.messages),
        Variant::String => run::<Named, C>(case.messages),
        Variant::Deadline => run::<Due<Order>, C>(case.messages),
        Variant::Panic | Variant::Busy => Err(Failure::NotApplicable(case.variant)),
    }
}

fn run<T: Item, C: Channel<T>>(messages: u64) -> Result<Arrived, Failure> {
    let ([mut to_router], mut routed) = C::open::<1>();
    let ([to_even], even) = C::open::<1>();
    let ([to_odd], odd) = C::open::<1>();
    let (to_sum, mut summed) = C::open::<2>();
    thread::scope(|scope| {
        scope.spawn(move || {
            for item in (0..messages).map(T::new) {
                if !C::send(&mut to_router, item) {
                    return;
                }
            }
        });
        scope.spawn(move || {
            let mut ways = [to_even, to_odd];
            while let Some(item) = C::receive(&mut routed) {
                let way = item.way();
                if !item.is_late(T::now()) && !C::send(&mut ways[way], item) {
                    return;
                }
            }
        });
        for (mut inbox, mut to_sum) in [even, odd].into_iter().zip(to_sum) {
            scope.spawn(move || {
                while let Some(item) = C::receive(&mut inbox) {
                    if !item.is_late(T::now()) && !C::send(&mut to_sum, item.processed()) {
                        return;
                    }
                }
            });
        }
        let sum = scope.spawn(move || {
            let mut checksum = Checksum::default();
            while let Some(item) = C::receive(&mut summed) {
                if !item.is_late(T::now()) {
                    item.add_to(&mut checksum);
                }
            }
            checksum
        });
        let checksum = sum.join().map_err(|_| Failure::Ended)?;
        Ok(checksum.into())
    })
}

/// As many clones as are wanted.
fn clones<S: Clone, const SENDERS: usize>(sender: &S) -> [S; SENDERS] {
    std::array::from_fn(|_| sender.clone())
}

struct Crossbeam;

impl<T: Send> Channel<T> for Crossbeam {
    type Sender = crossbeam_channel::Sender<T>;
    type Receiver = crossbeam_channel::Receiver<T>;

    fn open<const SENDERS: usize>() -> ([Self::Sender; SENDERS], Self::Receiver) {
        let (sender, receiver) = crossbeam_channel::bounded(CAPACITY);
        (clones(&sender), receiver)
    }

    #[inline(always)]
    fn send(sender: &mut Self::Sender, item: T) -> bool {
        sender.send(item).is_ok()
    }

    #[inline(always)]
    fn receive(receiver: &mut Self::Receiver) -> Option<T> {
        receiver.recv().ok()
    }
}

struct Kanal;

impl<T: Send> Channel<T> for Kanal {
    type Sender = kanal::Sender<T>;
    type Receiver = kanal::Receiver<T>;

    fn open<const SENDERS: usize>() -> ([Self::Sender; SENDERS], Self::Receiver) {
        let (sender, receiver) = kanal::bounded(CAPACITY);
        (clones(&sender), receiver)
    }

    #[inline(always)]
    fn send(sender: &mut Self::Sender, item: T) -> bool {
        sender.send(item).is_ok()
    }

    #[inline(always)]
    fn receive(receiver: &mut Self::Receiver) -> Option<T> {
        receiver.recv().ok()
    }
}

/// mcpbus, one `blocking_send` after another.
struct McpbusSend;

impl<M: Message + Item> Channel<M> for McpbusSend {
    type Sender = Sender<M>;
    type Receiver = Receiver<M>;

    fn open<const SENDERS: usize>() -> ([Self::Sender; SENDERS], Self::Receiver) {
        let (sender, receiver) = channel(Capacity::messages(CAPACITY));
        (clones(&sender), receiver)
    }

    #[inline(always)]
    fn send(sender: &mut Self::Sender, item: M) -> bool {
        sender.blocking_send(item).is_ok()
    }

    #[inline(always)]
    fn receive(receiver: &mut Self::Receiver) -> Option<M> {
        receiver.blocking_recv()
    }
}

// A receiver on a thread gives bodies one by one, and envelopes in batches only: of one message, here.
impl<B: Message + Item> Channel<DueEnvelope<B>> for McpbusSend {
    type Sender = Sender<B>;
    type Receiver = (Receiver<B>, mcpbus_actors::Batch<B>);

    fn open<const SENDERS: usize>() -> ([Self::Sender; SENDERS], Self::Receiver) {
        let (sender, receiver) = channel(Capacity::messages(CAPACITY));
        (clones(&sender), (receiver, mcpbus_actors::Batch::new()))
    }

    #[inline(always)]
    fn send(sender: &mut Self::Sender, item: DueEnvelope<B>) -> bool {
        sender.blocking_send_envelope(item.0).is_ok()
    }

    #[inline(always)]
    fn receive((receiver, batch): &mut Self::Receiver) -> Option<DueEnvelope<B>> {
        receiver.blocking_recv_batch(batch, 1)?;
        batch.pop().map(DueEnvelope)
    }
}

/// mcpbus, collected and sent together.
struct McpbusBuffer;

impl<M: Message + Item> Channel<M> for McpbusBuffer {
    type Sender = Buffered<M>;
    type Receiver = Receiver<M>;

    fn open<const SENDERS: usize>() -> ([Self::Sender; SENDERS], Self::Receiver) {
        let (sender, receiver) = channel(Capacity::messages(CAPACITY));
        (std::array::from_fn(|_| sender.buffered()), receiver)
    }

    #[inline(always)]
    fn send(sender: &mut Self::Sender, item: M) -> bool {
        sender.blocking_send(item).is_ok()
    }

    #[inline(always)]
    fn receive(receiver: &mut Self::Receiver) -> Option<M> {
        receiver.blocking_recv()
    }
}
