//! The end of a demo run: a summary for people, one JSON object for programs.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::risk::Version;
use super::totals::Totals;
use crate::payments::payment::format_hundredths;

/// The ledger from the source to the aggregator: what was taken in, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndToEnd {
    /// Source messages that the bus took.
    pub accepted: u64,
    /// Source messages that reached the aggregator.
    pub delivered: u64,
    /// Dead letters.
    pub dead: u64,
    /// Passed their deadline.
    pub expired: u64,
    /// Dropped by an overflow policy.
    pub shed: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Still held.
    pub held: u64,
    /// Lost with a peer that died.
    pub lost: u64,
}

impl EndToEnd {
    /// What is not accounted for: 0, or there is a fault in mcpbus.
    pub fn residual(&self) -> i64 {
        let outcomes = [
            self.delivered,
            self.dead,
            self.expired,
            self.shed,
            self.cancelled,
            self.held,
            self.lost,
        ];
        let sum: i128 = outcomes.iter().map(|count| i128::from(*count)).sum();
        let residual = i128::from(self.accepted) - sum;
        i64::try_from(residual).unwrap_or(if residual < 0 { i64::MIN } else { i64::MAX })
    }
}

/// What a run has shown.
#[derive(Debug)]
pub struct Report<'a> {
    /// The ledger.
    pub ledger: EndToEnd,
    /// The aggregator's state.
    pub totals: &'a Totals,
    /// From the first message to the last, in seconds.
    pub seconds: f64,
    /// The most memory that was resident, in bytes; 0 when the system does not say.
    pub peak_rss_bytes: u64,
}

const VERSIONS: [(u8, Version); 2] = [(1, Version::One), (2, Version::Two)];

impl Report<'_> {
    fn messages_per_second(&self) -> f64 {
        if self.seconds > 0.0 {
            self.ledger.delivered as f64 / self.seconds
        } else {
            0.0
        }
    }

    fn microseconds(nanoseconds: u64) -> f64 {
        nanoseconds as f64 / 1000.0
    }

    /// The JSON object of `--format json`.
    pub fn to_json(&self) -> Value {
        let routes = |of: &dyn Fn(u8) -> u64| {
            let pairs = VERSIONS
                .map(|(number, version)| (version.group().to_owned(), Value::from(of(number))));
            Value::Object(Map::from_iter(pairs))
        };
        let latency = self.totals.latency();
        let quantile = |q: f64| rounded(Self::microseconds(latency.value_at_quantile(q)));
        let ledger = &self.ledger;
        json!({
            "ledger": {
                "accepted": ledger.accepted,
                "delivered": ledger.delivered,
                "dead": ledger.dead,
                "expired": ledger.expired,
                "shed": ledger.shed,
                "cancelled": ledger.cancelled,
                "held": ledger.held,
                "lost": ledger.lost,
                "residual": ledger.residual(),
            },
            "routes": routes(&|version| self.totals.messages_of(version)),
            "routes_accounts": routes(&|version| self.totals.accounts_of(version)),
            "accounts": self.totals.accounts().len(),
            "amount_total": i64::try_from(self.totals.amount()).map_or(Value::Null, Value::from),
            "out_of_order": self.totals.out_of_order(),
            "latency_us": {
                "mean": rounded(latency.mean() / 1000.0),
                "p50": quantile(0.5),
                "p99": quantile(0.99),
                "p999": quantile(0.999),
                "max": rounded(Self::microseconds(latency.max())),
            },
            "messages_per_second": rounded(self.messages_per_second()),
            "seconds": (self.seconds * 1000.0).round() / 1000.0,
            "peak_rss_bytes": self.peak_rss_bytes,
        })
    }

    /// The summary for people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let totals = self.totals;
        let latency = totals.latency();
        let mut line = |label: &str, value: String| {
            let _always_fits = writeln!(text, "{label:<12}{value}");
        };
        line(
            "payments",
            format!(
                "{} on {} accounts",
                thousands(totals.payments()),
                thousands(totals.accounts().len() as u64)
            ),
        );
        line("amount", format_hundredths(totals.amount()));
        for (number, version) in VERSIONS {
            let messages = totals.messages_of(number);
            let share = 100.0 * messages as f64 / (totals.payments().max(1)) as f64;
            let accounts = thousands(totals.accounts_of(number));
            line(
                version.group(),
                format!(
                    "{} payments ({share:.2} %) of {accounts} accounts",
                    thousands(messages)
                ),
            );
        }
        line("high risk", thousands(totals.high()));
        let us = |nanoseconds: u64| format!("{:.0}", Self::microseconds(nanoseconds));
        line(
            "latency",
            format!(
                "mean {:.0} us, p50 {}, p99 {}, p99.9 {}, max {}",
                latency.mean() / 1000.0,
                us(latency.value_at_quantile(0.5)),
                us(latency.value_at_quantile(0.99)),
                us(latency.value_at_quantile(0.999)),
                us(latency.max())
            ),
        );
        line(
            "rate",
            format!(
                "{} messages/s over {:.2} s",
                thousands(self.messages_per_second() as u64),
                self.seconds
            ),
        );
        line(
            "memory",
            format!(
                "{:.1} MiB at most",
                self.peak_rss_bytes as f64 / f64::from(1 << 20)
            ),
        );
        let l = &self.ledger;
        line(
            "ledger",
            format!(
                "accepted {} = delivered {} + dead {} + expired {} + shed {} + cancelled {} + held {} + lost {}, residual {}",
                l.accepted,
                l.delivered,
                l.dead,
                l.expired,
                l.shed,
                l.cancelled,
                l.held,
                l.lost,
                l.residual()
            ),
        );
        text
    }
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The most memory that this process had resident, in bytes, as Linux keeps it.
pub fn peak_resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| {
        line.trim()
            .trim_end_matches("kB")
            .trim()
            .parse::<u64>()
            .ok()
    });
    kibibytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::risk::Assessed;

    #[test]
    fn the_object_has_the_promised_keys() {
        let mut totals = Totals::default();
        totals.add(
            &Assessed {
                account: 1,
                amount: 1890,
                version: 1,
                score: 0,
                position: 1,
                made_at: 0,
            },
            5_000,
        );
        let ledger = EndToEnd {
            accepted: 2,
            delivered: 1,
            dead: 1,
            ..EndToEnd::default()
        };
        let report = Report {
            ledger,
            totals: &totals,
            seconds: 0.5,
            peak_rss_bytes: 7,
        };
        let object = report.to_json();
        let text = object.to_string();
        let wanted = r#"{"ledger":{"accepted":2,"delivered":1,"dead":1,"expired":0,"shed":0,"cancelled":0,"held":0,"lost":0,"residual":0},"routes":{"risk-v1":1,"risk-v2":0},"routes_accounts":{"risk-v1":1,"risk-v2":0},"accounts":1,"amount_total":1890,"out_of_order":0,"latency_us":{"mean":5.0,"#;
        assert!(text.starts_with(wanted), "{text}");
        assert_eq!(object["messages_per_second"], 2.0);
        assert!(report.to_text().contains("residual 0"));
        assert!(peak_resident_bytes() > 1 << 20);
    }

    #[test]
    fn a_residual_shows() {
        let ledger = EndToEnd {
            accepted: 1,
            ..EndToEnd::default()
        };
        assert_eq!(ledger.residual(), 1);
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(12), "12");
    }
}
