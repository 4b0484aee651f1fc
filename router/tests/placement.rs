//! One topology function on one thread, on threads and over three nodes: equal outputs, equal ledger.
#![cfg(feature = "quic")]
#![allow(clippy::unwrap_used)]

use mcpbus::actors::Ledger;
use mcpbus::actors::stage::Out;
use mcpbus::actors::topology::{Placement as Runs, Topology};
use mcpbus::client::{Client, ClientConfig};
use mcpbus::identity::LocalAuthority;
use mcpbus::node::NodeBuilder;
use mcpbus::placement::{EdgeState, Placement};
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

mod sender {
    use mcpbus::actors::Message;
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Serialize, Deserialize, Message)]
    #[message(name = "payment", crate = mcpbus::actors)]
    pub(crate) struct Payment {
        pub(crate) account: u32,
        pub(crate) amount: u64,
    }
}

mod receiver {
    use mcpbus::actors::Message;
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Serialize, Deserialize, Message)]
    #[message(name = "payment", crate = mcpbus::actors)]
    pub(crate) struct Payment {
        pub(crate) account: u32,
        pub(crate) amount: u32,
    }
}

/// Payments from one node to another, as a program knows them that was built with one of the types.
macro_rules! payments {
    ($payment:ty, $make:expr, $taken:expr) => {{
        let taken: Results = $taken;
        let mut topology = Topology::new("payments");
        let payments = topology.produce_iter("source", (1..=3_u32).map($make));
        topology.consume("sink", payments, move |payment: &$payment| {
            taken.lock().unwrap().push(u64::from(payment.amount));
        });
        Placement::new(topology)
            .wire::<$payment>()
            .place("source", "a")
            .place("sink", "b")
    }};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_between_two_types_never_comes_up_and_says_what_differs() {
    let directory = tempfile::tempdir().unwrap();
    let authority = LocalAuthority::open_or_create(directory.path(), SystemTime::now()).unwrap();
    let credentials = |name: &str| authority.credentials(name, SystemTime::now()).unwrap();
    let node = NodeBuilder::named("node")
        .credentials(credentials("node"))
        .listen("127.0.0.1:0".parse().unwrap());
    let node = node.start().await.unwrap();
    let address = node.address().unwrap().to_string();
    let connect = async |name: &str| {
        let credentials = credentials(name);
        let client = Client::connect(&address, &credentials, ClientConfig::default());
        client.await.unwrap()
    };
    let taken = Results::default();
    let payment = |account| sender::Payment { account, amount: 7 };
    let other = |account| receiver::Payment { account, amount: 7 };
    let sending = payments!(sender::Payment, payment, Results::default());
    let receiving = payments!(receiver::Payment, other, taken.clone());
    let (at_a, at_b) = (connect("a").await, connect("b").await);
    let mut receiving = receiving.start("b", &at_b).await.unwrap();
    let mut sending = sending.start("a", &at_a).await.unwrap();
    let text = "type `payment`: field `amount` is `u64` at the sender and `u32` at the receiver";
    for part in [&sending, &receiving] {
        let refused = tokio::time::timeout(Duration::from_secs(30), part.ready());
        let refused = refused.await.unwrap().unwrap_err().to_string();
        assert!(refused.contains(text), "{refused}");
    }
    let report = tokio::time::timeout(Duration::from_secs(30), sending.wait());
    let report = report.await.unwrap().unwrap();
    assert_eq!(report.bridged.carried, 0, "nothing went into such an edge");
    assert_eq!(report.report.ledger.residual(), 0);

    // The receiver is there still, for a sender of its own type.
    let (known, reported) = receiving.edges().into_iter().next().unwrap();
    assert!(
        matches!(reported, EdgeState::Refused(_)),
        "{known}: {reported:?}"
    );
    let sending = payments!(receiver::Payment, other, Results::default());
    let mut sending = sending.start("a", &at_a).await.unwrap();
    for part in [&mut sending, &mut receiving] {
        let report = tokio::time::timeout(Duration::from_secs(30), part.wait());
        let report = report.await.unwrap().unwrap();
        assert_eq!(
            report.edges.into_values().collect::<Vec<_>>(),
            [EdgeState::Up]
        );
    }
    assert_eq!(*taken.lock().unwrap(), [7, 7, 7]);
    node.shutdown(Duration::from_secs(5)).await.unwrap();
}
