//! Fan-in: several producers into one aggregator; each edge keeps its own account and its own bound.

use mcpbus::actors::channel::Capacity;
use mcpbus::actors::topology::Topology;
use std::collections::BTreeMap;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut topology = Topology::new("fan-in");
    let sensors = (0..3_u64).map(|sensor| {
        let readings = (0..1_000_u64).map(move |number| (sensor, number % 7));
        topology
            .produce_iter(&format!("sensor-{sensor}"), readings)
            .capacity(Capacity::messages(64))
    });
    let sensors: Vec<_> = sensors.collect();
    let merged = topology.merge(sensors);
    let totals = topology.aggregate("totals", merged, String::new(), {
        let mut totals: BTreeMap<u64, u64> = BTreeMap::new();
        move |text: &mut String, (sensor, value): &(u64, u64)| {
            *totals.entry(*sensor).or_default() += value;
            *text = format!("{totals:?}");
        }
    });
    topology.consume("print", totals, |text: &String| println!("{text}"));
    let report = topology.run_blocking()?;
    println!("{}", report.ledger);
    assert_eq!(report.ledger.residual(), 0);
    Ok(())
}
