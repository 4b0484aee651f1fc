//! `topologies`: measures all candidates in turns.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use mcpbus_peers::candidates::{self, Case, Variant};
use mcpbus_peers::latency::{self, Pace};
use mcpbus_peers::measure::child::ARGUMENT;
use mcpbus_peers::measure::rounds::{MESSAGES, Plan};
use mcpbus_peers::measure::{machine, run_here};
use mcpbus_peers::report::{markdown, text};
use mcpbus_peers::results::Results;

/// Measure one topology in mcpbus, in plain channels, in actor frameworks and by hand, in turns.
///
/// Producer, router by key, two processors (copy, add 1), aggregator; 1,024 messages on every hop. Each round runs every
/// candidate once, in an order drawn for that round, each run in a process of its own. Printed are medians with ranges,
/// ratios of the same round, CPU time and what was lost.
///
/// Without a choice of tables all are measured: plain bodies, bodies that own memory, deadlines, panics, latency.
///
/// Exit code: 0 all arrived; 1 something was lost or changed, or a run gave no result; 2 wrong arguments.
#[derive(Debug, Parser)]
#[command(name = "topologies")]
struct Arguments {
    /// Runs of each candidate in each table.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Scales every run: the numbers of messages in the table are for 10,000,000.
    #[arg(long, value_name = "N", default_value_t = MESSAGES, value_parser = clap::value_parser!(u64).range(1000..))]
    messages: u64,
    /// Measure these candidates only; see --list.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Measure the table of this body.
    #[arg(long, value_enum)]
    body: Option<Body>,
    /// Measure the table in which every message has a deadline.
    #[arg(long)]
    deadline: bool,
    /// Measure the table in which a processor panics at every Nth message (1,000 where all tables are measured).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..))]
    panic_every: Option<u64>,
    /// Measure the table in which processors compute for about a tenth of a microsecond.
    #[arg(long)]
    busy: bool,
    /// Measure latency at 100,000 messages/s.
    #[arg(long)]
    latency: bool,
    /// How long a run of the latency table takes, in milliseconds.
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    latency_time: u64,
    /// What the order of each round is drawn with; the time of day if nothing is said.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// What to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write it into this file instead of printing it.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the names of all candidates and what they are, and measure nothing.
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Body {
    /// Plain numbers.
    Order,
    /// Numbers and a text that owns memory.
    String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Tables for a terminal.
    Text,
    /// All measurements, for `tables` and `plot`.
    Json,
    /// Tables for a page.
    Markdown,
}

/// Where a processor panics if nothing is said.
const PANIC_EVERY: u64 = 1000;

impl Arguments {
    fn plan(&self) -> Plan {
        let mut variants = Vec::new();
        match self.body {
            Some(Body::Order) => variants.push(Variant::Order),
            Some(Body::String) => variants.push(Variant::String),
            None => {}
        }
        if self.deadline {
            variants.push(Variant::Deadline);
        }
        if self.busy {
            variants.push(Variant::Busy);
        }
        if self.panic_every.is_some() {
            variants.push(Variant::Panic);
        }
        let all = variants.is_empty() && !self.latency;
        if all {
            variants = Variant::ALL.into();
        }
        Plan {
            rounds: self.rounds,
            seed: self.seed.unwrap_or_else(machine::seconds_since_1970),
            messages: self.messages,
            only: self.only.clone(),
            variants,
            panic_every: self.panic_every.unwrap_or(PANIC_EVERY),
            latency_milliseconds: if all || self.latency {
                self.latency_time
            } else {
                0
            },
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((first, rest)) = arguments.split_first()
        && first == ARGUMENT
    {
        return one_run(rest);
    }
    let arguments = Arguments::parse();
    if arguments.list {
        return print(None, &list());
    }
    for name in &arguments.only {
        if candidates::find(name).is_none() && latency::find(name).is_none() {
            eprintln!("there is no candidate {name:?}; --list names them");
            return ExitCode::from(2);
        }
    }
    let on_terminal = std::io::stderr().is_terminal();
    let mut tell = |what: &str| {
        if on_terminal {
            eprintln!("{what}");
        }
    };
    let results = match arguments.plan().run(&mut tell) {
        Ok(results) => results,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let shown = match arguments.format {
        Format::Text => text::of(&results),
        Format::Json => match json(&results) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("the results cannot be written as JSON: {error}");
                return ExitCode::FAILURE;
            }
        },
        Format::Markdown => markdown::of(&results),
    };
    let printed = print(arguments.output.as_ref(), &shown);
    if results.lost() > 0 {
        eprintln!(
            "{} messages were lost or changed on their way",
            results.lost()
        );
        return ExitCode::FAILURE;
    }
    printed
}

/// One row a line, so that two results can be compared and the file stays small.
fn json(results: &Results) -> serde_json::Result<String> {
    let text = serde_json::to_string(results)?;
    Ok(format!("{}\n", text.replace(r#"{"name""#, "\n{\"name\"")))
}

fn list() -> String {
    let line = |name: &str, about: &str| format!("{name:18} {about}\n");
    let rows = candidates::all().map(|candidate| line(candidate.name, candidate.about));
    rows.collect()
}

fn print(file: Option<&PathBuf>, text: &str) -> ExitCode {
    let written = match file {
        Some(file) => std::fs::write(file, text)
            .map_err(|error| format!("{} cannot be written: {error}", file.display())),
        None => std::io::stdout()
            .write_all(text.as_bytes())
            .map_err(|error| format!("nothing can be printed: {error}")),
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What a process does that makes a single run: see [`mcpbus_peers::measure::child`].
fn one_run(arguments: &[String]) -> ExitCode {
    match one_result(arguments) {
        Ok(result) => print(None, &result),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn one_result(arguments: &[String]) -> Result<String, Box<dyn std::error::Error>> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["throughput", name, variant, messages, panic_every] => {
            let candidate = candidates::find(name).ok_or("there is no such candidate")?;
            let case = Case {
                variant: Variant::from_name(variant).ok_or("there is no such variant")?,
                messages: messages.parse()?,
                panic_every: panic_every.parse()?,
            };
            if case.variant == Variant::Panic {
                // Printing a panic takes longer than the panic.
                std::panic::set_hook(Box::new(|_| {}));
            }
            Ok(serde_json::to_string(&run_here(candidate, &case)?)?)
        }
        ["latency", name, rate, milliseconds] => {
            let candidate = latency::find(name).ok_or("there is no such candidate")?;
            let pace = Pace {
                rate: rate.parse()?,
                duration: Duration::from_millis(milliseconds.parse()?),
            };
            let measured = latency::run_here(candidate, &pace)?;
            Ok(serde_json::to_string(&measured)?)
        }
        _ => Err(format!("{ARGUMENT} is for this program itself; see --help").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(line: &str) -> Plan {
        Arguments::parse_from(std::iter::once("topologies").chain(line.split_whitespace())).plan()
    }

    #[test]
    fn tables_are_chosen() {
        assert_eq!(plan("").variants, Variant::ALL);
        assert!(plan("").latency_milliseconds > 0);
        let strings = plan("--body string --deadline");
        assert_eq!(strings.variants, [Variant::String, Variant::Deadline]);
        assert_eq!(strings.latency_milliseconds, 0);
        assert!(plan("--latency").variants.is_empty());
        assert_eq!(plan("--panic-every 50").panic_every, 50);
    }

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }
}
