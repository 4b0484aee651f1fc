//! The guards of a route: `limit`, `breaker`, `bulkhead`, `fallback`.

use std::time::Duration;

use mcpbus::resilience::{
    BreakerConfig, BulkheadConfig, ConfigError, DestinationGuardsConfig, TokenBucketConfig,
    WhenLimited,
};
use mcpbus::routing::RouteGuards;

use super::{Destination, Mirror, Policy};
use crate::config::mistake::Spotted;
use crate::config::node_file::verify_name;
use crate::config::reader::TableReader;

/// The guards of one route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Guards {
    /// `limit`.
    pub limit: Option<Limit>,
    /// `breaker`.
    pub breaker: Option<Breaker>,
    /// `bulkhead.concurrency`: messages in flight at each group at most.
    pub concurrency: Option<u32>,
    /// `fallback`: the group for what is diverted, or refused by every group.
    pub fallback: Option<Spotted<String>>,
}

/// `limit`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// `rate`: messages a second.
    pub rate: f64,
    /// `burst`: messages at once after a pause. 1 by default.
    pub burst: u32,
    /// `when`: what happens to the others. `reject` by default.
    pub when: When,
    /// `max_wait`: under `delay`, how long a message may wait for its turn. 1 s by default.
    pub max_wait: Duration,
}

/// What happens to a message above the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum When {
    /// It fails, and its publisher is told when to come back.
    #[default]
    Reject,
    /// It waits for its turn.
    Delay,
    /// It goes to the fallback.
    Divert,
}

/// The words of `limit.when`.
pub const WHENS: [(&str, When); 3] = [
    ("reject", When::Reject),
    ("delay", When::Delay),
    ("divert", When::Divert),
];

impl When {
    /// The word in the file.
    pub fn word(self) -> &'static str {
        let known = WHENS.iter().find(|(_, when)| *when == self);
        known.map_or("", |(word, _)| word)
    }
}

/// `breaker`, with Hystrix's names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breaker {
    /// `requestVolumeThreshold`: outcomes in ten seconds below which it never opens. 20 by default.
    pub request_volume_threshold: u32,
    /// `errorThresholdPercentage`: 50 by default.
    pub error_threshold_percentage: f64,
    /// `sleepWindowInMilliseconds`: 5,000 by default.
    pub sleep_window_in_milliseconds: u64,
}

impl Guards {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The guards in the form that the node decides with.
    ///
    /// # Errors
    /// A number that cannot be; a file that was read gives none.
    pub fn decided(&self) -> Result<RouteGuards, ConfigError> {
        let limit = self.limit.map(|limit| {
            let when = match limit.when {
                When::Reject => WhenLimited::Reject,
                When::Delay => WhenLimited::Delay {
                    max: limit.max_wait,
                },
                When::Divert => WhenLimited::Divert,
            };
            TokenBucketConfig::new(limit.rate, limit.burst, when)
        });
        let breaker = self.breaker.map(|breaker| BreakerConfig {
            request_volume_threshold: breaker.request_volume_threshold,
            error_threshold_percentage: breaker.error_threshold_percentage,
            sleep_window: Duration::from_millis(breaker.sleep_window_in_milliseconds),
            ..BreakerConfig::default()
        });
        let bulkhead = self
            .concurrency
            .map(|most| BulkheadConfig::new(most, 0, Duration::ZERO));
        Ok(RouteGuards {
            limit: limit.transpose()?,
            destination: DestinationGuardsConfig {
                breaker,
                bulkhead: bulkhead.transpose()?,
                adaptive: None,
            },
            fallback: self.fallback.as_ref().map(|group| group.value.clone()),
        })
    }
}

pub(super) fn read(
    reader: &TableReader<'_>,
    to: &[Destination],
    mirror: Option<&Mirror>,
    policy: Option<Policy>,
) -> Guards {
    let fallback = reader.text("fallback");
    if let Some(group) = &fallback {
        let takes_part = to.iter().any(|to| to.group.value == group.value)
            || mirror.is_some_and(|mirror| mirror.group.value == group.value);
        if let Err(problem) = verify_name(&group.value) {
            reader.mistake("fallback", problem);
        } else if takes_part {
            let problem = format!(
                "the group `{}` takes part in the route already",
                group.value
            );
            reader.mistake("fallback", problem);
        }
    }
    for key in ["breaker", "bulkhead"] {
        if reader.has(key) && policy == Some(Policy::Broadcast) {
            let problem = format!("`broadcast` sends to every group: no `{key}` can be heard");
            reader.mistake(key, problem);
        }
    }
    let guards = Guards {
        limit: read_limit(reader, fallback.is_some()),
        breaker: read_breaker(reader),
        concurrency: reader.table("bulkhead").and_then(|bulkhead| {
            let most = bulkhead.integer("concurrency", 1..=1_000_000);
            if !bulkhead.has("concurrency") {
                bulkhead.mistake("concurrency", "`bulkhead` needs `concurrency`");
            }
            bulkhead.finish();
            most.and_then(|most| u32::try_from(most).ok())
        }),
        fallback,
    };
    let none = guards.limit.is_none() && guards.breaker.is_none() && guards.concurrency.is_none();
    if none
        && guards.fallback.is_some()
        && !["limit", "breaker", "bulkhead"]
            .iter()
            .any(|key| reader.has(key))
    {
        reader.mistake(
            "fallback",
            "nothing is diverted there: the route has no `limit`, `breaker` or `bulkhead`",
        );
    }
    guards
}

fn read_limit(reader: &TableReader<'_>, has_fallback: bool) -> Option<Limit> {
    let limit = reader.table("limit")?;
    let rate = limit.number("rate", 0.000_001..=1e9);
    if !limit.has("rate") {
        limit.mistake("rate", "`limit` needs `rate`, in messages a second");
    }
    let burst = limit
        .integer("burst", 1..=1_000_000_000)
        .and_then(|burst| u32::try_from(burst).ok());
    let when = limit.one_of("when", &WHENS).unwrap_or_default();
    if when == When::Divert && !has_fallback {
        limit.mistake(
            "when",
            "`divert` needs the route's `fallback`, the group to divert to",
        );
    }
    let wait = Duration::from_millis(1)..=Duration::from_secs(3600);
    let max_wait = limit.duration("max_wait", wait);
    if limit.has("max_wait") && when != When::Delay {
        limit.mistake("max_wait", "`max_wait` belongs to `when = \"delay\"`");
    }
    limit.finish();
    Some(Limit {
        rate: rate?,
        burst: burst.unwrap_or(1),
        when,
        max_wait: max_wait.unwrap_or(Duration::from_secs(1)),
    })
}

fn read_breaker(reader: &TableReader<'_>) -> Option<Breaker> {
    let breaker = reader.table("breaker")?;
    let volume = breaker.integer("requestVolumeThreshold", 1..=1_000_000);
    let percentage = breaker.number("errorThresholdPercentage", 0.01..=100.0);
    let sleep = breaker.integer("sleepWindowInMilliseconds", 1..=3_600_000);
    breaker.finish();
    Some(Breaker {
        request_volume_threshold: volume
            .and_then(|volume| u32::try_from(volume).ok())
            .unwrap_or(20),
        error_threshold_percentage: percentage.unwrap_or(50.0),
        sleep_window_in_milliseconds: sleep.unwrap_or(5000),
    })
}
