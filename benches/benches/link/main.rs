//! Publisher, relay, subscriber over loopback QUIC with mutual TLS: a node beside a relay on plain quinn.
//!
//! `cargo bench -p mcpbus-benches --bench link -- [--rounds N] [--seconds S] [--size BYTES] [--only NAME]`. The
//! contenders take turns, and every figure comes with its range over the rounds, because one run on a shared machine
//! says little. `--only` takes those whose name contains this, which a profiler likes.
//!
//! | file | subject |
//! | --- | --- |
//! | `node.rs` | a publishing client, a router node, a subscribed client |
//! | `plain.rs` | the same way on quinn alone, with records of a length and a body that the relay never looks at |
//! | `run.rs` | one measurement: warm up, count, end |

mod node;
mod plain;
mod run;

use mcpbus::AckLevel;
use mcpbus::identity::LocalAuthority;
use mcpbus_benches::failed::Failed;
use mcpbus_benches::process::load_average;
use mcpbus_benches::series::Series;
use run::{Run, Sample};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

const SIZES: [usize; 4] = [64, 256, 1024, 16_384];
const MEBIBYTE: f64 = 1_048_576.0;

#[derive(Clone, Copy)]
enum Contender {
    Plain,
    Node(AckLevel),
}

impl Contender {
    /// The first is what the others are compared with.
    const ALL: [Self; 4] = [
        Self::Plain,
        Self::Node(AckLevel::None),
        Self::Node(AckLevel::Accepted),
        Self::Node(AckLevel::Processed),
    ];

    fn name(self) -> String {
        match self {
            Self::Plain => String::from("plain quinn relay"),
            Self::Node(ack) => format!("node, ack {ack}"),
        }
    }

    fn start(self, authority: &LocalAuthority, size: usize) -> Result<Run, Failed> {
        match self {
            Self::Plain => plain::start(authority, size),
            Self::Node(ack) => node::start(authority, size, ack),
        }
    }
}

struct Options {
    rounds: u32,
    duration: Duration,
    sizes: Vec<usize>,
    only: String,
}

impl Options {
    fn from_arguments() -> Result<Self, Failed> {
        let mut options = Self {
            rounds: 5,
            duration: Duration::from_secs(2),
            sizes: SIZES.to_vec(),
            only: String::new(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let text = arguments.next();
                text.ok_or_else(|| Failed::new(&argument, "a number must follow"))
            };
            match argument.as_str() {
                "--rounds" => {
                    let text = value()?;
                    options.rounds = text
                        .parse()
                        .map_err(|error| Failed::new("--rounds", error))?;
                }
                "--seconds" => {
                    let text = value()?;
                    let seconds: f64 = text
                        .parse()
                        .map_err(|error| Failed::new("--seconds", error))?;
                    options.duration = Duration::try_from_secs_f64(seconds)
                        .map_err(|error| Failed::new("--seconds", error))?;
                }
                "--size" => {
                    let text = value()?;
                    let size = text.parse().map_err(|error| Failed::new("--size", error))?;
                    options.sizes = vec![size];
                }
                "--only" => options.only = value()?,
                // What cargo passes to every bench.
                "--bench" => {}
                other => {
                    let known = "known are --rounds N, --seconds S, --size BYTES and --only NAME";
                    return Err(Failed::new(other, known));
                }
            }
        }
        Ok(options)
    }
}

/// What the rounds of one contender with one size gave.
#[derive(Default)]
struct Figures {
    rate: Series,
    cpu: Series,
}

fn compare(authority: &LocalAuthority, options: &Options, size: usize) -> Result<(), Failed> {
    let chosen: Vec<Contender> = Contender::ALL
        .into_iter()
        .filter(|contender| contender.name().contains(&options.only))
        .collect();
    if chosen.is_empty() {
        return Err(Failed::new("--only", "no contender has such a name"));
    }
    let mut figures: Vec<Figures> = chosen.iter().map(|_| Figures::default()).collect();
    for _ in 0..options.rounds {
        for (contender, figures) in chosen.iter().zip(&mut figures) {
            let sample: Sample = contender
                .start(authority, size)?
                .measure(options.duration)?;
            figures.rate.push(sample.rate());
            figures.cpu.push(sample.cpu_nanoseconds());
        }
    }
    for (contender, own) in chosen.iter().zip(&figures) {
        let ratio = own.rate.ratio_to(&figures[0].rate);
        println!(
            "{size:>5} B  {:<20} {:>9.0} ({:>9.0} - {:>9.0}) {:>8.1} {:>10.0} {:>8.2} ({:.2} - {:.2})",
            contender.name(),
            own.rate.median(),
            own.rate.lowest(),
            own.rate.highest(),
            own.rate.median() * size as f64 / MEBIBYTE,
            own.cpu.median(),
            ratio.median(),
            ratio.lowest(),
            ratio.highest(),
        );
    }
    Ok(())
}

fn all() -> Result<(), Failed> {
    let options = Options::from_arguments()?;
    let directory = tempfile::tempdir().map_err(|error| Failed::new("a directory", error))?;
    let authority = LocalAuthority::open_or_create(directory.path(), SystemTime::now())
        .map_err(|error| Failed::new("an authority", error))?;
    println!(
        "{} rounds of {:?} each, load average {}\n",
        options.rounds,
        options.duration,
        load_average().unwrap_or_else(|| String::from("unknown")),
    );
    println!(
        "{:<29} {:>9} {:>23} {:>8} {:>10} {:>8}",
        "", "msg/s", "(lowest - highest)", "MiB/s", "CPU ns/msg", "of plain"
    );
    for size in &options.sizes {
        compare(&authority, &options, *size)?;
    }
    let load = load_average().unwrap_or_else(|| String::from("unknown"));
    println!("\nload average at the end {load}");
    Ok(())
}

fn main() -> ExitCode {
    match all() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("{failed}");
            ExitCode::FAILURE
        }
    }
}
