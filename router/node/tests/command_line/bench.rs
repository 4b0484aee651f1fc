//! Load over nodes and links: what the bench counts, and what becomes of its processes.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{
    DEADLINE, FILE_OF_A_ROUTER, Running, errors, mcpbus, node, subscriber, to_node,
};
use crate::wait::wait_until;

/// The bench with its temporary files in `folder`, for a short time, with an object as its result.
fn bench(folder: &Path, what: &str, arguments: &[&str]) -> Command {
    let mut command = mcpbus(folder);
    command
        .env("TMPDIR", folder)
        .args(["bench", what, "--format", "json"])
        .args(["--seconds", "0.3", "--warm-up", "0.1"])
        .args(arguments);
    command
}

/// Runs it to its end and takes the object.
fn measured(folder: &Path, what: &str, arguments: &[&str]) -> Value {
    let output = bench(folder, what, arguments).output().unwrap();
    let said = errors(&output);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    assert_eq!(said, "", "quiet in a pipe");
    object(&output)
}

fn object(output: &Output) -> Value {
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(object["messages"].as_u64() > Some(0), "{object}");
    assert!(object["messages_per_second"].as_f64() > Some(0.0));
    object
}

fn assert_all_came(object: &Value) {
    for count in ["lost", "duplicated", "reordered", "changed", "unanswered"] {
        assert_eq!(object[count], 0, "{count}: {object}");
    }
    assert_eq!(object["failed"], serde_json::json!({}));
}

/// What the bench left in its temporary folder.
fn left(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.starts_with("mcpbus-bench"))
        .collect()
}

#[test]
fn a_node_of_its_own_is_measured_with_each_part() {
    let folder = tempfile::tempdir().unwrap();
    let object = measured(folder.path(), "node", &["--size", "100"]);
    assert_all_came(&object);
    assert_eq!(object["residual"], 0);
    let cpu = &object["cpu_seconds_per_million"];
    let parts = ["publisher", "router", "subscriber"].map(|part| cpu[part].as_f64().unwrap());
    assert!(parts.iter().all(|part| *part > 0.0), "{cpu}");
    let sum: f64 = parts.iter().sum();
    assert!((cpu["total"].as_f64().unwrap() - sum).abs() < 1e-3, "{cpu}");
    let rate = object["messages_per_second"].as_f64().unwrap();
    let megabytes = object["megabytes_per_second"].as_f64().unwrap();
    assert!((megabytes - rate * 100.0 / 1e6).abs() < 0.02, "{object}");
    assert!(object.get("latency_us").is_none(), "there is no rate");
    assert_eq!(left(folder.path()), Vec::<String>::new());
}

#[test]
fn at_a_rate_latency_is_measured_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let plot = folder.path().join("plot.svg");
    let arguments = ["--rate", "2000", "--plot", plot.to_str().unwrap()];
    let object = measured(folder.path(), "node", &arguments);
    assert_all_came(&object);
    assert_eq!(object["unsent"], 0);
    for times in ["latency_us", "publisher_behind_us"] {
        let times = &object[times];
        let [mean, p50, p99, p999, max] =
            ["mean", "p50", "p99", "p999", "max"].map(|name| times[name].as_f64().unwrap());
        assert!(
            0.0 < p50 && p50 <= p99 && p99 <= p999 && p999 <= max,
            "{times}"
        );
        assert!(mean <= max, "{times}");
    }
    // A message comes after it was sent.
    assert!(object["latency_us"]["p50"].as_f64() >= object["publisher_behind_us"]["p50"].as_f64());
    let svg = fs::read_to_string(plot).unwrap();
    assert!(
        svg.starts_with("<svg") && svg.contains("percentile"),
        "{svg}"
    );
}

#[test]
fn a_rate_that_cannot_be_reached_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let object = measured(folder.path(), "node", &["--rate", "10000000"]);
    assert!(object["unsent"].as_u64() > Some(0), "{object}");
    // What was never sent has waited for the second that a link may be behind.
    assert!(object["latency_us"]["max"].as_f64() > Some(1e6), "{object}");
    assert_all_came(&object);
}

#[test]
fn requests_are_measured_there_and_back() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["--request"][..],
        &[
            "--request",
            "--in-flight",
            "4",
            "--links",
            "2",
            "--rate",
            "500",
        ],
    ] {
        let object = measured(folder.path(), "node", arguments);
        assert_eq!(
            (&object["lost"], &object["duplicated"]),
            (&0.into(), &0.into())
        );
        let times = &object["latency_us"];
        assert!(times["p50"].as_f64() > Some(0.0), "{times}");
        assert!(times["p50"].as_f64() <= times["max"].as_f64(), "{times}");
    }
}

#[test]
fn one_link_has_no_router() {
    let folder = tempfile::tempdir().unwrap();
    let object = measured(folder.path(), "link", &[]);
    assert_all_came(&object);
    assert_eq!(object["residual"], 0);
    let cpu = &object["cpu_seconds_per_million"];
    assert_eq!(cpu["router"], Value::Null, "there is none");
    assert!(cpu["total"].as_f64() >= cpu["publisher"].as_f64(), "{cpu}");
    assert!(cpu["publisher"].as_f64() > Some(0.0), "{cpu}");
}

#[test]
fn every_ack_level_and_every_way_to_spread_delivers_all() {
    let folder = tempfile::tempdir().unwrap();
    let spread = ["--links", "3", "--subjects", "5", "--keys", "2"];
    for topology in ["node", "link"] {
        for ack in ["none", "accepted", "stored", "processed"] {
            let arguments = [&["--ack", ack][..], &spread].concat();
            let object = measured(folder.path(), topology, &arguments);
            assert_all_came(&object);
            assert_eq!(object["settings"]["ack"], ack);
        }
    }
    assert_eq!(left(folder.path()), Vec::<String>::new());
}

#[test]
fn bodies_without_room_for_a_number_are_only_counted() {
    let folder = tempfile::tempdir().unwrap();
    for size in ["0", "23"] {
        let object = measured(folder.path(), "node", &["--size", size, "--rate", "1000"]);
        assert_eq!(object["lost"], 0);
        assert_eq!(object["duplicated"], Value::Null, "not known");
        assert!(object.get("latency_us").is_none(), "{object}");
    }
}

#[test]
fn a_node_that_runs_already_is_measured_from_outside() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!(
        "[node]\nname = \"router\"\ndata = \"{}\"\n[listen]\nquic = \"127.0.0.1:0\"\n[spool]\nsize = \"64MiB\"\n",
        folder.path().join("data").display()
    );
    let (node, address) = node(folder.path(), &file);
    // Whoever takes part in everything there is not counted.
    let other = subscriber(folder.path(), &address, &["--subject", ">"]);
    for more in [
        &["--rate", "1000"][..],
        &["--ack", "stored"],
        &["--request"],
    ] {
        let object = measured(
            folder.path(),
            "node",
            &[&["--node", &address], more].concat(),
        );
        assert_eq!(
            (&object["lost"], &object["duplicated"]),
            (&0.into(), &0.into())
        );
        let cpu = &object["cpu_seconds_per_million"];
        assert_eq!(cpu["router"], Value::Null, "nobody knows");
        assert_eq!(cpu["total"], Value::Null);
        assert!(cpu["publisher"].as_f64() > Some(0.0), "{cpu}");
        assert_eq!(object["settings"]["node"], address.as_str());
        assert_eq!(object["residual"], Value::Null);
        let stores = more.contains(&"stored");
        let name = object["settings"]["durable"].as_str();
        assert_eq!(name.is_some(), stores);
        if let Some(name) = name {
            let arguments = ["--subject", "bench.>", "--durable", name, "--delete"];
            let delete = to_node(folder.path(), "sub", &address, &arguments).output();
            let said = errors(&delete.unwrap());
            assert!(said.contains("no durable subscription"), "{said}");
        }
    }
    drop(other);
    let ended = node.stopped();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert_eq!(ended.number("residual"), 0);
    assert_eq!(ended.number("held"), 0);
}

#[test]
fn a_node_that_cannot_serve_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (node, address) = node(folder.path(), FILE_OF_A_ROUTER);
    let arguments = ["--node", &address, "--ack", "stored"];
    let output = bench(folder.path(), "node", &arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    assert!(
        errors(&output).contains("the subscriber ended early"),
        "{}",
        errors(&output)
    );
    assert!(errors(&output).contains("spool"), "{}", errors(&output));
    assert_eq!(node.stopped().code, Some(0));
    let output = bench(folder.path(), "node", &["--node", &address])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", errors(&output));
    assert!(errors(&output).contains(&address), "{}", errors(&output));
}

#[test]
fn mistakes_are_named_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&[&str], i32, &str); 12] = [
        (&["--size", "2MiB"], 2, "at most 1MiB"),
        (&["--size", "x"], 2, "not a size"),
        (&["--rate", "0"], 2, "1..=10000000"),
        (&["--links", "33"], 2, "1..=32"),
        (&["--subjects", "0"], 2, "1..=100000"),
        (&["--ack", "often"], 2, "accepted"),
        (&["--seconds", "0"], 2, "between 0.1 and 3600"),
        (&["--request", "--ack", "stored"], 2, "cannot be used with"),
        (&["--in-flight", "2"], 2, "--request"),
        (
            &["--request", "--size", "65537"],
            2,
            "more than an answer can carry",
        ),
        (
            &["--subjects", "100000", "--keys", "100"],
            2,
            "choose fewer",
        ),
        (&["--plot", "/nowhere/plot.svg"], 73, "/nowhere/plot.svg"),
    ];
    for (arguments, code, words) in cases {
        let output = bench_with(folder.path(), arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            errors(&output)
        );
        assert!(
            errors(&output).contains(words),
            "{arguments:?}: {}",
            errors(&output)
        );
        assert!(output.stdout.is_empty());
    }
    let identity = ["--identity", folder.path().to_str().unwrap()];
    let output = bench(folder.path(), "node", &identity).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", errors(&output));
    assert!(errors(&output).contains("--node"), "{}", errors(&output));
    let output = bench(folder.path(), "link", &["--node", "a:1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", errors(&output));
}

/// Without the settings that a case may give itself.
fn bench_with(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = mcpbus(folder);
    command.args(["bench", "node"]).args(arguments);
    command.output().unwrap()
}

/// The processes whose parent this is, and which still run.
fn children(parent: u32) -> Vec<u32> {
    let folders = fs::read_dir("/proc").unwrap();
    let numbers = folders.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers
        .filter(|id| parent_and_state(*id).is_some_and(|(of, state)| of == parent && state != "Z"))
        .collect()
}

fn parent_and_state(id: u32) -> Option<(u32, String)> {
    let status = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, rest) = status.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.to_owned();
    Some((fields.next()?.parse().ok()?, state))
}

/// A run that would take an hour, once all of its processes are there.
fn long_run(folder: &Path) -> (Running, Vec<u32>) {
    let mut command = mcpbus(folder);
    command
        .env("TMPDIR", folder)
        .args(["bench", "node", "--seconds", "3600", "--rate", "100"]);
    let running = Running::start(command);
    let mut found = Vec::new();
    let all = wait_until(DEADLINE, || {
        found = children(running.id());
        found.len() == 3
    });
    assert!(all, "{found:?}: {}", running.said());
    (running, found)
}

fn gone(ids: &[u32]) -> bool {
    let runs = |id: &u32| parent_and_state(*id).is_some_and(|(_, state)| state != "Z");
    !ids.iter().any(runs)
}

#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (run, children) = long_run(folder.path());
    let ended = run.stopped();
    assert_eq!(ended.code, Some(130), "{}", ended.errors);
    assert!(gone(&children), "no child outlives its parent");
    assert_eq!(left(folder.path()), Vec::<String>::new());
}

#[test]
fn children_end_when_their_parent_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (run, children) = long_run(folder.path());
    run.kill();
    assert!(wait_until(DEADLINE, || gone(&children)), "{children:?}");
}

#[test]
fn a_child_that_dies_ends_the_run_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (run, children) = long_run(folder.path());
    let first = Pid::from_raw(i32::try_from(children[0]).unwrap()).unwrap();
    kill_process(first, Signal::KILL).unwrap();
    let ended = run.ended();
    assert_eq!(ended.code, Some(1), "{}", ended.errors);
    assert!(
        ended.errors.contains("ended early (signal: 9"),
        "{}",
        ended.errors
    );
    assert!(gone(&children), "{children:?}");
}
