//! `mcpbus pub`: each line of standard input becomes a message.

use std::io::{IsTerminal as _, stdin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use mcpbus::client::{
    Client, ClientStats, Publication, PublishError, Publisher, Receipt, ReceiptError,
};
use mcpbus::{AckLevel, Labels};
use mcpbus_actors::{Clock as _, Key, SystemClock};

use super::connection::{ConnectionArguments, connect, duration};
use super::line_plan::{LinePlan, Prepared};
use super::{Exit, session};
use crate::config::quantity::parse_size;
use crate::exec::log_limit::LogLimit;
use crate::stages::lines::LineSplitter;
use crate::template::Template;

/// Publish each line of standard input as a message.
///
/// In the subject and the key, {2} is the line's second field: --delimiter ';' --subject 'bank.tx.{2}' --key '{2}'
/// gives each account its subject. A line whose field cannot be a token of a subject is refused and counted.
///
/// At the end of the input it waits for the acknowledgements it asked for, and exits with 1 and the counts if any is
/// missing.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The node.
    #[command(flatten)]
    pub connection: ConnectionArguments,
    /// The subject; {N} stands for the line's N-th field.
    #[arg(long, value_parser = template)]
    pub subject: Template,
    /// The character between fields; fields in double quotes may hold it.
    #[arg(long, value_name = "CHARACTER", value_parser = delimiter)]
    pub delimiter: Option<u8>,
    /// The key: order per key is kept, and sticky routes go by it; {N} stands for the line's N-th field.
    #[arg(long, value_parser = template)]
    pub key: Option<Template>,
    /// A label of every message, for routes to go by; may be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// What to wait for: nothing, that the next node has it, that it is on disk, or that it was processed.
    #[arg(long, value_enum, default_value_t = AckArgument::Accepted)]
    pub ack: AckArgument,
    /// Print a line for each message once its outcome is known: the number of its line, then ok or the reason.
    #[arg(long)]
    pub receipts: bool,
    /// How long to wait at the end of the input for acknowledgements.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
    /// Publish nothing before so many subscribers are there.
    #[arg(long, value_name = "N")]
    pub wait_for_subscribers: Option<u32>,
    /// The longest line in bytes; a longer one is refused and counted.
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = line_size)]
    pub max_line: usize,
}

/// The values of `--ack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AckArgument {
    /// Nothing: at most once.
    None,
    /// The next node has it in memory.
    Accepted,
    /// The next node has it on disk.
    Stored,
    /// Its subscribers have processed it.
    Processed,
}

impl From<AckArgument> for AckLevel {
    fn from(argument: AckArgument) -> Self {
        match argument {
            AckArgument::None => Self::None,
            AckArgument::Accepted => Self::Accepted,
            AckArgument::Stored => Self::Stored,
            AckArgument::Processed => Self::Processed,
        }
    }
}

/// For clap: a template.
///
/// # Errors
/// What is wrong with the text.
pub fn template(text: &str) -> Result<Template, String> {
    Template::parse(text).map_err(|error| error.to_string())
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a label is NAME=VALUE".to_owned()),
    }
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text {
        "\\t" => Ok(b'\t'),
        _ => match text.as_bytes() {
            [byte] if byte.is_ascii() => Ok(*byte),
            _ => Err("a delimiter is one ASCII character, or \\t".to_owned()),
        },
    }
}

fn line_size(text: &str) -> Result<usize, String> {
    let size = parse_size(text)?;
    if !(1..=64 << 20).contains(&size) {
        return Err("the longest line lies between 1B and 64MiB".to_owned());
    }
    usize::try_from(size).map_err(|_| "too large".to_owned())
}

/// Receipts that may be awaited at once; the input waits beyond.
const RECEIPTS: usize = 16_384;

/// What the reading thread has to tell at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Read {
    lines: u64,
    refused: u64,
    too_large: u64,
    failure: Option<String>,
}

/// Publishes standard input.
pub(super) fn run(arguments: &Arguments) -> Exit {
    let plan = match LinePlan::new(
        arguments.subject.clone(),
        arguments.key.clone(),
        arguments.delimiter,
    ) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("{error}");
            return Exit::Usage;
        }
    };
    let labels = match Labels::new(arguments.labels.iter().map(|(name, value)| (name, value))) {
        Ok(labels) => labels,
        Err(error) => {
            eprintln!("{error}");
            return Exit::Usage;
        }
    };
    session::block_on(async move {
        let client = match connect(&arguments.connection, "pub").await {
            Ok(client) => client,
            Err(exit) => return exit,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, printer) = arguments.receipts.then(Printer::start).unzip();
        let reader = Reader {
            plan,
            labels,
            client: client.clone(),
            ack: arguments.ack.into(),
            max_line: arguments.max_line,
            subscribers: arguments.wait_for_subscribers.unwrap_or(0),
            stop: Arc::clone(&stop),
            receipts: sender,
            runtime: tokio::runtime::Handle::current(),
        };
        let (done, mut finished) = tokio::sync::oneshot::channel();
        let spawned = std::thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || {
                // The receiver is gone only after an interruption, when nobody asks any more.
                let _nobody_asks = done.send(reader.run());
            });
        if let Err(error) = spawned {
            eprintln!("cannot start a thread to read standard input: {error}");
            return Exit::Failure;
        }
        let interrupted = tokio::select! {
            read = &mut finished => {
                return end(&client, read.unwrap_or_default(), arguments, printer, false).await;
            }
            () = session::interrupted() => true,
        };
        stop.store(true, Ordering::Release);
        // A reader that waits for input does not come back: what it has counted so far is in the client's counts.
        let grace = Duration::from_millis(200);
        let read = tokio::time::timeout(grace, finished)
            .await
            .ok()
            .and_then(Result::ok)
            .unwrap_or_default();
        end(&client, read, arguments, printer, interrupted).await
    })
}

async fn end(
    client: &Client,
    read: Read,
    arguments: &Arguments,
    printer: Option<Printer>,
    interrupted: bool,
) -> Exit {
    let printed = async {
        let stats = client.clone().close(arguments.timeout).await;
        // Every outcome is known now; the command may end only when all are printed.
        if let Some(printer) = printer {
            printer.finish().await;
        }
        stats
    };
    let stats = tokio::select! {
        stats = printed => stats,
        () = session::interrupted_again() => client.stats(),
    };
    let complete = stats.failures() == 0 && stats.outstanding() == 0;
    let good = complete && read.refused + read.too_large == 0 && read.failure.is_none();
    if !good || interrupted || std::io::stderr().is_terminal() {
        eprintln!("{}", summary(&stats, &read));
    }
    match (&read.failure, good, interrupted) {
        (Some(failure), _, _) => {
            eprintln!("{failure}");
            Exit::Failure
        }
        (None, _, true) => Exit::Interrupted,
        (None, true, false) => Exit::Success,
        (None, false, false) => Exit::Failure,
    }
}

/// Prints the outcome of each line, in the order of the lines.
struct Printer {
    /// Says that no further line comes, which a reader that is blocked on its input cannot say.
    last: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Printer {
    /// Starts one. Receipts go to it with the numbers of their lines.
    fn start() -> (tokio::sync::mpsc::Sender<(u64, Receipt)>, Self) {
        let (sender, receipts) = tokio::sync::mpsc::channel(RECEIPTS);
        let (last, no_more) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(print_receipts(receipts, no_more));
        (sender, Self { last, task })
    }

    /// Waits until everything is printed. The outcome of every message must be known.
    async fn finish(self) {
        // A printer that has ended already wants to hear nothing; a panic of it has been reported.
        let _ended = self.last.send(());
        let _reported = self.task.await;
    }
}

/// Prints receipts until the last one has come, or nobody reads them.
async fn print_receipts(
    mut receipts: tokio::sync::mpsc::Receiver<(u64, Receipt)>,
    mut no_more: tokio::sync::oneshot::Receiver<()>,
) {
    use std::io::Write as _;
    let mut open = true;
    loop {
        let next = tokio::select! {
            biased;
            next = receipts.recv() => next,
            _ = &mut no_more, if open => {
                open = false;
                receipts.close();
                continue;
            }
        };
        let Some((line, receipt)) = next else { return };
        let outcome = match receipt.await {
            Ok(()) => "ok".to_owned(),
            Err(ReceiptError::Failed(failure)) => match failure.retry_after() {
                Some(after) => format!("{} retry_after {}ms", failure.name(), after.as_millis()),
                None => failure.name().to_owned(),
            },
            Err(_) => "unknown".to_owned(),
        };
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{line} {outcome}")
            .and_then(|()| out.flush())
            .is_err()
        {
            return;
        }
    }
}

/// The counts in one line.
fn summary(stats: &ClientStats, read: &Read) -> String {
    let mut text = format!(
        "published {}, acknowledged {}",
        stats.published, stats.acknowledged
    );
    for (reason, count) in &stats.failed {
        text.push_str(&format!(", {reason} {count}"));
    }
    if stats.failed.contains_key("no_spool") {
        text.push_str(" (this node cannot store: it has no [spool], or its disk has failed)");
    }
    if stats.outstanding() > 0 {
        text.push_str(&format!(", without an answer {}", stats.outstanding()));
    }
    if stats.lost > 0 {
        text.push_str(&format!(", lost(peer_died) {}", stats.lost));
    }
    if read.refused > 0 {
        text.push_str(&format!(", refused(decode) {}", read.refused));
    }
    if read.too_large > 0 {
        text.push_str(&format!(", refused(too_large) {}", read.too_large));
    }
    text
}

/// Reads lines and publishes them; blocks, so it has its own thread.
struct Reader {
    labels: Labels,
    plan: LinePlan,
    client: Client,
    ack: AckLevel,
    max_line: usize,
    subscribers: u32,
    stop: Arc<AtomicBool>,
    /// Where receipts go, with the number of their line.
    receipts: Option<tokio::sync::mpsc::Sender<(u64, Receipt)>>,
    runtime: tokio::runtime::Handle,
}

impl Reader {
    fn run(self) -> Read {
        let publisher = self.client.publisher(self.ack);
        let mut splitter = LineSplitter::new(stdin().lock(), self.max_line);
        let mut read = Read::default();
        let clock = SystemClock::new();
        let mut limit = LogLimit::new(10, 5);
        let mut waited = self.subscribers == 0;
        while !self.stop.load(Ordering::Acquire) {
            let line = match splitter.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => match splitter.rest() {
                    Some(line) => line,
                    None => break,
                },
                Err(error) => {
                    read.failure = Some(format!("cannot read standard input further: {error}"));
                    break;
                }
            };
            read.lines += 1;
            let prepared = match self.plan.prepare(line) {
                Ok(prepared) => prepared,
                Err(refused) => {
                    read.refused += 1;
                    if limit.admit(clock.now()).is_some() {
                        eprintln!("{refused}");
                    }
                    continue;
                }
            };
            if !waited {
                waited = self.wait_for_subscribers(&prepared);
            }
            match self.publish(
                &publisher,
                publication(prepared, &self.labels),
                splitter.number(),
            ) {
                Ok(()) => {}
                // Only this line is concerned, as with one that is too long for the command itself.
                Err(error @ PublishError::TooLarge { .. }) => {
                    read.too_large += 1;
                    if limit.admit(clock.now()).is_some() {
                        eprintln!("line {}: {error}", splitter.number());
                    }
                }
                Err(error) => {
                    read.failure = Some(format!("line {}: {error}", splitter.number()));
                    break;
                }
            }
        }
        read
    }

    /// Publishes one line, waiting for room; with receipts also until there is room for its receipt.
    fn publish(
        &self,
        publisher: &Publisher,
        message: Publication,
        line: u64,
    ) -> Result<(), PublishError<Publication>> {
        let Some(receipts) = &self.receipts else {
            return publisher.publish_blocking(message);
        };
        let receipt = self
            .runtime
            .block_on(publisher.publish_with_receipt(message))?;
        // The printer is gone only when the command ends.
        let _ends = receipts.blocking_send((line, receipt));
        Ok(())
    }

    /// Asks the node until there are enough subscribers of the first line's subject; false when stopped meanwhile.
    fn wait_for_subscribers(&self, first: &Prepared) -> bool {
        let ask = Duration::from_secs(1);
        let pause = Duration::from_millis(50);
        while !self.stop.load(Ordering::Acquire) {
            let count = self
                .runtime
                .block_on(self.client.count_subscribers(first.subject.as_str(), ask));
            if count.is_ok_and(|count| count >= u64::from(self.subscribers)) {
                return true;
            }
            std::thread::sleep(pause);
        }
        false
    }
}

fn publication(prepared: Prepared, labels: &Labels) -> Publication {
    Publication {
        subject: prepared.subject.as_str().to_owned(),
        key: prepared.key.map(|key| Key::from_bytes(&key)),
        body: prepared.body,
        time_to_live: None,
        event_time: None,
        labels: labels.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        assert_eq!(delimiter("\\t"), Ok(b'\t'));
        assert!(delimiter(";;").is_err() && delimiter("é").is_err());
        assert!(label("a").is_err() && label("=b").is_err());
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(line_size("0").is_err() && line_size("1GiB").is_err());
        assert_eq!(line_size("1MiB"), Ok(1 << 20));
    }

    #[test]
    fn the_summary_names_what_is_missing() {
        let mut stats = ClientStats {
            published: 10,
            acknowledged: 7,
            ..ClientStats::default()
        };
        stats.failed.insert("no_route", 2);
        let read = Read {
            lines: 11,
            refused: 1,
            too_large: 0,
            failure: None,
        };
        assert_eq!(
            summary(&stats, &read),
            "published 10, acknowledged 7, no_route 2, without an answer 1, refused(decode) 1"
        );
    }
}
