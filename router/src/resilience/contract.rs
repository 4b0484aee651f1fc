//! What every guard promises, in words; the laws as tests stand in [`laws`](super::laws).

use super::{ErrorClass, Refusal};
use mcpbus_actors::Time;
use std::time::Duration;

/// What a guard may know of a message: its header, never its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Headers {
    /// When nobody waits for it any more.
    pub deadline: Option<Time>,
    /// 0 is ordinary, higher is more urgent.
    pub priority: u8,
    /// Size of the body in bytes.
    pub bytes: usize,
    /// For limits per identity or per subject: a number that stands for it, the same for all messages of one.
    pub limit_key: u64,
    /// When this node received it; where that is not known it counts as just received.
    pub arrived: Option<Time>,
}

impl Headers {
    /// An ordinary message that was received at `arrived`.
    #[must_use]
    pub fn new(arrived: Time) -> Self {
        Self {
            arrived: Some(arrived),
            ..Self::default()
        }
    }

    /// The same with a deadline.
    #[must_use]
    pub fn deadline(self, deadline: Time) -> Self {
        Self {
            deadline: Some(deadline),
            ..self
        }
    }

    /// The same with a priority.
    #[must_use]
    pub fn priority(self, priority: u8) -> Self {
        Self { priority, ..self }
    }

    /// The same with the key for limits.
    #[must_use]
    pub fn limit_key(self, limit_key: u64) -> Self {
        Self { limit_key, ..self }
    }

    /// How long it has been here.
    #[must_use]
    pub fn waited(&self, now: Time) -> Duration {
        self.arrived
            .map_or(Duration::ZERO, |arrived| now.saturating_since(arrived))
    }
}

/// What a message guard says about one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It goes on now.
    Pass,
    /// It goes on at this time, without being asked about again: its place is reserved. Later than `now`, and before
    /// its deadline.
    Until(Time),
    /// It does not go to the destinations of its route but to the route's fallback; where there is none it is refused.
    Divert(Refusal),
    /// It does not go on.
    Refuse(Refusal),
}

/// Whose state a guard keeps, where a node runs several shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// None: every shard decides alike.
    Stateless,
    /// Each shard keeps its own, and the promise holds per shard: a limit for the node is divided among its shards.
    Shard,
    /// One for the node.
    Node,
}

/// Decides, before the policy chooses a destination, whether a message goes on.
///
/// # Laws
///
/// 1. *Headers only, no clock.* The answer depends on the arguments and on earlier calls, on nothing else.
/// 2. *Once per message.* The caller asks once for each message and keeps to the answer. `Pass` and `Until` take what
///    they give (a token, a place); a message that then does not go is given back with
///    [`give_back`](Self::give_back).
/// 3. *Never held to death.* `Until(t)` is later than `now` and earlier than the message's deadline.
/// 4. *Honest.* Where a refusal says `retry_after`, a message that comes after that time, with nobody between, is not
///    refused for that reason.
/// 5. *Total.* Any headers and any `now` get an answer, never a panic; a `now` before an earlier one counts as that one.
/// 6. *Bounded.* Its memory does not depend on how many messages it was asked about.
///
/// [`check_message_guard`](super::laws::check_message_guard) holds an implementation to laws 1, 3, 4 and 5.
pub trait MessageGuard: Send {
    /// The name in configuration, metrics and logs.
    fn name(&self) -> &'static str;

    /// Decides about one message.
    fn admit(&mut self, headers: &Headers, now: Time) -> Admission;

    /// A message that was admitted does not go after all: what it took is free again.
    fn give_back(&mut self, _headers: &Headers, _now: Time) {}

    /// Whose state it keeps.
    fn scope(&self) -> Scope {
        Scope::Shard
    }
}

/// The right to send one message to one destination. It is settled exactly once, by
/// [`ended`](RouteGuard::ended) or [`give_back`](RouteGuard::give_back).
///
/// It is a plain number, so that it can stand beside a message in flight: what it means only its guard knows.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit is settled, or its guard counts a message in flight for ever"]
pub struct Permit(pub(super) u64);

/// How an attempt at a destination ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// `None` for success, otherwise the kind of error.
    pub class: Option<ErrorClass>,
    /// From handing it over to hearing how it ended.
    pub latency: Duration,
}

impl Ended {
    /// It succeeded after this time.
    #[must_use]
    pub const fn success(latency: Duration) -> Self {
        Self {
            class: None,
            latency,
        }
    }

    /// It failed after this time.
    #[must_use]
    pub const fn failure(class: ErrorClass, latency: Duration) -> Self {
        Self {
            class: Some(class),
            latency,
        }
    }

    /// Whether it counts against the destination: `None` where it says nothing about it, either way.
    #[must_use]
    pub const fn counts_as_failure(&self) -> Option<bool> {
        match self.class {
            None => Some(false),
            Some(class) if class.counts() => Some(true),
            Some(_) => None,
        }
    }
}

/// Decides whether a message may go to one destination now, and learns from how it ended.
///
/// # Laws
///
/// 1. *No clock.* Answers depend on the arguments, on earlier calls and on the seed, on nothing else.
/// 2. *Every permit is settled once.* Then the guard holds nothing for it any more: after all are settled
///    [`in_flight`](Self::in_flight) is 0.
/// 3. *A permit that is given back leaves no trace* except for the time that passed.
/// 4. *`check` tells the truth.* It takes nothing, and right after it `admit` says the same.
/// 5. *Honest.* Where a refusal says `retry_after`, [`check`](Self::check) after that time, with nothing between, does
///    not refuse for that reason.
/// 6. *Timers end.* After [`handle_timeout`](Self::handle_timeout) at the time of
///    [`next_timeout`](Self::next_timeout) the next one is later, or there is none.
/// 7. *Total.* Any order of calls and times gets an answer, never a panic. Memory does not depend on their number.
///
/// [`check_route_guard`](super::laws::check_route_guard) holds an implementation to them.
pub trait RouteGuard: Send {
    /// The name in configuration, metrics and logs.
    fn name(&self) -> &'static str;

    /// What [`admit`](Self::admit) would say now. For policies: a destination that refuses is not ready.
    ///
    /// # Errors
    ///
    /// The refusal.
    fn check(&self, now: Time) -> Result<(), Refusal>;

    /// The right to send one message there.
    ///
    /// # Errors
    ///
    /// Why not, and when to come back. The message is still the caller's.
    fn admit(&mut self, now: Time) -> Result<Permit, Refusal>;

    /// The attempt of this permit has ended.
    fn ended(&mut self, permit: Permit, ended: Ended, now: Time);

    /// The permit was not used: no attempt was made.
    fn give_back(&mut self, permit: Permit, now: Time);

    /// Permits that are not settled.
    fn in_flight(&self) -> u64;

    /// When something changes without a call: a waiting message could go then.
    fn next_timeout(&self) -> Option<Time> {
        None
    }

    /// What [`next_timeout`](Self::next_timeout) said has come. Too early or too often does no harm.
    fn handle_timeout(&mut self, _now: Time) {}

    /// Whose state it keeps.
    fn scope(&self) -> Scope {
        Scope::Shard
    }
}
