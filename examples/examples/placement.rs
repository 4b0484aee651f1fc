//! One topology function, three placements: one thread, threads, three processes. Only the placement differs; the
//! outputs and the ledger are equal.

use mcpbus::actors::stage::Out;
use mcpbus::actors::topology::{Placement as Runs, Topology};
use mcpbus::actors::{EdgeCounts, EdgeLedger, Ledger, StageLedger};
use mcpbus::client::{Client, ClientConfig};
use mcpbus::identity::{Credentials, LocalAuthority};
use mcpbus::node::{Node, NodeBuilder};
use mcpbus::placement::Placement;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const WAIT: Duration = Duration::from_secs(10);
const NODES: [&str; 3] = ["a", "b", "c"];

/// The topology. `results` gets what it comes to.
fn build(results: mpsc::Sender<u64>) -> Topology {
    let mut topology = Topology::new("sums");
    let numbers = topology.produce_iter("numbers", 1..=10_000_u64);
    let [even, odd] = topology.route("parity", numbers, |number: &u64| (number % 2) as usize);
    let double = topology.process("double", even, |number: &u64, out: &mut Out<'_, u64>| {
        out.emit(number * 2)
    });
    let triple = topology.process("triple", odd, |number: &u64, out: &mut Out<'_, u64>| {
        out.emit(number * 3)
    });
    let sum = topology.aggregate("sum", [double, triple], 0_u64, |sum, number: &u64| {
        *sum += number
    });
    topology.consume("results", sum, move |sum: &u64| {
        // The receiver outlives the topology.
        let _ = results.send(*sum);
    });
    topology
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, node, directory, links @ ..] = &arguments[..]
        && role == "part"
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        return runtime.block_on(run_part(node, Path::new(directory), links));
    }
    let (one, ledger) = run_here(Runs::OneThread)?;
    let (threads, thread_ledger) = run_here(Runs::Threads)?;
    let (processes, process_ledger) = run_as_processes()?;
    println!("one thread: {one:?}\nthreads:    {threads:?}\nprocesses:  {processes:?}\n\n{ledger}");
    assert_eq!(threads, one);
    assert_eq!(processes, one);
    assert_eq!(thread_ledger, ledger);
    assert_eq!(process_ledger, ledger.to_string());
    Ok(())
}

/// The whole topology in this process.
fn run_here(runs: Runs) -> Result<(Vec<u64>, Ledger)> {
    let (results, received) = mpsc::channel();
    let mut topology = build(results);
    topology.placement(runs);
    let report = topology.run_blocking()?;
    Ok((received.try_iter().collect(), report.ledger))
}

/// A process per node. Each prints its address, waits, runs its part, and prints what came of it.
fn run_as_processes() -> Result<(Vec<u64>, String)> {
    let directory = tempfile::tempdir()?;
    let authority = LocalAuthority::open_or_create(directory.path(), SystemTime::now())?;
    for name in NODES {
        authority
            .credentials(name, SystemTime::now())?
            .save(&directory.path().join(name))?;
    }
    let mut parts: Vec<(Child, BufReader<std::process::ChildStdout>)> = Vec::new();
    let mut links: Vec<String> = Vec::new();
    for name in NODES {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["part", name])
            .arg(directory.path())
            .args(&links)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut output = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let mut address = String::new();
        output.read_line(&mut address)?;
        links = vec![address.trim().to_owned()];
        parts.push((child, output));
    }
    let mut results = Vec::new();
    let mut ledgers = Vec::new();
    for (_, output) in &mut parts {
        for line in output.lines() {
            let line = line?;
            match line.split_once(' ') {
                Some(("result", number)) => results.push(number.parse()?),
                Some(("ledger", text)) => ledgers.push(text.to_owned()),
                _ => break,
            }
        }
    }
    for (child, _) in &mut parts {
        // A node leaves when its input ends, after all parts are done.
        drop(child.stdin.take());
        child.wait()?;
    }
    Ok((results, merge(&ledgers)?))
}

/// A part's edges and stages, as it prints them: the two counts of each that a part of the ledger holds.
fn merge(ledgers: &[String]) -> Result<String> {
    let mut whole = Ledger::default();
    for text in ledgers {
        whole.merge(&parse(text)?);
    }
    Ok(whole.to_string())
}

/// One process: a node, and the stages that lie on it.
async fn run_part(name: &str, directory: &Path, links: &[String]) -> Result<()> {
    let credentials = Credentials::load(&directory.join(name))?;
    let mut builder = NodeBuilder::named(name)
        .credentials(credentials.clone())
        .listen("127.0.0.1:0".parse()?);
    for link in links {
        builder = builder.link(link);
    }
    let node: Node = builder.start().await?;
    println!("{}", node.address().ok_or("the node does not listen")?);
    std::io::stdout().flush()?;

    let client: Client = node.client(ClientConfig::default()).await?;
    let (results, received) = mpsc::channel();
    let placement = Placement::new(build(results))
        .wire::<u64>()
        .home("a")
        .place("double", "b")
        .place("triple", "b")
        .place("sum", "c")
        .place("results", "c");
    let report = placement.start(name, &client).await?.wait().await?;
    for result in received.try_iter() {
        println!("result {result}");
    }
    println!("ledger {}", print(&report.report.ledger));
    println!("done");
    std::io::stdout().flush()?;

    tokio::task::spawn_blocking(|| std::io::stdin().lines().count()).await?;
    client.close(WAIT).await;
    node.shutdown(WAIT).await;
    Ok(())
}

fn print(ledger: &Ledger) -> String {
    let edges: Vec<_> = ledger
        .edges
        .iter()
        .map(|edge| {
            format!(
                "{}={}/{}",
                edge.edge, edge.counts.accepted, edge.counts.delivered
            )
        })
        .collect();
    let stages: Vec<_> = ledger
        .stages
        .iter()
        .map(|stage| format!("{}={}/{}", stage.stage, stage.consumed, stage.emitted))
        .collect();
    format!("{};{}", edges.join(","), stages.join(","))
}

fn parse(text: &str) -> Result<Ledger> {
    let mut ledger = Ledger::default();
    let (edges, stages) = text.split_once(';').ok_or("no stages")?;
    let counts = |part: &str| -> Result<(String, u64, u64)> {
        let (name, numbers) = part.split_once('=').ok_or("no counts")?;
        let (first, second) = numbers.split_once('/').ok_or("one count")?;
        Ok((name.to_owned(), first.parse()?, second.parse()?))
    };
    for part in edges.split(',').filter(|part| !part.is_empty()) {
        let (edge, accepted, delivered) = counts(part)?;
        let counts = EdgeCounts {
            accepted,
            delivered,
            ..EdgeCounts::default()
        };
        ledger.edges.push(EdgeLedger { edge, counts });
    }
    for part in stages.split(',').filter(|part| !part.is_empty()) {
        let (stage, consumed, emitted) = counts(part)?;
        ledger.stages.push(StageLedger {
            stage,
            consumed,
            emitted,
        });
    }
    Ok(ledger)
}
