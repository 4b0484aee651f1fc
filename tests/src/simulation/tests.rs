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
    one_node 500
    two_nodes 500
    chain 500
    triangle 500
    ring 500
    routes 500
    requests 500
    churn 500
    crash_middle 500
    crash_any 500
    durable 500
    durable_crash 500
    durable_ring 500
    durable_disk 500
    durable_small 500
    durable_corrupt 500
    durable_lives 500
    durable_away 500
    churn_line 500
    churn_ring 500
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
