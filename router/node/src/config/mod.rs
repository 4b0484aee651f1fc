//! The node file: what one process is told to be.
//!
//! The way of a file, top down:
//!
//! 1. [`document`] parses the TOML text into a tree that remembers where each key and value stands, and lays
//!    environment variables and `--set` flags over it (file < environment < flags).
//! 2. [`reader`] takes typed values out of the tree and collects every mistake: unknown keys, wrong types, values
//!    out of bounds. A file with three mistakes reports three.
//! 3. [`node_file`], [`route`], [`limits`] and [`stage`] hold the typed result.
//! 4. [`mod@verify`] looks at what only the whole shows: equal routes, edges nobody reads, cycles, names used twice.
//!
//! Invariants: a value of type [`NodeFile`] has passed all four steps, every limit in it is finite, and nothing in
//! it was guessed from a key that was not understood.

pub mod document;
pub mod limits;
pub mod mistake;
pub mod node_file;
pub mod normalise;
pub mod quantity;
pub mod reader;
pub mod route;
pub mod stage;
mod stage_kinds;
pub mod verify;

use std::path::Path;

pub use document::{Document, Override};
pub use limits::Limits;
pub use mistake::{ConfigError, Mistake, Place, Spotted};
pub use node_file::NodeFile;
pub use route::{Destination, Policy, Route};
pub use stage::{Ack, Input, Output, Stage, StageKind};
pub use verify::Warning;

/// Reads, overlays and verifies the node file at `path`.
///
/// `environment` are the variables to look at (see [`document::environment_overrides`]); `flags` are the texts of
/// `--set`. Flags win over the environment, the environment over the file.
///
/// # Errors
/// [`ConfigError`] lists every mistake with its place; the person who wrote the file or the flag recovers.
pub fn load(
    path: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &[String],
) -> Result<(NodeFile, Vec<Warning>), ConfigError> {
    let name = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|error| ConfigError::unreadable(&name, &error))?;
    parse(&name, &text, environment, flags)
}

/// Like [`load`], for a text that is already in memory; `name` stands for the file in messages.
///
/// # Errors
/// As [`load`].
pub fn parse(
    name: &str,
    text: &str,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &[String],
) -> Result<(NodeFile, Vec<Warning>), ConfigError> {
    let mut document = Document::parse(name, text)?;
    let mut mistakes = Vec::new();
    for given in document::environment_overrides(environment) {
        document.overlay(&given, &mut mistakes);
    }
    for flag in flags {
        match Override::from_flag(flag) {
            Ok(given) => document.overlay(&given, &mut mistakes),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    let file = node_file::read(&document, &mut mistakes);
    let warnings = verify::verify(&file, &mut mistakes);
    if mistakes.is_empty() {
        Ok((file, warnings))
    } else {
        Err(ConfigError::new(document.source(), mistakes))
    }
}

#[cfg(test)]
mod tests;
