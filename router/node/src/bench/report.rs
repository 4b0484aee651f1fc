//! What is printed of a measurement.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::inproc::{Candidate, Measured};
use super::latency::{Latencies, quantiles, quantiles_object};

/// The runs of one candidate.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which one.
    pub candidate: Candidate,
    /// Its runs, one a round; not empty.
    pub runs: Vec<Measured>,
}

/// All that was measured.
#[derive(Clone, Debug)]
pub struct Report {
    /// Messages of each run.
    pub messages: u64,
    /// One row per candidate.
    pub rows: Vec<Row>,
    /// Latencies at the fixed rate.
    pub latencies: Latencies,
    /// That rate, a second.
    pub rate: u32,
}

/// The smallest, the middle and the largest of some numbers.
fn spread(mut numbers: Vec<f64>) -> (f64, f64, f64) {
    numbers.sort_by(f64::total_cmp);
    let at = |index: usize| numbers.get(index).copied().unwrap_or(0.0);
    (
        at(0),
        at(numbers.len() / 2),
        at(numbers.len().saturating_sub(1)),
    )
}

impl Report {
    fn rates(&self, row: &Row) -> (f64, f64, f64) {
        let rate = |wall: Duration| self.messages as f64 / wall.as_secs_f64().max(1e-9);
        spread(row.runs.iter().map(|run| rate(run.wall)).collect())
    }

    fn cpu_per_million(&self, row: &Row) -> f64 {
        let cpu = |cpu: Duration| cpu.as_secs_f64() * 1e6 / (self.messages as f64).max(1.0);
        spread(row.runs.iter().map(|run| cpu(run.cpu)).collect()).1
    }

    /// Messages that were lost in all runs together.
    pub fn lost(&self) -> u64 {
        let runs = self.rows.iter().flat_map(|row| &row.runs);
        runs.map(|run| run.lost).sum()
    }

    /// The JSON object of `--format json`: medians over the rounds.
    pub fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let lost: u64 = row.runs.iter().map(|run| run.lost).sum();
            let (slowest, median, fastest) = self.rates(row);
            json!({
                "name": row.candidate.name(),
                "messages_per_second": median.round(),
                "messages_per_second_range": [slowest.round(), fastest.round()],
                "cpu_seconds_per_million": (self.cpu_per_million(row) * 1e6).round() / 1e6,
                "lost": lost,
            })
        });
        json!({
            "rows": rows.collect::<Vec<_>>(),
            "latency_us": quantiles_object(&self.latencies),
            "messages": self.messages,
            "latency_rate": self.rate,
        })
    }

    /// The table for people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut line = |arguments: std::fmt::Arguments<'_>| {
            let _always_fits = writeln!(text, "{arguments}");
        };
        line(format_args!(
            "producer -> router by key -> 2 processors -> aggregator, 64 bytes, {} messages a run, {} runs each",
            self.messages,
            self.rows.first().map_or(0, |row| row.runs.len())
        ));
        line(format_args!(
            "{:10} {:>22} {:>20} {:>18} {:>6}",
            "", "million messages/s", "(range)", "CPU s per million", "lost"
        ));
        for row in &self.rows {
            let (slowest, median, fastest) = self.rates(row);
            let range = format!("({:.1} to {:.1})", slowest / 1e6, fastest / 1e6);
            let lost: u64 = row.runs.iter().map(|run| run.lost).sum();
            line(format_args!(
                "{:10} {:>22.1} {:>20} {:>18.4} {:>6}",
                row.candidate.name(),
                median / 1e6,
                range,
                self.cpu_per_million(row),
                lost
            ));
        }
        let quantiles = quantiles(&self.latencies);
        let quantiles: Vec<_> = quantiles
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        line(format_args!(
            "latency at {} messages/s, one thread, in microseconds: {}",
            self.rate,
            quantiles.join(", ")
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_object_has_the_promised_keys_and_medians() {
        let run = |wall, lost| Measured {
            wall: Duration::from_millis(wall),
            cpu: Duration::from_millis(10),
            lost,
        };
        let mut latencies = Latencies::new(3).unwrap();
        latencies.record(37_000).unwrap();
        let report = Report {
            messages: 1000,
            rows: vec![Row {
                candidate: Candidate::Fused,
                runs: vec![run(1000, 0), run(500, 2), run(250, 0)],
            }],
            latencies,
            rate: 100_000,
        };
        let object = report.to_json();
        let row = &object["rows"][0];
        assert_eq!(
            (&row["name"], &row["messages_per_second"], &row["lost"]),
            (&json!("fused"), &json!(2000.0), &json!(2))
        );
        assert_eq!(row["cpu_seconds_per_million"], json!(10.0));
        assert_eq!(object["latency_us"]["p50"], json!(37.0));
        assert_eq!(report.lost(), 2);
        assert!(
            report.to_text().lines().count() == 4,
            "{}",
            report.to_text()
        );
    }
}
