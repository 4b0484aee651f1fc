//! ractor: an actor each for router, processors and aggregator; a task produces.
//!
//! Mailboxes of ractor have no bound, so as many messages are in flight as one edge of the others holds. Its spans for
//! every message are switched off.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use super::window::Window;
use super::{Arrived, Candidate, Case, Failure, Family, Variant};
use crate::checksum::Checksum;
use crate::message::{Item, Order};

/// The rows of this family.
pub const ROWS: &[Candidate] = &[Candidate {
    name: "ractor",
    family: Family::Actors,
    about: "ractor on one thread, 1,024 in flight",
    messages: 1_000_000,
    variants: &[Variant::Order],
    run,
}];

type Handled = Result<(), ActorProcessingErr>;

struct Router;

impl Actor for Router {
    type Msg = Order;
    type State = [ActorRef<Order>; 2];
    type Arguments = [ActorRef<Order>; 2];

    async fn pre_start(
        &self,
        _: ActorRef<Order>,
        ways: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(ways)
    }

    async fn handle(&self, _: ActorRef<Order>, order: Order, ways: &mut Self::State) -> Handled {
        ways[order.way()].cast(order)?;
        Ok(())
    }
}

struct Processor;

impl Actor for Processor {
    type Msg = Order;
    type State = ActorRef<Order>;
    type Arguments = ActorRef<Order>;

    async fn pre_start(
        &self,
        _: ActorRef<Order>,
        sum: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(sum)
    }

    async fn handle(&self, _: ActorRef<Order>, order: Order, sum: &mut Self::State) -> Handled {
        sum.cast(order.processed())?;
        Ok(())
    }
}

struct Aggregator;

struct Sum {
    checksum: Checksum,
    expected: u64,
    window: Arc<Window>,
    done: Option<oneshot::Sender<Checksum>>,
}

impl Actor for Aggregator {
    type Msg = Order;
    type State = Sum;
    type Arguments = Sum;

    async fn pre_start(&self, _: ActorRef<Order>, sum: Sum) -> Result<Sum, ActorProcessingErr> {
        Ok(sum)
    }

    async fn handle(&self, _: ActorRef<Order>, order: Order, sum: &mut Sum) -> Handled {
        order.add_to(&mut sum.checksum);
        sum.window.leave(sum.checksum.count());
        if sum.checksum.count() == sum.expected
            && let Some(done) = sum.done.take()
        {
            let _gone = done.send(sum.checksum);
        }
        Ok(())
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
    let failed = |error: ractor::SpawnErr| Failure::Actor(error.to_string());
    let checksum = runtime.block_on(async move {
        let window = Arc::new(Window::new());
        let (done, over) = oneshot::channel();
        let sum = Sum {
            checksum: Checksum::default(),
            expected: messages,
            window: Arc::clone(&window),
            done: Some(done),
        };
        let (sum, _) = Actor::spawn(None, Aggregator, sum).await.map_err(failed)?;
        let (even, _) = Actor::spawn(None, Processor, sum.clone())
            .await
            .map_err(failed)?;
        let (odd, _) = Actor::spawn(None, Processor, sum).await.map_err(failed)?;
        let (router, _) = Actor::spawn(None, Router, [even, odd])
            .await
            .map_err(failed)?;
        for number in 0..messages {
            window.enter(number).await;
            router
                .cast(Order::new(number))
                .map_err(|_| Failure::Ended)?;
        }
        over.await.map_err(|_| Failure::Ended)
    })?;
    Ok(checksum.into())
}
