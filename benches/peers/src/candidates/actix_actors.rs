//! actix: an actor each for router, processors and aggregator; a task produces.
//!
//! A mailbox of actix is bounded, but a handler that is a plain function cannot wait for room in the next one, and
//! `do_send` ignores the bound. So as many messages are in flight as one mailbox holds, and `try_send` never finds it full.

use std::sync::Arc;

use actix::{Actor, Addr, Arbiter, ArbiterHandle, Context, Handler, Message, System};
use tokio::sync::oneshot;

use super::window::Window;
use super::{Arrived, Candidate, Case, Failure, Family, Variant};
use crate::checksum::Checksum;
use crate::message::{CAPACITY, Item, Order};

/// The rows of this family.
pub const ROWS: &[Candidate] = &[
    Candidate {
        name: "actix_1",
        family: Family::Actors,
        about: "actix, all on one arbiter, 1,024 in flight",
        messages: 3_000_000,
        variants: &[Variant::Order],
        run: |case| run(case, 1),
    },
    Candidate {
        name: "actix_2",
        family: Family::Actors,
        about: "actix, processors and aggregator on a second arbiter, 1,024 in flight",
        messages: 3_000_000,
        variants: &[Variant::Order],
        run: |case| run(case, 2),
    },
];

struct Sent(Order);

impl Message for Sent {
    type Result = ();
}

struct Router {
    ways: [Addr<Processor>; 2],
}

struct Processor {
    sum: Addr<Aggregator>,
}

struct Aggregator {
    checksum: Checksum,
    expected: u64,
    window: Arc<Window>,
    done: Option<oneshot::Sender<Checksum>>,
}

/// Answered by an actor that has started: only then its mailbox has the bound that was asked for.
struct Ready;

impl Message for Ready {
    type Result = ();
}

macro_rules! bounded {
    ($($actor:ty),*) => {$(
        impl Actor for $actor {
            type Context = Context<Self>;

            fn started(&mut self, context: &mut Context<Self>) {
                // The message that is being handled counts, so it is one more than what may be in flight.
                context.set_mailbox_capacity(CAPACITY + 1);
            }
        }

        impl Handler<Ready> for $actor {
            type Result = ();

            fn handle(&mut self, Ready: Ready, _: &mut Context<Self>) {}
        }
    )*};
}
bounded!(Router, Processor, Aggregator);

impl Handler<Sent> for Router {
    type Result = ();
    fn handle(&mut self, Sent(order): Sent, _: &mut Context<Self>) {
        // What is refused never arrives, and is missing in the end.
        let _refused = self.ways[order.way()].try_send(Sent(order));
    }
}

impl Handler<Sent> for Processor {
    type Result = ();
    fn handle(&mut self, Sent(order): Sent, _: &mut Context<Self>) {
        let _refused = self.sum.try_send(Sent(order.processed()));
    }
}

impl Handler<Sent> for Aggregator {
    type Result = ();
    fn handle(&mut self, Sent(order): Sent, _: &mut Context<Self>) {
        order.add_to(&mut self.checksum);
        self.window.leave(self.checksum.count());
        if self.checksum.count() == self.expected
            && let Some(done) = self.done.take()
        {
            let _gone = done.send(self.checksum);
        }
    }
}

async fn start<A>(arbiter: Option<&ArbiterHandle>, actor: A) -> Result<Addr<A>, Failure>
where
    A: Actor<Context = Context<A>> + Handler<Ready> + Send,
{
    let address = match arbiter {
        Some(arbiter) => A::start_in_arbiter(arbiter, move |_| actor),
        None => actor.start(),
    };
    let failed = |error: actix::MailboxError| Failure::Actor(error.to_string());
    address.send(Ready).await.map_err(failed)?;
    Ok(address)
}

fn run(case: &Case, arbiters: usize) -> Result<Arrived, Failure> {
    if case.variant != Variant::Order {
        return Err(Failure::NotApplicable(case.variant));
    }
    let messages = case.messages;
    let system = System::new();
    let checksum = system.block_on(async move {
        let second = (arbiters > 1).then(Arbiter::new);
        let handle = second.as_ref().map(Arbiter::handle);
        let window = Arc::new(Window::new());
        let (done, over) = oneshot::channel();
        let sum = Aggregator {
            checksum: Checksum::default(),
            expected: messages,
            window: Arc::clone(&window),
            done: Some(done),
        };
        let sum = start(handle.as_ref(), sum).await?;
        let even = start(handle.as_ref(), Processor { sum: sum.clone() }).await?;
        let odd = start(handle.as_ref(), Processor { sum }).await?;
        let ways = [even, odd];
        let router = start(None, Router { ways }).await?;
        for number in 0..messages {
            window.enter(number).await;
            if router.try_send(Sent(Order::new(number))).is_err() {
                return Err(Failure::Ended);
            }
        }
        let checksum = over.await.map_err(|_| Failure::Ended);
        if let Some(second) = second {
            second.stop();
        }
        checksum
    })?;
    Ok(checksum.into())
}
