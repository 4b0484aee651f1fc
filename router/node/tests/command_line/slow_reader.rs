//! A reader that stalls holds its publisher back, and nobody else.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::{
    DEADLINE, Running, Written, mcpbus, node, numbered, numbers, start_node, subscriber, to_node,
    with_input,
};
use crate::wait::wait_until;

/// Small limits, so that a few megabytes fill them.
const FILE: &str = "[node]\nname = \"router\"\n[listen]\nquic = \"127.0.0.1:0\"\n[limits]\ncredit = \"4MiB\"\nsessions = 16\n";
const LINES: u64 = 40_000;
const FILLING: usize = 500;

/// The memory bound that `check` prints for the file, in bytes.
fn bound(folder: &std::path::Path) -> u64 {
    let path = folder.join("router.toml");
    let output = mcpbus(folder)
        .args(["check", "--format", "json"])
        .arg(path)
        .output()
        .unwrap();
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    object["memory_bound"]["bytes"].as_u64().unwrap()
}

/// Waits until a counter has stood still for a while: then what feeds it is held back.
fn wait_until_it_stands(counter: &AtomicUsize) -> usize {
    let (mut seen, mut since) = (0, Instant::now());
    let stands = wait_until(DEADLINE, || {
        let now = counter.load(Ordering::Acquire);
        if now != seen || now == 0 {
            (seen, since) = (now, Instant::now());
        }
        since.elapsed() >= Duration::from_secs(2)
    });
    assert!(stands, "it is never held back: {seen} bytes");
    seen
}

#[test]
fn a_stalled_reader_holds_its_publisher_back_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (node, address) = node(folder, FILE);
    let bound = bound(folder);
    let slow = to_node(
        folder,
        "sub",
        &address,
        &["--subject", "slow.*", "--count", "40000"],
    );
    let (slow, unread) = Running::start_unread(slow);
    slow.wait_for("ready");
    let publisher = to_node(folder, "pub", &address, &["--subject", "slow.x"]);
    let (mut publisher, mut input) = Running::start_with_input(publisher);
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let writer = std::thread::spawn(move || {
        for chunk in numbered(0..LINES, FILLING).chunks(4096) {
            input.write_all(chunk).unwrap();
            count.fetch_add(chunk.len(), Ordering::Release);
        }
    });
    let all = numbered(0..LINES, FILLING).len();
    let taken = wait_until_it_stands(&written);
    assert!(
        taken < all,
        "the publisher could publish all of {all} bytes"
    );
    assert!(publisher.runs(), "{}", publisher.said());

    // Beside it, another subject goes on as if nothing were.
    let fast = subscriber(
        folder,
        &address,
        &["--subject", "fast.*", "--count", "20000"],
    );
    let lines = numbered(0..20_000, 100);
    let published = with_input(
        to_node(folder, "pub", &address, &["--subject", "fast.x"]),
        &lines,
    );
    assert_eq!(
        published.status.code(),
        Some(0),
        "{}",
        crate::support::errors(&published)
    );
    let fast = fast.ended();
    assert_eq!(fast.code, Some(0), "{}", fast.errors);
    assert!(fast.out == lines, "all of the fast subject, in order");
    assert_eq!(
        written.load(Ordering::Acquire),
        taken,
        "the slow one is still held back"
    );
    let resident = node.resident_bytes();
    assert!(
        resident <= bound + (32 << 20),
        "resident {resident}, bound {bound} and 32 MiB for the process"
    );

    // The reader goes on: nothing is lost.
    let unread = Written::read(unread);
    writer.join().unwrap();
    let publisher = publisher.ended();
    assert_eq!(publisher.code, Some(0), "{}", publisher.errors);
    let slow = slow.ended();
    assert_eq!(slow.code, Some(0), "{}", slow.errors);
    assert!(numbers(&unread.all()) == (0..LINES).collect::<Vec<_>>());
    let node = node.stopped();
    assert_eq!(
        (node.code, node.number("residual")),
        (Some(0), 0),
        "{}",
        node.errors
    );
    assert_eq!(node.number("held"), 0, "{}", node.errors);
}

#[test]
fn a_stalled_reader_behind_two_nodes_holds_the_publisher_back() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (far, far_address) = node(folder, &FILE.replace("router", "far"));
    let near = format!(
        "{}[[link]]\nto = \"{far_address}\"\n",
        FILE.replace("router", "near")
    );
    let near = start_node(folder, &near, &[]);
    let near_address = crate::support::address(&near);
    let slow = to_node(
        folder,
        "sub",
        &far_address,
        &["--subject", "slow.*", "--count", "40000"],
    );
    let (slow, unread) = Running::start_unread(slow);
    slow.wait_for("ready");
    let arguments = ["--subject", "slow.x", "--wait-for-subscribers", "1"];
    let publisher = to_node(folder, "pub", &near_address, &arguments);
    let (publisher, mut input) = Running::start_with_input(publisher);
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let writer = std::thread::spawn(move || {
        for chunk in numbered(0..LINES, FILLING).chunks(4096) {
            input.write_all(chunk).unwrap();
            count.fetch_add(chunk.len(), Ordering::Release);
        }
    });
    let taken = wait_until_it_stands(&written);
    assert!(taken < numbered(0..LINES, FILLING).len());
    let unread = Written::read(unread);
    writer.join().unwrap();
    let publisher = publisher.ended();
    assert_eq!(publisher.code, Some(0), "{}", publisher.errors);
    assert_eq!(slow.ended().code, Some(0));
    assert!(numbers(&unread.all()) == (0..LINES).collect::<Vec<_>>());
    for node in [near, far] {
        let node = node.stopped();
        assert_eq!(
            (node.code, node.number("residual")),
            (Some(0), 0),
            "{}",
            node.errors
        );
    }
}
