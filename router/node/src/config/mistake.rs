//! Mistakes in configuration: where, what, and what was probably meant.

use std::fmt;
use std::sync::Arc;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the file: 1-based line and column (in characters), and how many characters to underline.
    File {
        /// 1-based line.
        line: usize,
        /// 1-based column, counted in characters.
        column: usize,
        /// Characters to underline, at least 1.
        width: usize,
    },
    /// In an environment variable of this name.
    Environment(String),
    /// In a `--set` flag with this text.
    Flag(String),
    /// Nowhere in particular: the file as a whole.
    Whole,
}

/// A value together with the place it was written at, so that a later check can still point at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spotted<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub place: Place,
}

impl<T> Spotted<T> {
    /// Ties a value to its place.
    pub fn new(value: T, place: Place) -> Self {
        Self { value, place }
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it stands.
    pub place: Place,
    /// The offending key as a dotted path, for example `route.0.pollicy`; empty for the whole file.
    pub key: String,
    /// What is wrong, as one clause.
    pub problem: String,
    /// What to do, or what was probably meant.
    pub hint: Option<String>,
}

impl Mistake {
    /// A mistake without a hint.
    pub fn new(place: Place, key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            place,
            key: key.into(),
            problem: problem.into(),
            hint: None,
        }
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds "did you mean" when one of `known` is close to `given`, else the list of what is known (if short).
    #[must_use]
    pub fn suggest<'a>(self, given: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        if let Some(close) = closest(given, known.iter().copied()) {
            return self.hint(format!("did you mean `{close}`?"));
        }
        if known.is_empty() || known.len() > 24 {
            return self;
        }
        let list = known
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", ");
        self.hint(format!("known here: {list}"))
    }
}

/// The name in `known` that `given` is most probably a slip of, if one is close enough.
pub fn closest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Similarity rather than plain distance, so that a swap of two letters in a short key still counts as close.
    known
        .into_iter()
        .map(|name| {
            (
                strsim::jaro_winkler(given, name),
                strsim::damerau_levenshtein(given, name),
                name,
            )
        })
        .filter(|(similarity, distance, name)| {
            *distance <= 1 + name.chars().count() / 4 || (*similarity > 0.88 && *distance <= 4)
        })
        .min_by(|a, b| a.1.cmp(&b.1).then(b.0.total_cmp(&a.0)))
        .map(|(_, _, name)| name)
}

/// The text a document was read from, kept so that errors can show the line.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The file's name as the user gave it.
    pub name: String,
    /// Its whole text.
    pub text: String,
}

impl Source {
    /// Line, column and width of a byte range of the text.
    pub fn place(&self, range: std::ops::Range<usize>) -> Place {
        let start = range.start.min(self.text.len());
        let before = self.text.get(..start).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let covered = self
            .text
            .get(start..range.end.min(self.text.len()))
            .unwrap_or("");
        let first_line = covered.split('\n').next().unwrap_or("");
        Place::File {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or("").chars().count() + 1,
            width: first_line.chars().count().max(1),
        }
    }
}

/// Every mistake found in one configuration. Nothing was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    source: Arc<Source>,
    mistakes: Vec<Mistake>,
}

impl ConfigError {
    pub(super) fn new(source: Arc<Source>, mistakes: Vec<Mistake>) -> Self {
        Self { source, mistakes }
    }

    pub(super) fn unreadable(name: &str, error: &std::io::Error) -> Self {
        let source = Source {
            name: name.to_owned(),
            text: String::new(),
        };
        let mistake = Mistake::new(Place::Whole, "", format!("cannot be read: {error}"))
            .hint("give the path of a node file in TOML");
        Self::new(Arc::new(source), vec![mistake])
    }

    /// The mistakes, in the order in which they were found.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    fn write_one(&self, f: &mut fmt::Formatter<'_>, mistake: &Mistake) -> fmt::Result {
        match &mistake.place {
            Place::File { line, column, .. } => {
                write!(f, "{}:{line}:{column}: ", self.source.name)?
            }
            Place::Environment(name) => write!(f, "environment variable {name}: ")?,
            Place::Flag(flag) => write!(f, "--set {flag}: ")?,
            Place::Whole => write!(f, "{}: ", self.source.name)?,
        }
        write!(f, "{}", mistake.problem)?;
        if let Place::File {
            line,
            column,
            width,
        } = mistake.place
        {
            let text = self.source.text.lines().nth(line - 1).unwrap_or("");
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            let indent: String = text
                .chars()
                .take(column - 1)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            write!(
                f,
                "\n {margin} |\n {number} | {text}\n {margin} | {indent}{}",
                "^".repeat(width)
            )?;
            if let Some(hint) = &mistake.hint {
                write!(f, " {hint}")?;
            }
        } else if let Some(hint) = &mistake.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            self.write_one(f, mistake)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
