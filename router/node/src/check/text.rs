//! The topology as text.

use std::fmt::Write as _;

use super::bound::{memory_bound, readable};
use crate::config::quantity::{format_duration, format_size};
use crate::config::route::guards::Per;
use crate::config::route::{Policy, Route};
use crate::config::{Input, NodeFile, Output, Stage, verify};

/// A few lines per part: the node, its links and routes, each stage with where its messages come from and go to,
/// and the memory bound.
pub fn to_text(file: &NodeFile) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _infallible = write_all(file, &mut text);
    text
}

fn write_all(file: &NodeFile, out: &mut String) -> std::fmt::Result {
    writeln!(out, "node {}", file.name)?;
    if let Some(address) = file.listen {
        writeln!(out, "  listens on quic {address}")?;
    }
    for link in &file.links {
        writeln!(out, "  links to {}", link.value)?;
    }
    for route in &file.routes {
        writeln!(out, "  {}", route_text(route))?;
    }
    if !file.stages.is_empty() {
        writeln!(out, "stages")?;
        let width = file
            .stages
            .iter()
            .map(|stage| stage.name.value.len())
            .max()
            .unwrap_or(0);
        for stage in &file.stages {
            let way = [from(stage), to(stage)]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(", ");
            writeln!(
                out,
                "  {:<width$}  {:<9}  {way}",
                stage.name.value,
                stage.kind.word()
            )?;
        }
        let edges = verify::edges(&file.stages);
        if !edges.is_empty() {
            writeln!(out, "edges")?;
        }
        for edge in edges {
            writeln!(
                out,
                "  {} -> {}  ({}: {} messages, {}, {})",
                file.stages[edge.from].name.value,
                file.stages[edge.to].name.value,
                edge.name,
                edge.bounds.messages,
                format_size(edge.bounds.bytes),
                edge.bounds.overflow.word()
            )?;
        }
    }
    let bound = memory_bound(file);
    writeln!(
        out,
        "memory bound {} of a budget of {}",
        readable(bound.total()),
        readable(file.limits.budget)
    )?;
    for part in &bound.parts {
        writeln!(out, "  {:>10}  {}", readable(part.bytes), part.what)?;
    }
    Ok(())
}

fn route_text(route: &Route) -> String {
    let to: Vec<String> = route
        .to
        .iter()
        .map(|to| match route.policy {
            Policy::Failover => format!("{} ({} at {})", to.group.value, to.weight, to.priority),
            policy if policy.weighs() => format!("{} ({})", to.group.value, to.weight),
            _ => to.group.value.clone(),
        })
        .collect();
    let mut text = format!(
        "routes {} by {}{} to {}",
        route.subject.value,
        route.policy.word(),
        if route.sticky { " sticky" } else { "" },
        to.join(", ")
    );
    let rules = route.rules.len();
    if rules > 0 {
        let _infallible = write!(
            text,
            " after {rules} rule{}",
            if rules == 1 { "" } else { "s" }
        );
    }
    if let Some(mirror) = &route.mirror {
        let _infallible = write!(
            text,
            ", {} of them copied to {}",
            mirror.share, mirror.group.value
        );
    }
    let guards = &route.guards;
    if let Some(limit) = &guards.limit {
        let _infallible = write!(
            text,
            ", at most {} a second{} ({}, else {})",
            limit.rate,
            match limit.per {
                Per::Route => String::new(),
                per => format!(" per {}", per.word()),
            },
            if limit.even {
                "evenly spaced".to_owned()
            } else {
                format!("burst {}", limit.burst)
            },
            limit.when.word()
        );
    }
    for (word, is_there) in [
        ("deadlines", guards.deadline.is_some()),
        ("load shedding", guards.shed.is_some()),
        ("outlier detection", guards.outlier.is_some()),
        ("adaptive concurrency for each", guards.adaptive.is_some()),
    ] {
        if is_there {
            let _infallible = write!(text, ", with {word}");
        }
    }
    if let Some((group, canary)) = &guards.canary {
        let steps: Vec<String> = canary.steps.iter().map(u32::to_string).collect();
        let steps = steps.join(", ");
        let _infallible = write!(text, ", {} as a canary at {steps} %", group.value);
    }
    if guards.breaker.is_some() {
        text.push_str(", with a breaker for each");
    }
    if let Some(bulkhead) = &guards.bulkhead {
        let concurrency = bulkhead.concurrency;
        let _infallible = write!(text, ", at most {concurrency} in flight at each");
        if bulkhead.max_waiting > 0 {
            let (waiting, wait) = (bulkhead.max_waiting, format_duration(bulkhead.max_wait));
            let _infallible = write!(text, " and {waiting} waiting for {wait}");
        }
    }
    if let Some(fallback) = &guards.fallback {
        let _infallible = write!(text, ", otherwise to {}", fallback.value);
    }
    if route.exclusive {
        text.push_str(", exclusive");
    }
    text
}

fn from(stage: &Stage) -> Option<String> {
    match stage.input.as_ref()? {
        Input::Edges(edges) => Some(format!(
            "from {}",
            edges
                .iter()
                .map(|edge| edge.value.as_str())
                .collect::<Vec<_>>()
                .join(" and ")
        )),
        Input::Subscribe {
            pattern,
            group: Some(group),
        } => Some(format!(
            "subscribes to {} in group {}",
            pattern.value, group.value
        )),
        Input::Subscribe {
            pattern,
            group: None,
        } => Some(format!("subscribes to {}", pattern.value)),
    }
}

fn to(stage: &Stage) -> Option<String> {
    match stage.output.as_ref()? {
        Output::Edge(edge) => Some(format!("to {}", edge.value)),
        Output::Publish {
            subject, key, ack, ..
        } => {
            let key = key
                .as_ref()
                .map_or_else(String::new, |key| format!(" with key {}", key.value));
            Some(format!(
                "publishes {}{key} (ack {})",
                subject.value,
                ack.word()
            ))
        }
    }
}
