#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::parse;

const FILE: &str = r#"
[node]
name = "risk"
[listen]
quic = "127.0.0.1:7400"
[limits]
credit = "64MiB"
sessions = 10
[[route]]
subject = "bank.tx.*"
policy = "hash"
to = [{ group = "risk", weight = 1 }]
[[stage]]
name = "pass"
kind = "filter"
subscribe = "bank.tx.*"
group = "risk"
all = ["amount > 5"]
out = "good"
capacity_bytes = "8MiB"
[[stage]]
name = "print"
kind = "write"
in = "good"
"#;

#[test]
fn the_bound_is_the_sum_of_its_parts() {
    let (file, _) = parse("f", FILE, [], &[]).unwrap();
    let bound = memory_bound(&file);
    let part = |what: &str| {
        bound
            .parts
            .iter()
            .find(|part| part.what.contains(what))
            .unwrap()
            .bytes
    };
    assert_eq!(part("credit"), 128 << 20);
    assert_eq!(part("10 sessions"), 5 << 20);
    // Beside what an edge may hold, places of batches that no message uses; they are few beside heavy messages.
    let about = |bytes: u64| bytes..bytes + bytes / 8;
    assert!(about(8 << 20).contains(&part("edge pass -> print")));
    assert!(about(4 << 20).contains(&part("subscription of pass")));
    // What it takes and what it gives, and the largest message with each.
    let turns = 2 * (256 << 10) + 2 * (1 << 20);
    assert!(about(turns).contains(&part("turn of pass")));
    assert_eq!(part("dead letters"), 16 << 20);
    assert_eq!(
        bound.total(),
        bound.parts.iter().map(|part| part.bytes).sum::<u64>()
    );
    assert!(bound.within(file.limits.budget).is_ok());
    let error = bound.within(1 << 20).unwrap_err().to_string();
    assert!(
        error.contains("limits.budget") && error.contains("credit granted"),
        "{error}"
    );
}

#[test]
fn pictures_hold_stages_subjects_and_groups() {
    let (file, warnings) = parse("f", FILE, [], &[]).unwrap();
    let text = text::to_text(&file);
    for words in [
        "node risk",
        "listens on quic 127.0.0.1:7400",
        "routes bank.tx.* by hash to risk (1)",
        "subscribes to bank.tx.* in group risk, to good",
        "pass -> print  (good: 1024 messages, 8MiB, wait)",
        "memory bound",
    ] {
        assert!(text.contains(words), "{words:?} in {text}");
    }
    let mermaid = diagram::to_mermaid(&file);
    assert!(
        mermaid.starts_with("flowchart LR\n") && mermaid.contains("stage0 -->|\"good\"| stage1"),
        "{mermaid}"
    );
    assert!(
        mermaid.contains("-->|\"hash 1\"|") && mermaid.contains("{{\"risk\"}}"),
        "{mermaid}"
    );
    let dot = diagram::to_dot(&file);
    assert!(
        dot.contains("digraph \"risk\"") && dot.contains("stage0 -> stage1 [label=\"good\"];"),
        "{dot}"
    );
    let json = to_json(&file, &warnings);
    assert_eq!(json["edges"][0]["from"], "pass");
    assert_eq!(json["memory_bound"]["bytes"], memory_bound(&file).total());
    assert_eq!(json["file"]["node"]["name"], "risk");
}
