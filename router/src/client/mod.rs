//! The client of a node: connect, publish, subscribe, request, reply.
//!
//! [`ClientCore`] is sans-IO like the node: one session, the queues of its publishers, the deliveries its
//! subscribers hold. A thread carries it out; user code talks to it through [`Client`] and never waits for a lock
//! that I/O holds.
//!
//! Invariants:
//! - what a publisher has queued is bounded, in messages and bytes, per flow and in all;
//! - a delivery's credit returns when the user has settled or dropped it;
//! - after a lost link the session goes on where it was; after a node that forgot, subscriptions are made
//!   again and what was not taken over is sent again, except what must not come twice.

mod cancel;
mod config;
mod core;
mod error;
mod handle;
mod inbox;
mod incoming;
mod outbox;
mod owner;
#[cfg(feature = "quic")]
mod pool;
mod publisher;
mod request;
mod requester;
mod retry;
mod shared;
mod subscription;

pub use config::ClientConfig;
pub use core::ClientCore;
pub use error::{
    ConnectError, PublishError, QueryError, ReceiptError, RequestError, SettleError, SubscribeError,
};
pub use handle::{Client, ClientStats, ClientStatus};
#[cfg(feature = "quic")]
pub use pool::{ClientPool, PoolConfig, PoolError, PoolState, PooledClient};
pub use publisher::{Publication, Publisher, Receipt};
pub use request::Reply;
pub use requester::{Requester, RequesterConfig, RequesterStats};
pub use subscription::{Delivery, SubscribeOptions, Subscription};
