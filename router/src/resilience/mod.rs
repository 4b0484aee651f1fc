//! Whether a message goes: what keeps a route and its destinations within what they can do.
//!
//! Guards are plain code: they see headers, get `now` as an argument, take no lock and allocate nothing per message.
//! [`MessageGuard`]s decide once per message, before the policy chooses; a [`RouteGuard`] stands before each
//! destination and learns how attempts there end. [`contract`] has their laws in words, [`laws`] as tests that one's own
//! guards can run. One file holds each guard.
//!
//! - [`TokenBucket`], [`LeakyBucket`]: so many per second
//! - [`KeyedLimits`]: a limit for each identity or subject, in a bounded table
//! - [`Shed`]: under overload the messages that have waited too long are refused, the less urgent first
//! - [`Deadline`]: nothing goes for which nobody waits any more
//! - [`Breaker`]: a destination that fails too often gets a pause
//! - [`Bulkhead`]: at most so many in flight at a destination
//! - [`Adaptive`]: the same, with a bound that finds itself
//! - [`OutlierDetection`]: the destinations of a route that do worse are left out for a time
//! - [`Retry`]: whether, where and when a failed message is tried again, within a budget
//! - [`Hedge`]: a second copy for those that take unusually long
//! - [`Canary`]: a new version gets more and more, or nothing
//! - [`MessageGuards`], [`DestinationGuards`]: several guards as one
//!
//! Which kind of error something is, and what follows, says [`ErrorClass`].

pub mod contract;
pub mod laws;

mod adaptive;
mod breaker;
mod bulkhead;
mod canary;
mod chain;
mod config_error;
mod deadline;
mod hedge;
mod keyed_limits;
mod latencies;
mod leaky_bucket;
mod outlier;
#[cfg(test)]
mod page;
mod random;
mod rate;
mod refusal;
mod retry;
mod shed;
mod token_bucket;
mod window;

pub use self::adaptive::{Adaptive, AdaptiveConfig};
pub use self::breaker::{Breaker, BreakerConfig, BreakerState};
pub use self::bulkhead::{Bulkhead, BulkheadConfig, Waiting};
pub use self::canary::{Canary, CanaryConfig, CanaryState, RollbackReason, Version};
pub use self::chain::{DestinationGuards, DestinationGuardsConfig, MessageGuards};
pub use self::config_error::ConfigError;
pub use self::contract::{Admission, Ended, Headers, MessageGuard, Permit, RouteGuard, Scope};
pub use self::deadline::{Deadline, DeadlineConfig, remaining};
pub use self::hedge::{Hedge, HedgeConfig};
pub use self::keyed_limits::{KeyedLimits, KeyedLimitsConfig, WhenFull};
pub use self::leaky_bucket::{LeakyBucket, LeakyBucketConfig};
pub use self::outlier::{OutlierConfig, OutlierDetection};
pub use self::random::Random;
pub use self::rate::{Rate, WhenLimited};
pub use self::refusal::{Refusal, RefusalReason};
pub use self::retry::{
    FailedAttempt, GiveUp, Retry, RetryBudget, RetryBudgetConfig, RetryConfig, RetryDecision,
};
pub use self::shed::{Shed, ShedConfig};
pub use self::token_bucket::{TokenBucket, TokenBucketConfig};
pub use mcpbus_actors::{ErrorClass, Handling, Repeat, Severity};
