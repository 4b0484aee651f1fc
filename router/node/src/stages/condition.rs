//! Small conditions: `amount >= 50000`, `kind == "UROK"`, `path starts-with /images/`, `agent matches Google.*`.

use std::cmp::Ordering;
use std::fmt;

use regex::Regex;

use crate::record::{Record, Value};

/// `field operator value`.
#[derive(Clone, Debug)]
pub struct Condition {
    text: String,
    field: String,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Compare(Comparison, Value),
    Contains(String),
    StartsWith(String),
    EndsWith(String),
    Matches(Regex),
    Exists,
    Missing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

const COMPARISONS: [(&str, Comparison); 6] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::Unequal),
    ("<", Comparison::Less),
    ("<=", Comparison::LessOrEqual),
    (">", Comparison::Greater),
    (">=", Comparison::GreaterOrEqual),
];

/// The operators that a condition may have.
pub const OPERATORS: [&str; 12] = [
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "contains",
    "starts-with",
    "ends-with",
    "matches",
    "exists",
    "missing",
];

/// Why a text is no condition. The person who wrote it recovers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConditionError {
    /// There is no operator.
    Short {
        /// The text.
        text: String,
    },
    /// The operator is unknown.
    Operator {
        /// What stands in its place.
        found: String,
    },
    /// The operator wants a value and there is none, or wants none and there is one.
    Operand {
        /// The operator.
        operator: String,
    },
    /// The regular expression is not one.
    Pattern {
        /// The words of the regular expression parser.
        cause: String,
    },
}

impl fmt::Display for ConditionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { text } => {
                write!(
                    f,
                    "`{text}` is not a condition; write field operator value, for example amount >= 50000"
                )
            }
            Self::Operator { found } => {
                write!(
                    f,
                    "`{found}` is not an operator; known: {}",
                    OPERATORS.join(" ")
                )
            }
            Self::Operand { operator } if matches!(operator.as_str(), "exists" | "missing") => {
                write!(f, "`{operator}` takes no value")
            }
            Self::Operand { operator } => write!(
                f,
                "`{operator}` needs a value; write \"\" for an empty text"
            ),
            Self::Pattern { cause } => {
                write!(f, "the pattern is not a regular expression: {cause}")
            }
        }
    }
}

impl std::error::Error for ConditionError {}

impl Condition {
    /// Parses `field operator value`; the value is the rest of the text, in quotes if it has spaces at its ends.
    ///
    /// # Errors
    /// [`ConditionError`] says what is missing or unknown.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        let short = || ConditionError::Short {
            text: text.to_owned(),
        };
        let (field, rest) = text
            .trim()
            .split_once(char::is_whitespace)
            .ok_or_else(short)?;
        let rest = rest.trim_start();
        let (operator, operand) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let operand = operand.trim();
        let quoted = operand.len() >= 2 && operand.starts_with('"') && operand.ends_with('"');
        let value = if quoted {
            &operand[1..operand.len() - 1]
        } else {
            operand
        };
        let comparison = COMPARISONS.iter().find(|(word, _)| *word == operator);
        if !OPERATORS.contains(&operator) {
            return Err(ConditionError::Operator {
                found: operator.to_owned(),
            });
        }
        if operand.is_empty() != matches!(operator, "exists" | "missing") {
            return Err(ConditionError::Operand {
                operator: operator.to_owned(),
            });
        }
        let test = match (comparison, operator) {
            (Some((_, comparison)), _) => Test::Compare(*comparison, Value::text(value)),
            (None, "contains") => Test::Contains(value.to_owned()),
            (None, "starts-with") => Test::StartsWith(value.to_owned()),
            (None, "ends-with") => Test::EndsWith(value.to_owned()),
            (None, "exists") => Test::Exists,
            (None, "missing") => Test::Missing,
            (None, _) => {
                Test::Matches(Regex::new(value).map_err(|error| ConditionError::Pattern {
                    cause: error.to_string(),
                })?)
            }
        };
        Ok(Self {
            text: text.trim().to_owned(),
            field: field.to_owned(),
            test,
        })
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The field that it looks at.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// Whether the record fulfils it. A record without the field fulfils only `missing` and `!=`; a null counts as
    /// no value.
    pub fn holds(&self, record: &Record) -> bool {
        let value = record
            .get(&self.field)
            .filter(|value| **value != Value::Null);
        let Some(value) = value else {
            return matches!(
                self.test,
                Test::Missing | Test::Compare(Comparison::Unequal, _)
            );
        };
        match &self.test {
            Test::Exists => true,
            Test::Missing => false,
            Test::Contains(part) => value.as_text().contains(part.as_str()),
            Test::StartsWith(part) => value.as_text().starts_with(part.as_str()),
            Test::EndsWith(part) => value.as_text().ends_with(part.as_str()),
            Test::Matches(pattern) => pattern.is_match(&value.as_text()),
            Test::Compare(comparison, wanted) => {
                let order = value.compare(wanted);
                match comparison {
                    Comparison::Equal => order == Ordering::Equal,
                    Comparison::Unequal => order != Ordering::Equal,
                    Comparison::Less => order == Ordering::Less,
                    Comparison::LessOrEqual => order != Ordering::Greater,
                    Comparison::Greater => order == Ordering::Greater,
                    Comparison::GreaterOrEqual => order != Ordering::Less,
                }
            }
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::json::parse_object;

    fn holds(condition: &str) -> bool {
        let record = parse_object(
            br#"{"amount":900.00,"kind":"PREVOD NA UCET","empty":"","none":null,"text":"12"}"#,
            0,
        );
        Condition::parse(condition).unwrap().holds(&record.unwrap())
    }

    #[test]
    fn comparisons() {
        for condition in [
            "amount == 900",
            "amount >= 900.00",
            "amount < 1000",
            "amount != 5",
            "kind == PREVOD NA UCET",
            "kind == \"PREVOD NA UCET\"",
            "kind contains NA",
            "kind starts-with PREVOD",
            "kind ends-with UCET",
            "kind matches ^PREVOD (NA|Z) ",
            "empty == \"\"",
            "none missing",
            "nothing missing",
            "nothing != 1",
            "text > 9",
            "kind exists",
        ] {
            assert!(holds(condition), "{condition}");
        }
        for condition in [
            "amount > 900",
            "nothing == 1",
            "none exists",
            "kind == prevod na ucet",
            "text < 9",
        ] {
            assert!(!holds(condition), "{condition}");
        }
    }

    #[test]
    fn mistakes() {
        assert!(matches!(
            Condition::parse("amount"),
            Err(ConditionError::Short { .. })
        ));
        assert!(matches!(
            Condition::parse("amount => 5"),
            Err(ConditionError::Operator { .. })
        ));
        assert!(matches!(
            Condition::parse("amount >"),
            Err(ConditionError::Operand { .. })
        ));
        assert!(matches!(
            Condition::parse("amount exists 5"),
            Err(ConditionError::Operand { .. })
        ));
        assert!(matches!(
            Condition::parse("amount matches ("),
            Err(ConditionError::Pattern { .. })
        ));
    }
}
