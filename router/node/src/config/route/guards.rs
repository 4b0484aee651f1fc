//! The guards of a route: `deadline`, `shed`, `limit`, `outlier`, `breaker`, `bulkhead`, `adaptive`, `canary`, `fallback`.

use std::time::Duration;

use mcpbus::resilience::{
    AdaptiveConfig, BreakerConfig, BulkheadConfig, CanaryConfig, ConfigError, DeadlineConfig,
    DestinationGuardsConfig, KeyedLimitsConfig, LeakyBucketConfig, OutlierConfig, ShedConfig,
    TokenBucketConfig, WhenFull, WhenLimited,
};
use mcpbus::routing::{LimitKey, RouteCanary, RouteGuards, RouteLimit};

use super::guard_settings as settings;
use super::{Destination, Mirror, Policy};
use crate::config::mistake::Spotted;
use crate::config::node_file::verify_name;
use crate::config::reader::TableReader;

/// The guards of one route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Guards {
    /// `deadline`.
    pub deadline: Option<DeadlineConfig>,
    /// `shed`.
    pub shed: Option<ShedConfig>,
    /// `limit`.
    pub limit: Option<Limit>,
    /// `breaker`.
    pub breaker: Option<Breaker>,
    /// `outlier`.
    pub outlier: Option<OutlierConfig>,
    /// `bulkhead`.
    pub bulkhead: Option<Bulkhead>,
    /// `adaptive`.
    pub adaptive: Option<AdaptiveConfig>,
    /// `canary`, and its group.
    pub canary: Option<(Spotted<String>, CanaryConfig)>,
    /// `fallback`: the group for what is diverted, or refused by every group.
    pub fallback: Option<Spotted<String>>,
}

/// `bulkhead`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bulkhead {
    /// `concurrency`: messages in flight at each group at most.
    pub concurrency: u32,
    /// `max_waiting`: messages that wait for room at each group at most. None by default.
    pub max_waiting: u32,
    /// `max_wait`: how long each may wait. 1 s by default.
    pub max_wait: Duration,
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
    /// `even`: messages are evenly spaced, a leaky bucket; otherwise a token bucket. False by default.
    pub even: bool,
    /// `per`: what has a limit of its own. The route by default.
    pub per: Per,
    /// `keys`: how many limits are kept at most, where there are several. 10,000 by default.
    pub keys: usize,
    /// `when_full`: what happens to those beyond them. `share` by default.
    pub when_full: WhenFull,
}

/// What has a limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Per {
    /// The route.
    #[default]
    Route,
    /// Each client or node that messages come from.
    Identity,
    /// Each subject.
    Subject,
    /// Each key.
    Key,
}

/// The words of `limit.per`.
pub const PERS: [(&str, Per); 4] = [
    ("route", Per::Route),
    ("identity", Per::Identity),
    ("subject", Per::Subject),
    ("key", Per::Key),
];

impl Per {
    /// The word in the file.
    pub fn word(self) -> &'static str {
        let known = PERS.iter().find(|(_, per)| *per == self);
        known.map_or("", |(word, _)| word)
    }

    fn key(self) -> Option<LimitKey> {
        match self {
            Self::Route => None,
            Self::Identity => Some(LimitKey::Identity),
            Self::Subject => Some(LimitKey::Subject),
            Self::Key => Some(LimitKey::Key),
        }
    }
}

/// The words of `limit.when_full`.
pub const WHEN_FULLS: [(&str, WhenFull); 2] =
    [("share", WhenFull::Share), ("refuse", WhenFull::Refuse)];

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
        let limit = self.limit.as_ref().map(Limit::decided);
        let breaker = self.breaker.map(|breaker| BreakerConfig {
            request_volume_threshold: breaker.request_volume_threshold,
            error_threshold_percentage: breaker.error_threshold_percentage,
            sleep_window: Duration::from_millis(breaker.sleep_window_in_milliseconds),
            ..BreakerConfig::default()
        });
        let bulkhead = self.bulkhead.map(|bulkhead| {
            BulkheadConfig::new(
                bulkhead.concurrency,
                bulkhead.max_waiting,
                bulkhead.max_wait,
            )
        });
        Ok(RouteGuards {
            deadline: self.deadline,
            shed: self.shed,
            limit: limit.transpose()?,
            outlier: self.outlier,
            destination: DestinationGuardsConfig {
                breaker,
                bulkhead: bulkhead.transpose()?,
                adaptive: self.adaptive,
            },
            canary: self.canary.as_ref().map(|(group, config)| RouteCanary {
                group: group.value.clone(),
                config: config.clone(),
            }),
            fallback: self.fallback.as_ref().map(|group| group.value.clone()),
        })
    }
}

impl Limit {
    fn decided(&self) -> Result<RouteLimit, ConfigError> {
        let when = match self.when {
            When::Reject => WhenLimited::Reject,
            When::Delay => WhenLimited::Delay { max: self.max_wait },
            When::Divert => WhenLimited::Divert,
        };
        if self.even {
            return Ok(LeakyBucketConfig::new(self.rate, when)?.into());
        }
        let each = TokenBucketConfig::new(self.rate, self.burst, when)?;
        Ok(match self.per.key() {
            None => each.into(),
            Some(key) => {
                let keyed = KeyedLimitsConfig::new(each, self.keys, self.when_full)?;
                RouteLimit::Each(key, keyed)
            }
        })
    }
}

/// The guards that need destinations of which one is heard.
const OF_DESTINATIONS: [&str; 5] = ["breaker", "bulkhead", "adaptive", "outlier", "canary"];

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
    for key in OF_DESTINATIONS {
        if reader.has(key) && policy == Some(Policy::Broadcast) {
            let problem = format!("`broadcast` sends to every group: no `{key}` can be heard");
            reader.mistake(key, problem);
        }
    }
    let refusing = [
        "limit", "shed", "breaker", "bulkhead", "adaptive", "outlier",
    ];
    if fallback.is_some() && !refusing.iter().any(|key| reader.has(key)) {
        reader.mistake(
            "fallback",
            format!(
                "nothing goes there: the route has none of {}",
                refusing.map(|key| format!("`{key}`")).join(", ")
            ),
        );
    }
    Guards {
        deadline: settings::deadline(reader),
        shed: settings::shed(reader),
        limit: read_limit(reader, fallback.is_some()),
        outlier: settings::outlier(reader),
        breaker: read_breaker(reader),
        bulkhead: read_bulkhead(reader),
        adaptive: settings::adaptive(reader),
        canary: settings::canary(reader, to, policy),
        fallback,
    }
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
    let even = limit.boolean("even").unwrap_or(false);
    let per = limit.one_of("per", &PERS).unwrap_or_default();
    if even && limit.has("burst") {
        limit.mistake("burst", "with `even = true` there are no bursts");
    }
    if even && per != Per::Route {
        limit.mistake(
            "per",
            "`even = true` spaces the messages of the whole route",
        );
    }
    let keys = limit.integer("keys", 1..=1_000_000);
    let when_full = limit.one_of("when_full", &WHEN_FULLS);
    for key in ["keys", "when_full"] {
        if limit.has(key) && per == Per::Route {
            limit.mistake(key, format!("`{key}` belongs to a limit `per` something"));
        }
    }
    limit.finish();
    Some(Limit {
        rate: rate?,
        burst: burst.unwrap_or(1),
        when,
        max_wait: max_wait.unwrap_or(Duration::from_secs(1)),
        even,
        per,
        keys: keys.map_or(10_000, |keys| keys as usize),
        when_full: when_full.unwrap_or(WhenFull::Share),
    })
}

fn read_bulkhead(reader: &TableReader<'_>) -> Option<Bulkhead> {
    let bulkhead = reader.table("bulkhead")?;
    let count = |key| {
        let count = bulkhead.integer(key, 1..=1_000_000);
        count.and_then(|count| u32::try_from(count).ok())
    };
    let (concurrency, max_waiting) = (count("concurrency"), count("max_waiting"));
    if !bulkhead.has("concurrency") {
        bulkhead.mistake("concurrency", "`bulkhead` needs `concurrency`");
    }
    let times = Duration::from_millis(1)..=Duration::from_secs(3600);
    let max_wait = bulkhead.duration("max_wait", times);
    if bulkhead.has("max_wait") && !bulkhead.has("max_waiting") {
        let problem = "`max_wait` belongs to `max_waiting`: without it no message waits";
        bulkhead.mistake("max_wait", problem);
    }
    bulkhead.finish();
    Some(Bulkhead {
        concurrency: concurrency?,
        max_waiting: max_waiting.unwrap_or(0),
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
