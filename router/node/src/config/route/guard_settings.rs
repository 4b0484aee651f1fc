//! Guards of a route whose keys are the settings of the guard: `deadline`, `shed`, `outlier`, `adaptive`, `canary`.

use std::ops::RangeInclusive;
use std::time::Duration;

use mcpbus::resilience::{AdaptiveConfig, CanaryConfig, DeadlineConfig, OutlierConfig, ShedConfig};
use serde_json::{Value as Json, json};

use super::{Destination, Policy};
use crate::config::mistake::Spotted;
use crate::config::normalise::duration as text;
use crate::config::reader::TableReader;

const HOUR: Duration = Duration::from_secs(3600);
const TIMES: RangeInclusive<Duration> = Duration::from_millis(1)..=HOUR;
const COUNTS: RangeInclusive<u64> = 1..=1_000_000;

pub(super) fn deadline(reader: &TableReader<'_>) -> Option<DeadlineConfig> {
    let deadline = reader.table("deadline")?;
    let config = DeadlineConfig {
        default_ttl: deadline.duration("default", TIMES),
        max_ttl: deadline.duration("max", TIMES),
        min_remaining: deadline
            .duration("min_remaining", Duration::ZERO..=HOUR)
            .unwrap_or_default(),
    };
    if !["default", "max", "min_remaining"]
        .iter()
        .any(|key| deadline.has(key))
    {
        deadline.mistake(
            "default",
            "`deadline` needs `default`, `max` or `min_remaining`",
        );
    }
    deadline.finish();
    Some(config)
}

pub(super) fn shed(reader: &TableReader<'_>) -> Option<ShedConfig> {
    let shed = reader.table("shed")?;
    let defaults = ShedConfig::default();
    let target = shed.duration("target", TIMES).unwrap_or(defaults.target);
    let interval = shed.duration("interval", TIMES);
    shed.finish();
    Some(ShedConfig {
        target,
        interval: interval.unwrap_or(defaults.interval.max(target)),
    })
}

pub(super) fn outlier(reader: &TableReader<'_>) -> Option<OutlierConfig> {
    let outlier = reader.table("outlier")?;
    let mut config = OutlierConfig::default();
    set_count(
        &outlier,
        "consecutive_failures",
        &mut config.consecutive_failures,
    );
    set_percent(
        &outlier,
        "failure_percentage",
        &mut config.failure_percentage,
    );
    set_count(&outlier, "request_volume", &mut config.request_volume);
    set_time(
        &outlier,
        "interval",
        Duration::from_millis(10),
        &mut config.interval,
    );
    let least = Duration::from_millis(1);
    set_time(
        &outlier,
        "base_ejection_time",
        least,
        &mut config.base_ejection_time,
    );
    set_time(
        &outlier,
        "max_ejection_time",
        least,
        &mut config.max_ejection_time,
    );
    set_percent(
        &outlier,
        "max_ejection_percentage",
        &mut config.max_ejection_percentage,
    );
    outlier.finish();
    Some(config)
}

pub(super) fn adaptive(reader: &TableReader<'_>) -> Option<AdaptiveConfig> {
    let adaptive = reader.table("adaptive")?;
    let mut config = AdaptiveConfig::default();
    set_count(&adaptive, "least", &mut config.least);
    set_count(&adaptive, "most", &mut config.most);
    config.initial = config
        .initial
        .clamp(config.least, config.most.max(config.least));
    set_count(&adaptive, "initial", &mut config.initial);
    if let Some(tolerance) = adaptive.number("tolerance", 1.0..=10.0) {
        config.tolerance = tolerance;
    }
    adaptive.finish();
    Some(config)
}

pub(super) fn canary(
    reader: &TableReader<'_>,
    to: &[Destination],
    policy: Option<Policy>,
) -> Option<(Spotted<String>, CanaryConfig)> {
    let canary = reader.table("canary")?;
    let group = canary.required_text("group");
    if let Some(group) = &group
        && !to.iter().any(|to| to.group.value == group.value)
    {
        let problem = format!("the group `{}` is none of those in `to`", group.value);
        canary.mistake("group", problem);
    }
    let weighs = |policy: Policy| policy.weighs() && policy != Policy::Failover;
    if let Some(policy) = policy.filter(|policy| !weighs(*policy)) {
        let policy = policy.word();
        let problem = format!("`{policy}` does not go by weights, so a canary cannot get a share");
        reader.mistake("canary", problem);
    }
    let mut config = CanaryConfig::default();
    if let Some(steps) = canary.integers("steps", 1..=100) {
        config.steps = steps.iter().map(|step| *step as u32).collect();
        let rises = config.steps.windows(2).all(|pair| pair[0] < pair[1]);
        if !rises || config.steps.is_empty() || config.steps.len() > 20 {
            canary.mistake(
                "steps",
                "`steps` are 1 to 20 percentages, each above the one before",
            );
        }
    }
    let second = Duration::from_secs(1);
    set_time(&canary, "min_step_time", second, &mut config.min_step_time);
    if let Some(samples) = canary.integer("min_samples", 10..=1_000_000) {
        config.min_samples = samples as u32;
    }
    for (key, delta) in [
        ("max_error_delta", &mut config.max_error_delta),
        ("max_reject_delta", &mut config.max_reject_delta),
    ] {
        if let Some(points) = canary.number(key, 0.0..=100.0) {
            *delta = points;
        }
    }
    if let Some(factor) = canary.number("max_latency_factor", 1.0..=100.0) {
        config.max_latency_factor = factor;
    }
    set_time(
        &canary,
        "min_latency_delta",
        Duration::ZERO,
        &mut config.min_latency_delta,
    );
    set_count(
        &canary,
        "consecutive_failures",
        &mut config.consecutive_failures,
    );
    canary.finish();
    Some((group?, config))
}

fn set_count(reader: &TableReader<'_>, key: &'static str, to: &mut u32) {
    let count = reader.integer(key, COUNTS);
    if let Some(count) = count.and_then(|count| u32::try_from(count).ok()) {
        *to = count;
    }
}

fn set_percent(reader: &TableReader<'_>, key: &'static str, to: &mut f64) {
    if let Some(percent) = reader.number(key, 0.01..=100.0) {
        *to = percent;
    }
}

fn set_time(reader: &TableReader<'_>, key: &'static str, least: Duration, to: &mut Duration) {
    if let Some(time) = reader.duration(key, least..=HOUR) {
        *to = time;
    }
}

/// The keys of those that are there, with all their values.
pub fn normalised(guards: &super::guards::Guards) -> Vec<(&'static str, Json)> {
    let mut pairs = Vec::new();
    if let Some(deadline) = &guards.deadline {
        let mut given = serde_json::Map::new();
        let times = [("default", deadline.default_ttl), ("max", deadline.max_ttl)];
        for (key, time) in times {
            given.extend(time.map(|time| (key.to_owned(), text(time))));
        }
        given.insert("min_remaining".to_owned(), text(deadline.min_remaining));
        pairs.push(("deadline", Json::Object(given)));
    }
    if let Some(shed) = &guards.shed {
        let given = json!({ "target": text(shed.target), "interval": text(shed.interval) });
        pairs.push(("shed", given));
    }
    if let Some(outlier) = &guards.outlier {
        let given = json!({
            "consecutive_failures": outlier.consecutive_failures,
            "failure_percentage": outlier.failure_percentage,
            "request_volume": outlier.request_volume,
            "interval": text(outlier.interval),
            "base_ejection_time": text(outlier.base_ejection_time),
            "max_ejection_time": text(outlier.max_ejection_time),
            "max_ejection_percentage": outlier.max_ejection_percentage,
        });
        pairs.push(("outlier", given));
    }
    if let Some(adaptive) = &guards.adaptive {
        let given = json!({
            "initial": adaptive.initial,
            "least": adaptive.least,
            "most": adaptive.most,
            "tolerance": adaptive.tolerance,
        });
        pairs.push(("adaptive", given));
    }
    if let Some((group, canary)) = &guards.canary {
        let given = json!({
            "group": group.value,
            "steps": canary.steps,
            "min_step_time": text(canary.min_step_time),
            "min_samples": canary.min_samples,
            "max_error_delta": canary.max_error_delta,
            "max_reject_delta": canary.max_reject_delta,
            "max_latency_factor": canary.max_latency_factor,
            "min_latency_delta": text(canary.min_latency_delta),
            "consecutive_failures": canary.consecutive_failures,
        });
        pairs.push(("canary", given));
    }
    pairs
}
