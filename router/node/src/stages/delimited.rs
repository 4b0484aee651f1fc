//! Splitting a line at delimiters, with quotes.

use std::borrow::Cow;
use std::fmt;

/// How fields are separated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delimited {
    /// The byte between fields.
    pub delimiter: u8,
    /// The byte around fields that hold delimiters; doubled inside, it stands for itself. None: no quoting.
    pub quote: Option<u8>,
}

/// Why a line cannot be split. The line is dead-lettered as `decode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitError {
    /// A quote was opened and never closed: the line is cut short.
    Unclosed {
        /// 1-based number of the field.
        field: usize,
    },
    /// Something follows a closing quote that is no delimiter.
    AfterQuote {
        /// 1-based number of the field.
        field: usize,
    },
}

impl fmt::Display for SplitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unclosed { field } => {
                write!(f, "opens a quote in field {field} and never closes it")
            }
            Self::AfterQuote { field } => {
                write!(f, "has text after the closing quote of field {field}")
            }
        }
    }
}

impl std::error::Error for SplitError {}

/// The line without its trailing carriage return, if it has one.
pub fn without_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

impl Delimited {
    /// Splits a line and hands each field to `field`; returns their number. An empty line is one empty field.
    ///
    /// # Errors
    /// [`SplitError`]; the fields before the fault have been handed out.
    pub fn split<'a>(
        &self,
        line: &'a [u8],
        mut field: impl FnMut(Cow<'a, [u8]>),
    ) -> Result<usize, SplitError> {
        let mut rest = line;
        let mut number = 0;
        loop {
            number += 1;
            let quoted = self.quote.filter(|quote| rest.first() == Some(quote));
            let (value, after) = match quoted {
                Some(quote) => {
                    unquote(&rest[1..], quote).ok_or(SplitError::Unclosed { field: number })?
                }
                None => {
                    let end = rest
                        .iter()
                        .position(|byte| *byte == self.delimiter)
                        .unwrap_or(rest.len());
                    (Cow::Borrowed(&rest[..end]), &rest[end..])
                }
            };
            field(value);
            match after.split_first() {
                None => return Ok(number),
                Some((byte, next)) if *byte == self.delimiter => rest = next,
                Some(_) => return Err(SplitError::AfterQuote { field: number }),
            }
        }
    }
}

/// The text up to the closing quote, and what follows it.
fn unquote(text: &[u8], quote: u8) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let first = text.iter().position(|byte| *byte == quote)?;
    if text.get(first + 1) != Some(&quote) {
        return Some((Cow::Borrowed(&text[..first]), &text[first + 1..]));
    }
    let mut value = Vec::with_capacity(text.len());
    let mut at = 0;
    loop {
        let end = at + text[at..].iter().position(|byte| *byte == quote)?;
        value.extend_from_slice(&text[at..end]);
        if text.get(end + 1) == Some(&quote) {
            value.push(quote);
            at = end + 2;
        } else {
            return Some((Cow::Owned(value), &text[end + 1..]));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const BANK: Delimited = Delimited {
        delimiter: b';',
        quote: Some(b'"'),
    };

    fn split(line: &str) -> Result<Vec<String>, SplitError> {
        let mut fields = Vec::new();
        BANK.split(line.as_bytes(), |field| {
            fields.push(String::from_utf8(field.into_owned()).unwrap())
        })?;
        Ok(fields)
    }

    #[test]
    fn plain_and_quoted() {
        assert_eq!(split("1;2;").unwrap(), ["1", "2", ""]);
        assert_eq!(split("").unwrap(), [""]);
        assert_eq!(split(r#"1;"a;b";"";2"#).unwrap(), ["1", "a;b", "", "2"]);
        assert_eq!(split(r#""say ""hi""";x"#).unwrap(), [r#"say "hi""#, "x"]);
        assert_eq!(split(r#"a"b;c"#).unwrap(), [r#"a"b"#, "c"]);
    }

    #[test]
    fn a_line_cut_short_is_refused() {
        assert_eq!(
            split(r#"3526882;11021;940331;"PRIJE"#),
            Err(SplitError::Unclosed { field: 4 })
        );
        assert_eq!(split(r#""a"b;c"#), Err(SplitError::AfterQuote { field: 1 }));
        assert_eq!(split(r#""a""#).unwrap(), ["a"]);
        assert_eq!(split(r#""a"""#), Err(SplitError::Unclosed { field: 1 }));
    }

    proptest! {
        #[test]
        fn what_was_quoted_comes_back(fields in proptest::collection::vec("[a-c\";\\r ]{0,6}", 1..6)) {
            let line = fields.iter().map(|f| format!("\"{}\"", f.replace('"', "\"\""))).collect::<Vec<_>>().join(";");
            prop_assert_eq!(split(&line).unwrap(), fields);
        }

        #[test]
        fn any_bytes_are_split_or_refused(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut count = 0;
            if let Ok(number) = BANK.split(&line, |_| count += 1) {
                prop_assert_eq!(number, count);
            }
        }
    }
}
