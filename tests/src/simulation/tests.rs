#![allow(clippy::unwrap_used)]

use super::run::{run, sweep};
use super::shapes::SHAPES;

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
    one_node 150
    two_nodes 150
    chain 150
    triangle 150
    ring 150
    routes 150
    requests 150
    churn 150
    crash_middle 150
    crash_any 150
    durable 150
    durable_crash 150
    durable_ring 150
    durable_disk 150
    durable_small 150
    durable_corrupt 150
    durable_lives 150
    durable_away 150
    churn_line 150
    churn_ring 150
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
