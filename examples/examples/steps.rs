//! Steps composed into one stage when compiled: no edge between them, and a rejected line is still one dead letter.

use mcpbus::actors::stage::steps::{filter, fold, map, split, try_map};
use mcpbus::actors::topology::Topology;
use mcpbus::actors::{Reason, Rejection};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let lines = ["12", "-3", "seven", "40", "0", "5"].map(String::from);
    let number = |line: &String| {
        let parsed = line.parse::<i64>();
        parsed.map_err(|error| Rejection::new(Reason::Rejected, format!("{line}: {error}")))
    };
    let big = map(|n: i64| n * 100);
    let small = map(|n: i64| n);
    let work = try_map(number)
        .then(filter(|n: &i64| *n != 0))
        .then(split(|n: &i64| *n < 10, (big, small)))
        .then(fold(0, |sum: &mut i64, n: i64| *sum += n));

    let mut topology = Topology::new("steps");
    let lines = topology.produce_iter("lines", lines);
    let sum = topology.process("work", lines, work);
    topology.consume("print", sum, |sum: &i64| println!("sum: {sum}"));
    let report = topology.run_blocking()?;
    println!("{}", report.ledger);
    assert_eq!(
        (report.ledger.total().dead.total(), report.ledger.residual()),
        (1, 0)
    );
    Ok(())
}
