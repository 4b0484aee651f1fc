//! Durable names: taken over, refused, deleted; and receipts.
#![allow(clippy::unwrap_used)]

use super::chain::{Stored, file};
use crate::support::{
    FILE_OF_A_ROUTER, Running, count_lines, node, numbered, subscriber, to_node, with_input,
};

const DURABLE: [&str; 4] = ["--subject", "n.*", "--durable", "n"];

#[test]
fn a_second_subscriber_of_a_name_takes_it_over() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut node = Stored::start(folder, file(folder, "r", "64MiB", ""));
    let first = subscriber(folder, &node.address, &DURABLE);
    let second = subscriber(folder, &node.address, &DURABLE);
    let first = first.ended();
    assert_eq!(first.code, Some(1), "{}", first.errors);
    assert!(
        first
            .errors
            .contains("another subscriber has taken this durable subscription over"),
        "{}",
        first.errors
    );
    let publisher = to_node(
        folder,
        "pub",
        &node.address,
        &["--subject", "n.x", "--ack", "stored"],
    );
    let published = with_input(publisher, b"for the second\n");
    assert_eq!(published.status.code(), Some(0), "{published:?}");
    second.out().wait_lines(1);
    let second = second.stopped();
    assert_eq!(
        (second.code, second.out.as_slice()),
        (Some(0), b"for the second\n".as_slice())
    );
    assert_eq!(first.out, b"");
    node.stop();
}

#[test]
fn a_name_has_one_pattern_until_it_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut node = Stored::start(folder, file(folder, "r", "64MiB", ""));
    let sub = |arguments: &[&str]| Running::start(to_node(folder, "sub", &node.address, arguments));
    let first = subscriber(folder, &node.address, &DURABLE).stopped();
    assert_eq!(first.code, Some(0), "{}", first.errors);

    let other = ["--subject", "other.*", "--durable", "n"];
    let refused = sub(&other).ended();
    assert_eq!(refused.code, Some(1), "{}", refused.errors);
    let says = "durable subscription n is for n.*; delete it first";
    assert!(refused.errors.contains(says), "{}", refused.errors);

    // With what waits for it: nobody gets that line.
    let publisher = to_node(
        folder,
        "pub",
        &node.address,
        &["--subject", "n.x", "--ack", "stored"],
    );
    assert_eq!(with_input(publisher, b"deleted\n").status.code(), Some(0));
    let delete: Vec<&str> = DURABLE.into_iter().chain(["--delete"]).collect();
    let deleted = sub(&delete).ended();
    assert_eq!(deleted.code, Some(0), "{}", deleted.errors);
    assert!(
        deleted.errors.contains("deleted durable subscription n"),
        "{}",
        deleted.errors
    );
    let again = sub(&delete).ended();
    assert_eq!(again.code, Some(1), "{}", again.errors);
    assert!(
        again
            .errors
            .contains("this node has no durable subscription n"),
        "{}",
        again.errors
    );
    let anew = subscriber(folder, &node.address, &other);
    let publisher = to_node(
        folder,
        "pub",
        &node.address,
        &["--subject", "other.x", "--ack", "stored"],
    );
    assert_eq!(with_input(publisher, b"kept\n").status.code(), Some(0));
    anew.out().wait_lines(1);
    assert_eq!(anew.stopped().out, b"kept\n");
    node.stop();
}

#[test]
fn a_node_without_a_spool_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (_node, address) = node(folder, FILE_OF_A_ROUTER);
    let refused = Running::start(to_node(folder, "sub", &address, &DURABLE)).ended();
    assert_eq!(refused.code, Some(1), "{}", refused.errors);
    assert!(
        refused.errors.contains("[spool]") && refused.errors.contains("data"),
        "{}",
        refused.errors
    );
    let arguments = ["--subject", "n.x", "--ack", "stored", "--receipts"];
    let output = with_input(to_node(folder, "pub", &address, &arguments), b"x\n");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"1 no_spool\n");
    let said = crate::support::errors(&output);
    assert!(
        said.contains("no_spool 1") && said.contains("[spool]"),
        "{said}"
    );
}

#[test]
fn every_line_has_its_receipt_when_the_publisher_ends() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut node = Stored::start(folder, file(folder, "r", "64MiB", ""));
    let reader = subscriber(folder, &node.address, &DURABLE);
    let arguments = ["--subject", "n.x", "--ack", "stored", "--receipts"];
    let publisher = to_node(folder, "pub", &node.address, &arguments);
    let output = with_input(publisher, &numbered(0..20_000, 10));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(count_lines(&output.stdout), 20_000);
    assert!(output.stdout.ends_with(b"\n20000 ok\n"));
    reader.out().wait_lines(20_000);
    reader.stopped();
    node.stop();
}
