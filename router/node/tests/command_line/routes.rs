//! Routes of real nodes: labels, mirrors, failover, load.
#![allow(clippy::unwrap_used)]

use crate::support::{
    Ended, Running, count_lines, errors, mcpbus, node, numbered, numbers, subscriber, to_node,
    with_input,
};
use std::fs;
use std::path::Path;

fn file(route: &str) -> String {
    format!(
        "[node]\nname = \"router\"\n[listen]\nquic = \"127.0.0.1:0\"\n[[route]]\nsubject = \"tx.*\"\n{route}\n"
    )
}

fn in_group(folder: &Path, address: &str, group: &str) -> Running {
    subscriber(folder, address, &["--subject", "tx.*", "--group", group])
}

/// Publishes so many lines, which must all be acknowledged.
fn publish(folder: &Path, address: &str, lines: std::ops::Range<u64>, arguments: &[&str]) {
    let mut command = to_node(folder, "pub", address, &["--subject", "tx.1"]);
    command.args(arguments);
    let output = with_input(command, &numbered(lines, 10));
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
}

fn all_numbers(ended: &Ended) -> Vec<u64> {
    let mut numbers = numbers(&ended.out);
    numbers.sort_unstable();
    numbers
}

#[test]
fn rules_by_label_and_key_go_before_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let (node, address) = node(
        folder.path(),
        &file(
            "policy = \"subset\"\n\
             to = [{group = \"v1\", weight = 80, labels = {version = \"v1\"}}, {group = \"v2\", weight = 20, labels = {version = \"v2\"}}]\n\
             rules = [{labels = {user = \"test-*\"}, subset = {version = \"v2\"}}, {keys = [\"42\"], subset = {version = \"v2\"}}]",
        ),
    );
    let one = in_group(folder.path(), &address, "v1");
    let two = in_group(folder.path(), &address, "v2");
    let publish = |lines, arguments: &[&str]| publish(folder.path(), &address, lines, arguments);
    publish(0..100, &["--label", "user=test-7", "--label", "region=eu"]);
    publish(100..200, &["--key", "42"]);
    publish(200..1_200, &["--label", "user=somebody"]);
    one.out().wait_lines(800);
    two.out().wait_lines(400);
    let (one, two) = (all_numbers(&one.stopped()), all_numbers(&two.stopped()));
    assert_eq!((one.len(), two.len()), (800, 400));
    assert_eq!(two[..200], (0..200).collect::<Vec<_>>());
    assert_eq!(node.stopped().number("residual"), 0);
}

#[test]
fn a_mirror_gets_copies_and_who_stalls_there_holds_nobody_back() {
    let folder = tempfile::tempdir().unwrap();
    let (node, address) = node(
        folder.path(),
        &file("policy = \"weighted\"\nto = [{group = \"v1\"}]\nmirror = {group = \"shadow\"}"),
    );
    let one = in_group(folder.path(), &address, "v1");
    let arguments = ["--subject", "tx.*", "--group", "shadow"];
    // Nobody reads what it prints: its pipe fills, then its window, and it takes no more.
    let (stalled, unread) =
        Running::start_unread(to_node(folder.path(), "sub", &address, &arguments));
    stalled.wait_for("ready");
    let lines = 20_000;
    let mut command = to_node(folder.path(), "pub", &address, &["--subject", "tx.1"]);
    command.args(["--ack", "processed"]);
    let output = with_input(command, &numbered(0..lines, 1_000));
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    one.out().wait_lines(lines as usize);
    let one = one.stopped();
    assert_eq!(all_numbers(&one), (0..lines).collect::<Vec<_>>());
    drop(unread);
    let _stops = stalled.stopped();
    let ended = node.stopped();
    assert_eq!(ended.number("residual"), 0, "{}", ended.errors);
    assert_eq!(ended.number("accepted"), lines as i64, "{}", ended.errors);
}

#[test]
fn the_answers_of_a_mirror_are_not_asked_for_and_its_copies_arrive() {
    let folder = tempfile::tempdir().unwrap();
    let (node, address) = node(
        folder.path(),
        &file(
            "policy = \"hash\"\nto = [{group = \"v1\"}]\nmirror = {group = \"shadow\", share = 1}",
        ),
    );
    let one = in_group(folder.path(), &address, "v1");
    let shadow = in_group(folder.path(), &address, "shadow");
    // One at a time, so that the mirror has given credit again for each but the first of them.
    let mut published = 0;
    while count_lines(&shadow.out().so_far()) < 5 {
        publish(
            folder.path(),
            &address,
            published..published + 1,
            &["--ack", "processed"],
        );
        published += 1;
        assert!(
            published < 200,
            "the mirror got {}",
            count_lines(&shadow.out().so_far())
        );
    }
    one.out().wait_lines(published as usize);
    assert_eq!(
        all_numbers(&one.stopped()),
        (0..published).collect::<Vec<_>>()
    );
    let copies = all_numbers(&shadow.stopped());
    assert!(
        copies.windows(2).all(|pair| pair[0] < pair[1]),
        "{copies:?}"
    );
    assert_eq!(node.stopped().number("residual"), 0);
}

#[test]
fn the_second_level_answers_while_the_first_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (node, address) = node(
        folder.path(),
        &file("policy = \"failover\"\nto = [{group = \"v1\"}, {group = \"spare\", priority = 1}]"),
    );
    let one = in_group(folder.path(), &address, "v1");
    let spare = in_group(folder.path(), &address, "spare");
    let publish = |lines| publish(folder.path(), &address, lines, &["--ack", "processed"]);
    publish(0..100);
    one.out().wait_lines(100);
    let _lines = one.kill();
    // Its session is given up only ten seconds later; what is published meanwhile goes to the spare group.
    node.wait_for("the peer is silent");
    publish(100..200);
    spare.out().wait_lines(100);
    assert_eq!(
        all_numbers(&spare.stopped()),
        (100..200).collect::<Vec<_>>()
    );
    assert_eq!(node.stopped().number("residual"), 0);
}

#[test]
fn policies_by_load_share_and_lose_nothing() {
    for policy in ["least-loaded", "bounded-load"] {
        let folder = tempfile::tempdir().unwrap();
        let route = format!("policy = \"{policy}\"\nto = [{{group = \"v1\"}}, {{group = \"v2\"}}]");
        let (node, address) = node(folder.path(), &file(&route));
        let one = in_group(folder.path(), &address, "v1");
        let two = in_group(folder.path(), &address, "v2");
        let mut command = to_node(folder.path(), "pub", &address, &["--subject", "tx.1"]);
        command.args(["--key", "hot", "--ack", "processed"]);
        let output = with_input(command, &numbered(0..5_000, 10));
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
        let (one, two) = (one.stopped(), two.stopped());
        let mut all = [numbers(&one.out), numbers(&two.out)].concat();
        all.sort_unstable();
        assert_eq!(all, (0..5_000).collect::<Vec<_>>(), "{policy}");
        // One key is too much for one group.
        let least = count_lines(&one.out).min(count_lines(&two.out));
        assert!(least > 500, "{policy}: {least}");
        assert_eq!(node.stopped().number("residual"), 0, "{policy}");
    }
}

#[test]
fn a_limit_refuses_what_is_too_much_and_says_when_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    // One in a hundred seconds: nothing comes in meanwhile.
    let route = "policy = \"weighted\"\nto = [{group = \"v1\"}]\nlimit = {rate = 0.01, burst = 5}";
    let (node, address) = node(folder.path(), &file(route));
    let one = in_group(folder.path(), &address, "v1");
    let mut command = to_node(folder.path(), "pub", &address, &["--subject", "tx.1"]);
    command.arg("--receipts");
    let output = with_input(command, &numbered(0..8, 10));
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    let said = errors(&output);
    assert!(
        said.contains("acknowledged 5") && said.contains("limited 3"),
        "{said}"
    );
    let receipts = String::from_utf8(output.stdout).unwrap();
    let limited: Vec<&str> = receipts
        .lines()
        .filter(|line| line.contains("limited"))
        .collect();
    assert_eq!(limited.len(), 3, "{receipts}");
    for line in limited {
        let after = line.rsplit("retry_after ").next().unwrap();
        let millis: u64 = after.strip_suffix("ms").unwrap().parse().unwrap();
        assert!((50_000..=100_000).contains(&millis), "{line}");
    }
    one.out().wait_lines(5);
    assert_eq!(all_numbers(&one.stopped()), (0..5).collect::<Vec<_>>());
    let ended = node.stopped();
    assert_eq!(ended.number("residual"), 0, "{}", ended.errors);
}

#[test]
fn what_is_above_a_limit_goes_to_the_fallback() {
    let folder = tempfile::tempdir().unwrap();
    let route = "policy = \"weighted\"\nto = [{group = \"v1\"}]\nlimit = {rate = 0.01, burst = 5, when = \"divert\"}\nfallback = \"spare\"";
    let (node, address) = node(folder.path(), &file(route));
    let one = in_group(folder.path(), &address, "v1");
    let spare = in_group(folder.path(), &address, "spare");
    publish(folder.path(), &address, 0..100, &["--ack", "processed"]);
    assert_eq!(all_numbers(&one.stopped()), (0..5).collect::<Vec<_>>());
    assert_eq!(all_numbers(&spare.stopped()), (5..100).collect::<Vec<_>>());
    assert_eq!(node.stopped().number("residual"), 0);
}

#[test]
fn a_mistake_in_a_route_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.toml");
    let text =
        file("policy = \"failover\"\nto = [{group = \"g\", weight = 0}]\npanic_threshold = 200");
    fs::write(&path, text).unwrap();
    let output = mcpbus(folder.path())
        .arg("check")
        .arg(&path)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = errors(&output);
    assert!(said.contains("wrong.toml:8:6: all weights are 0"), "{said}");
    assert!(
        said.contains("wrong.toml:9:19: `route.0.panic_threshold` must lie between 0 and 100"),
        "{said}"
    );
}

#[test]
fn routes_change_while_messages_flow_when_the_file_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let route = |weights: (u32, u32)| {
        file(&format!(
            "policy = \"weighted\"\nto = [{{group = \"v1\", weight = {}}}, {{group = \"v2\", weight = {}}}]",
            weights.0, weights.1
        ))
    };
    let (node, address) = node(folder.path(), &route((1, 0)));
    let path = folder.path().join("router.toml");
    let one = in_group(folder.path(), &address, "v1");
    let two = in_group(folder.path(), &address, "v2");
    let processed = ["--ack", "processed"];
    publish(folder.path(), &address, 0..100, &processed);
    let reload = |text: &str, said: &str| {
        fs::write(&path, text).unwrap();
        node.hang_up();
        node.wait_for(said);
    };
    reload(&route((0, 1)), "1 changed");
    publish(folder.path(), &address, 100..200, &processed);
    // Nothing of what is wrong takes effect.
    reload(&route((0, 0)), "as they were");
    let other = format!("{}[limits]\nsessions = 9\n", route((1, 0)));
    reload(&other, "`sessions = 9` is different");
    publish(folder.path(), &address, 200..300, &processed);
    let more = "[[route]]\nsubject = \"other\"\npolicy = \"hash\"\nto = [{group = \"v1\"}]\n";
    reload(&format!("{}{more}", route((1, 0))), "1 added, 1 changed");
    publish(folder.path(), &address, 300..400, &processed);
    let (one, two) = (all_numbers(&one.stopped()), all_numbers(&two.stopped()));
    assert_eq!(one, (0..100).chain(300..400).collect::<Vec<_>>());
    assert_eq!(two, (100..300).collect::<Vec<_>>());
    assert_eq!(node.stopped().number("residual"), 0);
}

#[test]
fn messages_wait_for_room_also_while_their_route_changes() {
    let folder = tempfile::tempdir().unwrap();
    let route = |room: u32, others: usize| {
        let mut text = file(&format!(
            "policy = \"weighted\"\nto = [{{group = \"v1\"}}]\nbulkhead = {{concurrency = {room}, max_waiting = 8, max_wait = \"1m\"}}"
        ));
        for other in 0..others {
            text += &format!(
                "[[route]]\nsubject = \"other.{other}\"\npolicy = \"hash\"\nto = [{{group = \"v2\"}}]\n"
            );
        }
        text
    };
    let (node, address) = node(folder.path(), &route(1, 0));
    let path = folder.path().join("router.toml");
    let one = in_group(folder.path(), &address, "v1");
    std::thread::scope(|scope| {
        let (folder, address) = (folder.path(), &address);
        // One message at a time has room, so all others wait: none is refused.
        scope.spawn(move || publish(folder, address, 0..4_000, &["--ack", "processed"]));
        for (lines, room, others, said) in [
            (500, 2, 1, "1 added, 1 changed"),
            (1_500, 1, 3, "2 added, 1 changed"),
            (2_500, 3, 0, "0 added, 1 changed, 3 removed"),
        ] {
            one.out().wait_lines(lines);
            fs::write(&path, route(room, others)).unwrap();
            node.hang_up();
            node.wait_for(said);
        }
    });
    assert_eq!(numbers(&one.stopped().out), (0..4_000).collect::<Vec<_>>());
    assert_eq!(node.stopped().number("residual"), 0);
}
