#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;

fn spec(script: &str, window: usize) -> ExecSpec {
    ExecSpec {
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        window,
        timeout: Duration::from_secs(20),
        max_deliver: 3,
        max_answer: 1000,
    }
}

fn run(spec: ExecSpec, lines: &[&str]) -> (Vec<String>, u64) {
    let mut exec = Exec::start("test", spec).unwrap();
    let mut out = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        exec.take(number, Bytes::copy_from_slice(line.as_bytes()), &mut out);
    }
    exec.settle(&mut out);
    let lost = exec.lost_children();
    exec.finish(&mut out);
    let texts = out
        .into_iter()
        .map(|answer| match answer {
            Answer::Line { item, line } => format!("{item} {}", String::from_utf8_lossy(&line)),
            Answer::Filtered { item } => format!("{item} filtered"),
            Answer::GivenUp { item, cause } => format!("{item} given up: {cause}"),
        })
        .collect();
    (texts, lost)
}

#[test]
fn a_line_for_a_line_in_order_at_any_window() {
    for window in [1, 3, 16] {
        let script = r#"while IFS= read -r line; do case "$line" in drop*) echo;; *) echo "<$line>";; esac; done"#;
        let (answers, lost) = run(spec(script, window), &["a", "drop b", "c", ""]);
        assert_eq!(answers, ["0 <a>", "1 filtered", "2 <c>", "3 <>"]);
        assert_eq!(lost, 0);
    }
}

#[test]
fn bytes_that_are_not_text_pass() {
    let mut exec = Exec::start("test", spec("cat", 1)).unwrap();
    let mut out = Vec::new();
    let bytes = Bytes::from_static(&[0xff, 0xfe, b' ', 0x00, 0x01]);
    exec.take((), bytes.clone(), &mut out);
    exec.settle(&mut out);
    assert_eq!(
        out,
        [Answer::Line {
            item: (),
            line: bytes
        }]
    );
}

#[test]
fn a_dying_child_takes_only_the_line_that_kills_it() {
    let script =
        r#"while IFS= read -r line; do case "$line" in die) exit 7;; *) echo "$line";; esac; done"#;
    let (answers, lost) = run(spec(script, 4), &["a", "die", "b", "c"]);
    assert_eq!(answers[0], "0 a");
    assert!(
        answers[1].starts_with(
            "1 given up: was not answered by 3 children; the last one ended with exit"
        ),
        "{answers:?}"
    );
    assert_eq!(answers[2..], ["2 b", "3 c"]);
    assert_eq!(lost, 3);
}

#[test]
fn a_hanging_child_is_killed_with_what_it_started() {
    let mut given = spec(
        r#"while IFS= read -r line; do case "$line" in hang) sleep 1000;; *) echo "$line";; esac; done"#,
        1,
    );
    given.timeout = Duration::from_millis(200);
    given.max_deliver = 2;
    let start = Instant::now();
    let (answers, lost) = run(given, &["hang", "b"]);
    assert!(
        answers[0].contains("did not answer in 200ms"),
        "{answers:?}"
    );
    assert_eq!(answers[1], "1 b");
    assert_eq!(lost, 2);
    // The grandchild would keep the pipes open for a thousand seconds if only the shell were killed.
    assert!(start.elapsed() < Duration::from_secs(100));
}

#[test]
fn a_child_that_never_reads_does_not_block_for_ever() {
    let mut given = spec("sleep 1000", 8);
    given.timeout = Duration::from_millis(100);
    given.max_deliver = 1;
    let long = "x".repeat(900_000);
    let (answers, _) = run(given, &[&long, "b"]);
    assert!(
        answers.iter().all(|answer| answer.contains("given up")),
        "both are given up"
    );
    assert_eq!(answers.len(), 2);
}

#[test]
fn an_answer_nobody_asked_for_or_too_long_ends_the_child() {
    let (answers, lost) = run(
        spec(
            r#"while IFS= read -r line; do echo "$line"; echo extra; done"#,
            1,
        ),
        &["a", "b"],
    );
    // Whether the extra line is seen before or after the second line was sent, no answer may be wrong for long: the
    // child is replaced as soon as the surplus shows.
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0], "0 a");
    let _either = lost;
    let mut given = spec(
        r#"while IFS= read -r line; do head -c 5000 /dev/zero | tr '\0' x; echo; done"#,
        1,
    );
    given.max_deliver = 1;
    let (answers, lost) = run(given, &["a"]);
    assert!(
        answers[0].contains("answered 5000 bytes where 1000 are allowed"),
        "{answers:?}"
    );
    assert_eq!(lost, 1);
}

#[test]
fn a_line_break_is_refused_in_order() {
    let (answers, _) = run(spec("cat", 4), &["a", "b\nc", "d"]);
    assert_eq!(answers[0], "0 a");
    assert!(answers[1].contains("line break"));
    assert_eq!(answers[2], "2 d");
}

#[test]
fn a_missing_program_shows_at_the_start() {
    let mut given = spec("", 1);
    given.command = vec!["/nonexistent/program".to_owned()];
    let error = Exec::<()>::start("test", given).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot start `/nonexistent/program`")
    );
}
