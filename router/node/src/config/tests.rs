#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::stage::Overflow;
use proptest::prelude::*;

fn read(text: &str) -> Result<(NodeFile, Vec<Warning>), ConfigError> {
    parse("edge.toml", text, [], &[])
}

fn refused(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

const ISSUE: &str = r#"
[node]
name = "edge"
[listen]
quic = "127.0.0.1:7400"
[[link]]                       # to another node, both directions, reconnects for ever with back-off
to = "127.0.0.1:7500"
[[route]]                      # without a route, a subject goes to its subscribers
subject = "bank.tx.*"
policy = "weighted"            # round-robin | weighted | hash | broadcast
to = [{ group = "risk-v1", weight = 80 }, { group = "risk-v2", weight = 20 }]
"#;

#[test]
fn the_smallest_form_is_read() {
    let (file, warnings) = read(ISSUE).unwrap();
    assert_eq!(file.name, "edge");
    assert_eq!(file.listen.unwrap().port(), 7400);
    assert_eq!(file.links[0].value, "127.0.0.1:7500");
    let route = &file.routes[0];
    assert_eq!(
        (route.policy, route.sticky, route.exclusive),
        (Policy::Weighted, false, false)
    );
    assert_eq!(
        route.to.iter().map(|to| to.weight).collect::<Vec<_>>(),
        [80, 20]
    );
    assert_eq!(file.limits, Limits::default());
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].to_string().contains("unordered"),
        "{}",
        warnings[0]
    );
}

#[test]
fn an_unknown_key_has_its_place_and_what_was_meant() {
    let text = ISSUE.replace("policy =", "polcy =");
    let message = refused(&text);
    assert!(
        message.contains("edge.toml:10:1: unknown key `route.0.polcy`"),
        "{message}"
    );
    assert!(message.contains("did you mean `policy`?"), "{message}");
    assert!(message.contains(" 10 | polcy = \"weighted\""), "{message}");
    assert!(message.contains("^^^^^ did you mean"), "{message}");
}

#[test]
fn three_mistakes_are_three_messages() {
    let text = "[nod]\nname = \"x\"\n[listen]\nquic = \"127.0.0.1\"\n[[link]]\nto = 5\n";
    let error = read(text).unwrap_err();
    let places: Vec<_> = error
        .mistakes()
        .iter()
        .map(|mistake| mistake.place.clone())
        .collect();
    assert_eq!(places.len(), 3, "{error}");
    let message = error.to_string();
    for words in [
        "edge.toml:1:2: unknown key `nod`",
        "did you mean `node`?",
        "edge.toml:4:8:",
        "edge.toml:6:6: `link.0.to` must be a string, not an integer",
    ] {
        assert!(message.contains(words), "{words:?} in {message}");
    }
}

#[test]
fn what_is_not_toml_has_a_place() {
    assert!(
        refused("[node\nname = 1").starts_with("edge.toml:1:6: is not valid TOML"),
        "{}",
        refused("[node\nname = 1")
    );
    assert!(
        refused("a = \"x").contains("edge.toml:1:"),
        "{}",
        refused("a = \"x")
    );
}

#[test]
fn words_and_bounds() {
    for (text, words) in [
        (
            "[[route]]\nsubject = \"a\"\npolicy = \"wieghted\"\nto = [{group=\"g\"}]",
            "did you mean `weighted`?",
        ),
        (
            "[[route]]\nsubject = \"a\"\nto = [{group=\"g\"}]",
            "`route.0.policy` is missing",
        ),
        (
            "[[route]]\nsubject = \"a\"\npolicy = \"hash\"",
            "names no group",
        ),
        (
            "[[route]]\nsubject = \"a\"\npolicy = \"hash\"\nto = [{group=\"g\", weight = 0}]",
            "all weights are 0",
        ),
        (
            "[[route]]\nsubject = \"a\"\npolicy = \"hash\"\nto = [{group=\"g\"}, {group=\"g\"}]",
            "named twice",
        ),
        (
            "[[route]]\nsubject = \"a\"\npolicy = \"broadcast\"\nto = [{group=\"g\", weight = 2}]",
            "no meaning",
        ),
        (
            "[[route]]\nsubject = \"a\"\npolicy = \"round-robin\"\nsticky = true\nto = [{group=\"g\"}]",
            "belongs to the policies",
        ),
        (
            "[[route]]\nsubject = \"a..b\"\npolicy = \"hash\"\nto = [{group=\"g\"}]",
            "empty token at byte 2",
        ),
        (
            "[[route]]\nsubject = \"a.>.b\"\npolicy = \"hash\"\nto = [{group=\"g\"}]",
            "is not the last token",
        ),
        (
            "[limits]\ncredit = \"1 apple\"",
            "`apple` is not a unit of size",
        ),
        ("[limits]\nsessions = 0", "must lie between 1 and 100000"),
        ("[limits]\ndrain = \"5\"", "no unit"),
        (
            "[limits]\nmessage = \"2MiB\"\ncredit = \"1MiB\"",
            "no message could be admitted",
        ),
        ("[node]\nname = \"a b\"", "holds ` `"),
        ("[[link]]\nto = \"host\"", "is not HOST:PORT"),
        ("[[link]]\nto = \"host:0\"", "is not HOST:PORT"),
        ("[[link]]\nto = \"h:1\"\n[[link]]\nto = \"h:1\"", "already"),
        (
            "[listen]\nquic = \"127.0.0.1:1\"\n[[link]]\nto = \"127.0.0.1:1\"",
            "own address",
        ),
        ("[tls]\ntrust = \"x\"", "`tls.identity` is missing"),
    ] {
        let message = refused(text);
        assert!(message.contains(words), "{words:?} in {message}");
    }
}

#[test]
fn equal_routes_are_an_error() {
    let route = "[[route]]\nsubject = \"bank.*\"\npolicy = \"hash\"\nto = [{group=\"g\"}]\n";
    let message = refused(&route.repeat(2));
    assert!(
        message.contains("edge.toml:6:11: there is a route for `bank.*` already in line 2"),
        "{message}"
    );
}

const PIPE: &str = r#"
[[stage]]
name = "lines"
kind = "lines"
path = "trans.asc"
header = true
out = "rows"

[[stage]]
name = "parse"
kind = "parse"
format = "delimited"
delimiter = ";"
columns = ["trans_id", "account_id", "amount"]
types = { amount = "decimal" }
in = "rows"
publish = "bank.tx.{account_id}"
key = "{account_id}"
"#;

#[test]
fn stages_are_read() {
    let (file, warnings) = read(PIPE).unwrap();
    assert!(warnings.is_empty());
    let [lines, parse] = file.stages.as_slice() else {
        panic!("two stages")
    };
    assert_eq!(lines.kind.word(), "lines");
    assert_eq!(lines.edge.messages, 1024);
    assert_eq!(lines.edge.overflow, Overflow::Wait);
    let Some(Output::Publish {
        subject, key, ack, ..
    }) = &parse.output
    else {
        panic!("it publishes")
    };
    assert_eq!(
        (subject.value.text(), *ack),
        ("bank.tx.{account_id}", Ack::Accepted)
    );
    assert_eq!(key.as_ref().unwrap().value.text(), "{account_id}");
    let edges = verify::edges(&file.stages);
    assert_eq!((edges.len(), edges[0].from, edges[0].to), (1, 0, 1));
}

#[test]
fn mistakes_in_stages() {
    for (from, to, words) in [
        (
            "in = \"rows\"",
            "in = \"row\"",
            "no stage has `out = \"row\"`",
        ),
        ("in = \"rows\"", "in = \"row\"", "did you mean `rows`?"),
        (
            "in = \"rows\"",
            "in = \"row\"",
            "no stage has `in = \"rows\"`",
        ),
        (
            "kind = \"parse\"",
            "kind = \"prase\"",
            "did you mean `parse`?",
        ),
        ("columns =", "colums =", "did you mean `columns`?"),
        ("columns =", "colums =", "`stage.1.columns` is missing"),
        (
            "amount = \"decimal\"",
            "amount = \"decimel\"",
            "did you mean `decimal`?",
        ),
        (
            "amount = \"decimal\"",
            "amout = \"decimal\"",
            "did you mean `amount`?",
        ),
        (
            "delimiter = \";\"",
            "delimiter = \";;\"",
            "one ASCII character",
        ),
        (
            "publish = \"bank.tx.{account_id}\"",
            "publish = \"bank.*.{account_id}\"",
            "is not a subject",
        ),
        (
            "publish = \"bank.tx.{account_id}\"",
            "publish = \"bank.tx.{account_id\"",
            "never closed",
        ),
        (
            "publish = \"bank.tx.{account_id}\"",
            "out = \"x\"",
            "`key` belongs to `publish`",
        ),
        (
            "in = \"rows\"",
            "in = \"rows\"\nsubscribe = \"a\"",
            "not both",
        ),
        (
            "in = \"rows\"",
            "in = \"rows\"\ngroup = \"a\"",
            "`group` belongs to `subscribe`",
        ),
        (
            "in = \"rows\"",
            "in = \"rows\"\nack = \"acepted\"",
            "did you mean `accepted`?",
        ),
        (
            "out = \"rows\"",
            "out = \"rows\"\nin = \"rows\"",
            "has no input",
        ),
        ("out = \"rows\"", "", "the stage has no output"),
        (
            "name = \"parse\"",
            "name = \"lines\"",
            "there is a stage `lines` already",
        ),
        ("path = \"trans.asc\"", "", "`stage.0.path` is missing"),
        (
            "path = \"trans.asc\"",
            "path = \"\"",
            "`stage.0.path` is empty",
        ),
        ("header = true", "header = 1", "must be true or false"),
        ("header = true", "follow = 1979-05-27", "not a date or time"),
    ] {
        let text = PIPE.replacen(from, to, 1);
        assert_ne!(text, PIPE, "{from}");
        let message = refused(&text);
        assert!(message.contains(words), "{words:?} in {message}");
    }
}

#[test]
fn kinds_and_their_keys() {
    let stage = |body: &str| {
        format!(
            "[[stage]]\nname = \"s\"\nsubscribe = \"a\"\nout = \"e\"\n{body}\n[[stage]]\nname = \"t\"\nkind = \"discard\"\nin = \"e\"\n"
        )
    };
    for good in [
        "kind = \"filter\"\nall = [\"a > 1\"]",
        "kind = \"project\"\nset = { class = \"{status:1}xx\" }\nrename = { a = \"b\" }\nkeep = [\"b\"]",
        "kind = \"project\"\nchoose = [{ field = \"r\", when = [\"a > 1\"], then = \"x\", otherwise = \"y\" }]",
        "kind = \"exec\"\ncommand = [\"cat\"]\nwindow = 8\ntimeout = \"500ms\"\nmax_deliver = 2",
        "kind = \"aggregate\"\nby = [\"a\"]\nops = [\"count\", \"sum(x) as total\", \"top(p, 3)\"]",
        "kind = \"aggregate\"\nops = \"count\"\nwindow = { every = \"1m\", time = \"t\", format = \"%d/%b/%Y:%H:%M:%S %z\", lateness = \"1m\" }",
        "kind = \"aggregate\"\nops = \"count\"\nwindow = { count = 100 }",
        "kind = \"parse\"\nformat = \"regex\"\npattern = '(?P<a>\\d+)'\ntypes = { a = \"integer\" }",
        "kind = \"parse\"\nformat = \"json\"",
    ] {
        read(&stage(good)).unwrap_or_else(|error| panic!("{good}: {error}"));
    }
    for (bad, words) in [
        ("kind = \"filter\"", "give `all` or `any`"),
        (
            "kind = \"filter\"\nall = [\"a => 1\"]",
            "`=>` is not an operator",
        ),
        ("kind = \"project\"", "changes something"),
        (
            "kind = \"project\"\nkeep = [\"a\"]\ndrop = [\"b\"]",
            "not both",
        ),
        (
            "kind = \"project\"\nchoose = [{ field = \"r\", when = [\"a > 1\"], them = \"x\" }]",
            "did you mean `then`?",
        ),
        ("kind = \"exec\"", "`stage.0.command` is missing"),
        ("kind = \"exec\"\ncommand = [\"\"]", "names no program"),
        (
            "kind = \"exec\"\ncommand = [\"x\"]\nwindow = 0",
            "between 1 and 1024",
        ),
        (
            "kind = \"aggregate\"\nops = [\"cuont\"]",
            "did you mean `count`?",
        ),
        (
            "kind = \"aggregate\"\nops = [\"count\", \"count\"]",
            "two operations give the field `count`",
        ),
        ("kind = \"aggregate\"", "`stage.0.ops` is missing"),
        ("kind = \"aggregate\"\nops = []", "names no operation"),
        (
            "kind = \"aggregate\"\nops = \"count\"\nwindow = { count = 1, every = \"1s\" }",
            "has either",
        ),
        (
            "kind = \"aggregate\"\nops = \"count\"\nwindow = { every = \"1s\", lateness = \"1s\" }",
            "belongs to `time`",
        ),
        (
            "kind = \"aggregate\"\nops = \"count\"\nwindow = { every = \"1s\", time = \"t\", format = \"%Q\" }",
            "`%Q` is not understood",
        ),
        (
            "kind = \"parse\"\nformat = \"regex\"\npattern = '('",
            "is not a regular expression",
        ),
        (
            "kind = \"parse\"\nformat = \"regex\"\npattern = 'a'",
            "no named group",
        ),
        ("kind = \"parse\"", "`stage.0.format` is missing"),
        ("kind = \"write\"", "it has no output"),
    ] {
        let message = refused(&stage(bad));
        assert!(message.contains(words), "{words:?} in {message}");
    }
}

#[test]
fn cycles_are_named() {
    let stage = |name: &str, input: &str, out: &str| {
        format!(
            "[[stage]]\nname = \"{name}\"\nkind = \"filter\"\nall = [\"a exists\"]\nin = [{input}]\nout = \"{out}\"\n"
        )
    };
    let text = stage("a", "\"z\", \"source\"", "x")
        + &stage("b", "\"x\"", "y")
        + &stage("c", "\"y\"", "z")
        + "[[stage]]\nname = \"source\"\nkind = \"generator\"\nout = \"source\"\n";
    let message = refused(&text);
    assert!(
        message.contains("a -> b -> c -> a")
            || message.contains("b -> c -> a -> b")
            || message.contains("c -> a -> b -> c"),
        "{message}"
    );
}

#[test]
fn flags_win_over_the_environment_and_both_over_the_file() {
    let environment = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let variables = [
        environment("MCPBUS_NODE__NAME", "from-environment"),
        environment("MCPBUS_STATE", "/not/a/key"),
        environment("MCPBUS_STAGE__LINES__PATH", "environment.csv"),
        environment("MCPBUS_LIMITS__SESSIONS", "7"),
        environment("OTHER__THING", "x"),
    ];
    let text = PIPE.to_owned() + "[node]\nname = \"from-file\"\n";
    let (file, _) = parse("f", &text, variables.clone(), &[]).unwrap();
    assert_eq!(
        (file.name.as_str(), file.limits.sessions),
        ("from-environment", 7)
    );
    let flags = [
        "node.name=from-flag",
        "stage.lines.path=flag.csv",
        "stage.0.header=false",
        "limits.edge_bytes=1MiB",
    ];
    let (file, _) = parse("f", &text, variables, &flags.map(str::to_owned)).unwrap();
    assert_eq!(file.name, "from-flag");
    let StageKind::Lines(spec) = &file.stages[0].kind else {
        panic!("lines")
    };
    assert_eq!(
        (spec.path.to_str().unwrap(), spec.header),
        ("flag.csv", false)
    );
    assert_eq!(file.stages[0].edge.bytes, 1 << 20);
}

#[test]
fn mistakes_in_flags_and_variables_name_them() {
    let set = |flag: &str| {
        parse("f", PIPE, [], &[flag.to_owned()])
            .unwrap_err()
            .to_string()
    };
    assert!(
        set("node.nmae=x")
            .contains("--set node.nmae=x: unknown key `node.nmae` (did you mean `name`?)"),
        "{}",
        set("node.nmae=x")
    );
    assert!(
        set("stage.line.path=x")
            .contains("there is no `line` in [[stage]] (did you mean `lines`?)")
    );
    assert!(set("stage.lines=x").contains("names a whole entry"));
    assert!(set("node").contains("has no `=`"));
    assert!(set("node..name=x").contains("empty key"));
    assert!(set("stage.lines.header=maybe").contains("must be true or false, not `maybe`"));
    assert!(set("stage.lines.path.x=1").contains("has no keys inside"));
    let variable = ("MCPBUS_LIMITS__SESIONS".to_owned(), "5".to_owned());
    let message = parse("f", PIPE, [variable], &[]).unwrap_err().to_string();
    assert!(
        message.starts_with("environment variable MCPBUS_LIMITS__SESIONS: unknown key"),
        "{message}"
    );
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(\\[\\[?[a-z]{0,5}\\]?\\]?\n|[a-z]{1,6} = [\"0-9a-z\\[\\]{}=, .]{0,10}\n){0,8}") {
        let _either_is_fine = read(&text).map_err(|error| error.to_string());
    }

    #[test]
    fn a_changed_byte_never_panics(at in 0usize..500, byte in any::<char>()) {
        let text: String = PIPE.chars().enumerate().map(|(i, c)| if i == at { byte } else { c }).collect();
        let _either_is_fine = read(&text).map_err(|error| error.to_string());
    }
}

#[test]
fn the_normalised_file_is_read_back_to_itself() {
    let stages = r#"
[tls]
identity = "ids/edge"
trust = "ids/ca.pem"
[[stage]]
name = "exec"
kind = "exec"
subscribe = "a.>"
group = "g"
command = ["sh", "-c", "cat \"x\""]
out = "a"
[[stage]]
name = "project"
kind = "project"
in = "a"
set = { class = "{status:1}xx", "odd key" = "x" }
choose = [{ field = "r", when = ["a matches ^\\d+$"], then = "x" }]
out = "b"
overflow = "drop-oldest"
[[stage]]
name = "aggregate"
kind = "aggregate"
in = ["b"]
by = ["class"]
ops = ["count", "top(path, 3) as paths"]
window = { every = "1m", time = "t", format = "%d/%b/%Y", lateness = "10s" }
out = "c"
[[stage]]
name = "parse"
kind = "parse"
subscribe = "b"
format = "regex"
pattern = '(?P<a>"\S+)'
types = { a = "integer" }
out = "c"
[[stage]]
name = "write"
kind = "write"
in = "c"
template = "{class}"
"#;
    for text in [ISSUE.to_owned(), PIPE.to_owned(), stages.to_owned() + ISSUE] {
        let (file, _) = read(&text).unwrap();
        let first = normalise::to_toml(&file);
        let (again, _) = read(&first).unwrap_or_else(|error| panic!("{error}\n{first}"));
        assert_eq!(normalise::to_toml(&again), first);
        assert_eq!(normalise::to_json(&again), normalise::to_json(&file));
    }
}
