//! `tables`: the results of a run as Markdown, printed or put into a page.

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use mcpbus_peers::report::markdown;
use mcpbus_peers::results::Results;

/// Print the tables of a run as Markdown, or put them into a page.
///
/// Exit code: 0 done; 1 a file cannot be read or written, or the page has no place for tables; 2 wrong arguments.
#[derive(Debug, Parser)]
#[command(name = "tables")]
struct Arguments {
    /// What `topologies --format json` wrote.
    results: PathBuf,
    /// The page whose tables are replaced, between its two marks.
    #[arg(long, value_name = "PAGE")]
    into: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let tables = markdown::of(&Results::read(&arguments.results)?);
    match &arguments.into {
        Some(page) => {
            let told = |error: std::io::Error| format!("{}: {error}", page.display());
            let text = std::fs::read_to_string(page).map_err(told)?;
            std::fs::write(page, markdown::put_into(&text, &tables)?).map_err(told)?;
        }
        None => std::io::stdout().write_all(tables.as_bytes())?,
    }
    Ok(())
}
