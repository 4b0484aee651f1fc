//! Exact decimal numbers: a whole number of units of `10^-scale`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Digits after the point, at most. With 28 the comparison of two numbers never overflows.
const MAX_SCALE: u8 = 28;

/// An exact decimal number. `1.50` and `1.5` are equal and print as they were written.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    units: i128,
    scale: u8,
}

/// Why a text is no decimal number, or a result does not fit. The sender of the row recovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecimalError {
    /// The text is not a number.
    NotANumber,
    /// More digits than 38, or more than 28 after the point.
    OutOfRange,
}

impl fmt::Display for DecimalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotANumber => write!(f, "is not a number"),
            Self::OutOfRange => write!(
                f,
                "has more digits than an exact number holds (38, of them 28 after the point)"
            ),
        }
    }
}

impl std::error::Error for DecimalError {}

fn power(exponent: u8) -> i128 {
    10i128.pow(u32::from(exponent))
}

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self { units: 0, scale: 0 };

    /// A whole number.
    pub fn from_integer(number: i128) -> Self {
        Self {
            units: number,
            scale: 0,
        }
    }

    /// `units` of `10^-scale`; hundredths with a scale of 2. A scale above 28 is out of range.
    ///
    /// # Errors
    /// [`DecimalError::OutOfRange`].
    pub fn from_units(units: i128, scale: u8) -> Result<Self, DecimalError> {
        if scale > MAX_SCALE {
            Err(DecimalError::OutOfRange)
        } else {
            Ok(Self { units, scale })
        }
    }

    /// The number in units of `10^-scale`, if it is a whole number of them.
    pub fn to_units(self, scale: u8) -> Option<i128> {
        match scale.checked_sub(self.scale) {
            Some(more) if more <= MAX_SCALE => self.units.checked_mul(power(more)),
            Some(_) => None,
            None => {
                let divisor = power(self.scale - scale);
                (self.units % divisor == 0).then_some(self.units / divisor)
            }
        }
    }

    /// The number as an integer, if it is one.
    pub fn to_integer(self) -> Option<i128> {
        self.to_units(0)
    }

    /// The sum, exact.
    ///
    /// # Errors
    /// [`DecimalError::OutOfRange`] when it does not fit; both numbers are unchanged.
    pub fn checked_add(self, other: Self) -> Result<Self, DecimalError> {
        let scale = self.scale.max(other.scale);
        let units = self
            .to_units(scale)
            .zip(other.to_units(scale))
            .and_then(|(a, b)| a.checked_add(b))
            .ok_or(DecimalError::OutOfRange)?;
        Ok(Self { units, scale })
    }

    /// The number divided by a count, rounded half to even at its own scale or at six digits after the point,
    /// whichever is more; trailing zeros beyond its own scale are dropped. None for a count of 0 or a result out of
    /// range.
    pub fn divided_by(self, count: u64) -> Option<Self> {
        let divisor = i128::from(count);
        if divisor == 0 {
            return None;
        }
        let scale = self.scale.max(6);
        let units = self.to_units(scale)?;
        let (quotient, remainder) = (units / divisor, units % divisor);
        let twice = remainder.abs().checked_mul(2)?;
        let up = match twice.cmp(&divisor) {
            Ordering::Greater => true,
            Ordering::Equal => quotient % 2 != 0,
            Ordering::Less => false,
        };
        let mut result = Self {
            units: if up {
                quotient + units.signum()
            } else {
                quotient
            },
            scale,
        };
        while result.scale > self.scale && result.units % 10 == 0 {
            result = Self {
                units: result.units / 10,
                scale: result.scale - 1,
            };
        }
        Some(result)
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => {
                let exponent: i32 = text[at + 1..]
                    .parse()
                    .map_err(|_| DecimalError::NotANumber)?;
                (&text[..at], exponent)
            }
            None => (text, 0),
        };
        let (negative, digits) = match mantissa.as_bytes().first() {
            Some(b'-') => (true, &mantissa[1..]),
            Some(b'+') => (false, &mantissa[1..]),
            _ => (false, mantissa),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() {
            return Err(DecimalError::NotANumber);
        }
        let mut units: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return Err(DecimalError::NotANumber);
            }
            units = units
                .checked_mul(10)
                .and_then(|units| units.checked_add(i128::from(byte - b'0')))
                .ok_or(DecimalError::OutOfRange)?;
        }
        let scale = i32::try_from(fraction.len())
            .ok()
            .and_then(|scale| scale.checked_sub(exponent))
            .ok_or(DecimalError::OutOfRange)?;
        let (units, scale) = if scale < 0 {
            let grow = u32::try_from(-scale)
                .ok()
                .and_then(|by| 10i128.checked_pow(by));
            (
                grow.and_then(|by| units.checked_mul(by))
                    .ok_or(DecimalError::OutOfRange)?,
                0,
            )
        } else {
            (
                units,
                u8::try_from(scale).map_err(|_| DecimalError::OutOfRange)?,
            )
        };
        Self::from_units(if negative { -units } else { units }, scale)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scale == 0 {
            return write!(f, "{}", self.units);
        }
        let unit = power(self.scale).unsigned_abs();
        let magnitude = self.units.unsigned_abs();
        let sign = if self.units < 0 { "-" } else { "" };
        write!(
            f,
            "{sign}{}.{:0width$}",
            magnitude / unit,
            magnitude % unit,
            width = usize::from(self.scale)
        )
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        // Whole parts first: bringing both to one scale could overflow.
        let parts = |d: &Self| {
            let unit = power(d.scale);
            (
                d.units.div_euclid(unit),
                d.units.rem_euclid(unit) * power(MAX_SCALE - d.scale),
            )
        };
        parts(self).cmp(&parts(other))
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn reads_and_prints() {
        for text in [
            "0",
            "700.00",
            "-18.90",
            "315486449.80",
            "0.0000000000000000000000000001",
            "12345678901234567890",
        ] {
            assert_eq!(d(text).to_string(), text);
        }
        assert_eq!(d("1e3").to_string(), "1000");
        assert_eq!(d("1.25E-2").to_string(), "0.0125");
        assert_eq!(d(".5"), d("0.50"));
        for text in ["", ".", "-", "1,5", "0x10", "1e", "NaN", "1 "] {
            assert_eq!(
                text.parse::<Decimal>(),
                Err(DecimalError::NotANumber),
                "{text:?}"
            );
        }
        for text in [
            "1e99",
            "0.00000000000000000000000000001",
            "999999999999999999999999999999999999999999",
        ] {
            assert_eq!(
                text.parse::<Decimal>(),
                Err(DecimalError::OutOfRange),
                "{text:?}"
            );
        }
    }

    #[test]
    fn ten_cents_ten_times_are_one() {
        let mut sum = Decimal::ZERO;
        for _ in 0..10 {
            sum = sum.checked_add(d("0.10")).unwrap();
        }
        assert_eq!(sum.to_string(), "1.00");
        assert_eq!(sum.to_units(2), Some(100));
        assert_eq!(d("0.005").to_units(2), None);
        assert!(
            d("99999999999999999999999999999999999999")
                .checked_add(d("0.1"))
                .is_err()
        );
    }

    #[test]
    fn means_round_half_to_even() {
        assert_eq!(d("10").divided_by(4).unwrap().to_string(), "2.5");
        assert_eq!(d("1.00").divided_by(3).unwrap().to_string(), "0.333333");
        assert_eq!(d("0.000001").divided_by(2).unwrap(), Decimal::ZERO);
        assert_eq!(d("0.000003").divided_by(2).unwrap(), d("0.000002"));
        assert_eq!(d("1").divided_by(0), None);
    }

    proptest! {
        #[test]
        fn addition_and_order_agree_with_integers(a in -1_000_000_000i64..1_000_000_000, b in -1_000_000_000i64..1_000_000_000) {
            let (x, y) = (Decimal::from_units(a.into(), 2).unwrap(), Decimal::from_units(b.into(), 2).unwrap());
            prop_assert_eq!(x.checked_add(y).unwrap().to_units(2), Some(i128::from(a + b)));
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            prop_assert_eq!(x.to_string().parse::<Decimal>().unwrap(), x);
        }

        #[test]
        fn any_text_is_refused_or_read_back(text in "[-+]?[0-9.eE]{0,12}") {
            if let Ok(number) = text.parse::<Decimal>() {
                prop_assert_eq!(number.to_string().parse::<Decimal>().unwrap(), number);
            }
        }
    }
}
