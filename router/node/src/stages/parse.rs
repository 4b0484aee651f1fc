//! `parse`: a line becomes a record with named fields.

use mcpbus_actors::Time;
use std::fmt;
use std::sync::Arc;

use regex::Regex;

use super::contract::{RecordStage, Refusal, Taken};
use super::delimited::{Delimited, without_carriage_return};
use crate::record::{Record, Schema, Value, json};

/// What the lines look like.
#[derive(Clone, Debug)]
pub enum Format {
    /// Fields between delimiters, in this order; a line with fewer or more is refused.
    Delimited {
        /// How to split.
        split: Delimited,
        /// The names of the fields.
        columns: Vec<String>,
    },
    /// One JSON object per line.
    Json,
    /// A regular expression that must match the whole line; its named groups are the fields. A group that takes no
    /// part in the match is null.
    Regex(Regex),
}

/// A type that a field must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// Left as text.
    Text,
    /// A whole number.
    Integer,
    /// An exact decimal number.
    Decimal,
    /// `true` or `false`.
    Boolean,
}

/// The words of types in a file.
pub const FIELD_TYPES: [(&str, FieldType); 4] = [
    ("text", FieldType::Text),
    ("integer", FieldType::Integer),
    ("decimal", FieldType::Decimal),
    ("boolean", FieldType::Boolean),
];

impl FieldType {
    /// The word in the file.
    pub fn word(self) -> &'static str {
        FIELD_TYPES
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or("", |(word, _)| word)
    }
}

/// What `parse` is told.
#[derive(Clone, Debug)]
pub struct ParseSpec {
    /// The format.
    pub format: Format,
    /// Fields that must be of a type; an empty text stands for null.
    pub types: Vec<(String, FieldType)>,
}

/// The stage.
#[derive(Debug)]
pub struct Parse {
    format: Format,
    types: Vec<(String, FieldType)>,
    schema: Arc<Schema>,
    // By position in `schema`; for JSON the schema differs from line to line and names are looked up.
    by_position: Vec<FieldType>,
}

/// Why a line does not fit; always a dead letter with the reason `decode`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Unfit {
    NotUtf8,
    Split(super::delimited::SplitError),
    Count {
        found: usize,
        wanted: usize,
    },
    NoMatch,
    Json(json::JsonError),
    Type {
        field: String,
        wanted: FieldType,
        found: String,
    },
    MissingField {
        field: String,
    },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => write!(f, "is not UTF-8"),
            Self::Split(error) => write!(f, "{error}"),
            Self::Count { found, wanted } => {
                write!(f, "has {found} fields where {wanted} are expected")
            }
            Self::NoMatch => write!(f, "does not match the pattern"),
            Self::Json(error) => write!(f, "{error}"),
            Self::Type {
                field,
                wanted,
                found,
            } => {
                write!(
                    f,
                    "has `{found}` in field `{field}`, which must be of type {}",
                    wanted.word()
                )
            }
            Self::MissingField { field } => write!(f, "has no field `{field}`"),
        }
    }
}

impl Parse {
    /// Builds the stage.
    pub fn new(spec: ParseSpec) -> Self {
        let names: Vec<String> = match &spec.format {
            Format::Delimited { columns, .. } => columns.clone(),
            Format::Json => Vec::new(),
            Format::Regex(regex) => regex.capture_names().flatten().map(str::to_owned).collect(),
        };
        let by_position = names
            .iter()
            .map(|name| {
                spec.types
                    .iter()
                    .find(|(typed, _)| typed == name)
                    .map_or(FieldType::Text, |(_, kind)| *kind)
            })
            .collect();
        Self {
            format: spec.format,
            types: spec.types,
            schema: Schema::new(names),
            by_position,
        }
    }

    fn parse(&self, line: &[u8], number: u64) -> Result<Record, Unfit> {
        match &self.format {
            Format::Delimited { split, .. } => self.parse_delimited(*split, line, number),
            Format::Json => self.parse_json(line, number),
            Format::Regex(regex) => self.parse_regex(regex, line, number),
        }
    }

    fn parse_delimited(&self, split: Delimited, line: &[u8], number: u64) -> Result<Record, Unfit> {
        let mut values = Vec::with_capacity(self.schema.len());
        let mut fault = None;
        let found = split
            .split(without_carriage_return(line), |bytes| {
                let position = values.len();
                if position >= self.schema.len() || fault.is_some() {
                    return;
                }
                match std::str::from_utf8(&bytes) {
                    Ok(text) => match self.typed(position, text) {
                        Ok(value) => values.push(value),
                        Err(unfit) => fault = Some(unfit),
                    },
                    Err(_) => fault = Some(Unfit::NotUtf8),
                }
            })
            .map_err(Unfit::Split)?;
        if found != self.schema.len() {
            return Err(Unfit::Count {
                found,
                wanted: self.schema.len(),
            });
        }
        match fault {
            Some(unfit) => Err(unfit),
            None => Ok(Record::from_values(
                Arc::clone(&self.schema),
                values,
                number,
            )),
        }
    }

    fn parse_regex(&self, regex: &Regex, line: &[u8], number: u64) -> Result<Record, Unfit> {
        let text =
            std::str::from_utf8(without_carriage_return(line)).map_err(|_| Unfit::NotUtf8)?;
        let captures = regex.captures(text).ok_or(Unfit::NoMatch)?;
        if captures
            .get(0)
            .is_none_or(|whole| whole.as_str().len() != text.len())
        {
            return Err(Unfit::NoMatch);
        }
        let named = regex
            .capture_names()
            .enumerate()
            .filter(|(_, name)| name.is_some());
        let mut values = Vec::with_capacity(self.schema.len());
        for (position, (group, _)) in named.enumerate() {
            values.push(match captures.get(group) {
                Some(found) => self.typed(position, found.as_str())?,
                None => Value::Null,
            });
        }
        Ok(Record::from_values(
            Arc::clone(&self.schema),
            values,
            number,
        ))
    }

    fn parse_json(&self, line: &[u8], number: u64) -> Result<Record, Unfit> {
        let record = json::parse_object(line, number).map_err(Unfit::Json)?;
        if self.types.is_empty() {
            return Ok(record);
        }
        let (schema, mut values, _, number) = record.into_parts();
        for (name, kind) in &self.types {
            let position = schema.position(name).ok_or_else(|| Unfit::MissingField {
                field: name.clone(),
            })?;
            let fits = match (kind, &values[position]) {
                (_, Value::Null)
                | (FieldType::Text, Value::Text(_))
                | (FieldType::Boolean, Value::Boolean(_)) => true,
                (FieldType::Decimal, Value::Number(_)) => true,
                (FieldType::Integer, Value::Number(number)) => number.to_integer().is_some(),
                _ => false,
            };
            if !fits {
                values[position] = typed(name, *kind, &values[position].as_text())?;
            }
        }
        Ok(Record::from_values(schema, values, number))
    }

    fn typed(&self, position: usize, text: &str) -> Result<Value, Unfit> {
        match self.by_position.get(position) {
            None | Some(FieldType::Text) => Ok(Value::text(text)),
            Some(kind) => {
                let name = self.schema.names().nth(position).unwrap_or("");
                typed(name, *kind, text)
            }
        }
    }
}

fn typed(name: &str, kind: FieldType, text: &str) -> Result<Value, Unfit> {
    let trimmed = text.trim();
    let value = match kind {
        FieldType::Text => Some(Value::text(text)),
        _ if trimmed.is_empty() => Some(Value::Null),
        FieldType::Integer => trimmed.parse::<i64>().ok().map(Value::integer),
        FieldType::Decimal => trimmed.parse().ok().map(Value::Number),
        FieldType::Boolean => trimmed.parse().ok().map(Value::Boolean),
    };
    value.ok_or_else(|| Unfit::Type {
        field: name.to_owned(),
        wanted: kind,
        found: text.chars().take(40).collect(),
    })
}

impl RecordStage for Parse {
    fn take(
        &mut self,
        record: &Record,
        _now: Time,
        out: &mut Vec<Record>,
    ) -> Result<Taken, Refusal> {
        // A record that has fields already (from another process or stage) is parsed from its JSON form only when
        // JSON is asked for; other formats describe lines.
        let body = match (record.line(), &self.format) {
            (Some(line), _) => line.clone(),
            (None, Format::Json) => record.to_body(),
            (None, _) => {
                return Err(Refusal::decode(
                    "has been parsed before: `parse` takes lines",
                ));
            }
        };
        out.push(
            self.parse(&body, record.number())
                .map_err(Refusal::decode)?,
        );
        Ok(Taken::Consumed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bytes::Bytes;

    fn parse(stage: &mut Parse, line: &[u8]) -> Result<Record, Refusal> {
        let mut out = Vec::new();
        stage.take(
            &Record::from_line(Bytes::copy_from_slice(line), 5),
            Time::ZERO,
            &mut out,
        )?;
        Ok(out.remove(0))
    }

    fn delimited() -> Parse {
        Parse::new(ParseSpec {
            format: Format::Delimited {
                split: Delimited {
                    delimiter: b';',
                    quote: Some(b'"'),
                },
                columns: vec!["id".to_owned(), "amount".to_owned(), "kind".to_owned()],
            },
            types: vec![
                ("id".to_owned(), FieldType::Integer),
                ("amount".to_owned(), FieldType::Decimal),
            ],
        })
    }

    #[test]
    fn delimited_rows() {
        let mut stage = delimited();
        let record = parse(&mut stage, b"7;18.90;\"UROK; x\"\r").unwrap();
        assert_eq!(
            &record.to_body()[..],
            br#"{"id":7,"amount":18.90,"kind":"UROK; x"}"#
        );
        assert_eq!(
            parse(&mut stage, b"7;;x").unwrap().get("amount"),
            Some(&Value::Null)
        );
    }

    #[test]
    fn bad_rows_say_what_is_wrong() {
        let mut stage = delimited();
        let cases: [(&[u8], &str); 6] = [
            (b"7;18.90", "has 2 fields where 3 are expected"),
            (b"7;18.90;a;b", "has 4 fields where 3 are expected"),
            (b"7;18.90;\"UR", "opens a quote in field 3"),
            (b"7;abc;x", "`amount`, which must be of type decimal"),
            (b"7;1;\xff\xfe", "is not UTF-8"),
            (b"", "has 1 fields"),
        ];
        for (line, words) in cases {
            let refusal = parse(&mut stage, line).unwrap_err();
            assert!(refusal.detail.contains(words), "{}", refusal.detail);
            assert_eq!(refusal.reason.name(), "decode");
        }
    }

    #[test]
    fn json_rows() {
        let mut stage = Parse::new(ParseSpec {
            format: Format::Json,
            types: vec![("amount".to_owned(), FieldType::Decimal)],
        });
        let record = parse(&mut stage, br#"{"amount":"12.50","x":1}"#).unwrap();
        assert_eq!(&record.to_body()[..], br#"{"amount":12.50,"x":1}"#);
        assert!(parse(&mut stage, b"[1]").is_err());
        assert!(
            parse(&mut stage, br#"{"x":1}"#)
                .unwrap_err()
                .detail
                .contains("no field `amount`")
        );
    }

    #[test]
    fn a_pattern_must_match_the_whole_line() {
        let mut stage = Parse::new(ParseSpec {
            format: Format::Regex(Regex::new(r"(?P<word>\w+)(?: (?P<number>\d+))?").unwrap()),
            types: vec![("number".to_owned(), FieldType::Integer)],
        });
        assert_eq!(
            &parse(&mut stage, b"abc 5").unwrap().to_body()[..],
            br#"{"word":"abc","number":5}"#
        );
        assert_eq!(
            &parse(&mut stage, b"abc").unwrap().to_body()[..],
            br#"{"word":"abc","number":null}"#
        );
        assert!(parse(&mut stage, b"abc 5 tail").is_err());
    }
}
