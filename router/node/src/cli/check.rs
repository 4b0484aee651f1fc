//! `mcpbus check`: what a node file says, without running it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Exit, files, output};
use crate::check::{diagram, text, to_json};
use crate::config::normalise;

/// Check a node file without running it: print its topology and its memory bound.
///
/// A mistake is reported with file, line, column and the offending key, and the exit code is 2.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The node file (TOML).
    file: PathBuf,
    /// Replace a key of the file, for example `stage.lines.path=FILE`; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// What to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// The topology and the memory bound for people.
    Text,
    /// A Mermaid flow chart.
    Mermaid,
    /// A Graphviz graph.
    Dot,
    /// One JSON object: the file, its edges, warnings and the memory bound.
    Json,
    /// The file normalised: every key with its value, defaults included.
    Toml,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let (file, warnings) = match files::load(&arguments.file, &arguments.set, None) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    for warning in &warnings {
        eprintln!("{}: warning: {warning}", arguments.file.display());
    }
    output::print(&match arguments.format {
        Format::Text => text::to_text(&file),
        Format::Mermaid => diagram::to_mermaid(&file),
        Format::Dot => diagram::to_dot(&file),
        Format::Json => format!("{:#}\n", to_json(&file, &warnings)),
        Format::Toml => normalise::to_toml(&file),
    })
}
