//! A disk that is smaller than what the spool may hold.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::chain::{Stored, file};
use crate::support::{Running, subscriber, to_node};

/// A small disk, which goes with the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where it cannot be mounted; says why.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={size}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(at)
            .output();
        let reason = match mounted {
            Ok(output) if output.status.success() => return Some(Self(at.to_owned())),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        println!("skipped: a small disk cannot be mounted: {reason}");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a node of a test that failed may have it open yet.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            println!("{} is still mounted", self.0.display());
        }
    }
}

/// Large enough that some hundreds fill the disk.
const FILLING: usize = 16 << 10;

fn lines(numbers: std::ops::Range<u64>) -> Vec<u8> {
    crate::support::numbered(numbers, FILLING)
}

/// The lines with this outcome, by number: the first line of input is number 0 here.
fn with_outcome(receipts: &[u8], outcome: &str) -> BTreeSet<u64> {
    let text = String::from_utf8_lossy(receipts);
    let words = text.lines().filter_map(|line| line.split_once(' '));
    words
        .filter(|(_, found)| *found == outcome)
        .map(|(line, _)| line.parse::<u64>().unwrap() - 1)
        .collect()
}

#[test]
fn a_full_disk_refuses_before_the_ack_and_takes_again_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some(_disk) = SmallDisk::mount(&folder.join("data-small"), "24m") else {
        return;
    };
    let mut node = Stored::start(folder, file(folder, "small", "1GiB", ""));
    let durable = ["--subject", "f.x", "--durable", "f"];
    subscriber(folder, &node.address, &durable).stopped();

    let arguments = ["--subject", "f.x", "--ack", "stored", "--receipts"];
    let command = to_node(folder, "pub", &node.address, &arguments);
    let (publisher, mut input) = Running::start_with_input(command);
    let mut published = 0;
    // Until the disk is full, piece by piece, so that not every line is refused that comes after.
    while with_outcome(&publisher.out().so_far(), "spool_full").is_empty() {
        assert!(published < 10_000, "the disk is never full");
        input.write_all(&lines(published..published + 50)).unwrap();
        published += 50;
        publisher.out().wait_lines(published as usize);
    }
    let stored = with_outcome(&publisher.out().so_far(), "ok");
    println!("{} of {published} lines stored", stored.len());
    assert!(!stored.is_empty());

    let reader = subscriber(folder, &node.address, &durable);
    let count = stored.len();
    reader.out().wait_lines(count);
    // The same publisher at the same node: refused until the room is free again, then taken, one after the other.
    let taken = loop {
        assert!(
            published < 20_000,
            "nothing is taken again: {}",
            node.said()
        );
        input.write_all(&lines(published..published + 1)).unwrap();
        published += 1;
        publisher.out().wait_lines(published as usize);
        let now = with_outcome(&publisher.out().so_far(), "ok");
        if now.contains(&(published - 1)) {
            break published - 1;
        }
    };
    input.write_all(&lines(published..published + 200)).unwrap();
    published += 200;
    publisher.out().wait_lines(published as usize);
    drop(input);
    let publisher = publisher.ended();
    assert_eq!(
        publisher.code,
        Some(1),
        "some were refused: {}",
        publisher.errors
    );
    let refused = with_outcome(&publisher.out, "spool_full");
    let stored = with_outcome(&publisher.out, "ok");
    assert_eq!(
        (refused.len() + stored.len()) as u64,
        published,
        "no other outcome"
    );
    assert_eq!(
        publisher.number("spool_full"),
        refused.len() as i64,
        "{}",
        publisher.errors
    );
    reader.out().wait_lines(stored.len());
    let printed = crate::support::numbers(&reader.stopped().out);
    println!(
        "taken again from line {taken} on; {} stored, {} refused",
        stored.len(),
        refused.len()
    );
    assert!(
        printed.into_iter().eq(stored),
        "what was acknowledged, once and in order"
    );
    node.stop();
}
