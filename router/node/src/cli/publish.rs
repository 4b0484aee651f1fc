//! `mcpbus pub`: each line of standard input becomes a message.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use mcpbus::routing::Subject;

use super::connection::{ConnectionArguments, duration};
use crate::config::Ack;
use crate::config::quantity::parse_size;
use crate::stages::delimited::{Delimited, SplitError, without_carriage_return};
use crate::stages::lines::Line;
use crate::template::{Field, RenderError, Template};

/// Publish each line of standard input as a message.
///
/// In the subject and the key, {2} is the line's second field: --delimiter ';' --subject 'bank.tx.{2}' --key '{2}'
/// gives each account its subject. A line whose field cannot be a token of a subject is refused and counted.
///
/// At the end of the input it waits for the acknowledgements it asked for, and exits with 1 and the counts if any is
/// missing.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The node.
    #[command(flatten)]
    pub connection: ConnectionArguments,
    /// The subject; {N} stands for the line's N-th field.
    #[arg(long, value_parser = template)]
    pub subject: Template,
    /// The character between fields; fields in double quotes may hold it.
    #[arg(long, value_name = "CHARACTER", value_parser = delimiter)]
    pub delimiter: Option<u8>,
    /// The key: order per key is kept, and sticky routes go by it; {N} stands for the line's N-th field.
    #[arg(long, value_parser = template)]
    pub key: Option<Template>,
    /// What to wait for: nothing, that the next node has it, that it is on disk, or that it was processed.
    #[arg(long, value_enum, default_value_t = AckArgument::Accepted)]
    pub ack: AckArgument,
    /// How long to wait at the end of the input for acknowledgements.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
    /// Publish nothing before so many subscribers are there.
    #[arg(long, value_name = "N")]
    pub wait_for_subscribers: Option<u32>,
    /// The longest line in bytes; a longer one is refused and counted.
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = line_size)]
    pub max_line: usize,
}

/// The values of `--ack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AckArgument {
    /// Nothing: at most once.
    None,
    /// The next node has it in memory.
    Accepted,
    /// The next node has it on disk.
    Stored,
    /// Its subscribers have processed it.
    Processed,
}

impl From<AckArgument> for Ack {
    fn from(argument: AckArgument) -> Self {
        match argument {
            AckArgument::None => Self::None,
            AckArgument::Accepted => Self::Accepted,
            AckArgument::Stored => Self::Stored,
            AckArgument::Processed => Self::Processed,
        }
    }
}

/// For clap: a template.
///
/// # Errors
/// What is wrong with the text.
pub fn template(text: &str) -> Result<Template, String> {
    Template::parse(text).map_err(|error| error.to_string())
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text {
        "\\t" => Ok(b'\t'),
        _ => match text.as_bytes() {
            [byte] if byte.is_ascii() => Ok(*byte),
            _ => Err("a delimiter is one ASCII character, or \\t".to_owned()),
        },
    }
}

fn line_size(text: &str) -> Result<usize, String> {
    let size = parse_size(text)?;
    if !(1..=64 << 20).contains(&size) {
        return Err("the longest line lies between 1B and 64MiB".to_owned());
    }
    usize::try_from(size).map_err(|_| "too large".to_owned())
}

/// A line ready to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Its subject.
    pub subject: Subject,
    /// Its key's bytes, if a key was asked for.
    pub key: Option<Bytes>,
    /// The line, byte for byte.
    pub body: Bytes,
}

/// Why a line is not published; it is counted under `decode`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineRefused {
    /// The line's 1-based number.
    pub number: u64,
    /// What is wrong with it.
    pub cause: LineFault,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineFault {
    /// It is longer than `--max-line`.
    TooLong {
        /// Its length in bytes.
        length: u64,
    },
    /// It cannot be split before the fields that are needed.
    Split(SplitError),
    /// A field is missing or no token.
    Render(RenderError),
}

impl fmt::Display for LineRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.number)?;
        match &self.cause {
            LineFault::TooLong { length } => {
                write!(f, "{length} bytes are longer than --max-line allows")
            }
            LineFault::Split(error) => error.fmt(f),
            LineFault::Render(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LineRefused {}

/// Turns lines into subjects, keys and bodies.
#[derive(Clone, Debug)]
pub struct LinePlan {
    split: Option<Delimited>,
    subject: Template,
    key: Option<Template>,
    /// A subject without placeholders is made once.
    constant: Option<Subject>,
    /// Fields needed, counted from 1.
    highest: usize,
}

/// Why subject, key and delimiter do not fit together; a mistake on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// A placeholder is a name, but lines have numbers only.
    Name(String),
    /// There are placeholders but no `--delimiter`.
    NoDelimiter,
    /// The subject is none.
    Subject(RenderError),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(
                f,
                "{{{name}}} is not a number; a line's fields are {{1}}, {{2}} and so on"
            ),
            Self::NoDelimiter => write!(
                f,
                "fields are used, so --delimiter must say what separates them"
            ),
            Self::Subject(error) => write!(f, "--subject: {error}"),
        }
    }
}

impl std::error::Error for PlanError {}

impl LinePlan {
    /// Checks that the arguments fit together.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn new(
        subject: Template,
        key: Option<Template>,
        delimiter: Option<u8>,
    ) -> Result<Self, PlanError> {
        let mut highest = 0;
        for field in subject
            .fields()
            .chain(key.iter().flat_map(Template::fields))
        {
            match field {
                Field::Number(number) => highest = highest.max(*number),
                Field::Name(name) => return Err(PlanError::Name(name.clone())),
            }
        }
        if highest > 0 && delimiter.is_none() {
            return Err(PlanError::NoDelimiter);
        }
        let filled = subject.render_subject(|_, out| {
            out.push(b'x');
            true
        });
        let filled = filled.map_err(PlanError::Subject)?;
        let constant = subject.is_constant().then_some(filled);
        let split = delimiter.map(|delimiter| Delimited {
            delimiter,
            quote: Some(b'"'),
        });
        Ok(Self {
            split,
            subject,
            key,
            constant,
            highest,
        })
    }

    /// Prepares a line.
    ///
    /// # Errors
    /// [`LineRefused`]; the run goes on with the next line.
    pub fn prepare(&self, line: Line) -> Result<Prepared, LineRefused> {
        let (body, number) = match line {
            Line::Whole { bytes, number } => (bytes, number),
            Line::TooLong { length, number, .. } => {
                return Err(LineRefused {
                    number,
                    cause: LineFault::TooLong { length },
                });
            }
        };
        let refused = |cause| LineRefused { number, cause };
        let fields = self
            .fields(&body)
            .map_err(|error| refused(LineFault::Split(error)))?;
        let lookup = |field: &Field, out: &mut Vec<u8>| match field {
            Field::Number(number) => match fields.get(number.wrapping_sub(1)) {
                Some(value) => {
                    out.extend_from_slice(value);
                    true
                }
                None => false,
            },
            Field::Name(_) => false,
        };
        let subject = match &self.constant {
            Some(subject) => subject.clone(),
            None => self
                .subject
                .render_subject(lookup)
                .map_err(|error| refused(LineFault::Render(error)))?,
        };
        let key = match &self.key {
            None => None,
            Some(template) => {
                let mut key = Vec::new();
                template
                    .render(&mut key, lookup)
                    .map_err(|error| refused(LineFault::Render(error)))?;
                Some(Bytes::from(key))
            }
        };
        Ok(Prepared { subject, key, body })
    }

    /// The fields up to the last one that is needed; what is wrong behind it does not matter.
    fn fields<'a>(&self, line: &'a [u8]) -> Result<Vec<std::borrow::Cow<'a, [u8]>>, SplitError> {
        let Some(split) = self.split.filter(|_| self.highest > 0) else {
            return Ok(Vec::new());
        };
        let mut fields = Vec::with_capacity(self.highest);
        let done = split.split(without_carriage_return(line), |field| {
            if fields.len() < self.highest {
                fields.push(field);
            }
        });
        match done {
            Err(error) if fields.len() < self.highest => Err(error),
            _ => Ok(fields),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plan(
        subject: &str,
        key: Option<&str>,
        delimiter: Option<u8>,
    ) -> Result<LinePlan, PlanError> {
        LinePlan::new(
            Template::parse(subject).unwrap(),
            key.map(|key| Template::parse(key).unwrap()),
            delimiter,
        )
    }

    fn line(bytes: &[u8]) -> Line {
        Line::Whole {
            bytes: Bytes::copy_from_slice(bytes),
            number: 3,
        }
    }

    #[test]
    fn each_account_has_its_subject() {
        let plan = plan("bank.tx.{2}", Some("{2}"), Some(b';')).unwrap();
        let row = b"695247;2378;930101;\"PRIJEM\";\"VKLAD\";700.00;700.00;\"\";;\r";
        let prepared = plan.prepare(line(row)).unwrap();
        assert_eq!(prepared.subject.as_str(), "bank.tx.2378");
        assert_eq!(prepared.key.unwrap(), "2378");
        assert_eq!(&prepared.body[..], row);
        let cut = plan.prepare(line(b"3526882;11021;940331;\"PRIJE")).unwrap();
        assert_eq!(cut.subject.as_str(), "bank.tx.11021");
    }

    #[test]
    fn lines_that_give_no_token_are_refused_with_their_number() {
        let plan = plan("a.{2}", None, Some(b';')).unwrap();
        for (bytes, words) in [
            (&b"1"[..], "no field `2`"),
            (b"1;", "is empty"),
            (b"1;x.y", "holds '.'"),
            (b"1;*", "holds '*'"),
            (b"1;a b", "holds ' '"),
            (b"1;\xff", "not UTF-8"),
            (b"\"1;2", "never closes"),
        ] {
            let refused = plan.prepare(line(bytes)).unwrap_err().to_string();
            assert!(
                refused.starts_with("line 3: ") && refused.contains(words),
                "{words:?} in {refused}"
            );
        }
        let long = Line::TooLong {
            beginning: Bytes::new(),
            length: 10 << 20,
            number: 1,
        };
        assert!(
            plan.prepare(long)
                .unwrap_err()
                .to_string()
                .contains("10485760 bytes")
        );
    }

    #[test]
    fn a_constant_subject_takes_any_bytes() {
        let plan = plan("a.b", None, None).unwrap();
        assert_eq!(
            &plan.prepare(line(b"\xff\xfe")).unwrap().body[..],
            b"\xff\xfe"
        );
        assert_eq!(plan.prepare(line(b"")).unwrap().subject.as_str(), "a.b");
    }

    #[test]
    fn mistakes_on_the_command_line() {
        assert_eq!(
            plan("a.{2}", None, None).unwrap_err(),
            PlanError::NoDelimiter
        );
        assert_eq!(
            plan("a.{x}", None, Some(b',')).unwrap_err(),
            PlanError::Name("x".to_owned())
        );
        assert!(matches!(
            plan("a.*", None, None),
            Err(PlanError::Subject(_))
        ));
        assert_eq!(delimiter("\\t"), Ok(b'\t'));
        assert!(delimiter(";;").is_err() && delimiter("é").is_err());
        assert!(line_size("0").is_err() && line_size("1GiB").is_err());
    }
}
