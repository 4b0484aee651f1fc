//! The tables for a page, between two marks on it.

use std::fmt;
use std::fmt::Write as _;

use super::tables::{self, Cells};
use crate::results::Results;

/// The line after which the tables begin on a page.
pub const BEGIN: &str = "<!-- topologies: begin, written by benches/peers -->";
/// The line before which they end.
pub const END: &str = "<!-- topologies: end -->";

/// The page has no place for the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMarks;

impl fmt::Display for NoMarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the page has no two lines that mark the place of the tables; add them:\n{BEGIN}\n{END}"
        )
    }
}

impl std::error::Error for NoMarks {}

/// All tables, with a line about the run above them.
pub fn of(results: &Results) -> String {
    let loads = crate::measure::series::Spread::of(&results.loads);
    let load = loads.map_or_else(
        || "load average unknown".to_owned(),
        |loads| {
            format!(
                "load average at the start of a round {:.1} to {:.1}",
                loads.low, loads.high
            )
        },
    );
    let mut text = format!(
        "{}: {} cores of {}, {}; {} rounds, seed {}; {load}. Medians over the rounds with their range; ratios are taken \
         within a round.\n",
        results.day(),
        results.machine.cores,
        results.machine.processor,
        results.machine.kernel,
        results.rounds,
        results.seed,
    );
    for cells in tables::of(results) {
        text.push('\n');
        text.push_str(&table(&cells));
    }
    text
}

fn table(cells: &Cells) -> String {
    let mut text = format!("**{}**\n\n", cells.title);
    let rule = vec!["---".to_owned(); cells.head.len()];
    for row in [&cells.head, &rule].into_iter().chain(&cells.rows) {
        text.push('|');
        for cell in row {
            let _always_fits = if cell.is_empty() {
                write!(text, " |")
            } else {
                write!(text, " {cell} |")
            };
        }
        text.push('\n');
    }
    text
}

/// The page with these tables in place of those between its marks.
///
/// # Errors
/// [`NoMarks`]: there is no place for them.
pub fn put_into(page: &str, tables: &str) -> Result<String, NoMarks> {
    let (before, rest) = page.split_once(BEGIN).ok_or(NoMarks)?;
    let (_, after) = rest.split_once(END).ok_or(NoMarks)?;
    Ok(format!("{before}{BEGIN}\n\n{tables}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_changes() {
        let page = format!("above\n{BEGIN}\nold\n{END}\nbelow\n");
        let changed = put_into(&page, "| new |\n");
        let expected = format!("above\n{BEGIN}\n\n| new |\n\n{END}\nbelow\n");
        assert_eq!(changed.as_deref(), Ok(expected.as_str()));
        let again = put_into(&expected, "| new |\n");
        assert_eq!(again.as_deref(), Ok(expected.as_str()));
        assert_eq!(put_into("nothing", ""), Err(NoMarks));
    }
}
