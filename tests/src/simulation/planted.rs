//! Mistakes on purpose: each must be seen by a scenario, under what it promises, not by a test of the line that makes it.
//!
//! `docs/src/simulation.md` has the same list in words.

use super::run::attempt;
use super::shapes::SHAPES;
use mcpbus_transport::planted::{Fault, made, plant};
use std::fmt::Write as _;

/// Where a mistake is looked for: in which scenario, and from which seed on.
const FAULTS: &[(Fault, &str, u64)] = &[
    (Fault::LostGrant, "two_nodes", 1),
    (Fault::NoEpochCheck, "crash_middle", 1),
    (Fault::AckOfUnreceived, "two_nodes", 1),
    (Fault::ResumeOffByOne, "two_nodes", 12),
    (Fault::FailureLost, "two_nodes", 45),
    (Fault::SignalLost, "churn", 45),
    (Fault::WindowNotReturned, "two_nodes", 1),
    (Fault::BatchSplitForgets, "two_nodes", 1),
    (Fault::CopyCountedTwice, "two_nodes", 1),
    (Fault::OrderOnWayChange, "churn", 330),
    (Fault::DrainedEarly, "churn_line", 2410),
    (Fault::ReplacedForgotten, "routes_edited", 1),
    (Fault::DeciderChangeIsNoChange, "routes_edited", 1),
    (Fault::OrphanOrder, "crash_middle", 58),
    (Fault::StarvedFlow, "two_nodes", 40),
    (Fault::GroupTwice, "two_nodes", 1),
    (Fault::TakeBackForgets, "durable_away", 1),
    (Fault::ConfirmedEarly, "churn_line", 795),
    (Fault::CancelStays, "requests_cancelled", 1),
    (Fault::EarlyCancelForgotten, "requests_cancelled", 1),
    (Fault::AckBeforeSync, "durable_crash", 1),
    (Fault::SettledAtHandOut, "durable_crash", 11),
    (Fault::RepeatOffByOne, "durable_crash", 1),
    (Fault::DetourIsRepeat, "durable_ring", 1),
    (Fault::CommitFailureIsSuccess, "durable_disk", 1),
    (Fault::ReadSkipsOne, "durable_crash", 1),
    (Fault::CorruptStopsQueue, "durable_corrupt", 1),
    (Fault::InterestNotKept, "durable_crash", 15),
    (Fault::InterestForgotten, "durable_away", 60),
    (Fault::ReadyBeforeKept, "durable_lives", 46),
    (Fault::RedeliveryAtTheEnd, "durable", 20),
    (Fault::DeadLetterLost, "durable_disk", 102),
    (Fault::TwoTakers, "durable_lives", 1),
    (Fault::ProcessedWhenStored, "durable", 1),
];

/// Seeds that are tried for one mistake, from the one in the list on; the variable `MCPBUS_SEEDS` says otherwise, and then
/// they are tried from the first.
const TRIES: u64 = 100;

/// Looks for a mistake from this seed on: the first that shows it, and how. `None` if none does.
fn find(fault: Fault, scenario: &str, first: u64, tries: u64) -> (Option<(u64, String)>, u64) {
    let shape = SHAPES.iter().find(|shape| shape.name == scenario);
    let mut times = 0;
    for seed in first..first + tries {
        plant(Some(fault));
        let outcome = shape.map(|shape| attempt(shape, seed));
        times += made();
        plant(None);
        if let Some(Err(wrong)) = outcome {
            return (Some((seed, wrong)), times);
        }
    }
    (None, times)
}

/// What a failure is, in a line.
fn line(wrong: &str) -> &str {
    let line = wrong.lines().next().unwrap_or_default();
    &line[..line
        .char_indices()
        .nth(100)
        .map_or(line.len(), |(at, _)| at)]
}

#[test]
fn every_planted_fault_is_found() {
    let number = |variable: &str| std::env::var(variable).ok()?.parse().ok();
    let all = number("MCPBUS_SEEDS");
    let tries = all.unwrap_or(TRIES);
    let only = std::env::var("MCPBUS_FAULT").ok();
    let listed: Vec<Fault> = FAULTS.iter().map(|(fault, ..)| *fault).collect();
    assert_eq!(listed, Fault::ALL);
    // What a planted mistake breaks may be an assertion: its report is not of interest here.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let (mut table, mut missed) = (String::new(), Vec::new());
    for (fault, scenario, first) in FAULTS {
        let name = format!("{fault:?}");
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let first = if all.is_some() { 1 } else { *first };
        let (found, times) = find(*fault, scenario, first, tries);
        let _ = match &found {
            Some((seed, wrong)) => {
                writeln!(
                    table,
                    "{name}: {scenario} {seed}, made {times} times: {}",
                    line(wrong)
                )
            }
            None => writeln!(table, "{name}: not found, made {times} times"),
        };
        match found {
            // The same seed without the mistake is well.
            Some((seed, _)) if run_is_well(scenario, seed) => {}
            _ => missed.push(name),
        }
    }
    std::panic::set_hook(hook);
    println!("{table}");
    assert!(missed.is_empty(), "not found: {missed:?}\n{table}");
}

fn run_is_well(scenario: &str, seed: u64) -> bool {
    let shape = SHAPES.iter().find(|shape| shape.name == scenario);
    shape.is_some_and(|shape| attempt(shape, seed).is_ok())
}
