//! Records as JSON objects. Numbers keep their digits: nothing passes through a binary float.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Record, Schema, Value};

/// Fields in one object, at most.
pub const MAX_FIELDS: usize = 1024;

/// Why bytes are no record. The sender of the line recovers; the line is dead-lettered as `decode`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError(String);

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "is not a JSON object: {}", self.0)
    }
}

impl std::error::Error for JsonError {}

struct Object(u64);

impl<'de> Visitor<'de> for Object {
    type Value = Record;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record, A::Error> {
        let mut names: Vec<Box<str>> = Vec::new();
        let mut values = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if names.len() == MAX_FIELDS {
                return Err(serde::de::Error::custom(format_args!(
                    "more than {MAX_FIELDS} fields"
                )));
            }
            let raw: &RawValue = map.next_value()?;
            let value = read_value(raw.get()).map_err(serde::de::Error::custom)?;
            // As in most JSON readers the last of two equal keys counts.
            match names.iter().position(|known| **known == *name) {
                Some(at) => values[at] = value,
                None => {
                    names.push(name.into());
                    values.push(value);
                }
            }
        }
        Ok(Record::from_values(Schema::new(names), values, self.0))
    }
}

fn read_value(text: &str) -> Result<Value, String> {
    Ok(match text.as_bytes().first() {
        Some(b'n') => Value::Null,
        Some(b't') => Value::Boolean(true),
        Some(b'f') => Value::Boolean(false),
        Some(b'"') => {
            Value::Text(serde_json::from_str::<Box<str>>(text).map_err(|error| error.to_string())?)
        }
        Some(b'{' | b'[') => Value::Nested(text.into()),
        _ => Value::Number(text.parse().map_err(|error| format!("`{text}` {error}"))?),
    })
}

/// Reads one JSON object; `number` becomes the record's number.
///
/// # Errors
/// [`JsonError`] with the parser's words.
pub fn parse_object(bytes: &[u8], number: u64) -> Result<Record, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let record = deserializer
        .deserialize_map(Object(number))
        .map_err(|error| JsonError(error.to_string()))?;
    deserializer
        .end()
        .map_err(|error| JsonError(error.to_string()))?;
    Ok(record)
}

/// Appends a record as one JSON object without line breaks. An unparsed line becomes `{"line": …}`, or
/// `{"line_base64": …}` where it is not UTF-8.
pub fn write_object(record: &Record, out: &mut Vec<u8>) {
    out.push(b'{');
    if let Some(line) = record.line() {
        write_bytes("line", line, out);
    }
    for (index, (name, value)) in record.schema().names().zip(record.values()).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(name, out);
        out.push(b':');
        write_value(value, out);
    }
    out.push(b'}');
}

/// Appends `"name": text`, or `"name_base64": …` where the bytes are not UTF-8.
pub fn write_bytes(name: &str, bytes: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            write_text(name, out);
            out.push(b':');
            write_text(text, out);
        }
        Err(_) => {
            write_text(&format!("{name}_base64"), out);
            out.extend_from_slice(b":\"");
            out.extend_from_slice(BASE64.encode(bytes).as_bytes());
            out.push(b'"');
        }
    }
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Text(text) => write_text(text, out),
        Value::Nested(text) => {
            // Line breaks between tokens are white space in JSON; in our output a record is one line.
            out.extend(text.bytes().map(|byte| {
                if byte == b'\n' || byte == b'\r' {
                    b' '
                } else {
                    byte
                }
            }));
        }
        other => out.extend_from_slice(other.as_text().as_bytes()),
    }
}

/// Appends a JSON string with its quotes and escapes.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut start = 0;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 => b"",
            _ => continue,
        };
        out.extend_from_slice(&bytes[start..at]);
        if escape.is_empty() {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            out.extend_from_slice(escape);
        }
        start = at + 1;
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

/// The bytes of a `name` or `name_base64` member as [`write_bytes`] wrote it, whichever is there.
pub fn bytes_member(record: &Record, name: &str) -> Option<Bytes> {
    if let Some(Value::Text(text)) = record.get(name) {
        return Some(Bytes::copy_from_slice(text.as_bytes()));
    }
    match record.get(&format!("{name}_base64")) {
        Some(Value::Text(text)) => BASE64.decode(text.as_bytes()).ok().map(Bytes::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn round(text: &str) -> String {
        let mut out = Vec::new();
        write_object(&parse_object(text.as_bytes(), 0).unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn digits_survive() {
        let text = r#"{"a":315486449.80,"b":12345678901234567890.12,"c":null,"d":true,"e":[1, {"x":2.50}]}"#;
        assert_eq!(round(text), text);
        assert_eq!(round(" {\"a\" : 1e2 , \"a\": 2} "), r#"{"a":2}"#);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in [
            "",
            "1",
            "[]",
            "{",
            "{\"a\":}",
            "{\"a\":1}x",
            "{\"a\":1e999}",
        ] {
            assert!(parse_object(text.as_bytes(), 0).is_err(), "{text}");
        }
    }

    #[test]
    fn nested_line_breaks_do_not_split_a_record() {
        assert_eq!(round("{\"a\":[1,\r\n2]}"), "{\"a\":[1,  2]}");
    }

    #[test]
    fn bytes_that_are_not_text_become_base64() {
        let mut out = Vec::new();
        write_object(
            &Record::from_line(Bytes::from_static(&[0xff, 0x00]), 0),
            &mut out,
        );
        assert_eq!(out, br#"{"line_base64":"/wA="}"#);
        let back = parse_object(&out, 0).unwrap();
        assert_eq!(
            bytes_member(&back, "line").unwrap(),
            Bytes::from_static(&[0xff, 0x00])
        );
    }

    proptest! {
        #[test]
        fn any_text_survives(name in ".{0,8}", text in ".{0,40}") {
            let record = Record::from_values(Schema::new([name]), vec![Value::text(text)], 3);
            let mut out = Vec::new();
            write_object(&record, &mut out);
            prop_assert!(!out.contains(&b'\n'));
            prop_assert_eq!(parse_object(&out, 3).unwrap(), record);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _either_is_fine = parse_object(&bytes, 0);
        }
    }
}
