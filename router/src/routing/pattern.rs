//! What a subscriber or a route asks for: a subject with wildcards.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::subject::{self, Subject, SubjectError};

/// A valid pattern: tokens as in a [`Subject`], where `*` stands for exactly one token and `>`, only as the
/// last token, for one or more.
///
/// Patterns are ordered by how specific they are, the more specific one being the greater: tokens are
/// compared from left to right, a literal beats `*`, `*` beats `>`. Patterns of one shape are then ordered by
/// their text, so that the order is total. A clone shares the text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern(Arc<str>);

/// One token of a [`Pattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternToken<'a> {
    /// `>`: one or more tokens to the end.
    Rest,
    /// `*`: exactly one token.
    One,
    /// This token and no other.
    Literal(&'a str),
}

impl Pattern {
    /// Checks `text` and keeps a copy of it.
    ///
    /// # Errors
    ///
    /// [`PatternError`] says what is wrong and where; whoever wrote the pattern corrects it.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        subject::check_shape(text).map_err(PatternError::Subject)?;
        for (position, token) in subject::tokens_with_position(text) {
            match token {
                "*" => {}
                ">" if position + 1 == text.len() => {}
                ">" => return Err(PatternError::RestNotLast { position }),
                _ => subject::check_token(token, position).map_err(|error| match error {
                    SubjectError::Character {
                        position,
                        character: character @ ('*' | '>'),
                    } => PatternError::WildcardInToken {
                        position,
                        character,
                    },
                    other => PatternError::Subject(other),
                })?,
            }
        }
        Ok(Self(Arc::from(text)))
    }

    /// The text of the pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tokens from left to right.
    pub fn tokens(&self) -> impl Iterator<Item = PatternToken<'_>> {
        self.0.split('.').map(|token| match token {
            "*" => PatternToken::One,
            ">" => PatternToken::Rest,
            literal => PatternToken::Literal(literal),
        })
    }

    /// Whether the pattern holds no wildcard and so matches one subject only.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.tokens()
            .all(|token| matches!(token, PatternToken::Literal(_)))
    }

    /// Whether `subject` is one that this pattern asks for.
    #[must_use]
    pub fn matches(&self, subject: &Subject) -> bool {
        let mut tokens = subject.tokens();
        for wanted in self.tokens() {
            let Some(token) = tokens.next() else {
                return false;
            };
            match wanted {
                PatternToken::Rest => return true,
                PatternToken::One => {}
                PatternToken::Literal(literal) if literal == token => {}
                PatternToken::Literal(_) => return false,
            }
        }
        tokens.next().is_none()
    }

    /// Compares how specific two patterns are; `Greater` means that `self` is the more specific.
    ///
    /// Two different patterns that match one subject are never `Equal`.
    #[must_use]
    pub fn compare_specificity(&self, other: &Self) -> Ordering {
        self.tokens().map(rank).cmp(other.tokens().map(rank))
    }
}

fn rank(token: PatternToken<'_>) -> u8 {
    match token {
        PatternToken::Rest => 0,
        PatternToken::One => 1,
        PatternToken::Literal(_) => 2,
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.compare_specificity(other)
            .then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<Subject> for Pattern {
    fn from(subject: Subject) -> Self {
        // A subject is a pattern without wildcards: nothing is left to check.
        Self(Arc::from(subject.as_str()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", &*self.0)
    }
}

impl AsRef<str> for Pattern {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::new(text)
    }
}

impl TryFrom<&str> for Pattern {
    type Error = PatternError;

    fn try_from(text: &str) -> Result<Self, PatternError> {
        Self::new(text)
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        Self::new(&text)
    }
}

/// Why a text is not a pattern. Positions are byte offsets into the text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatternError {
    /// Wrong as a subject would be.
    Subject(SubjectError),
    /// `>` at `position` is followed by more tokens.
    RestNotLast {
        /// Where the `>` stands.
        position: usize,
    },
    /// A wildcard stands beside other characters of its token.
    WildcardInToken {
        /// Where the wildcard stands.
        position: usize,
        /// The wildcard.
        character: char,
    },
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subject(error) => error.fmt(f),
            Self::RestNotLast { position } => {
                write!(
                    f,
                    "'>' at byte {position} is not the last token: use '*' for one token, or end the pattern here"
                )
            }
            Self::WildcardInToken {
                position,
                character,
            } => {
                write!(
                    f,
                    "'{character}' at byte {position} shares its token: a wildcard stands alone between dots"
                )
            }
        }
    }
}

impl std::error::Error for PatternError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Subject(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn matches(pattern: &str, subject: &str) -> bool {
        Pattern::new(pattern)
            .unwrap()
            .matches(&Subject::new(subject).unwrap())
    }

    #[test]
    fn one_star_is_one_token_and_rest_is_one_or_more() {
        assert!(matches("a.b", "a.b"));
        assert!(!matches("a.b", "a.b.c"));
        assert!(!matches("a.b.c", "a.b"));
        assert!(matches("a.*", "a.b"));
        assert!(!matches("a.*", "a"));
        assert!(!matches("a.*", "a.b.c"));
        assert!(matches("*.b.*", "a.b.c"));
        assert!(matches("a.>", "a.b"));
        assert!(matches("a.>", "a.b.c.d"));
        assert!(!matches("a.>", "a"));
        assert!(matches(">", "a"));
        assert!(matches("*.>", "a.b"));
        assert!(!matches("*.>", "a"));
    }

    #[test]
    fn invalid_patterns_are_refused_with_the_position() {
        assert_eq!(
            Pattern::new("a.>.b"),
            Err(PatternError::RestNotLast { position: 2 })
        );
        assert_eq!(
            Pattern::new("a*.b"),
            Err(PatternError::WildcardInToken {
                position: 1,
                character: '*'
            })
        );
        assert_eq!(
            Pattern::new("a.>>"),
            Err(PatternError::WildcardInToken {
                position: 2,
                character: '>'
            })
        );
        assert_eq!(
            Pattern::new("*..b"),
            Err(PatternError::Subject(SubjectError::EmptyToken {
                position: 2
            }))
        );
        assert_eq!(
            Pattern::new(""),
            Err(PatternError::Subject(SubjectError::Empty))
        );
    }

    #[test]
    fn literal_beats_star_beats_rest_from_the_left() {
        let mut patterns: Vec<Pattern> =
            [">", "*", "a.>", "*.b", "a.*", "a.b", "*.>", "*.*", "a.*.c"]
                .iter()
                .map(|p| p.parse().unwrap())
                .collect();
        patterns.sort_by(|a, b| b.cmp(a));
        let texts: Vec<&str> = patterns.iter().map(Pattern::as_str).collect();
        assert_eq!(
            texts,
            ["a.b", "a.*.c", "a.*", "a.>", "*.b", "*.*", "*.>", "*", ">"]
        );
    }
}
