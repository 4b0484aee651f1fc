//! What `pub` and stages make of lines that are no messages.
#![allow(clippy::unwrap_used)]

use std::fs;

use crate::support::{
    FILE_OF_A_ROUTER, errors, mcpbus, node, number_after, start_node, subscriber, to_node,
    with_input,
};

#[test]
fn lines_that_are_not_utf8_or_empty_travel_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let (_node, address) = node(folder.path(), FILE_OF_A_ROUTER);
    let sub = subscriber(
        folder.path(),
        &address,
        &["--subject", "raw", "--count", "4"],
    );
    let input = b"\xff\xfe\xc3\n\n\0\x01\nlast, without a line break";
    let output = with_input(
        to_node(folder.path(), "pub", &address, &["--subject", "raw"]),
        input,
    );
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert_eq!(sub.ended().out, [&input[..], b"\n"].concat());
}

#[test]
fn a_line_of_ten_megabytes_is_refused_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (node, address) = node(folder.path(), FILE_OF_A_ROUTER);
    let sub = subscriber(
        folder.path(),
        &address,
        &["--subject", "raw", "--count", "4"],
    );
    let long = vec![b'x'; 10 << 20];
    let input = [b"before\n", &long[..], b"\nafter\n"].concat();
    // By the limit of the command, and, where that is raised, by the limit of the node.
    for (arguments, reason) in [
        (&[][..], "refused(decode)"),
        (&["--max-line", "16MiB"][..], "refused(too_large)"),
    ] {
        let arguments = [&["--subject", "raw"], arguments].concat();
        let output = with_input(to_node(folder.path(), "pub", &address, &arguments), &input);
        let text = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.contains("line 2: ") && text.contains("10485760"),
            "{text}"
        );
        assert_eq!(number_after(&text, reason), 1, "{text}");
        assert_eq!(number_after(&text, "acknowledged"), 2, "{text}");
    }
    assert_eq!(sub.ended().out, b"before\nafter\nbefore\nafter\n");
    let node = node.stopped();
    assert_eq!(
        (node.code, node.number("accepted")),
        (Some(0), 4),
        "{}",
        node.errors
    );
}

#[test]
fn fields_that_are_no_tokens_are_refused_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let (_node, address) = node(folder.path(), FILE_OF_A_ROUTER);
    let sub = subscriber(
        folder.path(),
        &address,
        &["--subject", "t.*", "--count", "2"],
    );
    let input = b"1;good\n2;\n3\n4;a.b\n5;*\n6;>\n7;a b\n8;\x07\n9;\xff\n10;\"open\n11;good\n";
    let arguments = ["--delimiter", ";", "--subject", "t.{2}", "--key", "{2}"];
    let output = with_input(to_node(folder.path(), "pub", &address, &arguments), input);
    let text = errors(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for number in 2..=10 {
        assert!(
            text.contains(&format!("line {number}: ")),
            "line {number}: {text}"
        );
    }
    assert_eq!(number_after(&text, "refused(decode)"), 9, "{text}");
    assert_eq!(number_after(&text, "acknowledged"), 2, "{text}");
    assert_eq!(sub.ended().out, b"1;good\n11;good\n");
}

#[test]
fn what_cannot_be_stored_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (_node, address) = node(folder.path(), FILE_OF_A_ROUTER);
    let _sub = subscriber(folder.path(), &address, &["--subject", "a"]);
    let output = with_input(
        to_node(
            folder.path(),
            "pub",
            &address,
            &["--subject", "a", "--ack", "stored"],
        ),
        b"x\n",
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors(&output).contains("it has no [spool]"),
        "{}",
        errors(&output)
    );
}

#[test]
fn processed_waits_for_the_subscriber() {
    let folder = tempfile::tempdir().unwrap();
    let (_node, address) = node(folder.path(), FILE_OF_A_ROUTER);
    let sub = subscriber(
        folder.path(),
        &address,
        &["--subject", "a", "--count", "100"],
    );
    let lines = crate::support::numbered(0..100, 0);
    let output = with_input(
        to_node(
            folder.path(),
            "pub",
            &address,
            &["--subject", "a", "--ack", "processed"],
        ),
        &lines,
    );
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    // What is acknowledged has been printed before.
    assert_eq!(sub.ended().out, lines);
}

#[test]
fn rows_with_missing_fields_become_dead_letters_and_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("rows.csv");
    fs::write(&rows, b"a,1\nb\n,\nc,3,4\nd,x\ne,5\n\xff,6\n").unwrap();
    let file = format!(
        "[node]\nname = \"parse\"\n[[stage]]\nname = \"lines\"\nkind = \"lines\"\npath = \"{}\"\nout = \"l\"\n\
         [[stage]]\nname = \"parse\"\nkind = \"parse\"\nin = \"l\"\nformat = \"delimited\"\ncolumns = [\"name\", \"n\"]\n\
         types = {{ n = \"integer\" }}\nout = \"r\"\n\
         [[stage]]\nname = \"w\"\nkind = \"write\"\nin = \"r\"\ntemplate = \"{{name}}={{n}}\"\n",
        rows.display()
    );
    let ended = start_node(folder.path(), &file, &[]).ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let out = String::from_utf8_lossy(&ended.out).into_owned();
    assert!(out.starts_with("a=1\n") && out.contains("e=5\n"), "{out}");
    let written = out.lines().count();
    assert!(ended.errors.contains("decode"), "{}", ended.errors);
    assert!((2..=4).contains(&written), "{out}\n{}", ended.errors);
}

#[test]
fn standard_input_feeds_a_file_of_stages() {
    let folder = tempfile::tempdir().unwrap();
    let file = "[node]\nname = \"count\"\n[[stage]]\nname = \"lines\"\nkind = \"lines\"\npath = \"elsewhere\"\nout = \"l\"\n\
                [[stage]]\nname = \"parse\"\nkind = \"parse\"\nin = \"l\"\nformat = \"delimited\"\ndelimiter = \" \"\n\
                columns = [\"n\", \"x\"]\ntypes = { n = \"integer\" }\nout = \"r\"\n\
                [[stage]]\nname = \"count\"\nkind = \"aggregate\"\nin = \"r\"\nops = [\"count\", \"sum(n)\"]\nout = \"c\"\n\
                [[stage]]\nname = \"w\"\nkind = \"write\"\nin = \"c\"\n";
    let path = folder.path().join("count.toml");
    fs::write(&path, file).unwrap();
    let mut command = mcpbus(folder.path());
    command.arg("run").arg(&path).args(["--input", "-"]);
    let output = with_input(command, &crate::support::numbered(0..1_000, 5));
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert_eq!(
        output.stdout,
        b"{\"count\":1000,\"sum_n\":499500}\n",
        "{}",
        errors(&output)
    );
}
