//! Requests, and children that die or hang.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use crate::support::{FILE_OF_A_ROUTER, Running, errors, node, start_node, to_node, with_input};

const ECHO: &str = "while IFS= read -r line; do echo \"<$line>\"; done";

fn responder(folder: &std::path::Path, address: &str, arguments: &[&str]) -> Running {
    let reply = Running::start(to_node(folder, "reply", address, arguments));
    reply.wait_for("ready");
    reply
}

#[test]
fn a_request_whose_responder_is_killed_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (_node, address) = node(folder, FILE_OF_A_ROUTER);
    let started = folder.join("started");
    let child = format!("read -r line; touch {}; sleep 100", started.display());
    let arguments = ["--subject", "slow", "--exec", &child, "--timeout", "300s"];
    let reply = responder(folder, &address, &arguments);
    let arguments = ["--subject", "slow", "--timeout", "300s", "x"];
    let request = Running::start(to_node(folder, "request", &address, &arguments));
    let waited = Instant::now();
    while !started.exists() {
        assert!(
            waited.elapsed() < crate::support::DEADLINE,
            "{}",
            request.said()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    reply.kill();
    // Far before the deadline of the request; `ended` itself fails after a minute.
    let request = request.ended();
    assert_eq!(request.code, Some(1), "{}", request.errors);
    assert!(
        request.errors.contains("responder_lost"),
        "{}",
        request.errors
    );
}

#[test]
fn a_request_that_nobody_answers_is_told_so_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (_node, address) = node(folder.path(), FILE_OF_A_ROUTER);
    let arguments = ["--subject", "nobody", "--timeout", "300s", "x"];
    let request = Running::start(to_node(folder.path(), "request", &address, &arguments)).ended();
    assert_eq!(request.code, Some(1), "{}", request.errors);
    assert!(request.errors.contains("no_route"), "{}", request.errors);
}

#[test]
fn a_request_ends_at_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let (_node, address) = node(folder.path(), FILE_OF_A_ROUTER);
    let arguments = [
        "--subject",
        "slow",
        "--exec",
        "sleep 100",
        "--timeout",
        "300s",
    ];
    let _reply = responder(folder.path(), &address, &arguments);
    let arguments = ["--subject", "slow", "--timeout", "300ms", "x"];
    let request = Running::start(to_node(folder.path(), "request", &address, &arguments)).ended();
    assert_eq!(request.code, Some(1), "{}", request.errors);
    assert!(
        request.errors.contains("1 of 1 requests got no reply"),
        "{}",
        request.errors
    );
}

#[test]
fn a_child_of_reply_that_hangs_or_dies_fails_its_request_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (_node, address) = node(folder.path(), FILE_OF_A_ROUTER);
    let child = "while IFS= read -r line; do case \"$line\" in die) exit 3;; hang) sleep 100;; *) echo \"<$line>\";; esac; done";
    let arguments = ["--subject", "s", "--exec", child, "--timeout", "1s"];
    let _reply = responder(folder.path(), &address, &arguments);
    let request = to_node(
        folder.path(),
        "request",
        &address,
        &["--subject", "s", "--timeout", "30s"],
    );
    let output = with_input(request, b"1\ndie\n2\nhang\n3\n");
    assert_eq!(output.stdout, b"<1>\n<2>\n<3>\n", "{}", errors(&output));
    assert_eq!(output.status.code(), Some(1));
    let text = errors(&output);
    assert!(
        text.contains("request 2: ") && text.contains("request 4: "),
        "{text}"
    );
    assert!(text.contains("2 of 5 requests got no reply"), "{text}");
}

/// A file whose `exec` stage runs `child`.
fn exec(child: &str, more: &str) -> String {
    format!(
        "[node]\nname = \"exec\"\n[[stage]]\nname = \"lines\"\nkind = \"lines\"\npath = \"in.txt\"\nout = \"l\"\n\
         [[stage]]\nname = \"child\"\nkind = \"exec\"\nin = \"l\"\ncommand = [\"sh\", \"-c\", '''{child}''']\n{more}out = \"a\"\n\
         [[stage]]\nname = \"w\"\nkind = \"write\"\nin = \"a\"\n"
    )
}

fn run_exec(child: &str, more: &str, input: &str) -> crate::support::Ended {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.txt");
    std::fs::write(&path, input).unwrap();
    start_node(
        folder.path(),
        &exec(child, more),
        &["--input", path.to_str().unwrap()],
    )
    .ended()
}

#[test]
fn a_child_that_dies_is_replaced_and_its_line_is_tried_again_so_often() {
    let child = "while IFS= read -r line; do [ \"$line\" = die ] && exit 1; echo \"<$line>\"; done";
    let ended = run_exec(child, "max_deliver = 2\n", "1\n2\ndie\n3\n");
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert_eq!(ended.out, b"<1>\n<2>\n<3>\n", "{}", ended.errors);
    assert!(ended.errors.contains("max_deliver"), "{}", ended.errors);
}

#[test]
fn a_child_that_hangs_is_killed_and_the_run_goes_on() {
    let child =
        "while IFS= read -r line; do [ \"$line\" = hang ] && sleep 100; echo \"<$line>\"; done";
    let ended = run_exec(
        child,
        "max_deliver = 1\ntimeout = \"500ms\"\n",
        "1\nhang\n2\n",
    );
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert_eq!(ended.out, b"<1>\n<2>\n", "{}", ended.errors);
    assert!(ended.errors.contains("max_deliver"), "{}", ended.errors);
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.txt");
    std::fs::write(&path, "1\n").unwrap();
    let file = exec(ECHO, "").replace("\"sh\"", "\"/nowhere/program\"");
    let ended = start_node(folder.path(), &file, &["--input", path.to_str().unwrap()]).ended();
    assert!(matches!(ended.code, Some(1 | 2)), "{}", ended.errors);
    assert!(
        ended.errors.contains("/nowhere/program"),
        "{}",
        ended.errors
    );
}
