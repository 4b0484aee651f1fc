//! The sweep, and what shows that it sees faults.
#![allow(clippy::unwrap_used)]

use super::draw::{SHAPES, Shape, draw};
use super::log::{Call, Entry, Whose, read, write};
use super::mesh::{Run, published, run};
use super::replay::{replay, replay_text};
use std::fs;
use std::path::Path;
use std::time::Duration;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn shape(name: &str) -> &'static Shape {
    SHAPES.iter().find(|shape| shape.name == name).unwrap()
}

/// Stores the logs of a run's nodes; returns where.
fn store(shape: &Shape, seed: u64, logs: &[Vec<Entry>]) -> Vec<String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("quinn_seeds");
    let _ = fs::create_dir_all(&folder);
    let files = logs.iter().enumerate().map(|(node, log)| {
        let whose = Whose {
            shape: shape.name.to_owned(),
            seed,
            node,
        };
        let path = folder.join(format!("{}-{seed}-node-{node}.log", shape.name));
        match fs::write(&path, write(&whose, log)) {
            Ok(()) => path.display().to_string(),
            Err(error) => format!("{} could not be written: {error}", path.display()),
        }
    });
    files.collect()
}

/// Failures after which a sweep ends.
const FAILURES_MAX: u64 = 5;

/// Runs many seeds: as many as the variable `MCPBUS_SEEDS` says, `ordinary` without it, or only the one that
/// `MCPBUS_SEED` names.
fn sweep(name: &str, ordinary: u64) {
    let shape = shape(name);
    let seeds = match number("MCPBUS_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = number("MCPBUS_FIRST_SEED").unwrap_or(1);
            first..first + number("MCPBUS_SEEDS").unwrap_or(ordinary)
        }
    };
    let (mut total, mut failed, mut first) = (0, 0, None);
    let (mut messages, mut harmed, mut longest) = (0, 0, std::time::Duration::ZERO);
    let mut trace = 0;
    for seed in seeds {
        // A defect that stops everything makes each seed take all its time.
        if failed == FAILURES_MAX {
            break;
        }
        total += 1;
        let Run {
            outcome,
            wrong,
            logs,
        } = run(shape, seed);
        trace ^= outcome.trace;
        messages += outcome.messages;
        harmed += outcome.harmed;
        longest = longest.max(outcome.took);
        if !wrong.is_empty() {
            failed += 1;
            if first.is_none() {
                first = Some((seed, wrong, store(shape, seed, &logs)));
            }
        }
    }
    println!(
        "{name}: {total} seeds, {messages} messages, {harmed} datagrams harmed, longest {longest:?} of virtual time, trace \
         {trace:016x}"
    );
    if let Some((seed, wrong, files)) = first {
        let shown: Vec<&str> = wrong.iter().take(20).map(String::as_str).collect();
        panic!(
            "mesh {name}: {failed} of {total} seeds failed; seed {seed}, {} wrong:\n{}\nreplay: MCPBUS_SEED={seed} cargo \
             nextest run -p mcpbus-tests --test quinn_seeds {name}\nlogs of its nodes:\n{}\nreplay one: \
             MCPBUS_FRAME_LOG=FILE cargo nextest run -p mcpbus-tests --test quinn_seeds a_stored_log --no-capture\n",
            wrong.len(),
            shown.join("\n"),
            files.join("\n"),
        );
    }
}

#[test]
fn one_node() {
    sweep("one_node", 50);
}

#[test]
fn two_nodes() {
    sweep("two_nodes", 50);
}

#[test]
fn chain() {
    sweep("chain", 50);
}

#[test]
fn triangle() {
    sweep("triangle", 50);
}

#[test]
fn two_runs_of_a_seed_are_one() {
    for (name, seed) in [("two_nodes", 901), ("triangle", 902)] {
        let (first, second) = (run(shape(name), seed), run(shape(name), seed));
        assert_eq!(first.wrong, Vec::<String>::new());
        assert_eq!(first.outcome, second.outcome, "{name} {seed}");
        assert!(
            first.logs == second.logs,
            "{name} {seed}: the nodes' calls differ"
        );
        assert!(first.outcome.harmed > 0 && first.outcome.deliveries > 0);
    }
}

/// The log of one node of a run.
fn recorded() -> (Whose, Vec<Entry>) {
    let (shape, seed) = (shape("chain"), 903);
    let run = run(shape, seed);
    assert_eq!(run.wrong, Vec::<String>::new());
    assert_eq!(run.outcome.messages, published(&draw(shape, seed)));
    let whose = Whose {
        shape: shape.name.to_owned(),
        seed,
        node: 1,
    };
    (whose, run.logs.into_iter().nth(1).unwrap())
}

#[test]
fn a_stored_log_replays_with_the_same_outputs() {
    if let Ok(file) = std::env::var("MCPBUS_FRAME_LOG") {
        let replayed = replay_text(&fs::read_to_string(file).unwrap());
        println!("{replayed:?}");
        assert!(replayed.is_ok_and(|replayed| replayed.unbalanced.is_none()));
        return;
    }
    let (whose, log) = recorded();
    let text = write(&whose, &log);
    assert_eq!(read(&text).unwrap(), (whose, log.clone()));
    let replayed = replay_text(&text).unwrap();
    assert_eq!((replayed.calls, replayed.unbalanced), (log.len(), None));
    assert!(log.len() > 1000, "{}", log.len());
}

#[test]
fn a_log_of_something_else_does_not_replay() {
    let (whose, mut log) = recorded();
    let config = || {
        draw(shape(&whose.shape), whose.seed)
            .nodes
            .remove(whose.node)
    };
    assert!(replay(config(), &log).is_ok());
    // A data frame that never came: the node cannot have sent what the log says.
    let lost = log
        .iter()
        .position(|entry| matches!(&entry.call, Call::Received { lane, .. } if !lane.is_control()))
        .unwrap();
    log.remove(lost);
    let error = replay(config(), &log).unwrap_err();
    assert!(error.starts_with("call "), "{error}");
}

/// What brokers got wrong: heartbeats behind data, so that a link that is full is taken for dead, again and again.
#[test]
fn a_keep_alive_is_not_queued_behind_data_that_fills_its_link() {
    let super::saturated::Measured {
        mut took,
        reconnects,
        delivered,
    } = super::saturated::run(7);
    assert_eq!(reconnects, 0, "no link was taken for dead");
    assert!(delivered > 500, "the links were not full: {delivered}");
    took.sort();
    let p99 = took[took.len() * 99 / 100];
    assert!(
        p99 <= Duration::from_millis(100),
        "{p99:?} of virtual time at p99, {:?} at most",
        took.last()
    );
}
