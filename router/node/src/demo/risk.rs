//! Two versions of a risk rule, as the two processors that a route splits payments between.

use mcpbus_actors::Message;
use serde::{Deserialize, Serialize};

use crate::payments::payment::{Direction, Payment};

/// A version of the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Version {
    /// By the amount alone.
    One,
    /// By the amount and by what it leaves on the account.
    Two,
}

impl Version {
    /// The name of its group on the bus.
    pub fn group(self) -> &'static str {
        match self {
            Self::One => "risk-v1",
            Self::Two => "risk-v2",
        }
    }
}

/// Amounts from here on are large: 50,000.00.
pub const LARGE: i64 = 5_000_000;
/// A score from here on is high.
pub const HIGH: u8 = 70;

/// A payment with its score.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Message)]
#[message(name = "bank.assessed", version = 1)]
pub struct Assessed {
    /// The account; the message's key.
    #[message(key)]
    pub account: u32,
    /// Hundredths of the currency.
    pub amount: i64,
    /// 1 or 2: the version that assessed it.
    pub version: u8,
    /// 0 (nothing) to 100 (stop it).
    pub score: u8,
    /// As in the payment.
    pub position: u64,
    /// As in the payment.
    pub made_at: u64,
}

/// Assesses a payment. Money that comes in is no risk.
pub fn assess(version: Version, payment: &Payment) -> Assessed {
    let score = match (payment.direction(), version) {
        (Direction::Credit, _) => 0,
        (Direction::Debit, Version::One) => by_amount(payment.amount),
        (Direction::Debit, Version::Two) => by_amount(payment.amount).max(by_share(payment)),
    };
    Assessed {
        account: payment.account,
        amount: payment.amount,
        version: match version {
            Version::One => 1,
            Version::Two => 2,
        },
        score,
        position: payment.position,
        made_at: payment.made_at,
    }
}

fn percent(part: i64, whole: i64) -> u8 {
    let percent = i128::from(part) * 100 / i128::from(whole.max(1));
    u8::try_from(percent.clamp(0, 100)).unwrap_or(100)
}

fn by_amount(amount: i64) -> u8 {
    percent(amount, LARGE)
}

/// How much of what was there goes away, for payments above 1,000.00.
fn by_share(payment: &Payment) -> u8 {
    if payment.amount < 100_000 {
        0
    } else {
        percent(
            payment.amount,
            payment.balance.saturating_add(payment.amount),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payment(direction: u8, amount: i64, balance: i64) -> Payment {
        Payment {
            id: 1,
            account: 2,
            date: 930_101,
            direction,
            amount,
            balance,
            position: 1,
            made_at: 0,
        }
    }

    #[test]
    fn scores() {
        let score = |version, p: &Payment| assess(version, p).score;
        let deposit = payment(0, 90_000_000, 0);
        assert_eq!(
            (score(Version::One, &deposit), score(Version::Two, &deposit)),
            (0, 0)
        );
        let large = payment(1, LARGE, 50_000_000);
        assert_eq!(
            (score(Version::One, &large), score(Version::Two, &large)),
            (100, 100)
        );
        let emptied = payment(1, 1_000_000, 0);
        assert_eq!(
            (score(Version::One, &emptied), score(Version::Two, &emptied)),
            (20, 100)
        );
        let fee = payment(1, 1_460, 0);
        assert_eq!(
            (score(Version::One, &fee), score(Version::Two, &fee)),
            (0, 0)
        );
    }
}
