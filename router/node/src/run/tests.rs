#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use mcpbus_actors::topology::Topology;

use super::assemble::assemble;
use super::events::Events;
use crate::config::parse;

/// Runs the stages of a file that needs no bus, and returns the ledger's text.
fn run(text: &str, events: &Events) -> mcpbus_actors::Ledger {
    let (file, _) = parse("test.toml", text, [], &[]).unwrap_or_else(|error| panic!("{error}"));
    let assembly = assemble(&file, events).unwrap_or_else(|error| panic!("{error}"));
    assert!(assembly.inputs.is_empty() && assembly.outputs.is_empty());
    let topology: Topology = assembly.topology;
    topology
        .run_blocking()
        .unwrap_or_else(|error| panic!("{error}"))
        .ledger
}

fn path_of(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

#[test]
fn lines_are_parsed_split_aggregated_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let (input, good, sums) = (
        path_of(folder.path(), "in"),
        path_of(folder.path(), "good"),
        path_of(folder.path(), "sums"),
    );
    fs::write(
        &input,
        "account,amount\n1,0.10\n2,5\nbad\n1,0.20\n2,x\n3,7\n",
    )
    .unwrap();
    let text = format!(
        r#"
[[stage]]
name = "lines"
kind = "lines"
path = "{input}"
header = true
out = "rows"
[[stage]]
name = "parse"
kind = "parse"
in = "rows"
format = "delimited"
columns = ["account", "amount"]
types = {{ amount = "decimal" }}
out = "parsed"
[[stage]]
name = "small"
kind = "filter"
in = "parsed"
all = ["amount < 7"]
out = "small"
[[stage]]
name = "good"
kind = "write"
in = "parsed"
path = "{good}"
template = "{{account}}:{{amount}}"
[[stage]]
name = "sum"
kind = "aggregate"
in = "small"
by = ["account"]
ops = ["sum(amount) as sum"]
out = "sums"
[[stage]]
name = "sums"
kind = "write"
in = "sums"
path = "{sums}"
"#
    );
    let ledger = run(&text, &Events::default());
    assert_eq!(ledger.residual(), 0);
    assert_eq!(ledger.total().dead.total(), 2);
    assert_eq!(
        fs::read_to_string(&good).unwrap(),
        "1:0.10\n2:5\n1:0.20\n3:7\n"
    );
    let wanted = "{\"account\":\"1\",\"sum\":0.30}\n{\"account\":\"2\",\"sum\":5}\n";
    assert_eq!(fs::read_to_string(&sums).unwrap(), wanted);
}

#[test]
fn a_child_answers_in_order_at_any_window() {
    for window in [1, 7] {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (path_of(folder.path(), "in"), path_of(folder.path(), "out"));
        let lines: String = (0..500).map(|n| format!("{n}\n")).collect();
        fs::write(&input, lines).unwrap();
        let script = r#"while IFS= read -r n; do [ "$n" = 250 ] && exit 3; [ $((n % 2)) = 0 ] && echo "$n" || echo; done"#;
        let text = format!(
            r#"
[[stage]]
name = "lines"
kind = "lines"
path = "{input}"
out = "lines"
[[stage]]
name = "even"
kind = "exec"
in = "lines"
command = ["sh", "-c", '''{script}''']
window = {window}
max_deliver = 2
out = "even"
[[stage]]
name = "write"
kind = "write"
in = "even"
path = "{output}"
"#
        );
        let ledger = run(&text, &Events::default());
        assert_eq!((ledger.residual(), ledger.total().held), (0, 0));
        assert_eq!(
            ledger.total().dead.total(),
            1,
            "only the line that kills its child"
        );
        let wanted: String = (0..500)
            .step_by(2)
            .filter(|n| *n != 250)
            .map(|n| format!("{n}\n"))
            .collect();
        assert_eq!(fs::read_to_string(&output).unwrap(), wanted);
    }
}

#[test]
fn a_full_disk_is_a_failure_and_every_message_is_accounted_for() {
    if !Path::new("/dev/full").exists() {
        println!("skipped: there is no /dev/full");
        return;
    }
    let text = r#"
[[stage]]
name = "generator"
kind = "generator"
count = 5000
out = "payments"
[[stage]]
name = "write"
kind = "write"
in = "payments"
path = "/dev/full"
append = true
"#;
    let events = Events::default();
    let ledger = run(text, &events);
    assert_eq!(ledger.residual(), 0);
    assert_eq!(ledger.total().dead.total(), 5000);
    assert!(matches!(events.first(), Some(super::Event::Failed { stage, .. }) if stage == "write"));
}

#[test]
fn what_cannot_work_shows_before_anything_moves() {
    for (stage, words) in [
        (
            "kind = \"lines\"\npath = \"/nonexistent/file\"",
            "cannot open /nonexistent/file",
        ),
        (
            "kind = \"exec\"\ncommand = [\"/nonexistent/program\"]\nsubscribe = \"a\"",
            "cannot start `/nonexistent/program`",
        ),
    ] {
        let text = format!(
            "[[stage]]\nname = \"s\"\n{stage}\nout = \"e\"\n[[stage]]\nname = \"d\"\nkind = \"discard\"\nin = \"e\"\n"
        );
        let (file, _) = parse("test.toml", &text, [], &[]).unwrap();
        let Err(error) = assemble(&file, &Events::default()) else {
            panic!("{stage} cannot work")
        };
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_generator_keeps_its_rate() {
    use super::adapters::Generate;
    use crate::payments::GeneratorSpec;
    use mcpbus_actors::Time;
    use mcpbus_actors::stage::{Context, Out, Outlet, Producer, Progress};
    use std::time::Duration;

    let mut generate = Generate::new(&GeneratorSpec {
        count: 100,
        rate: 10,
        ..GeneratorSpec::default()
    });
    let mut outlet = Outlet::detached();
    let mut made_by = |now: Time| {
        let mut made = 0;
        loop {
            let mut settled = Vec::new();
            let progress = generate.produce(
                &mut Out::new(&mut outlet, None),
                &mut Context::new(now, &mut settled),
            );
            made += outlet.take_pending().len();
            match progress {
                Progress::More => {}
                Progress::Until(next) => {
                    assert!(next > now);
                    return made;
                }
                Progress::Finished => return made,
            }
        }
    };
    let start = Time::ZERO + Duration::from_secs(5);
    assert_eq!(made_by(start), 1);
    assert_eq!(made_by(start + Duration::from_millis(50)), 0);
    assert_eq!(made_by(start + Duration::from_millis(100)), 1);
    assert_eq!(made_by(start + Duration::from_secs(1)), 9);
    assert_eq!(made_by(start + Duration::from_secs(100)), 89);
}
