//! Processes that are killed while messages are under way.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::path::Path;

use crate::support::{
    DEADLINE, Ended, Running, address, mcpbus, node, numbered, numbers, start_node, subscriber,
    to_node, with_input,
};
use crate::wait::wait_until;

/// What the middle node may hold of messages, in bytes.
const CREDIT: u64 = 256 << 10;
const LINES: u64 = 20_000;
const FILLING: usize = 60;

struct Chain {
    a: Running,
    b: Running,
    c: Running,
    /// Where the middle node listens; it comes back there.
    middle: String,
    near: String,
    far: String,
}

const MIDDLE: &str = "[node]\nname = \"b\"\n[listen]\nquic = \"127.0.0.1:0\"\n[limits]\ncredit = \"256KiB\"\nmessage = \"64KiB\"\n";

/// A - B - C, where A and C dial B.
fn chain(folder: &Path) -> Chain {
    let (b, middle) = node(folder, MIDDLE);
    let end = |name: &str| {
        let file = format!(
            "[node]\nname = \"{name}\"\n[listen]\nquic = \"127.0.0.1:0\"\n[[link]]\nto = \"{middle}\"\n"
        );
        node(folder, &file)
    };
    let (a, near) = end("a");
    let (c, far) = end("c");
    Chain {
        a,
        b,
        c,
        middle,
        near,
        far,
    }
}

/// The middle node anew, at the same address.
fn restart(folder: &Path, middle: &str) -> Running {
    let listen = format!("listen.quic={middle}");
    let node = start_node(folder, MIDDLE, &["--set", &listen]);
    node.wait_for("listens on");
    node
}

fn strictly_rising(numbers: &[u64]) -> bool {
    numbers.windows(2).all(|pair| pair[0] < pair[1])
}

fn balanced(node: &Ended) {
    assert_eq!(node.code, Some(0), "{}", node.errors);
    assert_eq!(node.number("residual"), 0, "{}", node.errors);
    assert_eq!(node.number("held"), 0, "{}", node.errors);
    assert!(!node.errors.contains("panicked"), "{}", node.errors);
}

fn publisher(folder: &Path, address: &str) -> (Running, std::process::ChildStdin) {
    let arguments = [
        "--subject",
        "k.x",
        "--ack",
        "accepted",
        "--wait-for-subscribers",
        "1",
    ];
    Running::start_with_input(to_node(folder, "pub", address, &arguments))
}

#[test]
fn without_a_kill_nothing_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let chain = chain(folder);
    let count = LINES.to_string();
    let sub = subscriber(folder, &chain.far, &["--subject", "k.*", "--count", &count]);
    let (publisher, mut input) = publisher(folder, &chain.near);
    input.write_all(&numbered(0..LINES, FILLING)).unwrap();
    drop(input);
    let publisher = publisher.ended();
    assert_eq!(publisher.code, Some(0), "{}", publisher.errors);
    assert!(numbers(&sub.ended().out) == (0..LINES).collect::<Vec<_>>());
    for node in [chain.a, chain.b, chain.c] {
        let node = node.stopped();
        balanced(&node);
        assert_eq!(
            (node.number("delivered"), node.number("lost")),
            (LINES as i64, 0)
        );
    }
}

#[test]
fn what_a_killed_middle_node_held_is_counted_as_lost() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let chain = chain(folder);
    let sub = subscriber(folder, &chain.far, &["--subject", "k.*"]);
    let (publisher, mut input) = publisher(folder, &chain.near);
    let writer = std::thread::spawn(move || {
        input.write_all(&numbered(0..LINES, FILLING)).unwrap();
        input
    });
    sub.out().wait_lines(1_000);
    chain.b.kill();
    let b = restart(folder, &chain.middle);
    let mut input = writer.join().unwrap();
    // Everything is through when the last line is: one subject keeps its order.
    input
        .write_all(&numbered(LINES..LINES + 1, FILLING))
        .unwrap();
    drop(input);
    let publisher = publisher.ended();
    assert_eq!(publisher.code, Some(0), "{}", publisher.errors);
    let last = format!("\n{LINES} ").into_bytes();
    sub.out().wait("the last line", |written| {
        written
            .windows(last.len())
            .any(|window| window == last)
            .then_some(())
    });
    let sub = sub.stopped();
    let arrived = numbers(&sub.out);
    assert!(strictly_rising(&arrived), "in order, none twice");
    let missing = LINES as i64 + 1 - arrived.len() as i64;
    let a = chain.a.stopped();
    balanced(&a);
    let lost = a.number("lost");
    // Each message takes at least its own length of what B grants.
    let room = (CREDIT / FILLING as u64) as i64;
    assert!(
        missing <= lost && lost <= room,
        "missing {missing}, lost {lost}, room {room}"
    );
    balanced(&chain.c.stopped());
    balanced(&b.stopped());
}

#[test]
fn a_subscriber_does_not_wait_for_a_dead_neighbour() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (b, middle) = node(folder, MIDDLE);
    let file = folder.join("a.toml");
    let text = format!(
        "[node]\nname = \"a\"\n[listen]\nquic = \"127.0.0.1:0\"\n[[link]]\nto = \"{middle}\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let mut command = mcpbus(folder);
    command.arg("run").arg(&file).env("LOG_LEVEL", "info");
    let a = Running::start(command);
    let near = address(&a);
    a.wait_for("session up");
    b.kill();
    let sub = subscriber(folder, &near, &["--subject", "k.*"]);
    let said = a.said();
    assert!(
        !said.contains("given up"),
        "it was ready only when the dead one was forgotten: {said}"
    );
    drop(sub);
}

#[test]
fn clients_of_a_killed_node_come_back_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (b, address) = node(folder, MIDDLE);
    let sub = subscriber(folder, &address, &["--subject", "k.*"]);
    let (publisher, mut input) = publisher(folder, &address);
    input.write_all(&numbered(0..500, FILLING)).unwrap();
    sub.out().wait_lines(500);
    b.kill();
    let b = restart(folder, &address);
    // Whether the publisher or the subscriber is back first is open; what finds nobody is refused and counted.
    let mut written = 500;
    let back = wait_until(DEADLINE, || {
        if numbers_so_far(&sub).last().is_some_and(|last| *last >= 500) {
            return true;
        }
        input
            .write_all(&numbered(written..written + 1, FILLING))
            .unwrap();
        written += 1;
        false
    });
    assert!(back, "{}\n{}", publisher.said(), sub.said());
    drop(input);
    let publisher = publisher.ended();
    let arrived = numbers(&sub.stopped().out);
    assert!(strictly_rising(&arrived));
    let missing = written as i64 - arrived.len() as i64;
    if missing > 0 {
        assert_eq!(publisher.code, Some(1), "{}", publisher.errors);
        let mut counted = 0;
        for word in ["no_route", "lost(peer_died)"] {
            if publisher.errors.contains(word) {
                counted += publisher.number(word);
            }
        }
        assert!(
            missing <= counted,
            "missing {missing}: {}",
            publisher.errors
        );
    } else {
        assert_eq!(publisher.code, Some(0), "{}", publisher.errors);
    }
    balanced(&b.stopped());
}

fn numbers_so_far(sub: &Running) -> Vec<u64> {
    let written = sub.out().so_far();
    let whole = written
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    numbers(&written[..whole])
}

#[test]
fn the_other_member_of_a_group_goes_on_when_one_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (node, address) = node(folder, MIDDLE);
    let member = || subscriber(folder, &address, &["--subject", "k.*", "--group", "g"]);
    let (killed, stays) = (member(), member());
    let (publisher, mut input) = publisher(folder, &address);
    let writer = std::thread::spawn(move || {
        input.write_all(&numbered(0..10_000, FILLING)).unwrap();
        input
    });
    killed.out().wait_lines(500);
    let by_killed = killed.kill();
    let mut input = writer.join().unwrap();
    input.write_all(&numbered(10_000..20_000, FILLING)).unwrap();
    drop(input);
    let publisher = publisher.ended();
    assert_eq!(publisher.code, Some(0), "{}", publisher.errors);
    // All that was published after the kill was noticed is with the one that stays; the last message says so. It may
    // have been the killed member's turn, until the node has noticed: then it is handed over or counted.
    stays.out().wait_lines(5_000);
    let node = node.stopped();
    balanced(&node);
    let stays = stays.stopped();
    let whole = by_killed
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let mut arrived = numbers(&by_killed[..whole]);
    let by_stays = numbers(&stays.out);
    arrived.extend(&by_stays);
    let copies = arrived.len();
    arrived.sort_unstable();
    arrived.dedup();
    // What the killed one had in its hands and did not print, and nothing more.
    let missing = 20_000 - arrived.len() as i64;
    let ended_otherwise = 20_000 - node.number("delivered");
    assert!(
        missing <= 1_024 + 256,
        "missing {missing}, not delivered {ended_otherwise}: {}",
        node.errors
    );
    // Handed over again: at most what was under way to the killed one.
    assert!(copies - arrived.len() <= 1_024 + 256);
    assert!(
        by_stays.len() >= 10_000,
        "the rest came to the other: {}",
        by_stays.len()
    );
}

#[test]
fn the_ledger_balances_when_a_publisher_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (node, address) = node(folder, MIDDLE);
    let sub = subscriber(folder, &address, &["--subject", "k.*"]);
    let (publisher, mut input) = publisher(folder, &address);
    let writer = std::thread::spawn(move || {
        // Ends with an error when the publisher is killed.
        let _killed = input.write_all(&numbered(0..200_000, FILLING));
    });
    sub.out().wait_lines(1_000);
    publisher.kill();
    writer.join().unwrap();
    // The node and the subscriber go on for others.
    let output = with_input(
        to_node(folder, "pub", &address, &["--subject", "k.y"]),
        &numbered(1_000_000..1_000_001, 0),
    );
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        crate::support::errors(&output)
    );
    sub.out().wait("the line of another publisher", |written| {
        let wanted = b"\n1000000 \n";
        written
            .windows(wanted.len())
            .any(|window| window == wanted)
            .then_some(())
    });
    let node = node.stopped();
    balanced(&node);
    let sub = sub.stopped();
    let arrived = numbers(&sub.out);
    let of_killed: Vec<u64> = arrived
        .iter()
        .copied()
        .filter(|number| *number < 1_000_000)
        .collect();
    let expected: Vec<u64> = (0..of_killed.len() as u64).collect();
    assert!(of_killed == expected, "from the first on, without gaps");
    assert_eq!(
        node.number("delivered"),
        arrived.len() as i64,
        "{}",
        node.errors
    );
}

#[test]
fn a_node_without_its_link_says_so_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let chain = chain(folder);
    let local = subscriber(folder, &chain.near, &["--subject", "k.*", "--count", "1"]);
    chain.b.kill();
    chain.a.wait_for("the peer is silent");
    let output = with_input(
        to_node(folder, "pub", &chain.near, &["--subject", "k.x"]),
        b"here\n",
    );
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        crate::support::errors(&output)
    );
    assert_eq!(local.ended().out, b"here\n");
    let b = restart(folder, &chain.middle);
    assert_eq!(address(&b), chain.middle);
    balanced(&chain.a.stopped());
    balanced(&chain.c.stopped());
    balanced(&b.stopped());
}
