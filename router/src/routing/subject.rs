//! The name a message is published under.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest subject or pattern, in bytes.
pub const SUBJECT_BYTES: usize = 255;

/// The most tokens a subject or pattern may have.
pub const SUBJECT_TOKENS: usize = 16;

/// A valid subject: one to [`SUBJECT_TOKENS`] non-empty tokens separated by `.`, at most [`SUBJECT_BYTES`]
/// bytes of UTF-8, without wildcards (`*`, `>`), white space or control characters.
///
/// A clone shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(Arc<str>);

impl Subject {
    /// Checks `text` and keeps a copy of it.
    ///
    /// # Errors
    ///
    /// [`SubjectError`] names the first byte at fault; whoever wrote the subject corrects it.
    pub fn new(text: &str) -> Result<Self, SubjectError> {
        check_shape(text)?;
        for (at, token) in tokens_with_position(text) {
            check_token(token, at)?;
        }
        Ok(Self(Arc::from(text)))
    }

    /// The text of the subject.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tokens from left to right.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({:?})", &*self.0)
    }
}

impl AsRef<str> for Subject {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        Self::new(text)
    }
}

impl TryFrom<&str> for Subject {
    type Error = SubjectError;

    fn try_from(text: &str) -> Result<Self, SubjectError> {
        Self::new(text)
    }
}

impl TryFrom<String> for Subject {
    type Error = SubjectError;

    fn try_from(text: String) -> Result<Self, SubjectError> {
        Self::new(&text)
    }
}

/// Why a text is not a subject. Positions are byte offsets into the text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubjectError {
    /// The text has no bytes.
    Empty,
    /// The text has `length` bytes, more than [`SUBJECT_BYTES`].
    TooLong {
        /// Bytes in the text.
        length: usize,
    },
    /// The text has `tokens` tokens, more than [`SUBJECT_TOKENS`].
    TooManyTokens {
        /// Tokens in the text.
        tokens: usize,
    },
    /// The token that starts at `position` has no characters.
    EmptyToken {
        /// Where the token starts.
        position: usize,
    },
    /// The `character` at `position` has no place in a subject.
    Character {
        /// Where it stands.
        position: usize,
        /// The character.
        character: char,
    },
}

impl fmt::Display for SubjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str(
                "the subject is empty: write tokens separated by '.', such as 'bank.tx'",
            ),
            Self::TooLong { length } => {
                write!(
                    f,
                    "the subject has {length} bytes, at most {SUBJECT_BYTES} are allowed: shorten it"
                )
            }
            Self::TooManyTokens { tokens } => {
                write!(
                    f,
                    "the subject has {tokens} tokens, at most {SUBJECT_TOKENS} are allowed: use fewer '.'"
                )
            }
            Self::EmptyToken { position } => {
                write!(
                    f,
                    "empty token at byte {position}: remove the extra '.' or fill the token"
                )
            }
            Self::Character {
                position,
                character: character @ ('*' | '>'),
            } => write!(
                f,
                "wildcard '{character}' at byte {position}: a subject is literal; wildcards belong in patterns, as a \
                 whole token ('>' as the last)"
            ),
            Self::Character {
                position,
                character,
            } => write!(
                f,
                "{character:?} at byte {position}: a token holds no white space and no control characters; remove it"
            ),
        }
    }
}

impl std::error::Error for SubjectError {}

/// Checks what subjects and patterns have in common before their tokens are looked at.
pub(super) fn check_shape(text: &str) -> Result<(), SubjectError> {
    if text.is_empty() {
        return Err(SubjectError::Empty);
    }
    if text.len() > SUBJECT_BYTES {
        return Err(SubjectError::TooLong { length: text.len() });
    }
    let tokens = text.split('.').count();
    if tokens > SUBJECT_TOKENS {
        return Err(SubjectError::TooManyTokens { tokens });
    }
    Ok(())
}

/// Checks one literal token that starts at byte `position` of its text.
pub(super) fn check_token(token: &str, position: usize) -> Result<(), SubjectError> {
    if token.is_empty() {
        return Err(SubjectError::EmptyToken { position });
    }
    match token
        .char_indices()
        .find(|(_, character)| forbidden(*character))
    {
        Some((offset, character)) => Err(SubjectError::Character {
            position: position + offset,
            character,
        }),
        None => Ok(()),
    }
}

/// Whether `character` may not stand in a literal token.
pub(super) fn forbidden(character: char) -> bool {
    matches!(character, '.' | '*' | '>') || character.is_whitespace() || character.is_control()
}

/// The tokens of `text`, each with the byte offset at which it starts.
pub(super) fn tokens_with_position(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split('.').scan(0, |position, token| {
        let at = *position;
        *position += token.len() + 1;
        Some((at, token))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn valid_subjects_keep_their_text() {
        for text in [
            "a",
            "bank.tx.1787",
            "weblog.größe.4xx",
            "_internal.$x.{y}",
            "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a",
        ] {
            let subject: Subject = text.parse().unwrap();
            assert_eq!(subject.to_string(), text);
            assert_eq!(subject.tokens().collect::<Vec<_>>().join("."), text);
        }
    }

    #[test]
    fn invalid_subjects_are_refused_with_the_position() {
        assert_eq!(Subject::new(""), Err(SubjectError::Empty));
        assert_eq!(
            Subject::new("a..b"),
            Err(SubjectError::EmptyToken { position: 2 })
        );
        assert_eq!(
            Subject::new(".a"),
            Err(SubjectError::EmptyToken { position: 0 })
        );
        assert_eq!(
            Subject::new("a."),
            Err(SubjectError::EmptyToken { position: 2 })
        );
        assert_eq!(
            Subject::new("a.*"),
            Err(SubjectError::Character {
                position: 2,
                character: '*'
            })
        );
        assert_eq!(
            Subject::new("ä.b>"),
            Err(SubjectError::Character {
                position: 4,
                character: '>'
            })
        );
        assert_eq!(
            Subject::new("a.b c"),
            Err(SubjectError::Character {
                position: 3,
                character: ' '
            })
        );
        assert_eq!(
            Subject::new("a\n"),
            Err(SubjectError::Character {
                position: 1,
                character: '\n'
            })
        );
        assert_eq!(
            Subject::new("a\u{a0}"),
            Err(SubjectError::Character {
                position: 1,
                character: '\u{a0}'
            })
        );
        assert_eq!(
            Subject::new(&"x".repeat(256)),
            Err(SubjectError::TooLong { length: 256 })
        );
        assert!(Subject::new(&"x".repeat(255)).is_ok());
        let many = vec!["t"; 17].join(".");
        assert_eq!(
            Subject::new(&many),
            Err(SubjectError::TooManyTokens { tokens: 17 })
        );
    }
}
