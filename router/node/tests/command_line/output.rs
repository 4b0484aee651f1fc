//! Disks that are full, readers that go away, interruptions.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use crate::support::{
    FILE_OF_A_ROUTER, Running, errors, mcpbus, node, numbered, start_node, subscriber, to_node,
    with_input,
};

/// A file of a generator and of a stage that writes to `path`.
fn generator(count: u64, path: &str) -> String {
    format!(
        "[node]\nname = \"make\"\n[[stage]]\nname = \"make\"\nkind = \"generator\"\ncount = {count}\nout = \"p\"\n\
         [[stage]]\nname = \"w\"\nkind = \"write\"\nin = \"p\"\npath = \"{path}\"\n"
    )
}

#[test]
fn a_full_disk_ends_a_run_with_a_message_and_a_count() {
    let folder = tempfile::tempdir().unwrap();
    let ended = start_node(folder.path(), &generator(10_000, "/dev/full"), &[]).ended();
    assert_eq!(ended.code, Some(1), "{}", ended.errors);
    assert!(
        ended.errors.contains("cannot write to /dev/full"),
        "{}",
        ended.errors
    );
    assert!(ended.errors.contains("No space left"), "{}", ended.errors);
    assert!(
        ended.errors.contains("rejected"),
        "what was not written is counted: {}",
        ended.errors
    );
    assert!(!ended.errors.contains("panicked"), "{}", ended.errors);
}

#[test]
fn a_full_disk_ends_a_subscriber_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let (node, address) = node(folder.path(), FILE_OF_A_ROUTER);
    let mut command = to_node(folder.path(), "sub", &address, &["--subject", "a"]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut full = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(full.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap() == "ready"));
    let good = subscriber(
        folder.path(),
        &address,
        &["--subject", "a", "--count", "3000"],
    );
    let lines = numbered(0..3_000, 10);
    let output = with_input(
        to_node(folder.path(), "pub", &address, &["--subject", "a"]),
        &lines,
    );
    // A subscriber that left with messages in its hands is no failure of who published.
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert_eq!(full.wait().unwrap().code(), Some(73));
    let said: Vec<String> = said.map(Result::unwrap).collect();
    assert!(
        said.iter().any(|line| line.contains("No space left")),
        "{said:?}"
    );
    let good = good.ended();
    assert_eq!(good.code, Some(0), "{}", good.errors);
    assert!(good.out == lines);
    let node = node.stopped();
    assert_eq!(node.number("residual"), 0, "{}", node.errors);
}

#[test]
fn a_reader_that_goes_away_ends_the_writer_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let (node, address) = node(folder.path(), FILE_OF_A_ROUTER);
    let (sub, out) =
        Running::start_unread(to_node(folder.path(), "sub", &address, &["--subject", "a"]));
    sub.wait_for("ready");
    let publisher = to_node(folder.path(), "pub", &address, &["--subject", "a"]);
    let (publisher, mut input) = Running::start_with_input(publisher);
    input.write_all(&numbered(0..10, 10)).unwrap();
    // As `| head -n 1` does.
    let mut first = String::new();
    BufReader::new(out).read_line(&mut first).unwrap();
    assert!(first.starts_with("0 "), "{first}");
    let writer = std::thread::spawn(move || input.write_all(&numbered(10..2_000, 10)).unwrap());
    let sub = sub.ended();
    assert_eq!(sub.code, Some(0), "{}", sub.errors);
    assert!(
        !sub.errors.contains("panicked") && !sub.errors.contains("Broken pipe"),
        "{}",
        sub.errors
    );
    writer.join().unwrap();
    // Those that came when nobody was left were refused.
    let publisher = publisher.ended();
    assert!(
        matches!(publisher.code, Some(0 | 1)),
        "{}",
        publisher.errors
    );
    let node = node.stopped();
    assert_eq!(
        (node.code, node.number("residual")),
        (Some(0), 0),
        "{}",
        node.errors
    );

    let file = generator(0, "-");
    let path = folder.path().join("make.toml");
    fs::write(&path, file).unwrap();
    let mut command = mcpbus(folder.path());
    command.arg("run").arg(&path);
    let (run, out) = Running::start_unread(command);
    let mut first = String::new();
    BufReader::new(out).read_line(&mut first).unwrap();
    assert!(first.starts_with('{'), "{first}");
    let run = run.ended();
    assert_eq!(run.code, Some(0), "{}", run.errors);
    assert!(!run.errors.contains("panicked"), "{}", run.errors);
}

#[test]
fn an_interruption_drains_and_prints_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let run = start_node(folder.path(), &generator(0, "-"), &[]);
    run.out().wait_lines(1_000);
    let run = run.stopped();
    assert_eq!(run.code, Some(0), "{}", run.errors);
    assert!(run.errors.contains("residual 0"), "{}", run.errors);
    assert_eq!(run.out.last(), Some(&b'\n'), "the last line is whole");
}

#[test]
fn a_subscriber_ends_when_nothing_comes() {
    let folder = tempfile::tempdir().unwrap();
    let (_node, address) = node(folder.path(), FILE_OF_A_ROUTER);
    let sub = subscriber(
        folder.path(),
        &address,
        &["--subject", "a", "--idle-exit", "300ms"],
    );
    let sub = sub.ended();
    assert_eq!((sub.code, sub.out), (Some(0), Vec::new()), "{}", sub.errors);
}

#[test]
fn json_has_base64_where_it_must() {
    let folder = tempfile::tempdir().unwrap();
    let (_node, address) = node(folder.path(), FILE_OF_A_ROUTER);
    let arguments = ["--subject", "a.>", "--count", "2", "--format", "json"];
    let sub = subscriber(folder.path(), &address, &arguments);
    let publisher = to_node(folder.path(), "pub", &address, &["--subject", "a.b"]);
    let output = with_input(publisher, b"caf\xc3\xa9 \"x\"\n\xff\x00\n");
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let objects: Vec<serde_json::Value> = String::from_utf8(sub.ended().out)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(objects[0]["body"], "café \"x\"");
    assert_eq!(objects[1]["body_base64"], "/wA=");
    assert_eq!(objects[1]["subject"], "a.b");
}

#[test]
fn an_interrupted_publisher_says_what_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let (_node, address) = node(folder.path(), FILE_OF_A_ROUTER);
    let sub = subscriber(
        folder.path(),
        &address,
        &["--subject", "a", "--count", "100"],
    );
    let publisher = to_node(folder.path(), "pub", &address, &["--subject", "a"]);
    let (publisher, mut input) = Running::start_with_input(publisher);
    input.write_all(&numbered(0..100, 0)).unwrap();
    assert_eq!(sub.ended().code, Some(0));
    let publisher = publisher.stopped();
    assert_eq!(publisher.code, Some(130), "{}", publisher.errors);
    assert_eq!(publisher.number("published"), 100, "{}", publisher.errors);
    assert_eq!(
        publisher.number("acknowledged"),
        100,
        "{}",
        publisher.errors
    );
}
