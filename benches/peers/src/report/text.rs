//! The tables for a terminal.

use std::fmt::Write as _;

use super::tables::{self, Cells};
use crate::results::Results;

/// All tables, with what stands above them.
pub fn of(results: &Results) -> String {
    let mut text = head(results);
    for cells in tables::of(results) {
        text.push('\n');
        text.push_str(&aligned(&cells));
    }
    text
}

/// Where, when and how often, in one paragraph.
pub fn head(results: &Results) -> String {
    let low = results.loads.iter().copied().fold(f64::INFINITY, f64::min);
    let high = results.loads.iter().copied().fold(0.0, f64::max);
    format!(
        "producer -> router by key -> 2 processors -> aggregator, 1,024 messages on every hop\n\
         {}, {} x {}, {}; {} rounds, seed {}; load average {} to {}\n\
         medians over the rounds (lowest to highest); ratios of the same round\n",
        results.day(),
        results.machine.cores,
        results.machine.processor,
        results.machine.kernel,
        results.rounds,
        results.seed,
        tables::number(if low.is_finite() { low } else { 0.0 }),
        tables::number(high),
    )
}

fn aligned(cells: &Cells) -> String {
    let plain = |text: &String| text.replace('`', "");
    let rows: Vec<Vec<String>> = std::iter::once(&cells.head)
        .chain(&cells.rows)
        .map(|row| row.iter().map(plain).collect())
        .collect();
    let widths: Vec<usize> = (0..cells.head.len())
        .map(|column| {
            let lengths = rows.iter().filter_map(|row| row.get(column));
            lengths.map(|text| text.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = format!("{}\n", cells.title);
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _always_fits = if column == 0 {
                write!(line, "{cell:width$}")
            } else {
                write!(line, "  {cell:>width$}")
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_their_heads() {
        let cells = Cells {
            title: "title".to_owned(),
            head: vec![String::new(), "rate".to_owned()],
            rows: vec![vec!["`turns`".to_owned(), "7".to_owned()]],
        };
        assert_eq!(aligned(&cells), "title\n       rate\nturns     7\n");
    }
}
