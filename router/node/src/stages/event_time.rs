//! When something happened, read from a field: RFC 3339, seconds or milliseconds since 1970, or a `strptime` format.

use std::fmt;

use time::format_description::well_known::Rfc3339;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

use crate::record::{Decimal, Value};

/// How to read the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeFormat {
    /// `2015-05-17T10:05:03Z`.
    Rfc3339,
    /// Seconds since 1970, with a fraction if wanted.
    UnixSeconds,
    /// Milliseconds since 1970.
    UnixMilliseconds,
    /// A `strptime` format of `%Y %y %m %d %b %H %M %S %z %%`; a missing time of day is midnight, a missing zone UTC.
    /// `%y` reads 69 to 99 as 1969 to 1999 and 00 to 68 as 2000 to 2068, as POSIX has it.
    Pattern(String),
}

/// Why a format is none. The person who wrote it recovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownDirective(pub char);

impl fmt::Display for UnknownDirective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`%{}` is not understood; known: %Y %y %m %d %b %H %M %S %z %%",
            self.0
        )
    }
}

impl std::error::Error for UnknownDirective {}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

impl TimeFormat {
    /// Reads the word or pattern of a file: `rfc3339`, `unix`, `unix-ms`, or a pattern with `%`.
    ///
    /// # Errors
    /// [`UnknownDirective`] for a `%` letter that is not understood; `%` itself at the end counts as one.
    pub fn parse(text: &str) -> Result<Option<Self>, UnknownDirective> {
        let mut characters = text.chars();
        while let Some(c) = characters.next() {
            if c == '%' {
                let directive = characters.next().unwrap_or('%');
                if !"YymdbHMSz%".contains(directive) {
                    return Err(UnknownDirective(directive));
                }
            }
        }
        Ok(match text {
            "rfc3339" => Some(Self::Rfc3339),
            "unix" => Some(Self::UnixSeconds),
            "unix-ms" => Some(Self::UnixMilliseconds),
            _ if text.contains('%') => Some(Self::Pattern(text.to_owned())),
            _ => None,
        })
    }

    /// The text in a file.
    pub fn text(&self) -> &str {
        match self {
            Self::Rfc3339 => "rfc3339",
            Self::UnixSeconds => "unix",
            Self::UnixMilliseconds => "unix-ms",
            Self::Pattern(pattern) => pattern,
        }
    }

    /// Milliseconds since 1970, or none when the value is no such time.
    pub fn read(&self, value: &Value) -> Option<i64> {
        match self {
            Self::Rfc3339 => {
                let text = value.as_text();
                milliseconds(OffsetDateTime::parse(text.trim(), &Rfc3339).ok()?)
            }
            Self::UnixSeconds => {
                let number = value.as_number()?;
                // Whole milliseconds: what is finer than that is cut off, as clocks do.
                let units = number.to_units(28)? / 10i128.pow(25);
                i64::try_from(units).ok().or_else(|| whole_seconds(number))
            }
            Self::UnixMilliseconds => i64::try_from(value.as_number()?.to_integer()?).ok(),
            Self::Pattern(pattern) => read_pattern(pattern, &value.as_text()),
        }
    }
}

fn whole_seconds(number: Decimal) -> Option<i64> {
    i64::try_from(number.to_units(3)?).ok()
}

fn milliseconds(time: OffsetDateTime) -> Option<i64> {
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).ok()
}

/// Writes milliseconds since 1970 as RFC 3339 in UTC; times outside the years that it knows as the plain number.
pub fn format_milliseconds(at: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| at.to_string())
}

fn digits(text: &mut &str, at_most: usize) -> Option<u16> {
    let count = text
        .bytes()
        .take(at_most)
        .take_while(u8::is_ascii_digit)
        .count();
    let (number, rest) = text.split_at(count);
    *text = rest;
    number.parse().ok()
}

fn zone(text: &mut &str) -> Option<UtcOffset> {
    if let Some(rest) = text.strip_prefix('Z') {
        *text = rest;
        return Some(UtcOffset::UTC);
    }
    let sign = match text.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    *text = &text[1..];
    let hours = i8::try_from(digits(text, 2)?).ok()?;
    *text = text.strip_prefix(':').unwrap_or(text);
    let minutes = i8::try_from(digits(text, 2)?).ok()?;
    UtcOffset::from_hms(sign * hours, sign * minutes, 0).ok()
}

fn read_pattern(pattern: &str, text: &str) -> Option<i64> {
    let mut rest = text.trim();
    let (mut year, mut month, mut day) = (1970i32, 1u8, 1u8);
    let (mut hour, mut minute, mut second) = (0u8, 0u8, 0u8);
    let mut offset = UtcOffset::UTC;
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        if c != '%' {
            rest = rest.strip_prefix(c)?;
            continue;
        }
        match characters.next()? {
            'Y' => year = i32::from(digits(&mut rest, 4)?),
            'y' => {
                let short = i32::from(digits(&mut rest, 2)?);
                year = if short < 69 {
                    2000 + short
                } else {
                    1900 + short
                };
            }
            'm' => month = u8::try_from(digits(&mut rest, 2)?).ok()?,
            'd' => day = u8::try_from(digits(&mut rest, 2)?).ok()?,
            'H' => hour = u8::try_from(digits(&mut rest, 2)?).ok()?,
            'M' => minute = u8::try_from(digits(&mut rest, 2)?).ok()?,
            'S' => second = u8::try_from(digits(&mut rest, 2)?).ok()?,
            'b' => {
                let name = rest.get(..3)?.to_ascii_lowercase();
                month = u8::try_from(MONTHS.iter().position(|month| *month == name)? + 1).ok()?;
                rest = &rest[3..];
            }
            'z' => offset = zone(&mut rest)?,
            _ => rest = rest.strip_prefix('%')?,
        }
    }
    if !rest.is_empty() {
        return None;
    }
    let date = Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()?;
    // A leap second counts as the last ordinary one.
    let time = Time::from_hms(hour, minute, second.min(59)).ok()?;
    milliseconds(PrimitiveDateTime::new(date, time).assume_offset(offset))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(format: &str, text: &str) -> Option<String> {
        TimeFormat::parse(format)
            .unwrap()
            .unwrap()
            .read(&Value::text(text))
            .map(format_milliseconds)
    }

    #[test]
    fn formats() {
        let same = Some("2015-05-17T10:05:03Z".to_owned());
        assert_eq!(
            read("%d/%b/%Y:%H:%M:%S %z", "17/May/2015:10:05:03 +0000"),
            same
        );
        assert_eq!(
            read("%d/%b/%Y:%H:%M:%S %z", "17/May/2015:12:05:03 +0200"),
            same
        );
        assert_eq!(read("rfc3339", "2015-05-17T12:05:03+02:00"), same);
        assert_eq!(read("unix", "1431857103"), same);
        assert_eq!(read("unix-ms", "1431857103000"), same);
        assert_eq!(
            read("unix", "1431857103.25"),
            Some("2015-05-17T10:05:03.25Z".to_owned())
        );
        assert_eq!(
            read("%y%m%d", "930101"),
            Some("1993-01-01T00:00:00Z".to_owned())
        );
    }

    #[test]
    fn what_is_no_time() {
        assert_eq!(read("%y%m%d", "931301"), None);
        assert_eq!(read("%y%m%d", "930101x"), None);
        assert_eq!(read("rfc3339", "yesterday"), None);
        assert_eq!(read("unix", ""), None);
        assert_eq!(TimeFormat::parse("%Q"), Err(UnknownDirective('Q')));
        assert_eq!(TimeFormat::parse("apache"), Ok(None));
    }
}
