//! The file as it was understood: every key with its value, defaults included, in one order. Reading it again gives
//! the same file.

use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::node_file::NodeFile;
use super::quantity::{format_duration, format_size};
use super::route::guard_settings;
use super::route::guards::{Per, WHEN_FULLS, When};
use super::route::{Pairs, Policy, Route, Rule};
use super::stage::{Input, Output, Stage, StageKind};
use crate::stages::aggregate::window::Window;
use crate::stages::parse::Format;
use crate::stages::write::LineFormat;

pub(super) fn duration(duration: Duration) -> Json {
    Json::from(format_duration(duration))
}

fn size(bytes: u64) -> Json {
    Json::from(format_size(bytes))
}

fn object(pairs: Vec<(&str, Json)>) -> Json {
    Json::Object(
        pairs
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    )
}

fn texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Json {
    Json::Array(
        texts
            .into_iter()
            .map(|text| Json::from(text.as_ref()))
            .collect(),
    )
}

/// The file as a JSON object with the structure of the TOML.
pub fn to_json(file: &NodeFile) -> Json {
    let mut node = vec![("name", Json::from(file.name.clone()))];
    if let Some(data) = &file.data {
        node.push(("data", Json::from(data.display().to_string())));
    }
    let mut root = vec![("node", object(node))];
    if let Some(spool) = &file.spool {
        root.push(("spool", object(vec![("size", size(spool.size))])));
    }
    if let Some(address) = file.listen {
        root.push(("listen", json!({ "quic": address.to_string() })));
    }
    if let Some(identity) = &file.tls.identity {
        let mut tls = vec![("identity", Json::from(identity.display().to_string()))];
        if let Some(trust) = &file.tls.trust {
            tls.push(("trust", Json::from(trust.display().to_string())));
        }
        root.push(("tls", object(tls)));
    }
    let limits = &file.limits;
    root.push((
        "limits",
        object(vec![
            ("budget", size(limits.budget)),
            ("credit", size(limits.credit)),
            ("sessions", Json::from(limits.sessions)),
            ("message", size(limits.message)),
            ("edge_messages", Json::from(limits.edge_messages)),
            ("edge_bytes", size(limits.edge_bytes)),
            ("dead_letters", Json::from(limits.dead_letters)),
            ("dead_letter_bytes", size(limits.dead_letter_bytes)),
            ("drain", duration(limits.drain)),
        ]),
    ));
    let list = |items: Vec<Json>| Json::Array(items);
    if !file.links.is_empty() {
        root.push((
            "link",
            list(
                file.links
                    .iter()
                    .map(|link| json!({ "to": link.value }))
                    .collect(),
            ),
        ));
    }
    if !file.routes.is_empty() {
        root.push(("route", list(file.routes.iter().map(route).collect())));
    }
    if !file.stages.is_empty() {
        root.push(("stage", list(file.stages.iter().map(stage).collect())));
    }
    object(root)
}

fn route(route: &Route) -> Json {
    let to = route.to.iter().map(|to| {
        let mut pairs = vec![("group", Json::from(to.group.value.as_str()))];
        if route.policy.weighs() {
            pairs.push(("weight", Json::from(to.weight)));
        }
        if route.policy == Policy::Failover {
            pairs.push(("priority", Json::from(to.priority)));
        }
        if !to.labels.is_empty() {
            pairs.push(("labels", texts_by_name(&to.labels)));
        }
        object(pairs)
    });
    let mut pairs = vec![
        ("subject", Json::from(route.subject.value.as_str())),
        ("policy", Json::from(route.policy.word())),
        ("to", Json::Array(to.collect())),
    ];
    if !route.rules.is_empty() {
        let rule = |rule: &Rule| {
            let mut pairs = Vec::new();
            if !rule.labels.is_empty() {
                pairs.push(("labels", texts_by_name(&rule.labels)));
            }
            if !rule.keys.is_empty() {
                pairs.push(("keys", texts(&rule.keys)));
            }
            pairs.push(("subset", texts_by_name(&rule.subset)));
            object(pairs)
        };
        let rules = route.rules.iter().map(rule).collect();
        pairs.push(("rules", Json::Array(rules)));
    }
    if route.policy.may_stick() {
        pairs.push(("sticky", Json::from(route.sticky)));
    }
    match route.policy {
        Policy::BoundedLoad => pairs.push(("load_factor", Json::from(route.load_factor))),
        Policy::Failover => pairs.push(("panic_threshold", Json::from(route.panic_threshold))),
        _ => {}
    }
    if let Some(mirror) = &route.mirror {
        let mirror = json!({ "group": mirror.group.value, "share": mirror.share });
        pairs.push(("mirror", mirror));
    }
    let guards = &route.guards;
    if let Some(limit) = &guards.limit {
        let mut given = vec![
            ("rate", Json::from(limit.rate)),
            ("when", Json::from(limit.when.word())),
        ];
        if !limit.even {
            given.push(("burst", Json::from(limit.burst)));
        }
        if limit.when == When::Delay {
            given.push(("max_wait", duration(limit.max_wait)));
        }
        given.push(("even", Json::from(limit.even)));
        given.push(("per", Json::from(limit.per.word())));
        if limit.per != Per::Route {
            let full = WHEN_FULLS.iter().find(|(_, full)| *full == limit.when_full);
            given.push(("keys", Json::from(limit.keys)));
            given.push(("when_full", Json::from(full.map(|(word, _)| *word))));
        }
        pairs.push(("limit", object(given)));
    }
    if let Some(breaker) = &guards.breaker {
        let breaker = json!({
            "requestVolumeThreshold": breaker.request_volume_threshold,
            "errorThresholdPercentage": breaker.error_threshold_percentage,
            "sleepWindowInMilliseconds": breaker.sleep_window_in_milliseconds,
        });
        pairs.push(("breaker", breaker));
    }
    if let Some(bulkhead) = &guards.bulkhead {
        let mut given = vec![("concurrency", Json::from(bulkhead.concurrency))];
        if bulkhead.max_waiting > 0 {
            given.push(("max_waiting", Json::from(bulkhead.max_waiting)));
            given.push(("max_wait", duration(bulkhead.max_wait)));
        }
        pairs.push(("bulkhead", object(given)));
    }
    pairs.extend(guard_settings::normalised(guards));
    if let Some(fallback) = &guards.fallback {
        pairs.push(("fallback", Json::from(fallback.value.as_str())));
    }
    pairs.push(("exclusive", Json::from(route.exclusive)));
    object(pairs)
}

fn texts_by_name(pairs: &Pairs) -> Json {
    let pairs = pairs.iter();
    object(
        pairs
            .map(|(name, value)| (name.as_str(), Json::from(value.as_str())))
            .collect(),
    )
}

fn stage(stage: &Stage) -> Json {
    let mut pairs = vec![
        ("name", Json::from(stage.name.value.as_str())),
        ("kind", Json::from(stage.kind.word())),
    ];
    match &stage.input {
        Some(Input::Edges(edges)) => {
            pairs.push(("in", texts(edges.iter().map(|edge| edge.value.as_str()))))
        }
        Some(Input::Subscribe { pattern, group }) => {
            pairs.push(("subscribe", Json::from(pattern.value.as_str())));
            if let Some(group) = group {
                pairs.push(("group", Json::from(group.value.as_str())));
            }
        }
        None => {}
    }
    kind(&stage.kind, &mut pairs);
    match &stage.output {
        Some(Output::Edge(edge)) => {
            pairs.push(("out", Json::from(edge.value.as_str())));
            pairs.push(("capacity", Json::from(stage.edge.messages)));
            pairs.push(("capacity_bytes", size(stage.edge.bytes)));
            pairs.push(("overflow", Json::from(stage.edge.overflow.word())));
        }
        Some(Output::Publish {
            subject,
            key,
            ack,
            wait_for_subscribers,
        }) => {
            pairs.push(("publish", Json::from(subject.value.text())));
            if let Some(key) = key {
                pairs.push(("key", Json::from(key.value.text())));
            }
            pairs.push(("ack", Json::from(ack.word())));
            pairs.push(("wait_for_subscribers", Json::from(*wait_for_subscribers)));
        }
        None => {}
    }
    object(pairs)
}

fn text_map<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Json {
    Json::Object(
        entries
            .into_iter()
            .map(|(key, value)| (key.to_owned(), Json::from(value)))
            .collect::<Map<_, _>>(),
    )
}

fn kind(kind: &StageKind, pairs: &mut Vec<(&str, Json)>) {
    match kind {
        StageKind::Lines(spec) => pairs.extend([
            ("path", Json::from(spec.path.display().to_string())),
            ("header", Json::from(spec.header)),
            ("follow", Json::from(spec.follow)),
            ("max_line", size(spec.max_line as u64)),
        ]),
        StageKind::Generator(spec) => pairs.extend([
            ("count", Json::from(spec.count)),
            ("rate", Json::from(spec.rate)),
            ("seed", Json::from(spec.seed)),
            ("accounts", Json::from(spec.accounts)),
        ]),
        StageKind::Parse(spec) => {
            match &spec.format {
                Format::Delimited { split, columns } => {
                    let byte = |byte: u8| Json::from(char::from(byte).to_string());
                    pairs.push(("format", Json::from("delimited")));
                    pairs.push(("delimiter", byte(split.delimiter)));
                    pairs.push(("quote", split.quote.map_or(Json::from(""), byte)));
                    pairs.push(("columns", texts(columns)));
                }
                Format::Json => pairs.push(("format", Json::from("json"))),
                Format::Regex(regex) => {
                    pairs.push(("format", Json::from("regex")));
                    pairs.push(("pattern", Json::from(regex.as_str())));
                }
            }
            if !spec.types.is_empty() {
                pairs.push((
                    "types",
                    text_map(
                        spec.types
                            .iter()
                            .map(|(name, kind)| (name.as_str(), kind.word())),
                    ),
                ));
            }
        }
        StageKind::Filter(spec) => {
            for (key, conditions) in [("all", &spec.all), ("any", &spec.any)] {
                if !conditions.is_empty() {
                    pairs.push((
                        key,
                        texts(conditions.iter().map(|condition| condition.text())),
                    ));
                }
            }
        }
        StageKind::Project(spec) => {
            if !spec.set.is_empty() {
                pairs.push((
                    "set",
                    text_map(
                        spec.set
                            .iter()
                            .map(|(name, template)| (name.as_str(), template.text())),
                    ),
                ));
            }
            let choose = spec.choose.iter().map(|choose| {
                let mut pairs = vec![
                    ("field", Json::from(choose.field.as_str())),
                    (
                        "when",
                        texts(choose.when.iter().map(|condition| condition.text())),
                    ),
                    ("then", Json::from(choose.then.text())),
                ];
                if let Some(otherwise) = &choose.otherwise {
                    pairs.push(("otherwise", Json::from(otherwise.text())));
                }
                object(pairs)
            });
            let choose: Vec<Json> = choose.collect();
            if !choose.is_empty() {
                pairs.push(("choose", Json::Array(choose)));
            }
            if !spec.rename.is_empty() {
                pairs.push((
                    "rename",
                    text_map(
                        spec.rename
                            .iter()
                            .map(|(old, new)| (old.as_str(), new.as_str())),
                    ),
                ));
            }
            for (key, names) in [("keep", &spec.keep), ("drop", &spec.drop)] {
                if !names.is_empty() {
                    pairs.push((key, texts(names)));
                }
            }
        }
        StageKind::Exec(spec) => pairs.extend([
            ("command", texts(&spec.command)),
            ("window", Json::from(spec.window)),
            ("timeout", duration(spec.timeout)),
            ("max_deliver", Json::from(spec.max_deliver)),
        ]),
        StageKind::Aggregate(spec) => {
            if !spec.by.is_empty() {
                pairs.push(("by", texts(&spec.by)));
            }
            pairs.push((
                "ops",
                texts(spec.operations.iter().map(|operation| operation.text())),
            ));
            match &spec.window {
                Window::Whole => {}
                Window::Count { records } => pairs.push(("window", json!({ "count": records }))),
                Window::Arrival { size } => {
                    pairs.push(("window", object(vec![("every", duration(*size))])))
                }
                Window::Event {
                    field,
                    format,
                    size,
                    lateness,
                } => pairs.push((
                    "window",
                    object(vec![
                        ("every", duration(*size)),
                        ("time", Json::from(field.as_str())),
                        ("format", Json::from(format.text())),
                        ("lateness", duration(*lateness)),
                    ]),
                )),
            }
            pairs.push(("max_groups", Json::from(spec.max_groups)));
            pairs.push(("max_bytes", size(spec.max_bytes as u64)));
        }
        StageKind::Write(spec) => {
            pairs.push(("path", Json::from(spec.path.display().to_string())));
            pairs.push(("append", Json::from(spec.append)));
            match &spec.format {
                LineFormat::Body => pairs.push(("format", Json::from("body"))),
                LineFormat::Json => pairs.push(("format", Json::from("json"))),
                LineFormat::Template(template) => {
                    pairs.push(("template", Json::from(template.text())))
                }
            }
        }
        StageKind::Discard => {}
    }
}

/// The file as TOML.
pub fn to_toml(file: &NodeFile) -> String {
    let mut text = String::new();
    let Json::Object(root) = to_json(file) else {
        return text;
    };
    for (name, value) in &root {
        let tables: Vec<(&Json, String)> = match value {
            Json::Array(items) => items
                .iter()
                .map(|item| (item, format!("[[{name}]]")))
                .collect(),
            table => vec![(table, format!("[{name}]"))],
        };
        for (table, header) in tables {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&header);
            text.push('\n');
            if let Json::Object(pairs) = table {
                for (key, value) in pairs {
                    text.push_str(&format!("{key} = {}\n", inline(value)));
                }
            }
        }
    }
    text
}

/// A value as inline TOML.
fn inline(value: &Json) -> String {
    let mut converted = to_toml_value(value);
    // Spaces inside braces and after commas, as people write them.
    converted.decor_mut().clear();
    converted.to_string()
}

fn to_toml_value(value: &Json) -> toml_edit::Value {
    match value {
        Json::Null => toml_edit::Value::from(""),
        Json::Bool(value) => toml_edit::Value::from(*value),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => toml_edit::Value::from(integer),
            None => toml_edit::Value::from(number.as_f64().unwrap_or(f64::MAX)),
        },
        Json::String(text) => toml_edit::Value::from(text.as_str()),
        Json::Array(items) => {
            let mut array = toml_edit::Array::new();
            for item in items {
                array.push(to_toml_value(item));
            }
            toml_edit::Value::Array(array)
        }
        Json::Object(pairs) => {
            let mut table = toml_edit::InlineTable::new();
            for (key, value) in pairs {
                table.insert(key, to_toml_value(value));
            }
            toml_edit::Value::InlineTable(table)
        }
    }
}
