//! Tables of cells, the same for a terminal and for a page.

use super::goals;
use crate::candidates::Variant;
use crate::measure::series::Spread;
use crate::results::{Latency, Results, Row, Table};

/// A table of cells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cells {
    /// What it shows.
    pub title: String,
    /// The heads of its columns.
    pub head: Vec<String>,
    /// Its rows, as long as the head.
    pub rows: Vec<Vec<String>>,
}

/// Candidates that the others are divided by, and the head of that column.
const REFERENCES: [(&str, &str); 2] = [
    ("calls", "of `calls`"),
    ("tokio_batches", "of `tokio_batches`"),
];

/// All tables of these results.
pub fn of(results: &Results) -> Vec<Cells> {
    let mut all: Vec<Cells> = results
        .tables
        .iter()
        .map(|table| throughput(results, table))
        .collect();
    all.extend(results.latency.as_ref().map(latency));
    let goals = goals::table(results);
    if !goals.rows.is_empty() {
        all.push(goals);
    }
    all
}

/// The median and its range, in so few digits that the last one means something.
pub fn with_range(spread: Option<Spread>) -> String {
    spread.map_or_else(String::new, |spread| {
        format!(
            "{} ({} to {})",
            number(spread.median),
            number(spread.low),
            number(spread.high)
        )
    })
}

/// A number with about three digits.
pub fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => thousands(value.round()),
        large if large >= 10.0 => format!("{value:.1}"),
        large if large >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A whole number with commas.
pub fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 {
        format!("-{text}")
    } else {
        text
    }
}

fn title(results: &Results, variant: Variant) -> String {
    match variant {
        Variant::Order => "Bodies of plain numbers, 64 bytes".to_owned(),
        Variant::String => "Bodies of 64 bytes that own a text of 24 more".to_owned(),
        Variant::Deadline => "A deadline on every message".to_owned(),
        Variant::Busy => "Processors that compute for about a tenth of a microsecond".to_owned(),
        Variant::Panic => format!(
            "A processor panics at every {}th message",
            thousands(results.panic_every as f64)
        ),
    }
}

fn throughput(results: &Results, table: &Table) -> Cells {
    let references: Vec<(&Row, &str)> = REFERENCES
        .iter()
        .filter_map(|(name, head)| Some((table.row(name)?, *head)))
        .collect();
    let panics = table.variant == Variant::Panic;
    let mut head = vec![String::new(), "million messages/s".to_owned()];
    head.extend(references.iter().map(|(_, head)| (*head).to_owned()));
    head.push("CPU s per million".to_owned());
    head.push("messages".to_owned());
    if panics {
        head.push("dead letters".to_owned());
    }
    head.push("lost".to_owned());
    let rows = table.rows.iter().map(|row| {
        let rates = row.rates();
        let rate = Spread::of(&rates).map(|rate| rate.scaled(1e-6));
        let mut cells = vec![format!("`{}`: {}", row.name, row.about), with_range(rate)];
        cells.extend(
            references
                .iter()
                .map(|(reference, _)| with_range(Spread::of_ratios(&rates, &reference.rates()))),
        );
        cells.push(with_range(Spread::of(&row.cpu_per_million())));
        cells.push(thousands(row.messages as f64));
        if panics {
            cells.push(thousands(row.dead_letters as f64));
        }
        cells.push(thousands(row.lost as f64));
        cells
    });
    Cells {
        title: title(results, table.variant),
        rows: rows.collect(),
        head,
    }
}

fn latency(latency: &Latency) -> Cells {
    let names = ["mean", "p50", "p90", "p99", "p99.9", "max"].map(str::to_owned);
    let rows = latency.rows.iter().map(|row| {
        let mut cells = vec![format!("`{}`: {}", row.name, row.about)];
        for index in 0..names.len() {
            let values: Vec<f64> = row
                .rounds
                .iter()
                .map(|quantiles| quantiles.named()[index].1)
                .collect();
            cells.push(with_range(Spread::of(&values)));
        }
        cells.push(thousands(row.lost as f64));
        cells
    });
    let rows = rows.collect();
    let mut head = vec![String::new()];
    head.extend(names);
    head.push("lost".to_owned());
    Cells {
        title: format!(
            "Latency at {} messages/s for {} s, in microseconds",
            thousands(f64::from(latency.rate)),
            number(latency.seconds)
        ),
        rows,
        head,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_commas() {
        let shown = [0.0214, 0.65, 36.81, 1234.4, 0.0].map(number);
        assert_eq!(shown, ["0.021", "0.65", "36.8", "1,234", "0.000"]);
        assert_eq!(thousands(10_000_000.0), "10,000,000");
        assert_eq!(thousands(-1_000.0), "-1,000");
    }
}
