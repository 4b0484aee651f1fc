//! Fan-out three ways: a copy for each, one way by key, one way in turn.

use mcpbus::actors::Message;
use mcpbus::actors::stage::{by_key, round_robin};
use mcpbus::actors::topology::{Port, Topology};

#[derive(Clone, Debug, Message)]
struct Payment {
    #[message(key)]
    account: u64,
    amount: u64,
}

fn payments() -> impl Iterator<Item = Payment> + Send + Clone {
    (0..12).map(|number| Payment {
        account: number % 4,
        amount: 100 + number,
    })
}

fn print_all<const N: usize>(topology: &mut Topology, ports: [Port<Payment>; N]) {
    for (index, port) in ports.into_iter().enumerate() {
        topology.consume(&format!("sink-{index}"), port, move |payment: &Payment| {
            println!(
                "  way {index}: account {} pays {}",
                payment.account, payment.amount
            );
        });
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("broadcast: each way gets a copy");
    let mut topology = Topology::new("broadcast");
    let source = topology.produce_iter("payments", payments());
    let ports: [_; 2] = topology.broadcast("copies", source);
    print_all(&mut topology, ports);
    topology.run_blocking()?;

    println!("by key: an account stays on its way");
    let mut topology = Topology::new("by-key");
    let source = topology.produce_iter("payments", payments());
    let ports: [_; 2] = topology.route("accounts", source, by_key());
    print_all(&mut topology, ports);
    topology.run_blocking()?;

    println!("round robin: each way in turn");
    let mut topology = Topology::new("in-turn");
    let source = topology.produce_iter("payments", payments());
    let ports: [_; 3] = topology.route("turns", source, round_robin());
    print_all(&mut topology, ports);
    let report = topology.run_blocking()?;
    assert_eq!(report.ledger.residual(), 0);
    Ok(())
}
