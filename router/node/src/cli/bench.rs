//! `mcpbus bench`: measurements on the user's own machine, or of a node elsewhere.

mod child;
mod load;

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::output::ReportFormat;
use super::{Exit, output};
use crate::bench::inproc::{self, Candidate};
use crate::bench::latency;
use crate::bench::report::{Report, Row};

/// The rate at which latency is measured, a second, and for how long.
const RATE: u32 = 100_000;
const LATENCY_TIME: Duration = Duration::from_secs(2);

/// Measure how fast this machine carries messages.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Inproc(Inproc),
    Node(load::Node),
    Link(load::Link),
    /// A process of `node` and `link`. It reads what it is on standard input.
    #[command(hide = true)]
    Child,
}

/// A topology inside one process: producer, router by key, two processors, aggregator.
///
/// The candidates take turns, round by round. Rates are medians over the rounds, with their range; latency is measured
/// at 100,000 messages a second for 2 s, from the time at which each message was due.
#[derive(Debug, Args)]
pub(super) struct Inproc {
    /// Messages of each run.
    #[arg(long, value_name = "N", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    messages: u64,
    /// Runs of each candidate.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// What to print.
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    format: ReportFormat,
}

pub(super) fn run(command: &Command) -> Exit {
    match command {
        Command::Inproc(arguments) => inproc(arguments),
        Command::Node(arguments) => load::node(arguments),
        Command::Link(arguments) => load::link(arguments),
        Command::Child => child::run(),
    }
}

fn inproc(arguments: &Inproc) -> Exit {
    let mut rows = Candidate::ALL.map(|candidate| Row {
        candidate,
        runs: Vec::new(),
    });
    let tell = std::io::stderr().is_terminal();
    for round in 1..=arguments.rounds {
        for row in &mut rows {
            if tell {
                eprintln!(
                    "round {round} of {}: {}",
                    arguments.rounds,
                    row.candidate.name()
                );
            }
            match inproc::run(row.candidate, arguments.messages) {
                Ok(measured) => row.runs.push(measured),
                Err(error) => return failed(&error),
            }
        }
    }
    if tell {
        eprintln!("latency at {RATE} messages/s");
    }
    let latencies = match latency::run(RATE, LATENCY_TIME) {
        Ok(latencies) => latencies,
        Err(error) => return failed(&error),
    };
    let report = Report {
        messages: arguments.messages,
        rows: rows.into(),
        latencies,
        rate: RATE,
    };
    let printed = output::print(&match arguments.format {
        ReportFormat::Text => report.to_text(),
        ReportFormat::Json => format!("{}\n", report.to_json()),
    });
    if report.lost() > 0 {
        eprintln!(
            "{} messages were lost or changed on their way",
            report.lost()
        );
        return Exit::Failure;
    }
    printed
}

fn failed(error: &dyn std::error::Error) -> Exit {
    eprintln!("{error}");
    Exit::Failure
}
