//! Stages: one sans-IO contract under every role, and the small traits that users write.
//!
//! * [`Stage`] is the contract: it gets one [`Input`] at a time, writes to its outputs, and answers an
//!   [`Outcome`](crate::Outcome). It owns no clock, no task, no socket.
//! * [`Producer`], [`Processor`], [`Router`], [`Aggregator`] and [`Consumer`] are the roles; closures are roles too.
//! * [`window`] has aggregators by event time, by session and by number, per key; [`sorted_by`] merges sorted inputs.
//! * [`Port`] stands for an output until a topology connects it.
//! * [`DeadLetters`] keeps what could not be handled; [`Trial`] runs a stage by hand in tests.
//!
//! Invariants:
//! * the runtime owns a message until its handler takes it, so it can be tried again or dead-lettered whole;
//! * outputs of an attempt that did not succeed are taken back;
//! * an input is settled only after the outputs it caused have been accepted;
//! * an expired message never reaches a handler.

mod adapter;
mod contract;
mod dead_letter;
mod input;
mod merge;
mod output;
mod outputs;
mod pool;
mod port;
mod role;
pub mod steps;
mod trial;
pub mod window;

pub use adapter::{
    AggregatorStage, BroadcastStage, ConsumerStage, ProcessorStage, ProducerSource, RouterStage,
};
pub use contract::{Context, Progress, Source, Stage};
pub use dead_letter::{DeadLetter, DeadLetterLimits, DeadLetters};
pub(crate) use input::{Held, Leases};
pub use input::{Input, Lease};
pub(crate) use merge::{Choice, Front, Merger, SortedMerger};
pub use merge::{EventTime, Rank, SortedMerge, by_event_time, sorted_by};
pub(crate) use output::MAX_BATCH;
pub use output::{AnyOutlet, Out, OutWays, Outlet, Prompt, Shared, Ways};
pub use outputs::Outputs;
#[doc(hidden)]
pub use outputs::{Connect, Declare};
pub(crate) use pool::{DispatchStage, OrderedWorkerStage, Sequence, WorkerStage};
pub use port::Port;
pub use role::{
    Aggregator, ByKey, Consumer, Fold, FromIterator, Owned, Processor, Producer, RoundRobin, Route,
    Router, by_key, fold, from_iterator, owned, round_robin,
};
pub use trial::Trial;
