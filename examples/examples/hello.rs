//! A first topology: numbers, routed to two processors, joined into a sum. Its result is the ledger.

use mcpbus::actors::stage::Out;
use mcpbus::actors::topology::Topology;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut topology = Topology::new("hello");
    let numbers = topology.produce_iter("numbers", 1..=10_u64);
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
    topology.consume("print", sum, |sum: &u64| println!("sum: {sum}"));
    println!("{}", topology.plan());
    let report = topology.run_blocking()?;
    println!("{}", report.ledger);
    assert_eq!(report.ledger.residual(), 0);
    Ok(())
}
