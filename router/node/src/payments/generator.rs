//! Payments from a seed that look like the bank's: a few thousand accounts, some much busier than others, salaries,
//! cash, household payments, interest and small fees.

use super::payment::{Direction, Payment};

/// What the generator is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratorSpec {
    /// Payments to make; 0 means without end.
    pub count: u64,
    /// Payments per second; 0 means as fast as they are taken.
    pub rate: u64,
    /// The same seed gives the same payments.
    pub seed: u64,
    /// Accounts.
    pub accounts: u32,
}

impl Default for GeneratorSpec {
    fn default() -> Self {
        Self {
            count: 1_000_000,
            rate: 0,
            seed: 1,
            accounts: 4500,
        }
    }
}

/// A small, fast source of random numbers with a stable sequence (SplitMix64).
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: u64) -> u64 {
        // Multiply and shift: no division, and the bias of 2^-64 times the bound does not matter here.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// Makes payments one after the other.
#[derive(Clone, Debug)]
pub struct Generator {
    random: Random,
    balances: Vec<i64>,
    made: u64,
    count: u64,
}

/// Payments of one day in the bank's file, about: the date moves on after so many.
const PAYMENTS_A_DAY: u64 = 2_000;

impl Generator {
    /// A generator at its beginning; no accounts count as one.
    pub fn new(spec: &GeneratorSpec) -> Self {
        let accounts = spec.accounts.max(1) as usize;
        // Opening balances of 200.00 to 1,000.00, as the bank's accounts begin.
        let mut random = Random(spec.seed);
        let balances = (0..accounts)
            .map(|_| 20_000 + random.below(80_001) as i64)
            .collect();
        Self {
            random,
            balances,
            made: 0,
            count: spec.count,
        }
    }

    /// Payments made so far.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// The next payment; none after `count`. `made_at` is passed on.
    pub fn next(&mut self, made_at: u64) -> Option<Payment> {
        if self.count != 0 && self.made == self.count {
            return None;
        }
        self.made += 1;
        let accounts = self.balances.len() as u64;
        // Every other payment goes to the smaller of two draws: accounts at the low end are three times as busy.
        let first = self.random.below(accounts);
        let index = if self.random.below(2) == 0 {
            first
        } else {
            first.min(self.random.below(accounts))
        } as usize;
        let (direction, amount) = self.amount(index);
        let balance = &mut self.balances[index];
        *balance += if direction == Direction::Credit {
            amount
        } else {
            -amount
        };
        Some(Payment {
            id: self.made,
            account: index as u32 + 1,
            date: date(self.made / PAYMENTS_A_DAY),
            direction: u8::from(direction == Direction::Debit),
            amount,
            balance: *balance,
            position: self.made,
            made_at,
        })
    }

    /// Shares as in the bank's file: 46 % credits, of which half are interest; of the debits a fifth are small fees.
    fn amount(&mut self, account: usize) -> (Direction, i64) {
        let spread =
            |random: &mut Random, low: u64, high: u64| (low + random.below(high - low)) as i64;
        let kind = self.random.below(100);
        let (direction, amount) = match kind {
            0..20 => (Direction::Credit, spread(&mut self.random, 100, 30_000)),
            20..42 => (
                Direction::Credit,
                spread(&mut self.random, 50_000, 5_000_000),
            ),
            42..46 => (
                Direction::Credit,
                spread(&mut self.random, 300_000, 1_200_000),
            ),
            46..57 => (
                Direction::Debit,
                if self.random.below(2) == 0 {
                    1_460
                } else {
                    3_000
                },
            ),
            57..65 => (Direction::Debit, spread(&mut self.random, 10_000, 900_000)),
            65..68 => (
                Direction::Debit,
                spread(&mut self.random, 2_000_000, 8_000_000),
            ),
            _ => (
                Direction::Debit,
                spread(&mut self.random, 10_000, 2_000_000),
            ),
        };
        // Nobody pays what is not there: the bank turns it into a deposit.
        if direction == Direction::Debit && amount > self.balances[account] {
            return (Direction::Credit, amount);
        }
        (direction, amount)
    }
}

/// Day `n` after the first of January 1993 as YYMMDD; after 2068 the years begin again, as two digits do.
fn date(n: u64) -> u32 {
    let first = time::Date::from_calendar_date(1993, time::Month::January, 1);
    let days = i64::try_from(n % 27_000).unwrap_or(0);
    first.map_or(930_101, |first| {
        let day = first.saturating_add(time::Duration::days(days));
        let year = day.year().rem_euclid(100).unsigned_abs();
        year * 10_000 + u32::from(u8::from(day.month())) * 100 + u32::from(day.day())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::HashMap;

    fn all(seed: u64, count: u64) -> Vec<Payment> {
        let mut generator = Generator::new(&GeneratorSpec {
            count,
            seed,
            ..GeneratorSpec::default()
        });
        std::iter::from_fn(|| generator.next(0)).collect()
    }

    #[test]
    fn one_seed_one_sequence() {
        assert_eq!(all(7, 1000), all(7, 1000));
        assert_ne!(all(7, 1000), all(8, 1000));
        assert_eq!(all(1, 10).len(), 10);
    }

    #[test]
    fn it_looks_like_a_bank() {
        let payments = all(1, 200_000);
        let mut balances: HashMap<u32, i64> = HashMap::new();
        let mut counts: HashMap<u32, u32> = HashMap::new();
        for payment in &payments {
            assert!(payment.amount > 0);
            let signed = if payment.direction() == Direction::Credit {
                payment.amount
            } else {
                -payment.amount
            };
            if let Some(before) = balances.insert(payment.account, payment.balance) {
                assert_eq!(before + signed, payment.balance);
            }
            assert!(payment.balance >= 0);
            *counts.entry(payment.account).or_default() += 1;
        }
        assert_eq!(counts.len(), 4500, "every account has payments");
        let busiest = *counts.values().max().unwrap();
        assert!(busiest > 60, "the mean is 44; the busiest has {busiest}");
    }

    #[test]
    fn dates_move_on() {
        assert_eq!((date(0), date(31), date(365)), (930_101, 930_201, 940_101));
    }
}
