//! Each command once, as a user meets it.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use crate::support::{FILE_OF_A_ROUTER, Running, errors, mcpbus, node, with_input};

#[test]
fn check_prints_mistakes_with_their_place_and_exits_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edge.toml");
    fs::write(&path, "[node]\nnmae = \"edge\"\n").unwrap();
    let output = mcpbus(folder.path())
        .arg("check")
        .arg(&path)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = errors(&output);
    assert!(
        text.contains("edge.toml:2:1: unknown key `node.nmae`")
            && text.contains("did you mean `name`?"),
        "{text}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn the_examples_are_accepted_in_every_format() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let state = tempfile::tempdir().unwrap();
    let mut files = 0;
    for folder in ["bank", "weblog"] {
        for entry in fs::read_dir(examples.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            files += 1;
            for format in ["text", "mermaid", "dot", "json", "toml"] {
                let output = mcpbus(state.path())
                    .args(["check", "--format", format])
                    .arg(&path)
                    .output()
                    .unwrap();
                assert_eq!(
                    output.status.code(),
                    Some(0),
                    "{}: {}",
                    path.display(),
                    errors(&output)
                );
                assert!(!output.stdout.is_empty());
            }
        }
    }
    assert!(files >= 6);
}

#[test]
fn lines_travel_from_pub_to_sub_as_bytes_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (node, address) = node(folder.path(), FILE_OF_A_ROUTER);
    let mut subscriber = mcpbus(folder.path());
    subscriber.args([
        "sub",
        "--node",
        &address,
        "--subject",
        "bank.tx.*",
        "--count",
        "4",
    ]);
    let subscriber = Running::start(subscriber);
    subscriber.wait_for("ready");
    let mut publisher = mcpbus(folder.path());
    publisher.args([
        "pub",
        "--node",
        &address,
        "--delimiter",
        ";",
        "--subject",
        "bank.tx.{2}",
        "--key",
        "{2}",
    ]);
    let output = with_input(
        publisher,
        b"1;7;a\n2;7;\xff\xfe\n3;;no token\n4;7;\"cut\n5;7;e\r\n",
    );
    let text = errors(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("line 3: field `2` is empty") && text.contains("refused(decode) 1"),
        "{text}"
    );
    let subscriber = subscriber.ended();
    assert_eq!(subscriber.code, Some(0));
    assert_eq!(subscriber.out, b"1;7;a\n2;7;\xff\xfe\n4;7;\"cut\n5;7;e\r\n");
    let node = node.stopped();
    assert_eq!(node.code, Some(0), "{}", node.errors);
    assert_eq!(node.number("residual"), 0, "{}", node.errors);
}

#[test]
fn members_of_a_group_share_and_json_shows_what_is_not_text() {
    let folder = tempfile::tempdir().unwrap();
    let (_node, address) = node(folder.path(), FILE_OF_A_ROUTER);
    let member = || {
        let mut command = mcpbus(folder.path());
        command.args([
            "sub",
            "--node",
            &address,
            "--subject",
            "a.>",
            "--group",
            "g",
            "--format",
            "json",
        ]);
        command.args(["--idle-exit", "2s"]);
        let member = Running::start(command);
        member.wait_for("ready");
        member
    };
    let members = [member(), member()];
    let mut publisher = mcpbus(folder.path());
    publisher.args([
        "pub",
        "--node",
        &address,
        "--subject",
        "a.b.c",
        "--wait-for-subscribers",
        "1",
    ]);
    let input: Vec<u8> = (0..100)
        .flat_map(|n| format!("{n}\n").into_bytes())
        .chain(*b"\xff\n")
        .collect();
    let output = with_input(publisher, &input);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let mut lines: Vec<String> = Vec::new();
    for member in members {
        let member = member.ended();
        assert_eq!(member.code, Some(0));
        lines.extend(
            String::from_utf8(member.out)
                .unwrap()
                .lines()
                .map(str::to_owned),
        );
    }
    assert_eq!(lines.len(), 101);
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), 101, "each message came to exactly one member");
    assert!(
        lines.contains(&"{\"subject\":\"a.b.c\",\"body_base64\":\"/w==\"}".to_owned()),
        "{lines:?}"
    );
}

#[test]
fn requests_are_answered_by_a_child() {
    let folder = tempfile::tempdir().unwrap();
    let (_node, address) = node(folder.path(), FILE_OF_A_ROUTER);
    let mut reply = mcpbus(folder.path());
    reply.args(["reply", "--node", &address, "--subject", "echo.*"]);
    reply.args([
        "--exec",
        "while IFS= read -r line; do echo \"<$line>\"; done",
    ]);
    let reply = Running::start(reply);
    reply.wait_for("ready");
    let request = |subject: &str, body: &str| {
        let mut command = mcpbus(folder.path());
        command
            .args(["request", "--node", &address, "--subject", subject, body])
            .output()
            .unwrap()
    };
    let answered = request("echo.a", "hello");
    assert_eq!(
        (answered.status.code(), &answered.stdout[..]),
        (Some(0), &b"<hello>\n"[..]),
        "{}",
        errors(&answered)
    );
    let nobody = request("nobody.here", "hello");
    assert_eq!(nobody.status.code(), Some(1));
    assert!(errors(&nobody).contains("no_route"), "{}", errors(&nobody));
    let mut lines = mcpbus(folder.path());
    lines.args(["request", "--node", &address, "--subject", "echo.b"]);
    assert_eq!(with_input(lines, b"1\n2\n").stdout, b"<1>\n<2>\n");
    assert_eq!(reply.stopped().code, Some(0));
}

#[test]
fn nobody_there_is_69_and_nobody_listening_is_1() {
    let folder = tempfile::tempdir().unwrap();
    let (node, address) = node(folder.path(), FILE_OF_A_ROUTER);
    let publish = || {
        let mut command = mcpbus(folder.path());
        command.args([
            "pub",
            "--node",
            &address,
            "--subject",
            "a",
            "--timeout",
            "5s",
        ]);
        with_input(command, b"x\n")
    };
    let refused = publish();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        errors(&refused).contains("no_route 1"),
        "{}",
        errors(&refused)
    );
    assert_eq!(node.stopped().code, Some(0));
    let unavailable = publish();
    assert_eq!(
        unavailable.status.code(),
        Some(69),
        "{}",
        errors(&unavailable)
    );
}

#[test]
fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (_node, address) = node(folder.path(), FILE_OF_A_ROUTER);
    let path = folder.path().join("second.toml");
    fs::write(&path, format!("[listen]\nquic = \"{address}\"\n")).unwrap();
    let output = mcpbus(folder.path())
        .arg("run")
        .arg(&path)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(69));
    assert!(errors(&output).contains(&address), "{}", errors(&output));
}

#[test]
fn identities_of_another_authority_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("other");
    let done = |arguments: &[&str]| {
        let output = mcpbus(folder.path())
            .arg("cert")
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    };
    done(&["init", authority.to_str().unwrap()]);
    done(&["issue", authority.to_str().unwrap(), "stranger"]);
    let (_node, address) = node(folder.path(), FILE_OF_A_ROUTER);
    let mut command = mcpbus(folder.path());
    command
        .args(["pub", "--node", &address, "--subject", "a", "--identity"])
        .arg(authority.join("stranger"));
    let output = with_input(command, b"x\n");
    assert_eq!(output.status.code(), Some(69));
    assert!(
        errors(&output).contains("certificate") || errors(&output).contains("authority"),
        "{}",
        errors(&output)
    );
}

#[test]
fn the_bench_counts_what_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "bench",
        "inproc",
        "--messages",
        "20000",
        "--rounds",
        "2",
        "--format",
        "json",
    ];
    let output = mcpbus(folder.path()).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert!(output.stderr.is_empty(), "quiet in a pipe");
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = object["rows"].as_array().unwrap();
    let names: Vec<_> = rows
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["turns", "fused", "static", "threads"]);
    for row in rows {
        assert_eq!(row["lost"], 0);
        assert!(row["messages_per_second"].as_f64() > Some(0.0));
        assert!(row["cpu_seconds_per_million"].as_f64() > Some(0.0));
    }
    assert!(object["latency_us"]["p99"].as_f64() >= object["latency_us"]["p50"].as_f64());
}

#[test]
fn the_demo_ends_with_a_ledger_without_residual() {
    let folder = tempfile::tempdir().unwrap();
    let output = mcpbus(folder.path())
        .args([
            "demo",
            "--messages",
            "5000",
            "--no-sticky",
            "--format",
            "json",
        ])
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["ledger"]["residual"], 0);
    assert_eq!(object["ledger"]["delivered"], 5000);
    assert_eq!(
        (&object["routes"]["risk-v1"], &object["routes"]["risk-v2"]),
        (&4000.into(), &1000.into())
    );
}
