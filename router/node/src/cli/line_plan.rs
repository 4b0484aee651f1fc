//! From a line to a subject, a key and a body.

use std::fmt;

use bytes::Bytes;
use mcpbus::routing::Subject;

use crate::stages::delimited::{Delimited, SplitError, without_carriage_return};
use crate::stages::lines::Line;
use crate::template::{Field, RenderError, Template};

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
    }
}
