//! Rounds: every candidate once, in an order drawn for the round, each run in a process of its own.

use std::fmt;

use super::child::{self, ChildError, Measured};
use super::machine;
use super::series::Spread;
use crate::candidates::{self, Candidate, Case, Variant};
use crate::latency;
use crate::results::{Latency, LatencyRow, Results, Row, Table};

/// The fastest candidates of the plain table send about so many messages; `messages` of a [`Plan`] takes its place.
pub const MESSAGES: u64 = 10_000_000;

/// The rate at which latency is measured, a second.
pub const RATE: u32 = 100_000;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rounds of each table.
    pub rounds: u32,
    /// What the orders are drawn with.
    pub seed: u64,
    /// In place of [`MESSAGES`]: all candidates send more or fewer in this proportion.
    pub messages: u64,
    /// Names of candidates; empty: all.
    pub only: Vec<String>,
    /// The tables.
    pub variants: Vec<Variant>,
    /// With [`Variant::Panic`]: every how many messages a processor panics.
    pub panic_every: u64,
    /// For how long latency is measured, in milliseconds; 0: not at all.
    pub latency_milliseconds: u64,
}

/// A run that gave no result.
#[derive(Debug)]
pub struct Missing {
    candidate: &'static str,
    table: &'static str,
    error: ChildError,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} has no result in table {}: {}",
            self.candidate, self.table, self.error
        )
    }
}

impl std::error::Error for Missing {}

impl Plan {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// Messages of one run.
    fn messages_of(&self, candidate: &Candidate, variant: Variant) -> u64 {
        let wanted = u128::from(candidate.messages) * u128::from(self.messages)
            / u128::from(MESSAGES * variant.fewer());
        u64::try_from(wanted).unwrap_or(u64::MAX).max(1)
    }

    /// Measures everything, saying to `tell` what comes next.
    ///
    /// # Errors
    /// [`Missing`]: a run gave no result. What lost messages gives a result that says so.
    pub fn run(&self, tell: &mut dyn FnMut(&str)) -> Result<Results, Missing> {
        let mut results = Results {
            started: machine::seconds_since_1970(),
            machine: machine::this(),
            rounds: self.rounds,
            seed: self.seed,
            loads: Vec::new(),
            panic_every: self.panic_every,
            tables: Vec::new(),
            latency: None,
        };
        let mut lots = Lots(self.seed);
        for variant in &self.variants {
            let table = self.table(*variant, &mut lots, &mut results.loads, tell)?;
            if !table.rows.is_empty() {
                results.tables.push(table);
            }
        }
        if self.latency_milliseconds > 0 {
            results.latency = self.latency(&mut lots, &mut results.loads, tell)?;
        }
        Ok(results)
    }

    fn table(
        &self,
        variant: Variant,
        lots: &mut Lots,
        loads: &mut Vec<f64>,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Table, Missing> {
        let mut rows: Vec<Row> = candidates::all()
            .filter(|candidate| candidate.variants.contains(&variant) && self.wants(candidate.name))
            .map(|candidate| Row {
                name: candidate.name.to_owned(),
                family: candidate.family,
                about: candidate.about.to_owned(),
                messages: self.messages_of(candidate, variant),
                messages_per_second: 0.0,
                cpu_seconds_per_million: 0.0,
                lost: 0,
                dead_letters: 0,
                seconds: Vec::new(),
                cpu_seconds: Vec::new(),
            })
            .collect();
        for round in 1..=self.rounds {
            loads.extend(machine::load());
            for index in lots.order(rows.len()) {
                let row = &mut rows[index];
                tell(&format!(
                    "table {}, round {round} of {}: {}",
                    variant.name(),
                    self.rounds,
                    row.name
                ));
                let case = Case {
                    variant,
                    messages: row.messages,
                    panic_every: self.panic_every,
                };
                let measured: Measured = child::run(&case.arguments(&row.name))
                    .map_err(|error| missing(&row.name, variant.name(), error))?;
                row.seconds.push(rounded(measured.seconds));
                row.cpu_seconds.push(rounded(measured.cpu_seconds));
                row.lost += measured.lost;
                row.dead_letters += measured.dead_letters;
            }
        }
        for row in &mut rows {
            let median = |values: &[f64]| Spread::of(values).map_or(0.0, |spread| spread.median);
            row.messages_per_second = median(&row.rates()).round();
            row.cpu_seconds_per_million = rounded(median(&row.cpu_per_million()));
        }
        Ok(Table { variant, rows })
    }

    fn latency(
        &self,
        lots: &mut Lots,
        loads: &mut Vec<f64>,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Option<Latency>, Missing> {
        let candidates: Vec<_> = latency::all()
            .filter(|candidate| self.wants(candidate.name))
            .collect();
        let mut rows: Vec<LatencyRow> = candidates
            .iter()
            .map(|candidate| LatencyRow {
                name: candidate.name.to_owned(),
                about: candidate.about.to_owned(),
                lost: 0,
                rounds: Vec::new(),
            })
            .collect();
        for round in 1..=self.rounds {
            loads.extend(machine::load());
            for index in lots.order(rows.len()) {
                let row = &mut rows[index];
                tell(&format!(
                    "latency, round {round} of {}: {}",
                    self.rounds, row.name
                ));
                let arguments = [
                    "latency".to_owned(),
                    row.name.clone(),
                    RATE.to_string(),
                    self.latency_milliseconds.to_string(),
                ];
                let measured: latency::Measured =
                    child::run(&arguments).map_err(|error| missing(&row.name, "latency", error))?;
                row.lost += measured.lost;
                row.rounds.push(measured.quantiles);
            }
        }
        Ok((!rows.is_empty()).then_some(Latency {
            rate: RATE,
            seconds: self.latency_milliseconds as f64 / 1e3,
            rows,
        }))
    }
}

impl Case {
    /// What a process that makes this run is told.
    fn arguments(&self, name: &str) -> [String; 5] {
        [
            "throughput".to_owned(),
            name.to_owned(),
            self.variant.name().to_owned(),
            self.messages.to_string(),
            self.panic_every.to_string(),
        ]
    }
}

fn missing(name: &str, table: &'static str, error: ChildError) -> Missing {
    let known = candidates::find(name).map(|candidate| candidate.name);
    Missing {
        candidate: known
            .or_else(|| latency::find(name).map(|candidate| candidate.name))
            .unwrap_or("a candidate"),
        table,
        error,
    }
}

/// Microseconds are enough.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

/// Orders, the same again from the same seed (xorshift64*).
struct Lots(u64);

impl Lots {
    fn next(&mut self) -> u64 {
        // Zero would stay zero.
        let mut state = self.0.max(1);
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.0 = state;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// The numbers below `count`, each once.
    fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            let chosen = (self.next() >> 32) as usize % (last + 1);
            order.swap(last, chosen);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_everyone_once_and_another_order() {
        let mut lots = Lots(7);
        let rounds: Vec<Vec<usize>> = (0..5).map(|_| lots.order(20)).collect();
        for round in &rounds {
            let mut sorted = round.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..20).collect::<Vec<_>>());
        }
        assert!(rounds.windows(2).all(|pair| pair[0] != pair[1]));
        let mut again = Lots(7);
        assert_eq!(again.order(20), rounds[0]);
    }

    #[test]
    fn fewer_messages_keep_the_proportions() {
        let plan = Plan {
            rounds: 1,
            seed: 1,
            messages: MESSAGES / 10,
            only: vec!["turns".to_owned()],
            variants: Vec::new(),
            panic_every: 1000,
            latency_milliseconds: 0,
        };
        for candidate in candidates::all() {
            let few = plan.messages_of(candidate, Variant::Order);
            assert_eq!(few, candidate.messages / 10);
            assert_eq!(plan.wants(candidate.name), candidate.name == "turns");
        }
    }
}
