//! One message at a time over channels between five tasks of one thread.

use std::future::Future;

use mcpbus_actors::Message;
use mcpbus_actors::channel::{Buffered, Capacity, Receiver, Sender, channel};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::{Arrived, BY_HAND, Candidate, Case, Failure, Family, Variant};
use crate::checksum::Checksum;
use crate::message::{CAPACITY, Due, DueEnvelope, Item, Named, Order};

/// The rows of this family.
pub const ROWS: &[Candidate] = &[
    Candidate {
        name: "send",
        family: Family::Mcpbus,
        about: "mcpbus `send` one by one, five tasks of the user's on one thread",
        messages: 4_000_000,
        variants: BY_HAND,
        run: |case| match case.variant {
            Variant::Order => run::<Order, McpbusSend>(case.messages),
            Variant::String => run::<Named, McpbusSend>(case.messages),
            Variant::Deadline => run::<DueEnvelope<Order>, McpbusSend>(case.messages),
            Variant::Panic | Variant::Busy => Err(Failure::NotApplicable(case.variant)),
        },
    },
    Candidate {
        name: "buffered",
        family: Family::Mcpbus,
        about: "mcpbus `buffered()`, five tasks of the user's on one thread",
        messages: 4_000_000,
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
        name: "tokio_mpsc",
        family: Family::OneByOne,
        about: "tokio mpsc, five tasks of one thread",
        messages: 3_000_000,
        variants: BY_HAND,
        run: by_hand::<Tokio>,
    },
    Candidate {
        name: "tokio_mpsc_workers",
        family: Family::OneByOne,
        about: "tokio mpsc, five tasks on a worker per core",
        messages: 3_000_000,
        variants: &[Variant::Order],
        run: |case| match case.variant {
            Variant::Order => run_on::<Order, Tokio>(&workers()?, case.messages),
            other => Err(Failure::NotApplicable(other)),
        },
    },
    Candidate {
        name: "async_channel",
        family: Family::OneByOne,
        about: "async-channel, five tasks of one thread",
        messages: 3_000_000,
        variants: BY_HAND,
        run: by_hand::<AsyncChannel>,
    },
    Candidate {
        name: "flume",
        family: Family::OneByOne,
        about: "flume, five tasks of one thread",
        messages: 3_000_000,
        variants: BY_HAND,
        run: by_hand::<Flume>,
    },
    Candidate {
        name: "kanal_tasks",
        family: Family::OneByOne,
        about: "kanal, five tasks of one thread",
        messages: 4_000_000,
        variants: BY_HAND,
        run: by_hand::<Kanal>,
    },
];

/// A channel whose ends are awaited.
trait Channel<T>: 'static {
    type Sender: Send + 'static;
    type Receiver: Send + 'static;

    /// A channel of [`CAPACITY`] messages with so many senders.
    fn open<const SENDERS: usize>() -> ([Self::Sender; SENDERS], Self::Receiver);

    /// Sends; whether somebody will receive it.
    fn send(sender: &mut Self::Sender, item: T) -> impl Future<Output = bool> + Send;

    fn receive(receiver: &mut Self::Receiver) -> impl Future<Output = Option<T>> + Send;
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
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    run_on::<T, C>(&runtime, messages)
}

/// What `#[tokio::main]` starts.
fn workers() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().build()
}

fn run_on<T: Item, C: Channel<T>>(runtime: &Runtime, messages: u64) -> Result<Arrived, Failure> {
    let ([mut to_router], mut routed) = C::open::<1>();
    let ([to_even], even) = C::open::<1>();
    let ([to_odd], odd) = C::open::<1>();
    let (to_sum, mut summed) = C::open::<2>();
    runtime.spawn(async move {
        for item in (0..messages).map(T::new) {
            if !C::send(&mut to_router, item).await {
                return;
            }
        }
    });
    runtime.spawn(async move {
        let mut ways = [to_even, to_odd];
        while let Some(item) = C::receive(&mut routed).await {
            let way = item.way();
            if !item.is_late(T::now()) && !C::send(&mut ways[way], item).await {
                return;
            }
        }
    });
    for (mut inbox, mut to_sum) in [even, odd].into_iter().zip(to_sum) {
        runtime.spawn(async move {
            while let Some(item) = C::receive(&mut inbox).await {
                if !item.is_late(T::now()) && !C::send(&mut to_sum, item.processed()).await {
                    return;
                }
            }
        });
    }
    let sum = runtime.spawn(async move {
        let mut checksum = Checksum::default();
        while let Some(item) = C::receive(&mut summed).await {
            if !item.is_late(T::now()) {
                item.add_to(&mut checksum);
            }
        }
        checksum
    });
    let checksum = runtime.block_on(sum).map_err(|_| Failure::Ended)?;
    Ok(checksum.into())
}

/// As many clones as are wanted.
fn clones<S: Clone, const SENDERS: usize>(sender: &S) -> [S; SENDERS] {
    std::array::from_fn(|_| sender.clone())
}

struct Tokio;

impl<T: Send + 'static> Channel<T> for Tokio {
    type Sender = mpsc::Sender<T>;
    type Receiver = mpsc::Receiver<T>;

    fn open<const SENDERS: usize>() -> ([Self::Sender; SENDERS], Self::Receiver) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        (clones(&sender), receiver)
    }

    #[inline(always)]
    async fn send(sender: &mut Self::Sender, item: T) -> bool {
        sender.send(item).await.is_ok()
    }

    #[inline(always)]
    async fn receive(receiver: &mut Self::Receiver) -> Option<T> {
        receiver.recv().await
    }
}

struct AsyncChannel;

impl<T: Send + 'static> Channel<T> for AsyncChannel {
    type Sender = async_channel::Sender<T>;
    type Receiver = async_channel::Receiver<T>;

    fn open<const SENDERS: usize>() -> ([Self::Sender; SENDERS], Self::Receiver) {
        let (sender, receiver) = async_channel::bounded(CAPACITY);
        (clones(&sender), receiver)
    }

    #[inline(always)]
    async fn send(sender: &mut Self::Sender, item: T) -> bool {
        sender.send(item).await.is_ok()
    }

    #[inline(always)]
    async fn receive(receiver: &mut Self::Receiver) -> Option<T> {
        receiver.recv().await.ok()
    }
}

struct Flume;

impl<T: Send + 'static> Channel<T> for Flume {
    type Sender = flume::Sender<T>;
    type Receiver = flume::Receiver<T>;

    fn open<const SENDERS: usize>() -> ([Self::Sender; SENDERS], Self::Receiver) {
        let (sender, receiver) = flume::bounded(CAPACITY);
        (clones(&sender), receiver)
    }

    #[inline(always)]
    async fn send(sender: &mut Self::Sender, item: T) -> bool {
        sender.send_async(item).await.is_ok()
    }

    #[inline(always)]
    async fn receive(receiver: &mut Self::Receiver) -> Option<T> {
        receiver.recv_async().await.ok()
    }
}

struct Kanal;

impl<T: Send + 'static> Channel<T> for Kanal {
    type Sender = kanal::AsyncSender<T>;
    type Receiver = kanal::AsyncReceiver<T>;

    fn open<const SENDERS: usize>() -> ([Self::Sender; SENDERS], Self::Receiver) {
        let (sender, receiver) = kanal::bounded_async(CAPACITY);
        (clones(&sender), receiver)
    }

    #[inline(always)]
    async fn send(sender: &mut Self::Sender, item: T) -> bool {
        sender.send(item).await.is_ok()
    }

    #[inline(always)]
    async fn receive(receiver: &mut Self::Receiver) -> Option<T> {
        receiver.recv().await.ok()
    }
}

/// mcpbus, one `send` after another.
struct McpbusSend;

impl<M: Message + Item> Channel<M> for McpbusSend {
    type Sender = Sender<M>;
    type Receiver = Receiver<M>;

    fn open<const SENDERS: usize>() -> ([Self::Sender; SENDERS], Self::Receiver) {
        let (sender, receiver) = channel(Capacity::messages(CAPACITY));
        (clones(&sender), receiver)
    }

    #[inline(always)]
    async fn send(sender: &mut Self::Sender, item: M) -> bool {
        sender.send(item).await.is_ok()
    }

    #[inline(always)]
    async fn receive(receiver: &mut Self::Receiver) -> Option<M> {
        receiver.recv().await
    }
}

impl<B: Message + Item> Channel<DueEnvelope<B>> for McpbusSend {
    type Sender = Sender<B>;
    type Receiver = Receiver<B>;

    fn open<const SENDERS: usize>() -> ([Self::Sender; SENDERS], Self::Receiver) {
        <Self as Channel<B>>::open()
    }

    #[inline(always)]
    async fn send(sender: &mut Self::Sender, item: DueEnvelope<B>) -> bool {
        sender.send_envelope(item.0).await.is_ok()
    }

    #[inline(always)]
    async fn receive(receiver: &mut Self::Receiver) -> Option<DueEnvelope<B>> {
        receiver.recv_envelope().await.map(DueEnvelope)
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
    async fn send(sender: &mut Self::Sender, item: M) -> bool {
        sender.send(item).await.is_ok()
    }

    #[inline(always)]
    async fn receive(receiver: &mut Self::Receiver) -> Option<M> {
        receiver.recv().await
    }
}
