//! One random topology, run in random ways: whatever the fusion, the capacities, the placement and the sizes in which input
//! arrives, outcomes and ledger are those of a plain sequential model.
//!
//! - [`graph`]: random small graphs of stages, and what a stage does to which message
//! - [`model`]: what comes of it when one message after the other goes through plain function calls
//! - [`engine`]: the same graph as a topology, run in a way that is drawn
#![allow(clippy::unwrap_used)]

mod engine;
mod graph;
mod model;

use proptest::prelude::*;

/// Planted panics would fill the screen.
fn hide_planted_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&"planted") {
            eprintln!("{panic}");
        }
    }));
}

/// At each end the same messages, and those of one path in their order. Every key's order along a path is part of it.
fn assert_same_arrivals(expected: &model::Arrived, found: engine::Arrived) {
    assert!(expected.keys().eq(found.keys()));
    for ((stage, paths), (_, mut found)) in expected.iter().zip(found) {
        for (path, expected) in paths {
            let mut rest = found.iter();
            let in_order = expected.iter().all(|item| rest.any(|other| other == item));
            assert!(
                in_order,
                "at stage {stage}, of those that came over {path:?}"
            );
        }
        let mut expected: Vec<_> = paths.values().flatten().cloned().collect();
        expected.sort();
        found.sort();
        assert_eq!(expected, found, "at stage {stage}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_way_to_run_gives_the_outcomes_and_the_ledger_of_the_model(
        graph in graph::graphs(),
        ways in prop::collection::vec(engine::ways(), 3),
    ) {
        hide_planted_panics();
        let (expected, result) = model::run(&graph);
        for way in ways {
            let (found, found_result) = engine::run(&graph, &way);
            prop_assert_eq!(&result, &found_result, "{:?}", way);
            prop_assert_eq!(found_result.ledger.residual(), 0);
            assert_same_arrivals(&expected, found);
        }
    }
}
