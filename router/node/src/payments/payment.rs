//! A payment, and how a row of the bank's file becomes one.

use std::fmt;
use std::sync::Arc;

use mcpbus_actors::Message;
use serde::{Deserialize, Serialize};

use crate::record::{Decimal, Record, Schema, Value};
use crate::stages::delimited::{Delimited, SplitError, without_carriage_return};

/// The fields of a row, in order.
pub const COLUMNS: [&str; 10] = [
    "trans_id",
    "account_id",
    "date",
    "type",
    "operation",
    "amount",
    "balance",
    "k_symbol",
    "bank",
    "account",
];

/// How the bank's rows are split.
pub const ROWS: Delimited = Delimited {
    delimiter: b';',
    quote: Some(b'"'),
};

/// Money into or out of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// `PRIJEM`.
    Credit,
    /// `VYDAJ`, or `VYBER` for cash.
    Debit,
}

/// One payment. Amounts are whole hundredths: exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Message)]
#[message(name = "bank.payment", version = 1)]
pub struct Payment {
    /// The bank's number of the transaction.
    pub id: u64,
    /// The account; the message's key.
    #[message(key)]
    pub account: u32,
    /// The day as YYMMDD.
    pub date: u32,
    /// In or out.
    pub direction: u8,
    /// Hundredths of the currency.
    pub amount: i64,
    /// The account's balance afterwards, in hundredths.
    pub balance: i64,
    /// 1-based position in the source, for the check that order per account is kept.
    pub position: u64,
    /// When the source made it: nanoseconds since the origin of the process's clock.
    pub made_at: u64,
}

/// Why a row is no payment; the row is dead-lettered as `decode`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowError {
    /// It cannot be split.
    Split(SplitError),
    /// It has another number of fields.
    Fields {
        /// How many it has.
        found: usize,
    },
    /// A field does not hold what it should.
    Field {
        /// Its name.
        name: &'static str,
        /// What it holds.
        found: String,
    },
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Split(error) => write!(f, "the row {error}"),
            Self::Fields { found } => write!(
                f,
                "the row has {found} fields where {} are expected",
                COLUMNS.len()
            ),
            Self::Field { name, found } => write!(f, "the row has `{found}` in the field {name}"),
        }
    }
}

impl std::error::Error for RowError {}

impl Payment {
    /// Reads a row of the bank's file.
    ///
    /// # Errors
    /// [`RowError`] says what the row lacks.
    pub fn parse(row: &[u8], position: u64, made_at: u64) -> Result<Self, RowError> {
        let row = without_carriage_return(row);
        // Quoted fields of this file hold no quotes, so every field is a plain slice; the numbers below need no copy.
        let mut texts: [&[u8]; COLUMNS.len()] = [&[]; COLUMNS.len()];
        let mut at = 0;
        let found = ROWS
            .split(row, |field| {
                if let (Some(slot), std::borrow::Cow::Borrowed(text)) = (texts.get_mut(at), field) {
                    *slot = text;
                }
                at += 1;
            })
            .map_err(RowError::Split)?;
        if found != COLUMNS.len() {
            return Err(RowError::Fields { found });
        }
        let direction = match texts[3] {
            b"PRIJEM" => Direction::Credit,
            b"VYDAJ" | b"VYBER" => Direction::Debit,
            _ => return Err(wrong(&texts, 3)),
        };
        Ok(Self {
            id: number(&texts, 0)?,
            account: number(&texts, 1)?,
            date: number(&texts, 2)?,
            direction: u8::from(direction == Direction::Debit),
            amount: hundredths(&texts, 5)?,
            balance: hundredths(&texts, 6)?,
            position,
            made_at,
        })
    }

    /// In or out.
    pub fn direction(&self) -> Direction {
        if self.direction == 0 {
            Direction::Credit
        } else {
            Direction::Debit
        }
    }

    /// The payment as a record of the built-in stages, with the fields of the bank's file.
    pub fn to_record(&self, schema: &Arc<Schema>) -> Record {
        let amount = |hundredths: i64| {
            Decimal::from_units(hundredths.into(), 2).map_or(Value::Null, Value::Number)
        };
        let (direction, operation) = match self.direction() {
            Direction::Credit => ("PRIJEM", "VKLAD"),
            Direction::Debit => ("VYDAJ", "VYBER"),
        };
        let values = vec![
            Value::integer(self.id),
            Value::integer(self.account),
            Value::text(format!("{:06}", self.date)),
            Value::text(direction),
            Value::text(operation),
            amount(self.amount),
            amount(self.balance),
            Value::text(""),
            Value::text(""),
            Value::text(""),
        ];
        Record::from_values(Arc::clone(schema), values, self.position)
    }
}

fn wrong(texts: &[&[u8]; COLUMNS.len()], at: usize) -> RowError {
    let found = String::from_utf8_lossy(texts[at])
        .chars()
        .take(40)
        .collect();
    RowError::Field {
        name: COLUMNS[at],
        found,
    }
}

fn number<N: std::str::FromStr>(texts: &[&[u8]; COLUMNS.len()], at: usize) -> Result<N, RowError> {
    let text = std::str::from_utf8(texts[at]).map_err(|_| wrong(texts, at))?;
    text.parse().map_err(|_| wrong(texts, at))
}

fn hundredths(texts: &[&[u8]; COLUMNS.len()], at: usize) -> Result<i64, RowError> {
    let decimal: Decimal = number(texts, at)?;
    decimal
        .to_units(2)
        .and_then(|units| i64::try_from(units).ok())
        .ok_or_else(|| wrong(texts, at))
}

/// Writes hundredths with two digits after the point.
pub fn format_hundredths(hundredths: i128) -> String {
    let sign = if hundredths < 0 { "-" } else { "" };
    let magnitude = hundredths.unsigned_abs();
    format!("{sign}{}.{:02}", magnitude / 100, magnitude % 100)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows() {
        let row = b"3525493;10904;940331;\"PRIJEM\";\"\";18.90;28228.20;\"UROK\";;\r";
        let payment = Payment::parse(row, 7, 1).unwrap();
        assert_eq!(
            (payment.id, payment.account, payment.date),
            (3_525_493, 10_904, 940_331)
        );
        assert_eq!((payment.amount, payment.balance), (1890, 2_822_820));
        assert_eq!(payment.direction(), Direction::Credit);
    }

    #[test]
    fn bad_rows_say_what_is_wrong() {
        let error = |row: &[u8]| Payment::parse(row, 1, 0).unwrap_err().to_string();
        assert!(error(b"3526882;11021;940331;\"PRIJE").contains("never closes"));
        assert!(error(b"1;2;3").contains("3 fields"));
        assert!(error(b"1;2;3;\"X\";\"\";1;1;;;").contains("`X` in the field type"));
        assert!(error(b"1;2;3;\"PRIJEM\";\"\";1.234;1;;;").contains("amount"));
        assert!(error(b"1;x;3;\"PRIJEM\";\"\";1;1;;;").contains("account_id"));
        assert!(error(b"\"trans_id\";\"account_id\";\"date\";\"type\";\"operation\";\"amount\";\"balance\";\"k_symbol\";\"bank\";\"account\"").contains("type"));
    }

    #[test]
    fn hundredths_as_text() {
        assert_eq!(format_hundredths(31_548_644_980), "315486449.80");
        assert_eq!(format_hundredths(-5), "-0.05");
    }
}
