//! Routes with guards under overload, beside a dead destination, and when they fall back.
//!
//! `cargo bench -p mcpbus-benches --bench overload -- [--quick] [--format json] [--only NAME] [--links KIND] [--seconds S]
//! [--rounds N]`. A plain program on a real node; nothing here asserts a time.
//!
//! | file | subject |
//! | --- | --- |
//! | `options.rs` | what is asked for on the command line |
//! | `world.rs` | nodes and clients over loopback QUIC or inside the process |
//! | `service.rs` | consumers that work a fixed time per message |
//! | `load.rs` | messages offered at a rate, whatever becomes of them, and what became of them |
//! | `memory.rs` | the memory of this process while something runs |
//! | `goodput.rs` | a service that is offered more than it can do |
//! | `dead.rs` | two groups of which one takes messages and never answers |
//! | `fallback.rs` | how long it takes until a fallback has answered |
//! | `report.rs` | tables and JSON |

mod dead;
mod fallback;
mod goodput;
mod load;
mod memory;
mod options;
mod report;
mod service;
mod world;

use mcpbus_benches::failed::Failed;
use mcpbus_benches::process::load_average;
use options::{Format, Options, Part};
use report::Report;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use world::World;

/// Says on a terminal what is done now.
fn tell(what: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("{what}");
    }
}

fn all() -> Result<(), Failed> {
    let Some(options) = Options::from_arguments()? else {
        return Ok(());
    };
    let world = World::new(options.links)?;
    let mut report = Report {
        links: options.links,
        load_average: load_average(),
        ..Report::default()
    };
    for part in options.parts() {
        match part {
            Part::Goodput => report.goodput = Some(goodput::measure(&world, &options)?),
            Part::Dead => report.dead = Some(dead::measure(&world, &options)?),
            Part::Fallback => report.fallback = Some(fallback::measure(&world, &options)?),
        }
    }
    report.load_average_at_the_end = load_average();
    let text = match options.format {
        Format::Text => report.to_string(),
        Format::Json => {
            serde_json::to_string_pretty(&report).map_err(Failed::at("the report"))? + "\n"
        }
    };
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(Failed::at("standard output"))
}

fn main() -> ExitCode {
    match all() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("{failed}");
            ExitCode::FAILURE
        }
    }
}
