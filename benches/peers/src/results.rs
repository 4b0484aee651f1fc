//! What is written down of a run: every measurement, so that tables and plots can be drawn from it again.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::candidates::{Family, Variant};

/// All that one call of the command measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// Seconds since 1970 at its start.
    pub started: u64,
    /// Where it ran.
    pub machine: Machine,
    /// Rounds of each table.
    pub rounds: u32,
    /// What the orders of the rounds were drawn with.
    pub seed: u64,
    /// The load average at the start of each round, the wait for other programs included.
    pub loads: Vec<f64>,
    /// With the panic table: every how many messages a processor panicked.
    pub panic_every: u64,
    /// One per variant.
    pub tables: Vec<Table>,
    /// How long messages took at a fixed rate.
    pub latency: Option<Latency>,
}

/// Where a run was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// What the processor calls itself.
    pub processor: String,
    /// Threads that can run at once.
    pub cores: usize,
    /// Name and version of the kernel.
    pub kernel: String,
}

/// Candidates that moved the same messages.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Table {
    /// What was special about them.
    pub variant: Variant,
    /// One per candidate.
    pub rows: Vec<Row>,
}

/// The runs of one candidate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Its stable name.
    pub name: String,
    /// What it stands beside.
    pub family: Family,
    /// What it is.
    pub about: String,
    /// Messages of each run.
    pub messages: u64,
    /// The median of the rates.
    pub messages_per_second: f64,
    /// The median of the CPU time.
    pub cpu_seconds_per_million: f64,
    /// Messages missing or wrong in all runs together.
    pub lost: u64,
    /// Messages given up with a reason in all runs together.
    pub dead_letters: u64,
    /// Wall time of each run in seconds, by round.
    pub seconds: Vec<f64>,
    /// CPU time of each run in seconds, all threads, by round.
    pub cpu_seconds: Vec<f64>,
}

/// Latencies at a fixed rate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// Messages a second.
    pub rate: u32,
    /// How long each run took, in seconds.
    pub seconds: f64,
    /// One per candidate.
    pub rows: Vec<LatencyRow>,
}

/// The latencies of one candidate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LatencyRow {
    /// Its stable name.
    pub name: String,
    /// What it is.
    pub about: String,
    /// Messages missing or wrong in all runs together.
    pub lost: u64,
    /// By round.
    pub rounds: Vec<Quantiles>,
}

/// Latencies of one run, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Mean.
    pub mean: f64,
    /// Half of all messages took at most so long.
    pub p50: f64,
    /// 90 of 100.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1,000.
    pub p999: f64,
    /// All.
    pub max: f64,
}

impl Quantiles {
    /// Name and value of each, in rising order after the mean.
    pub fn named(&self) -> [(&'static str, f64); 6] {
        [
            ("mean", self.mean),
            ("p50", self.p50),
            ("p90", self.p90),
            ("p99", self.p99),
            ("p99.9", self.p999),
            ("max", self.max),
        ]
    }
}

/// Why results could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// The file could not be read.
    Io(PathBuf, std::io::Error),
    /// It holds something else.
    Content(PathBuf, serde_json::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{} cannot be read: {error}", path.display()),
            Self::Content(path, error) => write!(
                f,
                "{} is not what `topologies --format json` writes: {error}",
                path.display()
            ),
        }
    }
}

impl std::error::Error for ReadError {}

impl Results {
    /// Reads what `topologies --format json` wrote.
    ///
    /// # Errors
    /// [`ReadError`]: the file is not there, or holds something else.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let text =
            std::fs::read_to_string(path).map_err(|error| ReadError::Io(path.to_owned(), error))?;
        serde_json::from_str(&text).map_err(|error| ReadError::Content(path.to_owned(), error))
    }

    /// The table of this variant.
    pub fn table(&self, variant: Variant) -> Option<&Table> {
        self.tables.iter().find(|table| table.variant == variant)
    }

    /// Messages missing or wrong anywhere.
    pub fn lost(&self) -> u64 {
        let tables = self.tables.iter().flat_map(|table| &table.rows);
        let latency = self.latency.iter().flat_map(|latency| &latency.rows);
        tables.map(|row| row.lost).sum::<u64>() + latency.map(|row| row.lost).sum::<u64>()
    }

    /// The day of the run, as `YYYY-MM-DD` in UTC.
    pub fn day(&self) -> String {
        let (year, month, day) = civil((self.started / 86_400).cast_signed());
        format!("{year:04}-{month:02}-{day:02}")
    }
}

impl Table {
    /// The row of this candidate.
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }
}

impl Row {
    /// Messages a second by round.
    pub fn rates(&self) -> Vec<f64> {
        let rate = |seconds: &f64| self.messages as f64 / seconds.max(1e-9);
        self.seconds.iter().map(rate).collect()
    }

    /// CPU seconds per million messages by round.
    pub fn cpu_per_million(&self) -> Vec<f64> {
        let millions = (self.messages as f64 / 1e6).max(1e-9);
        self.cpu_seconds.iter().map(|cpu| cpu / millions).collect()
    }
}

/// Year, month and day of a number of days since 1970 in the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Counted from 1 March of year 0, so that the leap day is the last day of a year.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_453), (2025, 12, 31));
        assert_eq!(civil(20_454), (2026, 1, 1));
    }
}
