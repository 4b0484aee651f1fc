//! What is wrong with a guard's configuration, and what to do.

use std::fmt;

/// A guard's configuration cannot be. `field` is the name of the setting.
#[derive(Clone, Debug, PartialEq)]
pub enum ConfigError {
    /// A number is not one, or lies outside of what is possible.
    OutOfRange {
        /// The setting.
        field: &'static str,
        /// What was given.
        given: f64,
        /// The least that is possible.
        least: f64,
        /// The most that is possible.
        most: f64,
        /// What it counts.
        unit: &'static str,
    },
    /// Two settings contradict each other.
    Contradiction {
        /// The setting that is too large.
        larger: &'static str,
        /// The setting that it must not exceed.
        smaller: &'static str,
        /// Why, and what to do.
        advice: &'static str,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange {
                field,
                given,
                least,
                most,
                unit,
            } => write!(
                f,
                "{field} = {given}: give a number from {least} to {most} {unit}"
            ),
            Self::Contradiction {
                larger,
                smaller,
                advice,
            } => write!(f, "{larger} exceeds {smaller}: {advice}"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// The number, if it lies within the bounds; neither NaN nor infinities do.
pub(super) fn within(
    field: &'static str,
    given: f64,
    least: f64,
    most: f64,
    unit: &'static str,
) -> Result<f64, ConfigError> {
    if given >= least && given <= most {
        return Ok(given);
    }
    Err(ConfigError::OutOfRange {
        field,
        given,
        least,
        most,
        unit,
    })
}

/// The duration in nanoseconds, if it lies within the bounds, which are in milliseconds.
pub(super) fn duration(
    field: &'static str,
    given: std::time::Duration,
    least: f64,
    most: f64,
) -> Result<u64, ConfigError> {
    within(
        field,
        given.as_secs_f64() * 1000.0,
        least,
        most,
        "milliseconds",
    )?;
    Ok(nanoseconds(given))
}

/// A duration as nanoseconds; the longest that fit where it is longer.
pub(super) fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// An hour in milliseconds: no window or pause of a guard is longer.
pub(super) const HOUR: f64 = 3_600_000.0;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_number_that_is_none_is_refused_and_the_error_says_what_would_do() {
        for given in [f64::NAN, -1.0, f64::INFINITY, 0.5] {
            let error = within("burst", given, 1.0, 10.0, "messages").unwrap_err();
            assert!(
                error.to_string().contains("from 1 to 10 messages"),
                "{error}"
            );
        }
        assert_eq!(within("burst", 10.0, 1.0, 10.0, "messages"), Ok(10.0));
    }
}
