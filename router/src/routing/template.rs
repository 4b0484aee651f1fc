//! Texts with placeholders that are filled from the fields of a record, such as `bank.tx.{2}`.

use std::fmt;
use std::str::FromStr;

use super::subject::{self, SUBJECT_BYTES, Subject, SubjectError};

/// The field of a record that a placeholder names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Field {
    /// `{2}`: the field at this place, counted from 1.
    Index(usize),
    /// `{account}`: the field of this name.
    Name(String),
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "{{{index}}}"),
            Self::Name(name) => write!(f, "{{{name}}}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(Field),
}

/// A text with placeholders whose result may be any bytes: what a key is made from.
///
/// `{name}` and `{index}` (counted from 1) are placeholders, `{{` and `}}` stand for the braces themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] says what is wrong and where; whoever wrote the template corrects it.
    pub fn new(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut characters = text.char_indices().peekable();
        while let Some((position, character)) = characters.next() {
            match character {
                '{' | '}' if characters.next_if(|(_, next)| *next == character).is_some() => {
                    literal.push(character)
                }
                '}' => return Err(TemplateError::UnopenedBrace { position }),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match characters.next() {
                            Some((_, '}')) => break,
                            Some((position, '{')) => {
                                return Err(TemplateError::BraceInName { position });
                            }
                            Some((_, other)) => name.push(other),
                            None => return Err(TemplateError::UnclosedBrace { position }),
                        }
                    }
                    if !literal.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    }
                    pieces.push(Piece::Field(field(&name, position)?));
                }
                other => literal.push(other),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self { pieces })
    }

    /// The fields named, from left to right, repeats included.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Field(field) => Some(field),
            Piece::Text(_) => None,
        })
    }

    /// Appends the text to `output`, each placeholder replaced by what `lookup` finds.
    ///
    /// # Errors
    ///
    /// [`RenderError::Missing`] when `lookup` finds nothing; `output` then holds what came before.
    pub fn render<'a>(
        &self,
        mut lookup: impl FnMut(&Field) -> Option<&'a [u8]>,
        output: &mut Vec<u8>,
    ) -> Result<(), RenderError> {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => output.extend_from_slice(text.as_bytes()),
                Piece::Field(field) => match lookup(field) {
                    Some(value) => output.extend_from_slice(value),
                    None => {
                        return Err(RenderError::Missing {
                            field: field.clone(),
                        });
                    }
                },
            }
        }
        Ok(())
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}"))?,
                Piece::Field(field) => field.fmt(f)?,
            }
        }
        Ok(())
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        Self::new(text)
    }
}

fn field(name: &str, position: usize) -> Result<Field, TemplateError> {
    if name.is_empty() {
        return Err(TemplateError::EmptyName { position });
    }
    if !name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Field::Name(name.to_string()));
    }
    match name.parse() {
        Ok(index) if index > 0 => Ok(Field::Index(index)),
        _ => Err(TemplateError::Index { position }),
    }
}

/// A template whose result is a [`Subject`].
///
/// A value can fill a token or a part of one, but never adds a token: that would let data choose where a
/// message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectTemplate {
    template: Template,
}

impl SubjectTemplate {
    /// Reads a template and checks that its literal parts can be part of a subject.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] says what is wrong; whoever wrote the template corrects it.
    pub fn new(text: &str) -> Result<Self, TemplateError> {
        let template = Template::new(text)?;
        let mut sample = Vec::new();
        // One letter per placeholder makes the shortest subject the template can give.
        if template.render(|_| Some(b"x"), &mut sample).is_ok() {
            Subject::new(&String::from_utf8_lossy(&sample)).map_err(TemplateError::Subject)?;
        }
        Ok(Self { template })
    }

    /// The fields named, from left to right, repeats included.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.template.fields()
    }

    /// Fills the placeholders with what `lookup` finds.
    ///
    /// # Errors
    ///
    /// [`RenderError`] names the field at fault. The record cannot be published under this template: the
    /// caller counts it as `decode` and goes on with the next.
    pub fn render<'a>(
        &self,
        mut lookup: impl FnMut(&Field) -> Option<&'a [u8]>,
    ) -> Result<Subject, RenderError> {
        let mut text = String::new();
        // The last field seen in the token being filled, to name it if the token stays empty.
        let mut filled_by: Option<&Field> = None;
        let empty = |text: &str, field: Option<&Field>| match field {
            Some(field) if text.is_empty() || text.ends_with('.') => Err(RenderError::Empty {
                field: field.clone(),
            }),
            _ => Ok(()),
        };
        for piece in &self.template.pieces {
            match piece {
                Piece::Text(literal) => {
                    if literal.starts_with('.') {
                        empty(&text, filled_by)?;
                    }
                    filled_by = if literal.contains('.') {
                        None
                    } else {
                        filled_by
                    };
                    text.push_str(literal);
                }
                Piece::Field(field) => {
                    let value = lookup(field).ok_or_else(|| RenderError::Missing {
                        field: field.clone(),
                    })?;
                    let value = std::str::from_utf8(value).map_err(|_| RenderError::NotText {
                        field: field.clone(),
                    })?;
                    if let Some(character) = value
                        .chars()
                        .find(|character| subject::forbidden(*character))
                    {
                        return Err(RenderError::Character {
                            field: field.clone(),
                            character,
                        });
                    }
                    text.push_str(value);
                    filled_by = Some(field);
                }
            }
        }
        empty(&text, filled_by)?;
        Subject::new(&text).map_err(|_| RenderError::TooLong { length: text.len() })
    }
}

impl fmt::Display for SubjectTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.template.fmt(f)
    }
}

impl FromStr for SubjectTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        Self::new(text)
    }
}

/// Why a text is not a template. Positions are byte offsets into the text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateError {
    /// `{` at `position` has no `}`.
    UnclosedBrace {
        /// Where the `{` stands.
        position: usize,
    },
    /// `}` at `position` has no `{`.
    UnopenedBrace {
        /// Where the `}` stands.
        position: usize,
    },
    /// `{` within a placeholder.
    BraceInName {
        /// Where the inner `{` stands.
        position: usize,
    },
    /// `{}` names no field.
    EmptyName {
        /// Where the `{` stands.
        position: usize,
    },
    /// The index is 0 or too large; fields are counted from 1.
    Index {
        /// Where the `{` stands.
        position: usize,
    },
    /// With every placeholder filled the text would still be no subject. The position counts each
    /// placeholder as one byte.
    Subject(SubjectError),
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnclosedBrace { position } => {
                write!(
                    f,
                    "'{{' at byte {position} is not closed: add '}}', or write '{{{{' for a brace"
                )
            }
            Self::UnopenedBrace { position } => {
                write!(
                    f,
                    "'}}' at byte {position} is not opened: add '{{', or write '}}}}' for a brace"
                )
            }
            Self::BraceInName { position } => write!(
                f,
                "'{{' at byte {position} stands inside a placeholder: close it first"
            ),
            Self::EmptyName { position } => {
                write!(
                    f,
                    "the placeholder at byte {position} names no field: write {{2}} or {{name}}"
                )
            }
            Self::Index { position } => {
                write!(
                    f,
                    "the index at byte {position} is out of range: the first field is {{1}}"
                )
            }
            Self::Subject(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TemplateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Subject(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a record does not fill a template.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RenderError {
    /// The record has no such field.
    Missing {
        /// The field.
        field: Field,
    },
    /// The field leaves its token empty.
    Empty {
        /// The field.
        field: Field,
    },
    /// The field is not UTF-8.
    NotText {
        /// The field.
        field: Field,
    },
    /// The field holds a character that no token may hold.
    Character {
        /// The field.
        field: Field,
        /// The first such character.
        character: char,
    },
    /// The subject would have `length` bytes, more than [`SUBJECT_BYTES`].
    TooLong {
        /// Bytes in the subject.
        length: usize,
    },
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { field } => write!(
                f,
                "the record has no field {field}: check the template and the delimiter"
            ),
            Self::Empty { field } => {
                write!(f, "field {field} is empty and would make an empty token")
            }
            Self::NotText { field } => write!(
                f,
                "field {field} is not UTF-8 and cannot be part of a subject"
            ),
            Self::Character { field, character } => {
                write!(
                    f,
                    "field {field} holds {character:?}, which no token of a subject may hold"
                )
            }
            Self::TooLong { length } => {
                write!(
                    f,
                    "the subject would have {length} bytes, at most {SUBJECT_BYTES} are allowed"
                )
            }
        }
    }
}

impl std::error::Error for RenderError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn render(template: &str, fields: &[&[u8]]) -> Result<String, RenderError> {
        let template: SubjectTemplate = template.parse().unwrap();
        template
            .render(|field| match field {
                Field::Index(index) => fields.get(index - 1).copied(),
                Field::Name(name) => (name == "last").then(|| *fields.last().unwrap()),
            })
            .map(|subject| subject.to_string())
    }

    #[test]
    fn placeholders_are_filled_by_index_and_name() {
        assert_eq!(
            render("bank.tx.{2}", &[b"1", b"1787"]).unwrap(),
            "bank.tx.1787"
        );
        assert_eq!(
            render("{1}.a{last}b.{{x}}", &[b"one", b"two"]).unwrap(),
            "one.atwob.{x}"
        );
        assert_eq!(render("{1}{2}", &[b"", b"b"]).unwrap(), "b");
        assert_eq!(render("a-{1}.c", &[b""]).unwrap(), "a-.c");
    }

    #[test]
    fn a_bad_value_is_refused_by_the_name_of_its_field() {
        let second = Field::Index(2);
        assert_eq!(
            render("tx.{2}", &[b"1"]),
            Err(RenderError::Missing {
                field: second.clone()
            })
        );
        assert_eq!(
            render("tx.{2}", &[b"1", b""]),
            Err(RenderError::Empty {
                field: second.clone()
            })
        );
        assert_eq!(
            render("tx.{2}.b", &[b"1", b""]),
            Err(RenderError::Empty {
                field: second.clone()
            })
        );
        assert_eq!(
            render("{2}.b", &[b"1", b""]),
            Err(RenderError::Empty {
                field: second.clone()
            })
        );
        assert_eq!(
            render("{1}{2}.b", &[b"", b""]),
            Err(RenderError::Empty {
                field: second.clone()
            })
        );
        assert_eq!(
            render("tx.{2}", &[b"1", b"\xff"]),
            Err(RenderError::NotText {
                field: second.clone()
            })
        );
        for character in ['.', '*', '>', ' ', '\t', '\u{7f}'] {
            let value = format!("a{character}");
            let expected = RenderError::Character {
                field: second.clone(),
                character,
            };
            assert_eq!(render("tx.{2}", &[b"1", value.as_bytes()]), Err(expected));
        }
        assert_eq!(
            render("tx.{1}", &[&[b'a'; 300]]),
            Err(RenderError::TooLong { length: 303 })
        );
    }

    #[test]
    fn a_bad_template_is_refused_with_the_position() {
        assert_eq!(
            Template::new("a.{b"),
            Err(TemplateError::UnclosedBrace { position: 2 })
        );
        assert_eq!(
            Template::new("a.b}"),
            Err(TemplateError::UnopenedBrace { position: 3 })
        );
        assert_eq!(
            Template::new("a.{b{c}}"),
            Err(TemplateError::BraceInName { position: 4 })
        );
        assert_eq!(
            Template::new("a.{}"),
            Err(TemplateError::EmptyName { position: 2 })
        );
        assert_eq!(
            Template::new("a.{0}"),
            Err(TemplateError::Index { position: 2 })
        );
        let twice = TemplateError::Subject(SubjectError::EmptyToken { position: 2 });
        assert_eq!(SubjectTemplate::new("a..{1}"), Err(twice));
    }

    #[test]
    fn a_key_may_hold_any_bytes() {
        let template = Template::new("{2}").unwrap();
        let mut key = Vec::new();
        template.render(|_| Some(b"\xff a"), &mut key).unwrap();
        assert_eq!(key, b"\xff a");
        assert_eq!(Template::new("{{{1}}}").unwrap().to_string(), "{{{1}}}");
    }
}
