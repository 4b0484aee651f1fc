//! `mcpbus sub`: messages of a subject pattern to standard output.

use std::time::Duration;

use clap::{Args, ValueEnum};
use mcpbus::routing::Pattern;
use mcpbus_actors::Time;

use super::connection::{ConnectionArguments, duration};
use super::output::MessageLine;

/// Subscribe to a subject pattern and print each message as a line.
///
/// It says `ready` on standard error when every reachable node knows of the subscription. Output is flushed, and in
/// order per key. It ends on Ctrl-C, when the reader of its output goes away, after --count messages, or when
/// nothing came for --idle-exit.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The node.
    #[command(flatten)]
    pub connection: ConnectionArguments,
    /// The subjects: * is one token, > is the rest.
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    pub subject: Pattern,
    /// Share the messages with the other members of this group.
    #[arg(long)]
    pub group: Option<String>,
    /// End after so many messages.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// End when nothing came for so long, counted from the first message on.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub idle_exit: Option<Duration>,
    /// What a line holds.
    #[arg(long, value_enum, default_value_t = Format::Payload)]
    pub format: Format,
}

/// What a printed line holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The message's body, byte for byte.
    Payload,
    /// One JSON object with subject, key and body (body_base64 where it is not UTF-8).
    Json,
}

/// For clap: a subject pattern.
///
/// # Errors
/// What is wrong with the text.
pub fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::new(text).map_err(|error| error.to_string())
}

impl Format {
    /// Appends a message's line.
    pub fn write(self, message: MessageLine<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Payload => message.write_payload(out),
            Self::Json => message.write_json(out),
        }
    }
}

/// Decides when a subscription ends, without a clock.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    count: Option<u64>,
    idle: Option<Duration>,
    received: u64,
    last: Option<Time>,
}

impl Ending {
    /// Ends after `count` messages, or when nothing came for `idle` after the first message.
    pub fn new(count: Option<u64>, idle: Option<Duration>) -> Self {
        Self {
            count,
            idle,
            received: 0,
            last: None,
        }
    }

    /// Messages that may still be printed.
    pub fn wanted(&self) -> u64 {
        self.count
            .map_or(u64::MAX, |count| count.saturating_sub(self.received))
    }

    /// So many messages came.
    pub fn received(&mut self, messages: u64, now: Time) {
        self.received += messages;
        self.last = Some(now);
    }

    /// When it is idle for too long, if it can be.
    pub fn deadline(&self) -> Option<Time> {
        Some(self.last? + self.idle?)
    }

    /// Whether it has ended.
    pub fn is_over(&self, now: Time) -> bool {
        self.wanted() == 0 || self.deadline().is_some_and(|deadline| now >= deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_by_count_or_idleness() {
        let second = |n| Time::ZERO + Duration::from_secs(n);
        let mut ending = Ending::new(Some(3), Some(Duration::from_secs(2)));
        assert!(
            !ending.is_over(second(100)),
            "before the first message it waits"
        );
        ending.received(2, second(100));
        assert!(!ending.is_over(second(101)));
        assert!(ending.is_over(second(102)));
        ending.received(1, second(102));
        assert!(ending.is_over(second(102)));
        assert_eq!(Ending::new(None, None).wanted(), u64::MAX);
    }
}
