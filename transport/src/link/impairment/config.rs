//! What happens to datagrams, and how often.

use std::fmt;
use std::time::Duration;

/// What happens to the datagrams of one direction. The default changes nothing.
///
/// Probabilities are from 0 to 1 and count per datagram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImpairmentConfig {
    /// How long each datagram is on its way.
    pub delay: Duration,
    /// How far the delay of a datagram lies from `delay` at most, evenly spread. It keeps the order: a datagram waits for
    /// those before it. At most `delay`.
    pub jitter: Duration,
    /// The probability that a datagram is lost, each by itself.
    pub loss: f64,
    /// Loss in bursts, besides `loss`.
    pub bursts: Option<BurstLoss>,
    /// The probability that a datagram is overtaken by those behind it.
    pub reorder: f64,
    /// How much later an overtaken datagram comes at most.
    pub reorder_by: Duration,
    /// The probability that a datagram comes twice; the second copy at most `reorder_by` behind the first.
    pub duplicate: f64,
    /// The probability that a copy has one to three bits changed.
    pub corrupt: f64,
    /// How fast datagrams leave, and how many may wait for that.
    pub rate: Option<RateLimit>,
}

/// Loss in bursts after Gilbert and Elliott: the path is good or bad, and changes with each datagram by chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurstLoss {
    /// The probability that a good path turns bad.
    pub begins: f64,
    /// The probability that a bad path turns good; a burst lasts `1 / ends` datagrams in the mean.
    pub ends: f64,
    /// The probability that a datagram is lost while the path is bad.
    pub loss: f64,
    /// After how long a burst is over at the latest. Counted in datagrams alone, a burst on a quiet path would outlive every
    /// retry, which no real one does.
    pub longest: Duration,
}

impl BurstLoss {
    /// The share of datagrams that are lost in the long run, where no burst reaches `longest`.
    #[must_use]
    pub fn mean_loss(&self) -> f64 {
        if self.begins <= 0.0 {
            return 0.0;
        }
        self.loss * self.begins / (self.begins + self.ends)
    }
}

/// The rate at which datagrams leave one after the other, and the queue before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// UDP payload per second, in bytes.
    pub bytes_per_second: u64,
    /// How many bytes may wait. A datagram that does not fit any more is dropped; one alone always fits.
    pub queue_bytes: u64,
}

impl ImpairmentConfig {
    /// Checks that every value can be kept.
    ///
    /// # Errors
    ///
    /// [`ImpairmentConfigError`] names the first that cannot; whoever wrote it corrects it.
    pub fn validate(&self) -> Result<(), ImpairmentConfigError> {
        let bursts = self.bursts.unwrap_or(BurstLoss {
            begins: 0.0,
            ends: 1.0,
            loss: 0.0,
            longest: Duration::ZERO,
        });
        let probabilities = [
            ("loss", self.loss),
            ("bursts.begins", bursts.begins),
            ("bursts.ends", bursts.ends),
            ("bursts.loss", bursts.loss),
            ("reorder", self.reorder),
            ("duplicate", self.duplicate),
            ("corrupt", self.corrupt),
        ];
        for (field, value) in probabilities {
            if !(0.0..=1.0).contains(&value) {
                return Err(ImpairmentConfigError {
                    field,
                    problem: "must be between 0 and 1",
                });
            }
        }
        if self.jitter > self.delay {
            return Err(ImpairmentConfigError {
                field: "jitter",
                problem: "must be at most delay: nothing arrives before it was sent",
            });
        }
        if self.rate.is_some_and(|rate| rate.bytes_per_second == 0) {
            return Err(ImpairmentConfigError {
                field: "rate.bytes_per_second",
                problem: "must be above 0; a cut lets nothing through",
            });
        }
        Ok(())
    }
}

/// A field of [`ImpairmentConfig`] that cannot be kept. Whoever wrote it corrects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImpairmentConfigError {
    field: &'static str,
    problem: &'static str,
}

impl fmt::Display for ImpairmentConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "the impairment's {} {}",
            self.field, self.problem
        )
    }
}

impl std::error::Error for ImpairmentConfigError {}
