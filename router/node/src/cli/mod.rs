//! The command line: one file per command.
//!
//! * Standard output holds results and nothing else; messages for people and logs go to standard error.
//! * Every command ends with one of the [`Exit`] codes.
//! * [`connection`] holds what all commands share that speak to a node.

mod bench;
mod cert;
mod check;
pub mod connection;
mod demo;
mod exit;
mod files;
pub mod line_plan;
mod logging;
pub mod output;
pub mod publish;
mod reload;
pub mod reply;
pub mod request;
mod run;
mod session;
pub mod subscribe;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use exit::Exit;

/// An actor-based message router: typed topologies on threads or nodes, with backpressure from end to end and a
/// ledger for every message.
#[derive(Debug, Parser)]
#[command(name = "mcpbus", version, about, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "Logs go to standard error; the environment variable LOG_LEVEL (error, warn, info, debug, \
                          trace; default info) says how much, LOG_FORMAT=json gives one JSON object per line.";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Pub(publish::Arguments),
    Sub(subscribe::Arguments),
    Request(request::Arguments),
    Reply(reply::Arguments),
    Check(check::Arguments),
    Demo(demo::Arguments),
    #[command(subcommand)]
    Bench(bench::Command),
    #[command(subcommand)]
    Cert(cert::Command),
}

/// Reads the command line of this process and runs it.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, everything else is a mistake; clap knows where each belongs.
            let _terminal_is_gone = error.print();
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Success
            }
            .into();
        }
    };
    // The demo shows a picture of its nodes; a node that runs for itself tells of its peers.
    logging::start(match cli.command {
        Command::Demo(_) | Command::Bench(_) => "warn",
        _ => "info",
    });
    match cli.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Pub(arguments) => publish::run(&arguments),
        Command::Sub(arguments) => subscribe::run(&arguments),
        Command::Request(arguments) => request::run(&arguments),
        Command::Reply(arguments) => reply::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Bench(command) => bench::run(&command),
        Command::Check(arguments) => check::run(&arguments),
        Command::Cert(command) => cert::run(&command),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
