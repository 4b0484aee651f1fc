//! What is asked for on the command line.

use crate::world::Links;
use mcpbus_benches::failed::Failed;
use std::time::Duration;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Goodput,
    Dead,
    Fallback,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

pub(crate) struct Options {
    /// How long each load is offered.
    pub(crate) phase: Duration,
    /// How long it is waited at most until a service that was overloaded is normal again.
    pub(crate) recovery: Duration,
    /// How long a round beside a dead destination takes.
    pub(crate) round: Duration,
    pub(crate) rounds: usize,
    /// Messages to the fallback in a round.
    pub(crate) answers: usize,
    pub(crate) links: Links,
    pub(crate) format: Format,
    only: Option<Part>,
}

const KNOWN: &str = "known are --quick, --format text|json, --only goodput|dead|fallback, --links quic|memory, --seconds S and \
                     --rounds N";

impl Options {
    /// `None` where nothing is to be measured: `cargo test` and `cargo bench --no-run` ask for nothing.
    pub(crate) fn from_arguments() -> Result<Option<Self>, Failed> {
        let mut options = Self {
            phase: Duration::from_secs(4),
            recovery: Duration::from_secs(10),
            round: Duration::from_secs(2),
            rounds: 5,
            answers: 2000,
            links: Links::Quic,
            format: Format::Text,
            only: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let text = arguments.next();
                text.ok_or_else(|| Failed::new(&argument, "a value must follow"))
            };
            let wrong = |value: &str| Failed::new(value, KNOWN);
            match argument.as_str() {
                "--test" | "--list" => return Ok(None),
                // What cargo passes to every bench.
                "--bench" => {}
                "--quick" => {
                    options.phase = Duration::from_millis(600);
                    options.recovery = Duration::from_secs(2);
                    options.round = Duration::from_millis(300);
                    options.rounds = 1;
                    options.answers = 100;
                }
                "--format" => {
                    options.format = match value()?.as_str() {
                        "text" => Format::Text,
                        "json" => Format::Json,
                        other => return Err(wrong(other)),
                    }
                }
                "--only" => {
                    options.only = Some(match value()?.as_str() {
                        "goodput" => Part::Goodput,
                        "dead" => Part::Dead,
                        "fallback" => Part::Fallback,
                        other => return Err(wrong(other)),
                    })
                }
                "--links" => {
                    options.links = match value()?.as_str() {
                        "quic" => Links::Quic,
                        "memory" => Links::Memory,
                        other => return Err(wrong(other)),
                    }
                }
                "--seconds" => {
                    let seconds: f64 = value()?.parse().map_err(Failed::at("--seconds"))?;
                    options.phase = Duration::try_from_secs_f64(seconds)
                        .map_err(Failed::at("--seconds"))?
                        .clamp(Duration::from_millis(100), Duration::from_secs(600));
                }
                "--rounds" => {
                    let rounds: usize = value()?.parse().map_err(Failed::at("--rounds"))?;
                    options.rounds = rounds.clamp(1, 1000);
                }
                other => return Err(wrong(other)),
            }
        }
        Ok(Some(options))
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        let all = [Part::Goodput, Part::Dead, Part::Fallback];
        all.into_iter()
            .filter(|part| self.only.is_none_or(|only| only == *part))
    }
}
