//! What the aggregator keeps: totals per account, the split between versions, latencies.

use std::collections::{BTreeMap, HashMap};

use hdrhistogram::Histogram;

use super::risk::{Assessed, HIGH};

/// Totals of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountTotal {
    /// Payments.
    pub payments: u64,
    /// Sum of their amounts in hundredths.
    pub amount: i128,
    /// Payments with a high score.
    pub high: u64,
    last_position: u64,
    versions: u8,
}

impl AccountTotal {
    /// Whether a version has assessed a payment of this account.
    pub fn was_assessed_by(&self, version: u8) -> bool {
        self.versions & bit(version) != 0
    }
}

/// The bit of a version; versions beyond 7 have none.
fn bit(version: u8) -> u8 {
    1u8.checked_shl(u32::from(version)).unwrap_or(0)
}

/// The aggregator's state.
#[derive(Clone, Debug)]
pub struct Totals {
    accounts: HashMap<u32, AccountTotal>,
    versions: BTreeMap<u8, u64>,
    amount: i128,
    payments: u64,
    high: u64,
    out_of_order: u64,
    latency: Histogram<u64>,
}

/// The latency of one payment that still counts exactly: ten minutes, in nanoseconds. Longer ones count as this.
const LONGEST: u64 = 600_000_000_000;

impl Default for Totals {
    fn default() -> Self {
        // The bounds are constants that the histogram accepts; the fallback resizes itself and loses nothing.
        let latency = Histogram::new_with_bounds(1, LONGEST, 3).or_else(|_| Histogram::new(3));
        Self {
            accounts: HashMap::new(),
            versions: BTreeMap::new(),
            amount: 0,
            payments: 0,
            high: 0,
            out_of_order: 0,
            latency: latency
                .unwrap_or_else(|_| unreachable!("three significant digits are always accepted")),
        }
    }
}

impl Totals {
    /// Adds an assessed payment that arrived at `now` (nanoseconds, same origin as `made_at`).
    pub fn add(&mut self, assessed: &Assessed, now: u64) {
        let account = self.accounts.entry(assessed.account).or_default();
        account.payments += 1;
        account.amount += i128::from(assessed.amount);
        if assessed.position <= account.last_position {
            self.out_of_order += 1;
        }
        account.last_position = account.last_position.max(assessed.position);
        account.versions |= bit(assessed.version);
        let high = u64::from(assessed.score >= HIGH);
        account.high += high;
        self.high += high;
        *self.versions.entry(assessed.version).or_default() += 1;
        self.amount += i128::from(assessed.amount);
        self.payments += 1;
        self.latency
            .saturating_record(now.saturating_sub(assessed.made_at).clamp(1, LONGEST));
    }

    /// Payments so far.
    pub fn payments(&self) -> u64 {
        self.payments
    }

    /// The sum of all amounts in hundredths.
    pub fn amount(&self) -> i128 {
        self.amount
    }

    /// Payments with a high score.
    pub fn high(&self) -> u64 {
        self.high
    }

    /// Accounts seen.
    pub fn accounts(&self) -> &HashMap<u32, AccountTotal> {
        &self.accounts
    }

    /// Payments that arrived after a later one of their account.
    pub fn out_of_order(&self) -> u64 {
        self.out_of_order
    }

    /// Payments that a version assessed.
    pub fn messages_of(&self, version: u8) -> u64 {
        self.versions.get(&version).copied().unwrap_or(0)
    }

    /// Accounts of which a version assessed a payment.
    pub fn accounts_of(&self, version: u8) -> u64 {
        self.accounts
            .values()
            .filter(|account| account.was_assessed_by(version))
            .count() as u64
    }

    /// Latencies in nanoseconds.
    pub fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_up_and_order_is_checked() {
        let mut totals = Totals::default();
        for (account, position, version, amount) in
            [(1, 1, 1, 100), (2, 2, 2, 50), (1, 4, 1, 1), (1, 3, 2, 1)]
        {
            let assessed = Assessed {
                account,
                amount,
                version,
                score: HIGH,
                position,
                made_at: 1000,
            };
            totals.add(&assessed, 3000);
        }
        assert_eq!(
            (totals.payments(), totals.amount(), totals.high()),
            (4, 152, 4)
        );
        assert_eq!(totals.accounts()[&1].amount, 102);
        assert_eq!(totals.out_of_order(), 1);
        assert_eq!((totals.messages_of(1), totals.messages_of(2)), (2, 2));
        assert_eq!((totals.accounts_of(1), totals.accounts_of(2)), (1, 2));
        assert!((1990..=2010).contains(&totals.latency().value_at_quantile(0.5)));
    }
}
