//! `mcpbus sub`: messages of a subject pattern to standard output.

use std::io::{self, Write as _};
use std::time::Duration;

use clap::{Args, ValueEnum};
use mcpbus::client::{Client, Delivery, SubscribeError, SubscribeOptions, Subscription};
use mcpbus::routing::Pattern;
use mcpbus_actors::{Clock as _, SystemClock, Time};

use super::connection::{ConnectionArguments, connect, duration};
use super::output::{self, MessageLine};
use super::{Exit, session};

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
    /// Keep the subscription under this name: the node stores every message for it until it was printed, also while
    /// nobody is here. Start again with the same name at the same node to go on.
    #[arg(long, value_name = "NAME", conflicts_with = "group")]
    pub durable: Option<String>,
    /// End the durable subscription for good, with what waits for it.
    #[arg(long, requires = "durable")]
    pub delete: bool,
    /// End after so many messages.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// End when nothing came for so long.
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
    /// Ends after `count` messages, or when nothing came for `idle`.
    pub fn new(count: Option<u64>, idle: Option<Duration>) -> Self {
        Self {
            count,
            idle,
            received: 0,
            last: None,
        }
    }

    /// The subscription is ready: from now on it can be idle.
    pub fn ready(&mut self, now: Time) {
        self.last.get_or_insert(now);
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

/// Messages written in one piece, at most.
const BATCH: usize = 256;
/// How long an interrupted subscriber waits for what it is writing.
const LAST_WRITE: Duration = Duration::from_secs(1);
/// Longer than anybody waits.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long the mesh may take to confirm the subscription before it is said that it takes long.
const READY_SOON: Duration = Duration::from_secs(10);

/// Subscribes and prints.
pub(super) fn run(arguments: &Arguments) -> Exit {
    session::block_on(async move {
        let client = match connect(&arguments.connection, "sub").await {
            Ok(client) => client,
            Err(exit) => return exit,
        };
        if let Some(name) = arguments.durable.as_ref().filter(|_| arguments.delete) {
            let exit = delete(&client, name).await;
            client.close(Duration::from_secs(2)).await;
            return exit;
        }
        let options = SubscribeOptions {
            group: arguments.group.clone(),
            durable: arguments.durable.clone(),
            ..SubscribeOptions::default()
        };
        let mut subscription = match client.subscribe(arguments.subject.as_str(), options) {
            Ok(subscription) => subscription,
            Err(error) => {
                eprintln!("{error}");
                return Exit::Usage;
            }
        };
        let exit = print(&mut subscription, arguments).await;
        drop(subscription);
        client.close(Duration::from_secs(2)).await;
        exit
    })
}

/// Ends a durable subscription for good.
async fn delete(client: &Client, name: &str) -> Exit {
    match client.delete_durable(name, READY_SOON).await {
        Ok(true) => {
            eprintln!("deleted durable subscription {name}");
            Exit::Success
        }
        Ok(false) => {
            eprintln!("this node has no durable subscription {name}");
            Exit::Failure
        }
        Err(error) => {
            eprintln!("{error}");
            Exit::Failure
        }
    }
}

async fn print(subscription: &mut Subscription, arguments: &Arguments) -> Exit {
    let clock = SystemClock::new();
    let mut ending = Ending::new(arguments.count, arguments.idle_exit);
    let stopping = session::interrupted();
    tokio::pin!(stopping);
    tokio::select! {
        ready = wait_ready(subscription) => if let Err(exit) = ready {
            return exit;
        },
        () = &mut stopping => return Exit::Success,
    }
    eprintln!("ready");
    ending.ready(clock.now());
    while !ending.is_over(clock.now()) {
        let left = ending
            .deadline()
            .map(|deadline| deadline.saturating_since(clock.now()));
        let left = left.unwrap_or(FOR_EVER);
        let first = tokio::select! {
            first = tokio::time::timeout(left, subscription.next()) => match first {
                Ok(first) => first,
                Err(_) => continue,
            },
            () = &mut stopping => return Exit::Success,
        };
        let Some(first) = first else {
            match subscription.ended_by() {
                Some(error) => eprintln!("the subscription ended: {error}"),
                None => eprintln!("the subscription ended: the node went away for good"),
            }
            return Exit::Failure;
        };
        let mut batch = vec![first];
        while (batch.len() as u64) < ending.wanted().min(BATCH as u64) {
            match subscription.try_next() {
                Some(delivery) => batch.push(delivery),
                None => break,
            }
        }
        let count = batch.len() as u64;
        let format = arguments.format;
        // A reader that is slow blocks the write; signals are heard meanwhile, and the credit of what is not
        // written yet holds the publisher back. What is written is acknowledged too, or it would be printed again by the
        // next subscriber of a durable name: an interruption waits for it, but not for a reader that does not read.
        let mut writing = tokio::task::spawn_blocking(move || write(batch, format));
        let (written, stopped) = tokio::select! {
            written = &mut writing => (Ok(written), false),
            () = &mut stopping => (tokio::time::timeout(LAST_WRITE, writing).await, true),
        };
        match written {
            Ok(Ok(Ok(()))) => ending.received(count, clock.now()),
            Ok(Ok(Err(error))) => return output::finish(Err(error)),
            Ok(Err(_)) => return Exit::Failure,
            Err(_) => return Exit::Success,
        }
        if stopped {
            return Exit::Success;
        }
    }
    Exit::Success
}

pub(super) async fn wait_ready(subscription: &mut Subscription) -> Result<(), Exit> {
    loop {
        match subscription.ready(READY_SOON).await {
            Ok(()) => return Ok(()),
            Err(SubscribeError::TimedOut) => {
                eprintln!("waiting for every reachable node to confirm the subscription")
            }
            Err(error) => {
                eprintln!("{error}");
                return Err(Exit::Failure);
            }
        }
    }
}

/// Writes and flushes, then acknowledges: what was not written is not processed.
fn write(batch: Vec<Delivery>, format: Format) -> io::Result<()> {
    let mut lines = Vec::new();
    for delivery in &batch {
        let key = delivery.key().map(|key| format!("{:016x}", key.0));
        let line = MessageLine {
            subject: delivery.subject(),
            key: key.as_deref(),
            body: delivery.body(),
        };
        format.write(line, &mut lines);
    }
    let mut out = io::stdout().lock();
    out.write_all(&lines)?;
    out.flush()?;
    batch.into_iter().for_each(Delivery::ack);
    Ok(())
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
