//! Reading the node file that a command is given.

use std::path::{Path, PathBuf};

use super::Exit;
use crate::check::memory_bound;
use crate::config::{self, NodeFile, StageKind, Warning};

/// Reads and verifies the file; mistakes are printed to standard error.
///
/// # Errors
/// [`Exit::Usage`] when there is a mistake, or when the memory bound exceeds the budget.
pub(super) fn load(
    path: &Path,
    set: &[String],
    input: Option<&Path>,
) -> Result<(NodeFile, Vec<Warning>), Exit> {
    let (mut file, warnings) = config::load(path, std::env::vars(), set).map_err(|error| {
        eprintln!("{error}");
        Exit::Usage
    })?;
    if let Some(input) = input {
        replace_input(&mut file, input).map_err(|problem| {
            eprintln!("--input {}: {problem}", input.display());
            Exit::Usage
        })?;
    }
    memory_bound(&file)
        .within(file.limits.budget)
        .map_err(|error| {
            eprintln!("{}: {error}", path.display());
            Exit::Usage
        })?;
    Ok((file, warnings))
}

/// `--input` replaces the path of the first stage of kind `lines`.
fn replace_input(file: &mut NodeFile, input: &Path) -> Result<(), String> {
    let lines = file
        .stages
        .iter_mut()
        .find(|stage| matches!(stage.kind, StageKind::Lines(_)));
    match lines {
        Some(stage) => {
            stage.replace_lines_path(PathBuf::from(input));
            Ok(())
        }
        None => Err("the file has no stage of kind `lines`".to_owned()),
    }
}
