#![allow(clippy::unwrap_used)]

use super::run::{run, sweep};
use super::scenario::SHAPES;

macro_rules! scenarios {
    ($($name:ident $seeds:literal)*) => {
        $(#[test]
        fn $name() {
            sweep(stringify!($name), $seeds);
        })*

        #[test]
        fn every_scenario_is_run() {
            let run: Vec<&str> = vec![$(stringify!($name)),*];
            let known: Vec<&str> = SHAPES.iter().map(|shape| shape.name).collect();
            assert_eq!(run, known);
        }
    };
}

scenarios! {
    one_node 200
    two_nodes 200
    chain 200
    triangle 200
    ring 200
    routes 200
    requests 200
    churn 200
    crash_middle 200
    crash_any 200
}

#[test]
fn two_runs_of_a_seed_are_one() {
    for shape in SHAPES {
        for seed in 1000..1004 {
            let first = run(shape, seed).unwrap();
            assert_eq!(first, run(shape, seed).unwrap(), "{} {seed}", shape.name);
            assert!(first.messages > 0 && first.steps > 100);
        }
    }
}

#[test]
#[ignore = "for debugging"]
fn look() {
    let name = std::env::var("NAME").unwrap();
    let seed = std::env::var("MCPBUS_SEED").unwrap().parse().unwrap();
    let shape = SHAPES.iter().find(|shape| shape.name == name).unwrap();
    let (scenario, result) = super::run::look(shape, seed);
    for (index, client) in scenario.world.clients.iter().enumerate() {
        println!(
            "client {index} at {}, resets {} lost {}",
            scenario.homes[index], client.resets, client.lost
        );
        for (number, sub) in client.subscriptions.iter().enumerate() {
            println!(
                "  sub {number} {:?} ready {:?} ended {:?}",
                sub.wanted, sub.ready, sub.ended
            );
            for d in &sub.deliveries {
                println!(
                    "    {:?} at {} settled {:?}",
                    d.message,
                    d.at.as_nanos(),
                    d.settled.map(|t| t.as_nanos())
                );
            }
        }
        for (number, s) in client.sent.iter().enumerate() {
            let p = &s.publication;
            println!(
                "  sent {number} {} {:?} {:?} {} at {} pushed {:?} ttl {:?} result {:?} answers {:?}",
                p.subject,
                p.key,
                p.level,
                p.size,
                s.at.as_nanos(),
                s.pushed.map(|t| t.as_nanos()),
                p.time_to_live,
                s.result.map(|(t, r)| (t.as_nanos(), r)),
                s.answers
            );
        }
    }
    for place in &scenario.world.nodes {
        println!(
            "{:?} {:?}",
            place.former,
            place.core.as_ref().map(|c| c.report(scenario.world.now))
        );
    }
    println!("{:?}", result.err());
}
