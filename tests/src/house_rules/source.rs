//! The sources of the workspace, as the rules read them.

use std::path::{Path, PathBuf};

/// One source file: its path from the root of the workspace, and its lines without comments and strings.
#[derive(Clone, Debug)]
pub struct Source {
    /// From the root, with `/`.
    pub path: String,
    /// Code only, one entry per line.
    pub lines: Vec<String>,
    /// Lines of the file as it is.
    pub length: usize,
    /// From this line on, counted from 0, all is for tests.
    pub tests_from: usize,
}

impl Source {
    /// Reads one file's text.
    pub fn new(path: &str, text: &str) -> Self {
        let lines: Vec<String> = text.lines().map(code).collect();
        let own =
            path.ends_with("/tests.rs") || path.contains("/tests/") || path.starts_with("tests/");
        let marker = lines.windows(2).position(|pair| {
            pair[0].trim() == "#[cfg(test)]" && pair[1].trim_start().starts_with("mod tests {")
        });
        let tests_from = if own {
            0
        } else {
            marker.unwrap_or(lines.len())
        };
        Self {
            path: path.to_owned(),
            length: text.lines().count(),
            lines,
            tests_from,
        }
    }

    /// Lines with their number, from 1; those of unit tests left out.
    pub fn outside_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines[..self.tests_from]
            .iter()
            .enumerate()
            .map(|(index, line)| (index + 1, line.as_str()))
    }

    /// Lines of tests with their number, from 1.
    pub fn in_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        let from = self.tests_from;
        self.lines[from..]
            .iter()
            .enumerate()
            .map(move |(index, line)| (from + index + 1, line.as_str()))
    }

    /// All lines with their number, from 1.
    pub fn all(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines
            .iter()
            .enumerate()
            .map(|(index, line)| (index + 1, line.as_str()))
    }
}

/// A line without its comment and without what stands in string literals that end on it.
fn code(line: &str) -> String {
    let mut code = String::new();
    let mut chars = line.chars().peekable();
    let mut quoted = false;
    while let Some(char) = chars.next() {
        match char {
            '\\' if quoted => {
                chars.next();
            }
            '"' => {
                quoted = !quoted;
                code.push('"');
            }
            '/' if !quoted && chars.peek() == Some(&'/') => break,
            _ if quoted => {}
            _ => code.push(char),
        }
    }
    code
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// All Rust sources of the workspace in the order of their paths.
pub fn sources() -> std::io::Result<Vec<Source>> {
    let root = root();
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = [
        "actors",
        "transport",
        "router",
        "examples",
        "tests",
        "benches",
    ]
    .iter()
    .map(|name| root.join(name))
    .collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path
                    .strip_prefix(&root)
                    .unwrap_or(&path)
                    .to_string_lossy()
                    .replace('\\', "/");
                found.push(Source::new(&name, &std::fs::read_to_string(&path)?));
            }
        }
    }
    found.sort_by(|first, second| first.path.cmp(&second.path));
    Ok(found)
}
