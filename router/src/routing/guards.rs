//! The guards of a route: what keeps it and its destinations within what they can do.

use super::route::Route;
use super::route_error::RouteError;
use crate::resilience::{
    BulkheadConfig, Canary, CanaryConfig, ConfigError, Deadline, DeadlineConfig, DestinationGuards,
    DestinationGuardsConfig, KeyedLimits, KeyedLimitsConfig, LeakyBucket, LeakyBucketConfig,
    MessageGuards, OutlierConfig, OutlierDetection, Shed, ShedConfig, TokenBucket,
    TokenBucketConfig,
};
use mcpbus_actors::Time;

/// The guards of a route: whether a message goes on is decided before its policy chooses, and for each destination again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouteGuards {
    /// The deadlines of its messages.
    pub deadline: Option<DeadlineConfig>,
    /// How long messages may have waited here under overload.
    pub shed: Option<ShedConfig>,
    /// How many messages may go on.
    pub limit: Option<RouteLimit>,
    /// Which destinations are left out for a time.
    pub outlier: Option<OutlierConfig>,
    /// What stands before each destination.
    pub destination: DestinationGuardsConfig,
    /// The destination that is a new version.
    pub canary: Option<RouteCanary>,
    /// The group for messages that are diverted, or that every destination refuses; none of the route's destinations. Without one
    /// those fail, and their publishers are told when to come back.
    pub fallback: Option<String>,
}

/// How many messages may go on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RouteLimit {
    /// So many in a second, and a burst after a pause.
    Tokens(TokenBucketConfig),
    /// So many in a second, evenly spaced.
    Even(LeakyBucketConfig),
    /// So many in a second for each of something.
    Each(LimitKey, KeyedLimitsConfig),
}

impl RouteLimit {
    /// Whether messages that are too early wait for their turn.
    #[must_use]
    pub const fn delays(&self) -> bool {
        match self {
            Self::Tokens(config) => config.delays(),
            Self::Even(config) => config.delays(),
            Self::Each(_, config) => config.delays(),
        }
    }
}

impl From<TokenBucketConfig> for RouteLimit {
    fn from(config: TokenBucketConfig) -> Self {
        Self::Tokens(config)
    }
}

impl From<LeakyBucketConfig> for RouteLimit {
    fn from(config: LeakyBucketConfig) -> Self {
        Self::Even(config)
    }
}

/// What has a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKey {
    /// Each client or node that messages come from.
    Identity,
    /// Each subject that the route's pattern matches.
    Subject,
    /// Each key; messages without a key are one.
    Key,
}

/// A destination that gets more and more, or nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteCanary {
    /// Its group, one of the route's destinations; the others are the stable version. Its weight is its share's.
    pub group: String,
    /// Its steps, and what ends them.
    pub config: CanaryConfig,
}

impl RouteGuards {
    /// Whether something stands before the destinations, or is to hear how messages end there.
    #[must_use]
    pub fn guard_destinations(&self) -> bool {
        self.destination != DestinationGuardsConfig::default()
            || self.outlier.is_some()
            || self.canary.is_some()
    }

    /// What decides about each message before the policy does, in the order in which it is asked.
    ///
    /// # Errors
    ///
    /// A setting that cannot be.
    pub fn message_guards(&self) -> Result<MessageGuards, ConfigError> {
        let mut guards = MessageGuards::new();
        if let Some(deadline) = &self.deadline {
            guards = guards.with_deadline(Deadline::new(*deadline)?);
        }
        if let Some(shed) = &self.shed {
            guards = guards.with(Shed::new(shed)?);
        }
        Ok(match self.limit {
            None => guards,
            Some(RouteLimit::Tokens(config)) => guards.with(TokenBucket::new(config)),
            Some(RouteLimit::Even(config)) => guards.with(LeakyBucket::new(config)),
            Some(RouteLimit::Each(_, config)) => guards.with(KeyedLimits::new(config)),
        })
    }

    /// Whether messages may have to wait for their turn, or for room at a destination.
    #[must_use]
    pub fn let_wait(&self) -> bool {
        let bulkhead = self.destination.bulkhead.as_ref();
        self.limit.is_some_and(|limit| limit.delays())
            || bulkhead.is_some_and(BulkheadConfig::has_queue)
    }

    /// Whether they go by when a message came.
    #[must_use]
    pub fn need_arrivals(&self) -> bool {
        self.deadline.is_some() || self.shed.is_some()
    }

    /// Bytes that its tables take, for the memory bound of a node.
    #[must_use]
    pub fn memory_bound(&self) -> u64 {
        match &self.limit {
            Some(RouteLimit::Each(_, config)) => config.memory_bound(),
            _ => 0,
        }
    }

    pub(super) fn check(&self, route: &Route) -> Result<(), RouteError> {
        let wrong = |problem: String| RouteError::Guards {
            pattern: route.pattern.clone(),
            problem,
        };
        self.check_settings()
            .map_err(|error| wrong(error.to_string()))?;
        if self.guard_destinations() && route.policy.name() == "broadcast" {
            let problem = "broadcast sends to all, so no guard of a destination can be heard";
            return Err(wrong(problem.to_string()));
        }
        if let Some(canary) = &self.canary {
            self.check_canary(canary, route).map_err(wrong)?;
        }
        let Some(fallback) = &self.fallback else {
            return Ok(());
        };
        let mirror = route.mirror.iter().map(|mirror| &mirror.group);
        let mut others = route.destinations.iter().map(|to| &to.group).chain(mirror);
        if fallback.is_empty() || others.any(|group| group == fallback) {
            let problem = "its fallback is empty, or takes part already: name another group";
            return Err(wrong(problem.to_string()));
        }
        Ok(())
    }

    /// A limit's setting cannot be wrong once it is made.
    fn check_settings(&self) -> Result<(), ConfigError> {
        self.deadline.map(Deadline::new).transpose()?;
        self.shed.as_ref().map(Shed::new).transpose()?;
        DestinationGuards::new(&self.destination, 0)?;
        let outlier = self.outlier;
        outlier
            .map(|outlier| OutlierDetection::new(outlier, &[]))
            .transpose()?;
        let canary = self.canary.as_ref();
        canary
            .map(|canary| Canary::new(canary.config.clone(), Time::ZERO))
            .transpose()?;
        Ok(())
    }

    fn check_canary(&self, canary: &RouteCanary, route: &Route) -> Result<(), String> {
        let group = &canary.group;
        let weighs = ["weighted", "hash", "subset", "bounded-load", "least-loaded"];
        if !weighs.contains(&route.policy.name()) {
            let policy = route.policy.name();
            return Err(format!(
                "`{policy}` does not go by weights, so a canary cannot get a share: use `weighted`"
            ));
        }
        if !route.destinations.iter().any(|to| to.group == *group) {
            return Err(format!(
                "the canary's group `{group}` is none of its destinations: add it to them"
            ));
        }
        let stable = route.destinations.iter().filter(|to| to.group != *group);
        let weights: u64 = stable.map(|to| u64::from(to.weight)).sum();
        if weights == 0 || weights * 100 > u64::from(u32::MAX) {
            return Err(format!(
                "the weights of the groups beside the canary's sum to {weights}: let them sum to 1 to 42,949,672"
            ));
        }
        Ok(())
    }
}
