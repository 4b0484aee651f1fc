//! What the processes of a run say to each other: a line of JSON each, over the pipes of the children.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _, stdin, stdout};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::plan::{Schedule, Task};
use crate::bench::latency::{self, Latencies};

/// What a child is told after its task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// When to publish, and when to measure.
    Start(Schedule),
    /// So many messages have been published and have not failed: take them and tell what came.
    Expect {
        /// How many.
        messages: u64,
    },
    /// There is nothing more to do.
    End,
}

/// What a child tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// A node listens here.
    Listening {
        /// `HOST:PORT`.
        address: String,
    },
    /// It is connected and waits for the start.
    Ready,
    /// How far it is.
    Sample(Sample),
    /// All that was published has its outcome.
    Published(Published),
    /// All that was expected has come, or nothing came any more.
    Received(Received),
    /// The node has ended.
    Routed {
        /// Messages that its ledger does not account for; none if it could not say.
        residual: Option<i64>,
    },
}

/// How far a process is at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When, on the clock of [`now`](crate::bench::clock::now).
    pub at: u64,
    /// Nanoseconds of CPU time that it has taken since its start.
    pub cpu: u64,
    /// Messages published, received or answered since then.
    pub count: u64,
}

/// What the publisher has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Messages of all links.
    pub messages: u64,
    /// Messages that failed, by reason.
    pub failed: BTreeMap<String, u64>,
    /// Messages whose outcome did not come in time.
    pub unanswered: u64,
    /// Messages that were due, and were not sent because the publisher was that far behind at the end.
    pub unsent: u64,
    /// How long those of them that are measured had waited by then.
    pub waited: Counts,
    /// How much later than due messages were handed to the client; empty without a rate.
    pub behind: Counts,
    /// Times from request to reply; empty without requests.
    pub round_trips: Counts,
}

/// What the subscriber has got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// Different messages.
    pub distinct: u64,
    /// Messages that had come before; none if bodies have no numbers.
    pub duplicated: Option<u64>,
    /// Messages that came after a later one; none if bodies have no numbers.
    pub reordered: Option<u64>,
    /// Messages of another size or content than those that were published.
    pub changed: u64,
    /// Times from when a message was due until it came; empty without a rate.
    pub latencies: Counts,
}

/// Recorded times in nanoseconds, and how often each came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts(Vec<(u64, u64)>);

impl From<&Latencies> for Counts {
    fn from(latencies: &Latencies) -> Self {
        let recorded = latencies.iter_recorded();
        Self(
            recorded
                .map(|step| (step.value_iterated_to(), step.count_at_value()))
                .collect(),
        )
    }
}

impl Counts {
    /// The times again, to the same three digits; none if there are none.
    pub fn latencies(&self) -> Option<Latencies> {
        let mut latencies = latency::none_yet();
        for (value, count) in &self.0 {
            latencies.saturating_record_n(*value, *count);
        }
        (!self.0.is_empty()).then_some(latencies)
    }
}

/// Tells the parent. Without a parent there is nothing more to do.
pub fn tell(notice: &Notice) {
    let mut out = stdout().lock();
    let written = serde_json::to_writer(&mut out, notice)
        .map_err(std::io::Error::from)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
    if written.is_err() {
        std::process::exit(1);
    }
}

/// Orders that may wait; the parent gives three.
const ORDERS: usize = 8;

/// How long a child that must leave something behind tidily may take for it once its parent is gone.
const LAST: Duration = Duration::from_secs(3);

/// Reads the task of this process, and from then on its orders. When the parent closes its end, or dies, the process ends.
///
/// # Errors
/// What is wrong: this command is for the bench itself.
pub fn listen() -> Result<(Task, mpsc::Receiver<Order>), String> {
    let task: Task = read()?.ok_or("there is no task on standard input")?;
    let (sender, orders) = mpsc::channel(ORDERS);
    // A durable subscription of another node is deleted before the process ends.
    let tidies = task.plan.durable().is_some() && task.spool.is_none();
    let reader = move || {
        while let Ok(Some(order)) = read::<Order>() {
            if sender.blocking_send(order).is_err() {
                return;
            }
        }
        drop(sender);
        if tidies {
            std::thread::sleep(LAST);
        }
        std::process::exit(1);
    };
    std::thread::Builder::new()
        .name(String::from("orders"))
        .spawn(reader)
        .map_err(|error| format!("cannot start a thread for orders: {error}"))?;
    Ok((task, orders))
}

fn read<T: DeserializeOwned>() -> Result<Option<T>, String> {
    let mut line = String::new();
    match stdin().lock().read_line(&mut line) {
        Ok(0) => Ok(None),
        Ok(_) => serde_json::from_str(&line)
            .map(Some)
            .map_err(|error| format!("what came on standard input is no order: {error}")),
        Err(error) => Err(format!("cannot read standard input: {error}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn latencies_come_over_as_they_were() {
        let mut latencies = latency::none_yet();
        for value in [1, 1000, 1000, 123_456_789] {
            latencies.record(value).unwrap();
        }
        let counts = Counts::from(&latencies);
        let text = serde_json::to_string(&counts).unwrap();
        let again: Counts = serde_json::from_str(&text).unwrap();
        let again = again.latencies().unwrap();
        assert_eq!(again.len(), 4);
        for quantile in [0.1, 0.5, 0.99, 1.0] {
            assert_eq!(
                again.value_at_quantile(quantile),
                latencies.value_at_quantile(quantile)
            );
        }
        assert!(Counts::from(&latency::none_yet()).latencies().is_none());
    }
}
