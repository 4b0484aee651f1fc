//! kameo: an actor each for router, processors and aggregator; a task produces. Mailboxes are bounded, and a handler
//! waits for room in the next one.

use std::convert::Infallible;

use kameo::Actor;
use kameo::actor::{ActorRef, Spawn};
use kameo::mailbox::bounded;
use kameo::message::{Context, Message};
use tokio::sync::oneshot;

use super::{Arrived, Candidate, Case, Failure, Family, Variant};
use crate::checksum::Checksum;
use crate::message::{CAPACITY, Item, Order};

/// The rows of this family.
pub const ROWS: &[Candidate] = &[Candidate {
    name: "kameo",
    family: Family::Actors,
    about: "kameo on one thread",
    messages: 500_000,
    variants: &[Variant::Order],
    run,
}];

struct Router {
    ways: [ActorRef<Processor>; 2],
}

struct Processor {
    sum: ActorRef<Aggregator>,
}

struct Aggregator {
    checksum: Checksum,
    expected: u64,
    done: Option<oneshot::Sender<Checksum>>,
}

macro_rules! started_as_they_are {
    ($($actor:ty),*) => {$(
        impl Actor for $actor {
            type Args = Self;
            type Error = Infallible;

            async fn on_start(actor: Self, _: ActorRef<Self>) -> Result<Self, Infallible> {
                Ok(actor)
            }
        }
    )*};
}
started_as_they_are!(Router, Processor, Aggregator);

impl Message<Order> for Router {
    type Reply = ();

    async fn handle(&mut self, order: Order, _: &mut Context<Self, ()>) {
        // What a stopped actor refuses never arrives, and is missing in the end.
        let _stopped = self.ways[order.way()].tell(order).await;
    }
}

impl Message<Order> for Processor {
    type Reply = ();

    async fn handle(&mut self, order: Order, _: &mut Context<Self, ()>) {
        let _stopped = self.sum.tell(order.processed()).await;
    }
}

impl Message<Order> for Aggregator {
    type Reply = ();

    async fn handle(&mut self, order: Order, _: &mut Context<Self, ()>) {
        order.add_to(&mut self.checksum);
        if self.checksum.count() == self.expected
            && let Some(done) = self.done.take()
        {
            let _gone = done.send(self.checksum);
        }
    }
}

fn run(case: &Case) -> Result<Arrived, Failure> {
    if case.variant != Variant::Order {
        return Err(Failure::NotApplicable(case.variant));
    }
    let messages = case.messages;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let checksum = runtime.block_on(async move {
        let (done, over) = oneshot::channel();
        let sum = Aggregator::spawn_with_mailbox(
            Aggregator {
                checksum: Checksum::default(),
                expected: messages,
                done: Some(done),
            },
            bounded(CAPACITY),
        );
        let ways = [(); 2].map(|()| {
            Processor::spawn_with_mailbox(Processor { sum: sum.clone() }, bounded(CAPACITY))
        });
        let router = Router::spawn_with_mailbox(Router { ways }, bounded(CAPACITY));
        for number in 0..messages {
            router
                .tell(Order::new(number))
                .await
                .map_err(|_| Failure::Ended)?;
        }
        over.await.map_err(|_| Failure::Ended)
    })?;
    Ok(checksum.into())
}
