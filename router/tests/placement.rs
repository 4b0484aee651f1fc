//! One topology function on one thread, on threads and over three nodes: equal outputs, equal ledger.
#![cfg(feature = "quic")]
#![allow(clippy::unwrap_used)]

use mcpbus::actors::Ledger;
use mcpbus::actors::stage::Out;
use mcpbus::actors::topology::{Placement as Runs, Topology};
use mcpbus::client::{Client, ClientConfig};
use mcpbus::identity::LocalAuthority;
use mcpbus::node::NodeBuilder;
use mcpbus::placement::Placement;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

type Results = Arc<Mutex<Vec<u64>>>;

/// Numbers, routed to two processors, joined into a sum.
fn build(results: Results) -> Topology {
    let mut topology = Topology::new("sums");
    let numbers = topology.produce_iter("numbers", 1..=5_000_u64);
    let [even, odd] = topology.route("parity", numbers, |number: &u64| (*number % 2) as usize);
    let double = topology.process("double", even, |number: &u64, out: &mut Out<'_, u64>| {
        out.emit(number * 2)
    });
    let triple = topology.process("triple", odd, |number: &u64, out: &mut Out<'_, u64>| {
        out.emit(number * 3)
    });
    let sum = topology.aggregate(
        "sum",
        [double, triple],
        0_u64,
        |sum: &mut u64, number: &u64| *sum += number,
    );
    topology.consume("results", sum, move |sum: &u64| {
        results.lock().unwrap().push(*sum)
    });
    topology
}

fn run_here(placement: Runs) -> (Vec<u64>, Ledger) {
    let results = Results::default();
    let mut topology = build(results.clone());
    topology.placement(placement);
    let report = topology.run_blocking().unwrap();
    (results.lock().unwrap().clone(), report.ledger)
}

async fn run_on_nodes() -> (Vec<u64>, Ledger) {
    let directory = tempfile::tempdir().unwrap();
    let authority = LocalAuthority::open_or_create(directory.path(), SystemTime::now()).unwrap();
    let credentials = |name: &str| authority.credentials(name, SystemTime::now()).unwrap();
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        let mut builder = NodeBuilder::named(name)
            .credentials(credentials(name))
            .listen("127.0.0.1:0".parse().unwrap());
        if let Some(before) = nodes.last() {
            let before: &mcpbus::node::Node = before;
            builder = builder.link(before.address().unwrap().to_string());
        }
        nodes.push(builder.start().await.unwrap());
    }
    let results = Results::default();
    let mut parts = Vec::new();
    for node in &nodes {
        let address = node.address().unwrap().to_string();
        let client = Client::connect(&address, &credentials("stages"), ClientConfig::default())
            .await
            .unwrap();
        let placement = Placement::new(build(results.clone()))
            .wire::<u64>()
            .home("a")
            .place("double", "b")
            .place("triple", "b")
            .place("sum", "c")
            .place("results", "c");
        parts.push(placement.start(node.name(), &client).await.unwrap());
    }
    let mut ledger = Ledger::default();
    for part in &mut parts {
        let report = tokio::time::timeout(Duration::from_secs(60), part.wait())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (report.bridged.undeliverable, report.bridged.failed),
            (0, 0)
        );
        ledger.merge(&report.report.ledger);
    }
    for node in nodes {
        assert_eq!(
            node.shutdown(Duration::from_secs(5))
                .await
                .unwrap()
                .residual(),
            0
        );
    }
    let results = results.lock().unwrap().clone();
    (results, ledger)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_placement_differs() {
    let (one, ledger) = tokio::task::spawn_blocking(|| run_here(Runs::OneThread))
        .await
        .unwrap();
    let (threads, thread_ledger) = tokio::task::spawn_blocking(|| run_here(Runs::Threads))
        .await
        .unwrap();
    let (nodes, node_ledger) = run_on_nodes().await;
    let expected: u64 = (1..=5_000_u64)
        .map(|number| {
            if number % 2 == 0 {
                number * 2
            } else {
                number * 3
            }
        })
        .sum();
    assert_eq!(one, [expected]);
    assert_eq!(threads, one);
    assert_eq!(nodes, one);
    assert_eq!(ledger.residual(), 0);
    assert_eq!(thread_ledger, ledger);
    assert_eq!(node_ledger, ledger);
}
