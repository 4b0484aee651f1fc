//! The ratios that the engine is built for, each from rounds in which both sides ran.

use super::tables::{Cells, with_range};
use crate::candidates::{Family, Variant};
use crate::measure::series::Spread;
use crate::results::{Results, Row, Table};

/// What is compared.
#[derive(Clone, Copy)]
enum Measure {
    Rate,
    Cpu,
}

/// The other side of a ratio.
#[derive(Clone, Copy)]
enum Reference {
    Candidate(&'static str),
    /// The fastest actor framework of each round.
    BestActors,
}

/// A ratio that should not be below, or above, a bound.
struct Goal {
    variant: Variant,
    candidate: &'static str,
    reference: Reference,
    measure: Measure,
    at_least: Option<f64>,
    at_most: Option<f64>,
}

impl Goal {
    const fn at_least(candidate: &'static str, reference: Reference, bound: f64) -> Self {
        Self {
            variant: Variant::Order,
            candidate,
            reference,
            measure: Measure::Rate,
            at_least: Some(bound),
            at_most: None,
        }
    }

    fn is_met(&self, median: f64) -> bool {
        self.at_least.is_none_or(|bound| median >= bound)
            && self.at_most.is_none_or(|bound| median <= bound)
    }
}

const GOALS: &[Goal] = &[
    Goal::at_least("turns", Reference::Candidate("tokio_batches"), 1.0),
    Goal::at_least("turns", Reference::BestActors, 15.0),
    Goal::at_least("send", Reference::Candidate("tokio_mpsc"), 2.0),
    Goal::at_least("input_send", Reference::Candidate("tokio_mpsc"), 2.0),
    Goal::at_least("input_buffered", Reference::Candidate("tokio_batches"), 1.0),
    Goal::at_least("fused", Reference::Candidate("calls"), 0.5),
    Goal {
        variant: Variant::Order,
        candidate: "fused",
        reference: Reference::Candidate("turns"),
        measure: Measure::Cpu,
        at_least: None,
        at_most: Some(0.7),
    },
    Goal::at_least("static", Reference::Candidate("calls"), 0.8),
    Goal::at_least("threads", Reference::Candidate("crossbeam_batches"), 1.0),
    Goal {
        variant: Variant::Busy,
        candidate: "threads",
        reference: Reference::Candidate("crossbeam_batches"),
        measure: Measure::Rate,
        at_least: Some(1.0),
        at_most: None,
    },
];

/// The goals whose both sides were measured.
pub fn table(results: &Results) -> Cells {
    let throughput = GOALS.iter().filter_map(|goal| {
        let table = results.table(goal.variant)?;
        row(table, goal)
    });
    Cells {
        title: "Goals, ratios of the same round".to_owned(),
        head: ["", "goal", "measured", ""].map(str::to_owned).into(),
        rows: throughput.chain(latency_rows(results)).collect(),
    }
}

fn row(table: &Table, goal: &Goal) -> Option<Vec<String>> {
    let values = |row: &Row| match goal.measure {
        Measure::Rate => row.rates(),
        Measure::Cpu => row.cpu_per_million(),
    };
    let (reference, name) = match goal.reference {
        Reference::Candidate(name) => (values(table.row(name)?), format!("`{name}`")),
        Reference::BestActors => (best_actors(table)?, "the best actor framework".to_owned()),
    };
    let spread = Spread::of_ratios(&values(table.row(goal.candidate)?), &reference)?;
    let busy = match goal.variant {
        Variant::Busy => ", processors compute",
        _ => "",
    };
    let what = match goal.measure {
        Measure::Rate => format!("`{}` of {name}{busy}", goal.candidate),
        Measure::Cpu => format!("CPU of `{}` of that of {name}", goal.candidate),
    };
    Some(line(what, goal, spread))
}

fn line(what: String, goal: &Goal, spread: Spread) -> Vec<String> {
    let bound = match (goal.at_least, goal.at_most) {
        (Some(bound), _) => format!("at least {bound}"),
        (None, Some(bound)) => format!("at most {bound}"),
        (None, None) => String::new(),
    };
    let met = if goal.is_met(spread.median) {
        "met"
    } else {
        "missed"
    };
    vec![what, bound, with_range(Some(spread)), met.to_owned()]
}

/// The rates of whichever framework was fastest in its round.
fn best_actors(table: &Table) -> Option<Vec<f64>> {
    table
        .rows
        .iter()
        .filter(|row| row.family == Family::Actors)
        .map(Row::rates)
        .reduce(|one, other| one.iter().zip(&other).map(|(a, b)| a.max(*b)).collect())
}

fn latency_rows(results: &Results) -> Vec<Vec<String>> {
    let Some(latency) = &results.latency else {
        return Vec::new();
    };
    let of = |name: &str, index: usize| -> Option<Vec<f64>> {
        let row = latency.rows.iter().find(|row| row.name == name)?;
        Some(
            row.rounds
                .iter()
                .map(|round| round.named()[index].1)
                .collect(),
        )
    };
    // Where the quantiles stand among the named ones.
    [("p50", 1), ("p99", 3)]
        .into_iter()
        .filter_map(|(quantile, index)| {
            let spread = Spread::of_ratios(&of("turns", index)?, &of("tokio_mpsc", index)?)?;
            let goal = Goal {
                variant: Variant::Order,
                candidate: "turns",
                reference: Reference::Candidate("tokio_mpsc"),
                measure: Measure::Rate,
                at_least: None,
                at_most: Some(1.0),
            };
            let what = format!("{quantile} of `turns` of that of `tokio_mpsc`");
            Some(line(what, &goal, spread))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, family: Family, seconds: &[f64]) -> Row {
        Row {
            name: name.to_owned(),
            family,
            about: String::new(),
            messages: 1_000_000,
            messages_per_second: 0.0,
            cpu_seconds_per_million: 0.0,
            lost: 0,
            dead_letters: 0,
            seconds: seconds.to_vec(),
            cpu_seconds: seconds.to_vec(),
        }
    }

    #[test]
    fn a_ratio_is_compared_with_its_bound() {
        let table = Table {
            variant: Variant::Order,
            rows: vec![
                candidate("turns", Family::Mcpbus, &[1.0, 1.0, 1.0]),
                candidate("fused", Family::Mcpbus, &[0.5, 0.5, 0.9]),
                candidate("tokio_batches", Family::Batches, &[2.0, 2.0, 0.5]),
                candidate("actix_1", Family::Actors, &[9.0, 20.0, 9.0]),
                candidate("ractor", Family::Actors, &[20.0, 10.0, 9.0]),
            ],
        };
        let row = |index: usize| row(&table, &GOALS[index]);
        let met = |index: usize| row(index).map(|cells| cells[3].clone());
        assert_eq!(met(0).as_deref(), Some("met"));
        // The best of each round: 9, 10 and 9 s.
        assert_eq!(
            row(1).map(|cells| cells[2].clone()).as_deref(),
            Some("9.00 (9.00 to 10.0)")
        );
        assert_eq!(met(1).as_deref(), Some("missed"));
        assert_eq!(met(6).as_deref(), Some("met"), "half the CPU time");
        assert_eq!(met(2), None, "nobody measured it");
    }
}
