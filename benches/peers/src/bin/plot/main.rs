//! `plot`: draws the results of a run as SVG.
//!
//! * [`svg`]: shapes and texts as a document;
//! * [`scale`]: from values to places;
//! * [`bars`]: a bar per candidate, with its range;
//! * [`lines`]: percentiles of latencies.

mod bars;
mod lines;
mod scale;
mod svg;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bars::{Bar, Bars};
use clap::Parser;
use lines::{Line, Lines};
use mcpbus_peers::candidates::{Family, Variant};
use mcpbus_peers::measure::series::Spread;
use mcpbus_peers::results::{Latency, Results, Table};

/// Draw the results of a run: throughput, CPU time and latency, each an SVG of its own.
///
/// Exit code: 0 done; 1 a file cannot be read or written; 2 wrong arguments.
#[derive(Debug, Parser)]
#[command(name = "plot")]
struct Arguments {
    /// What `topologies --format json` wrote.
    results: PathBuf,
    /// The folder for topologies-throughput.svg, topologies-cpu.svg and topologies-latency.svg.
    #[arg(default_value = "docs/src/images")]
    folder: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let results = match Results::read(&arguments.results) {
        Ok(results) => results,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut pictures = Vec::new();
    if let Some(table) = results.table(Variant::Order) {
        pictures.push(("topologies-throughput.svg", throughput(table).draw()));
        pictures.push(("topologies-cpu.svg", cpu(table).draw()));
    }
    if let Some(latency) = &results.latency {
        pictures.push(("topologies-latency.svg", percentiles(latency).draw()));
    }
    for (name, picture) in pictures {
        if let Err(error) = write(&arguments.folder, name, &picture) {
            eprintln!("{name} cannot be written: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn write(folder: &Path, name: &str, picture: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join(name), picture)
}

/// The colour of a family, told apart in grey and by most who see colours differently.
fn colour(family: Family) -> &'static str {
    match family {
        Family::Mcpbus => "#d1495b",
        Family::Calls => "#6c757d",
        Family::Batches => "#2e7d6b",
        Family::OneByOne => "#3b6fb6",
        Family::Actors => "#b8860b",
    }
}

const FAMILIES: [(Family, &str); 5] = [
    (Family::Calls, "function calls"),
    (Family::Batches, "vectors by hand"),
    (Family::Mcpbus, "mcpbus"),
    (Family::OneByOne, "channels, one by one"),
    (Family::Actors, "actor frameworks"),
];

fn bars(table: &Table, value: impl Fn(&mcpbus_peers::results::Row) -> Option<Spread>) -> Vec<Bar> {
    let rows = table.rows.iter();
    rows.filter_map(|row| {
        Some(Bar {
            name: row.name.clone(),
            colour: colour(row.family),
            value: value(row)?,
        })
    })
    .collect()
}

fn key() -> Vec<(&'static str, &'static str)> {
    FAMILIES
        .iter()
        .map(|(family, name)| (colour(*family), *name))
        .collect()
}

fn throughput(table: &Table) -> Bars {
    let mut bars = bars(table, |row| {
        Spread::of(&row.rates()).map(|rate| rate.scaled(1e-6))
    });
    bars.sort_by(|one, other| other.value.median.total_cmp(&one.value.median));
    Bars {
        title: "Throughput: producer, router by key, 2 processors, aggregator",
        axis: "million messages/s, logarithmic; the line is the range over the rounds; more is better",
        key: key(),
        bars,
    }
}

fn cpu(table: &Table) -> Bars {
    let mut bars = bars(table, |row| Spread::of(&row.cpu_per_million()));
    bars.sort_by(|one, other| one.value.median.total_cmp(&other.value.median));
    Bars {
        title: "CPU time: producer, router by key, 2 processors, aggregator",
        axis: "CPU seconds per million messages, logarithmic; the line is the range over the rounds; less is better",
        key: key(),
        bars,
    }
}

/// The colours of the lines, in the order of the table.
const LINES: [&str; 4] = ["#d1495b", "#b8860b", "#2e7d6b", "#3b6fb6"];

fn percentiles(latency: &Latency) -> Lines {
    let rows = latency.rows.iter().zip(LINES.iter().cycle());
    let lines = rows.map(|(row, colour)| {
        let points = ["p50", "p90", "p99", "p99.9", "max"].map(|wanted| {
            let values = row.rounds.iter().flat_map(|round| round.named());
            let values: Vec<f64> = values
                .filter(|(name, _)| *name == wanted)
                .map(|(_, value)| value)
                .collect();
            (wanted, Spread::of(&values))
        });
        Line {
            name: row.name.clone(),
            colour,
            points: points
                .into_iter()
                .filter_map(|(name, spread)| Some((name, spread?)))
                .collect(),
        }
    });
    Lines {
        title: format!(
            "Latency at {} messages/s, open load",
            mcpbus_peers::report::tables::thousands(f64::from(latency.rate))
        ),
        axis: "microseconds, logarithmic; median and range over the rounds; less is better",
        lines: lines.collect(),
    }
}
