//! Texts with placeholders: `bank.tx.{account}`, `{2}`, `{status:1}xx`.
//!
//! A placeholder is `{name}` or `{number}` (the 1-based field of a split line); `{name:3}` takes the first three
//! characters. `{{` and `}}` stand for the braces themselves.

use std::fmt;

use mcpbus::routing::{Subject, SubjectError};

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Field { field: Field, first: Option<usize> },
}

/// What a placeholder refers to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// A field by its name.
    Name(String),
    /// A field of a split line by its 1-based number.
    Number(usize),
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Name(name) => write!(f, "{name}"),
            Field::Number(number) => write!(f, "{number}"),
        }
    }
}

/// Why a text is not a template. The person who wrote it recovers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// A `{` without its `}`.
    Unclosed {
        /// Byte position of the `{`.
        at: usize,
    },
    /// A `}` without its `{`.
    Unopened {
        /// Byte position of the `}`.
        at: usize,
    },
    /// `{}` or `{0}`.
    NoField {
        /// Byte position of the `{`.
        at: usize,
    },
    /// The length after `:` is not a number from 1 on.
    Length {
        /// The text after the colon.
        text: String,
    },
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unclosed { at } => write!(
                f,
                "the `{{` at position {} is never closed; write `{{{{` for a brace",
                at + 1
            ),
            Self::Unopened { at } => write!(
                f,
                "the `}}` at position {} was never opened; write `}}}}` for a brace",
                at + 1
            ),
            Self::NoField { at } => {
                write!(
                    f,
                    "the placeholder at position {} names no field; fields are counted from 1",
                    at + 1
                )
            }
            Self::Length { text } => write!(
                f,
                "`{text}` is not a number of characters; write for example {{status:1}}"
            ),
        }
    }
}

impl std::error::Error for TemplateError {}

/// Why a template could not be filled from a message; the message is dead-lettered as `decode`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenderError {
    /// The message has no such field.
    Missing {
        /// The field asked for.
        field: Field,
    },
    /// The whole is no subject, for example too long.
    Subject(SubjectError),
    /// The field's value cannot be part of a subject.
    Token {
        /// The field; none where the fault lies in the text between fields.
        field: Option<Field>,
        /// What is wrong with it.
        cause: TokenFault,
    },
}

/// Why a text is no token of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// It is empty.
    Empty,
    /// It holds a character that subjects reserve: `.`, `*`, `>`, space or control.
    Reserved(char),
    /// It is not UTF-8.
    NotUtf8,
}

impl fmt::Display for TokenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "is empty"),
            Self::Reserved(c) => write!(f, "holds {c:?}, which a subject's token cannot"),
            Self::NotUtf8 => write!(f, "is not UTF-8"),
        }
    }
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { field } => write!(f, "the message has no field `{field}`"),
            Self::Subject(error) => write!(f, "{error}"),
            Self::Token {
                field: Some(field),
                cause,
            } => write!(f, "field `{field}` {cause}"),
            Self::Token { field: None, cause } => write!(f, "a token of the subject {cause}"),
        }
    }
}

impl std::error::Error for RenderError {}

/// Checks that `bytes` can be one token of a subject.
///
/// # Errors
/// [`TokenFault`] names the first reason against it.
pub fn verify_token(bytes: &[u8]) -> Result<&str, TokenFault> {
    let text = std::str::from_utf8(bytes).map_err(|_| TokenFault::NotUtf8)?;
    if text.is_empty() {
        return Err(TokenFault::Empty);
    }
    match text
        .chars()
        .find(|c| matches!(c, '.' | '*' | '>') || c.is_whitespace() || c.is_control())
    {
        Some(c) => Err(TokenFault::Reserved(c)),
        None => Ok(text),
    }
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// [`TemplateError`] with the position of what cannot be understood.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut characters = text.char_indices().peekable();
        while let Some((at, c)) = characters.next() {
            match c {
                '{' | '}' if characters.peek().is_some_and(|(_, next)| *next == c) => {
                    characters.next();
                    literal.push(c);
                }
                '{' => {
                    let mut inner = String::new();
                    loop {
                        match characters.next() {
                            Some((_, '}')) => break,
                            Some((_, c)) => inner.push(c),
                            None => return Err(TemplateError::Unclosed { at }),
                        }
                    }
                    if !literal.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(placeholder(&inner, at)?);
                }
                '}' => return Err(TemplateError::Unopened { at }),
                c => literal.push(c),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The fields that it refers to, in order.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field { field, .. } => Some(field),
            Part::Literal(_) => None,
        })
    }

    /// Whether it has no placeholder.
    pub fn is_constant(&self) -> bool {
        self.fields().next().is_none()
    }

    /// Fills the placeholders into `out`, any bytes allowed. `lookup` appends a field's bytes and says whether there
    /// is such a field.
    ///
    /// # Errors
    /// [`RenderError::Missing`]; `out` then holds the part before it.
    pub fn render(
        &self,
        out: &mut Vec<u8>,
        mut lookup: impl FnMut(&Field, &mut Vec<u8>) -> bool,
    ) -> Result<(), RenderError> {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Field { field, first } => {
                    let start = out.len();
                    if !lookup(field, out) {
                        return Err(RenderError::Missing {
                            field: field.clone(),
                        });
                    }
                    if let Some(first) = first {
                        let kept = std::str::from_utf8(&out[start..]).map_or(*first, |text| {
                            text.chars().take(*first).map(char::len_utf8).sum()
                        });
                        out.truncate(out.len().min(start + kept));
                    }
                }
            }
        }
        Ok(())
    }

    /// Fills the placeholders of a subject; every field must be a token by itself or with the literal around it.
    ///
    /// # Errors
    /// [`RenderError`] names the field and the cause.
    pub fn render_subject(
        &self,
        mut lookup: impl FnMut(&Field, &mut Vec<u8>) -> bool,
    ) -> Result<Subject, RenderError> {
        let mut whole = Vec::new();
        self.render(&mut whole, |field, out| lookup(field, out))?;
        // Each field alone first: a value such as `a.b` would otherwise pass as two tokens.
        let mut value = Vec::new();
        for field in self.fields() {
            value.clear();
            lookup(field, &mut value);
            verify_token(&value).map_err(|cause| RenderError::Token {
                field: Some(field.clone()),
                cause,
            })?;
        }
        let text = std::str::from_utf8(&whole).map_err(|_| RenderError::Token {
            field: None,
            cause: TokenFault::NotUtf8,
        })?;
        Subject::new(text).map_err(RenderError::Subject)
    }
}

fn placeholder(inner: &str, at: usize) -> Result<Part, TemplateError> {
    let (name, first) = match inner.split_once(':') {
        Some((name, length)) => match length.parse::<usize>() {
            Ok(length) if length > 0 => (name, Some(length)),
            _ => {
                return Err(TemplateError::Length {
                    text: length.to_owned(),
                });
            }
        },
        None => (inner, None),
    };
    let name = name.trim();
    let field = match name.parse::<usize>() {
        Ok(0) => return Err(TemplateError::NoField { at }),
        Ok(number) => Field::Number(number),
        Err(_) if name.is_empty() => return Err(TemplateError::NoField { at }),
        Err(_) => Field::Name(name.to_owned()),
    };
    Ok(Part::Field { field, first })
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn lookup(field: &Field, out: &mut Vec<u8>) -> bool {
        let value: &[u8] = match field {
            Field::Number(2) => b"2378",
            Field::Name(name) if name == "status" => b"404",
            Field::Name(name) if name == "dotted" => b"a.b",
            Field::Name(name) if name == "empty" => b"",
            Field::Name(name) if name == "bytes" => &[0xff, 0xfe],
            _ => return false,
        };
        out.extend_from_slice(value);
        true
    }

    #[test]
    fn renders_names_numbers_lengths_and_braces() {
        let render = |text: &str| {
            let mut out = Vec::new();
            Template::parse(text)
                .unwrap()
                .render(&mut out, lookup)
                .map(|()| String::from_utf8(out).unwrap())
        };
        assert_eq!(render("bank.tx.{2}").unwrap(), "bank.tx.2378");
        assert_eq!(render("{status:1}xx").unwrap(), "4xx");
        assert_eq!(render("{{{status}}}").unwrap(), "{404}");
        assert_eq!(render("").unwrap(), "");
        assert_eq!(
            render("{9}"),
            Err(RenderError::Missing {
                field: Field::Number(9)
            })
        );
    }

    #[test]
    fn a_subject_refuses_what_is_no_token() {
        let subject = |text: &str| Template::parse(text).unwrap().render_subject(lookup);
        assert_eq!(subject("bank.tx.{2}").unwrap().as_str(), "bank.tx.2378");
        assert!(matches!(
            subject("x.{dotted}"),
            Err(RenderError::Token {
                cause: TokenFault::Reserved('.'),
                ..
            })
        ));
        assert!(matches!(
            subject("x.{empty}"),
            Err(RenderError::Token {
                cause: TokenFault::Empty,
                ..
            })
        ));
        assert!(matches!(
            subject("x.{bytes}"),
            Err(RenderError::Token {
                cause: TokenFault::NotUtf8,
                ..
            })
        ));
        assert!(matches!(
            subject("x..y"),
            Err(RenderError::Subject(SubjectError::EmptyToken {
                position: 2
            }))
        ));
    }

    #[test]
    fn mistakes_have_positions() {
        assert_eq!(
            Template::parse("a{b"),
            Err(TemplateError::Unclosed { at: 1 })
        );
        assert_eq!(
            Template::parse("a}b"),
            Err(TemplateError::Unopened { at: 1 })
        );
        assert_eq!(
            Template::parse("a{}"),
            Err(TemplateError::NoField { at: 1 })
        );
        assert_eq!(
            Template::parse("a{0}"),
            Err(TemplateError::NoField { at: 1 })
        );
        assert!(matches!(
            Template::parse("{a:x}"),
            Err(TemplateError::Length { .. })
        ));
    }
}
