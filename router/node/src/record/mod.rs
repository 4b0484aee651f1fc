//! What built-in stages hand to each other: a [`Record`] of named [`Value`]s, or a line not parsed yet.
//!
//! Numbers are [`Decimal`]s: exact, so that a sum of amounts is the sum. Between processes a parsed record is one
//! JSON object ([`json`]); a line is its bytes as they were read, UTF-8 or not.

mod decimal;
pub mod json;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use bytes::Bytes;

pub use decimal::{Decimal, DecimalError};

use crate::template::Field;

/// The names of a record's fields, shared by all records of one stage.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Schema {
    names: Vec<Box<str>>,
}

impl Schema {
    /// A schema of these names, in this order.
    pub fn new<N: Into<Box<str>>>(names: impl IntoIterator<Item = N>) -> Arc<Self> {
        Arc::new(Self {
            names: names.into_iter().map(Into::into).collect(),
        })
    }

    /// The names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }

    /// The position of a name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known.as_ref() == name)
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// JSON's `null`.
    Null,
    /// True or false.
    Boolean(bool),
    /// An exact number.
    Number(Decimal),
    /// A text.
    Text(Box<str>),
    /// A JSON array or object, kept as its text.
    Nested(Box<str>),
}

impl Value {
    /// A text value.
    pub fn text(text: impl Into<Box<str>>) -> Self {
        Value::Text(text.into())
    }

    /// A whole number.
    pub fn integer(number: impl Into<i128>) -> Self {
        Value::Number(Decimal::from_integer(number.into()))
    }

    /// The value as people read it; texts without quotes, `null` as nothing.
    pub fn as_text(&self) -> Cow<'_, str> {
        match self {
            Value::Null => Cow::Borrowed(""),
            Value::Boolean(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Value::Number(number) => Cow::Owned(number.to_string()),
            Value::Text(text) | Value::Nested(text) => Cow::Borrowed(text),
        }
    }

    /// The value as a number, if it is one or its text reads as one.
    pub fn as_number(&self) -> Option<Decimal> {
        match self {
            Value::Number(number) => Some(*number),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// Numbers by size, everything else by its text; numbers before texts.
    pub fn compare(&self, other: &Value) -> Ordering {
        match (self.as_number(), other.as_number()) {
            (Some(a), Some(b)) => a.cmp(&b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => self.as_text().cmp(&other.as_text()),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Value::Text(text) | Value::Nested(text) => text.len(),
            Value::Null | Value::Boolean(_) | Value::Number(_) => 0,
        }
    }
}

/// A message of the built-in stages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    schema: Arc<Schema>,
    values: Vec<Value>,
    line: Option<Bytes>,
    number: u64,
}

impl Record {
    /// A line that nothing has parsed; `number` is its 1-based position in its source, 0 if unknown.
    pub fn from_line(line: Bytes, number: u64) -> Self {
        Self {
            schema: Arc::default(),
            values: Vec::new(),
            line: Some(line),
            number,
        }
    }

    /// A record with fields. Values beyond the schema's length are dropped, missing ones are null.
    pub fn from_values(schema: Arc<Schema>, mut values: Vec<Value>, number: u64) -> Self {
        values.resize(schema.len(), Value::Null);
        Self {
            schema,
            values,
            line: None,
            number,
        }
    }

    /// The 1-based position in its source, 0 if unknown.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The unparsed line, if this is one.
    pub fn line(&self) -> Option<&Bytes> {
        self.line.as_ref()
    }

    /// The names of the fields.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The values, in the order of the schema.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Takes the record apart.
    pub fn into_parts(self) -> (Arc<Schema>, Vec<Value>, Option<Bytes>, u64) {
        (self.schema, self.values, self.line, self.number)
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(self.schema.position(name)?)
    }

    /// For templates: appends the field's bytes to `out`; false when there is no such field.
    pub fn append_field(&self, field: &Field, out: &mut Vec<u8>) -> bool {
        let value = match field {
            Field::Name(name) => self.get(name),
            Field::Number(number) => self.values.get(number.wrapping_sub(1)),
        };
        let Some(value) = value else { return false };
        out.extend_from_slice(value.as_text().as_bytes());
        true
    }

    /// The record with its fields: an unparsed line is read as a JSON object, so that stages which need fields accept
    /// what another process sent.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub fn with_fields(&self) -> Result<Cow<'_, Self>, json::JsonError> {
        match &self.line {
            None => Ok(Cow::Borrowed(self)),
            Some(line) => json::parse_object(line, self.number).map(Cow::Owned),
        }
    }

    /// The body that leaves the process: the line as it is, or one JSON object.
    pub fn to_body(&self) -> Bytes {
        match &self.line {
            Some(line) => line.clone(),
            None => {
                let mut out = Vec::with_capacity(self.bytes());
                json::write_object(self, &mut out);
                Bytes::from(out)
            }
        }
    }

    /// Bytes that it occupies, for bounds.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.line.as_ref().map_or(0, Bytes::len)
            + self.values.len() * size_of::<Value>()
            + self.values.iter().map(Value::heap_bytes).sum::<usize>()
    }
}

impl mcpbus_actors::Message for Record {
    const KIND: mcpbus_actors::Kind =
        mcpbus_actors::Kind::new("mcpbus.record", 1, "line or fields");

    fn weight(&self) -> usize {
        self.bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_from_another_process_gets_its_fields() {
        let text = br#"{"account":"2378","amount":700.00}"#;
        let line = Record::from_line(Bytes::from_static(text), 7);
        let record = line.with_fields().unwrap().into_owned();
        assert_eq!(record.get("account").unwrap().as_text(), "2378");
        assert_eq!(record.get("amount").unwrap().as_text(), "700.00");
        assert_eq!(record.number(), 7);
        assert_eq!(&record.to_body()[..], text);
        assert!(matches!(record.with_fields(), Ok(Cow::Borrowed(_))));
        assert!(
            Record::from_line(Bytes::from_static(b"\xff"), 1)
                .with_fields()
                .is_err()
        );
    }

    #[test]
    fn values_compare_as_numbers_where_they_are_numbers() {
        assert_eq!(Value::text("9").compare(&Value::text("10")), Ordering::Less);
        assert_eq!(
            Value::text("a9").compare(&Value::text("a10")),
            Ordering::Greater
        );
        assert_eq!(Value::text("1").compare(&Value::text("a")), Ordering::Less);
    }
}
