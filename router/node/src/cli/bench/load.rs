//! `mcpbus bench node` and `mcpbus bench link`: load over a node or a link.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::connection::{CredentialArguments, host_port};
use super::super::output::{self, ReportFormat};
use super::super::publish::AckArgument;
use super::super::{Exit, session};
use crate::bench::node::children::ChildFailed;
use crate::bench::node::plan::{Plan, Topology};
use crate::bench::node::report::Report;
use crate::bench::node::run::{self, Place, Progress, RunError};
use crate::bench::node::talk::Sample;
use crate::config::quantity::parse_size;

/// Load over a node: publisher, router and subscriber, a process each.
///
/// Without --node it starts all three, linked over loopback QUIC with mutual TLS from an authority that is made for the run and
/// removed after it. With --node it starts publisher and subscriber, and the messages go over the node that is there;
/// their subjects begin with bench. and a number of this run, so that they meet nobody else.
///
/// Every message says which one it is and when it was due; the subscriber counts what is lost, doubled or out of order. Throughput is
/// what the subscriber received in the measured time, CPU time is that of each whole process in the same time. With --rate,
/// latency counts from when a message was due until the subscriber has it, whether or not an earlier one was late. The exit code
/// is 1 if messages were lost or failed, unless --ack none.
#[derive(Debug, Args)]
pub(in crate::cli) struct Node {
    /// A node that runs already, here or on another machine, instead of one of its own.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    node: Option<String>,
    #[command(flatten)]
    credentials: CredentialArguments,
    #[command(flatten)]
    load: Load,
}

/// Load over one link: a publisher's process, and a subscriber's with the node inside.
///
/// Two clients always have a node between them. Here that node is part of the subscriber's process, and the subscription is inside of
/// it: what is measured is the publishing client, one QUIC link with mutual TLS over loopback, the receiving half of a node, and
/// the hand-over to a client in its process. `bench node` has a second link and a process more. The CPU time of the
/// node is part of the subscriber's.
#[derive(Debug, Args)]
pub(in crate::cli) struct Link {
    #[command(flatten)]
    load: Load,
}

/// What both commands can be told.
#[derive(Debug, Args)]
struct Load {
    /// Bytes of each body. Below 24 a body has no room for its number and time: then messages are only counted.
    #[arg(long, value_name = "SIZE", default_value = "256", value_parser = size)]
    size: usize,
    /// Messages a second of all links together; without it as many as backpressure lets.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,
    /// What the publisher waits for. With `stored` the subscription is durable; an own node then has a spool in the temporary directory (TMPDIR).
    #[arg(long, value_enum, default_value_t = AckArgument::Accepted, conflicts_with = "request")]
    ack: AckArgument,
    /// Links that publish, each a connection and a thread.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=32))]
    links: u32,
    /// Subjects that the messages of each link take in turns.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    subjects: u32,
    /// Keys on each subject, in turns; 0: messages have no key.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    keys: u32,
    /// Requests, whose replies are as large: measures round trips, one after the other on each link.
    #[arg(long)]
    request: bool,
    /// Requests under way on each link, each from a thread of its own.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "request", value_parser = clap::value_parser!(u32).range(1..=64))]
    in_flight: u32,
    /// Messages that the subscription holds or has granted.
    #[arg(long, value_name = "N", default_value_t = 16_384, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    window: u64,
    /// Seconds that are measured, from 0.1 to 3600.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = measured)]
    seconds: Duration,
    /// Seconds before that, from 0 to 600.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = warm_up)]
    warm_up: Duration,
    /// Draw latency by percentile, or throughput over time where no latency is measured, into this file (SVG).
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// What to print.
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    format: ReportFormat,
}

/// Largest body: what a node takes unless its file says more.
const SIZE_MAX: u64 = 1 << 20;

fn size(text: &str) -> Result<usize, String> {
    let size = parse_size(text)?;
    if size > SIZE_MAX {
        return Err(String::from("a body has at most 1MiB"));
    }
    usize::try_from(size).map_err(|_| String::from("too large"))
}

fn measured(text: &str) -> Result<Duration, String> {
    seconds(text, 0.1, 3600.0)
}

fn warm_up(text: &str) -> Result<Duration, String> {
    seconds(text, 0.0, 600.0)
}

fn seconds(text: &str, least: f64, most: f64) -> Result<Duration, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| format!("`{text}` is not a number of seconds"))?;
    if !(least..=most).contains(&number) {
        return Err(format!("it lies between {least} and {most}"));
    }
    Ok(Duration::from_secs_f64(number))
}

/// Measures over a node.
pub(super) fn node(arguments: &Node) -> Exit {
    let CredentialArguments { identity, trust } = arguments.credentials.clone();
    let place = match (&arguments.node, &identity) {
        (Some(node), _) => Place::There {
            node: node.clone(),
            identity,
            trust,
        },
        (None, None) => Place::Own,
        (None, Some(_)) => {
            eprintln!("--identity is for --node: an own node has an authority of its own");
            return Exit::Usage;
        }
    };
    measure(&arguments.load, Topology::Node, place)
}

/// Measures over one link.
pub(super) fn link(arguments: &Link) -> Exit {
    measure(&arguments.load, Topology::Link, Place::Own)
}

fn measure(load: &Load, topology: Topology, place: Place) -> Exit {
    let plan = Plan {
        topology,
        size: load.size,
        rate: load.rate,
        ack: load.ack.into(),
        links: load.links,
        subjects: load.subjects,
        keys: load.keys,
        requests: load.request.then_some(load.in_flight),
        window: load.window,
        warm_up: load.warm_up,
        measured: load.seconds,
        prefix: run::prefix(),
    };
    if let Err(error) = plan.verify() {
        eprintln!("{error}");
        return Exit::Usage;
    }
    // A file that cannot be written is better known before the run than after it.
    let plot = match load.plot.as_deref().map(create).transpose() {
        Ok(plot) => plot,
        Err(exit) => return exit,
    };
    let result = session::block_on_value(async {
        let bar = Bar::new(plan.warm_up + plan.measured);
        let mut watch = |progress| bar.show(progress);
        run::run(&plan, &place, &mut watch, session::interrupted()).await
    });
    let outcome = match result {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => return failed(&error),
        Err(exit) => return exit,
    };
    finish(
        &Report {
            plan,
            place,
            outcome,
        },
        load.format,
        plot,
    )
}

fn create(path: &Path) -> Result<(File, &Path), Exit> {
    File::create(path)
        .map(|file| (file, path))
        .map_err(|error| {
            eprintln!("cannot write {}: {error}", path.display());
            Exit::CannotWrite
        })
}

fn failed(error: &RunError) -> Exit {
    eprintln!("{error}");
    let code = match error {
        RunError::Interrupted => return Exit::Interrupted,
        RunError::Directory(_) | RunError::Identity(_) => return Exit::CannotWrite,
        RunError::Child(ChildFailed::Ended { status, .. }) => status.code(),
        _ => None,
    };
    // A child that was refused says so by its own code.
    let told = [Exit::Unavailable, Exit::NotPermitted];
    told.into_iter()
        .find(|exit| code == Some(i32::from(exit.code())))
        .unwrap_or(Exit::Failure)
}

fn finish(report: &Report, format: ReportFormat, plot: Option<(File, &Path)>) -> Exit {
    let printed = output::print(&match format {
        ReportFormat::Text => report.to_text(),
        ReportFormat::Json => format!("{}\n", report.to_json()),
    });
    if let Some((mut file, path)) = plot
        && let Err(error) = file.write_all(report.to_svg().as_bytes())
    {
        eprintln!("cannot write {}: {error}", path.display());
        return Exit::CannotWrite;
    }
    match report.wrong() {
        Some(wrong) => {
            eprintln!("{wrong}");
            Exit::Failure
        }
        None => printed,
    }
}

/// A bar on the terminal of standard error; it draws nothing where that is none.
struct Bar {
    bar: ProgressBar,
    last: std::cell::Cell<Sample>,
}

impl Bar {
    fn new(length: Duration) -> Self {
        let bar = ProgressBar::with_draw_target(
            Some(u64::try_from(length.as_millis()).unwrap_or(u64::MAX)),
            ProgressDrawTarget::stderr_with_hz(10),
        );
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {wide_msg}") {
            bar.set_style(style);
        }
        Self {
            bar,
            last: std::cell::Cell::default(),
        }
    }

    fn show(&self, progress: Progress) {
        match progress {
            Progress::Starting => self.bar.set_message("processes start"),
            Progress::Ending => self.bar.set_message("waiting for what is under way"),
            Progress::Running(schedule, sample) => {
                let last = self.last.replace(sample);
                let passed = sample.at.saturating_sub(schedule.begin);
                self.bar.set_position(passed / 1_000_000);
                let seconds = sample.at.saturating_sub(last.at) as f64 / 1e9;
                let rate = sample.count.saturating_sub(last.count) as f64 / seconds.max(1e-3);
                let phase = match sample.at < schedule.from {
                    true => "warm-up, ",
                    false => "",
                };
                if last.at > 0 {
                    self.bar.set_message(format!("{phase}{rate:.0}/s"));
                }
            }
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_bounds() {
        assert_eq!(measured("0.3"), Ok(Duration::from_millis(300)));
        for wrong in ["0.05", "3601", "-1", "nan", "inf", "2s", ""] {
            assert!(measured(wrong).is_err(), "{wrong}");
        }
        assert_eq!(warm_up("0"), Ok(Duration::ZERO));
        assert!(warm_up("601").is_err());
        assert_eq!(size("16KiB"), Ok(16_384));
        assert!(size("2MiB").is_err() && size("x").is_err());
    }
}
