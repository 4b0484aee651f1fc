//! Publishes over one or more links, each with a connection and a thread of its own.

use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mcpbus::client::{Client, ClientConfig, Publication};
use mcpbus::identity::Credentials;
use tokio::sync::mpsc;

use super::body::{Bodies, Header};
use super::child::ChildError;
use super::meter::{self, Count};
use super::pace::{Due, Pace};
use super::plan::{Plan, Schedule, Task};
use super::requester;
use super::talk::{Counts, Notice, Order, Published, tell};
use crate::bench::clock::now;
use crate::bench::latency::{self, Latencies};

/// How long the outcomes of all messages may take after the last one was published.
const OUTCOMES: Duration = Duration::from_secs(30);

/// What the thread of a link, or of a part of it, has done.
pub(super) struct Sent {
    pub(super) messages: u64,
    /// Messages that were due and have not been sent, and how long those that are measured have waited.
    pub(super) unsent: (u64, Latencies),
    pub(super) behind: Latencies,
    pub(super) round_trips: Latencies,
    /// Requests that failed, by reason.
    pub(super) failed: std::collections::BTreeMap<String, u64>,
}

impl Default for Sent {
    fn default() -> Self {
        Self {
            messages: 0,
            unsent: (0, latency::none_yet()),
            behind: latency::none_yet(),
            round_trips: latency::none_yet(),
            failed: std::collections::BTreeMap::default(),
        }
    }
}

/// Connects all links, publishes from the start to the end, and waits for the outcomes.
pub(super) async fn run(
    task: &Task,
    credentials: &Credentials,
    orders: &mut mpsc::Receiver<Order>,
) -> Result<(), ChildError> {
    let address = task
        .node
        .as_deref()
        .ok_or(ChildError::Task("where the node listens"))?;
    let plan = &task.plan;
    let mut clients = Vec::new();
    for link in 0..plan.links {
        let config = ClientConfig {
            name: format!("{}-{link}", task.name),
            ..ClientConfig::default()
        };
        let client = Client::connect(address, credentials, config).await;
        clients.push(client.map_err(ChildError::Connect)?);
    }
    tell(&Notice::Ready);
    let Some(Order::Start(schedule)) = orders.recv().await else {
        return Err(ChildError::Parent);
    };
    let count = Count::default();
    let meter = meter::start(schedule, Count::clone(&count)).map_err(ChildError::Thread)?;
    let mut threads = Vec::new();
    for (link, client) in (0..plan.links).zip(&clients) {
        for part in 0..plan.requests.unwrap_or(1) {
            let thread = start(plan, client.clone(), schedule, (link, part), &count);
            threads.push(thread.map_err(ChildError::Thread)?);
        }
    }
    let joined = tokio::task::spawn_blocking(move || {
        let sent = threads.into_iter().map(JoinHandle::join).collect();
        // Its last sample comes before what is told next.
        let _reported_by_the_thread = meter.join();
        sent
    });
    let sent: Vec<_> = joined.await.map_err(|_| ChildError::Panicked)?;
    let mut all = Sent::default();
    for sent in sent {
        let sent = sent.map_err(|_| ChildError::Panicked)??;
        all.messages += sent.messages;
        all.unsent.0 += sent.unsent.0;
        add(&mut all.unsent.1, &sent.unsent.1);
        add(&mut all.behind, &sent.behind);
        add(&mut all.round_trips, &sent.round_trips);
        for (reason, count) in sent.failed {
            *all.failed.entry(reason).or_default() += count;
        }
    }
    let mut published = Published {
        messages: all.messages,
        failed: all.failed,
        unanswered: 0,
        unsent: all.unsent.0,
        waited: Counts::from(&all.unsent.1),
        behind: Counts::from(&all.behind),
        round_trips: Counts::from(&all.round_trips),
    };
    let deadline = Instant::now() + OUTCOMES;
    for client in clients {
        let left = deadline.saturating_duration_since(Instant::now());
        let stats = client.close(left).await;
        // A request that failed was counted where it was awaited.
        if plan.requests.is_none() {
            published.unanswered += stats.outstanding();
            for (reason, count) in stats.failed {
                *published.failed.entry(reason.to_owned()).or_default() += count;
            }
        }
    }
    tell(&Notice::Published(published));
    // The parent ends what still listens once it has everything.
    Ok(())
}

fn add(all: &mut Latencies, more: &Latencies) {
    // Both have the same bounds, so everything of one has its place in the other.
    if let Err(error) = all.add(more) {
        tracing::error!(%error, "latencies cannot be added up");
    }
}

fn start(
    plan: &Plan,
    client: Client,
    schedule: Schedule,
    (link, part): (u32, u32),
    count: &Count,
) -> std::io::Result<JoinHandle<Result<Sent, ChildError>>> {
    let (plan, count) = (plan.clone(), Count::clone(count));
    let parts = plan.requests.unwrap_or(1);
    let pace = Pace::new(&plan, link, schedule, u64::from(part), u64::from(parts));
    let work = move || {
        let messages = Messages::new(&plan, link);
        if plan.requests.is_some() {
            requester::ask_all(&client, messages, pace, schedule, &count)
        } else {
            publish_all(&client, messages, pace, schedule, &count)
        }
    };
    std::thread::Builder::new()
        .name(format!("link-{link}-{part}"))
        .spawn(work)
}

/// Makes the messages of a link.
pub(super) struct Messages {
    link: u16,
    /// Subject and key of each stream.
    streams: Vec<(String, Option<u64>)>,
    bodies: Bodies,
}

impl Messages {
    pub(super) fn new(plan: &Plan, link: u32) -> Self {
        Self {
            // There are at most 32 of them.
            link: u16::try_from(link).unwrap_or(u16::MAX),
            streams: (0..plan.streams())
                .map(|stream| (plan.subject(stream), plan.key(stream)))
                .collect(),
            bodies: Bodies::new(plan.size),
        }
    }

    /// The message of this number: streams take turns.
    pub(super) fn make(&mut self, due: Due) -> Publication {
        let streams = self.streams.len() as u64;
        let stream = due.number % streams;
        let body = self.bodies.next(Header {
            link: self.link,
            stream: u32::try_from(stream).unwrap_or(u32::MAX),
            number: due.number / streams,
            due: due.at,
        });
        let (subject, key) = &self.streams[stream as usize];
        let publication = Publication::new(subject.as_str(), body);
        match key {
            Some(key) => publication.key(*key),
            None => publication,
        }
    }
}

fn publish_all(
    client: &Client,
    mut messages: Messages,
    mut pace: Pace,
    schedule: Schedule,
    count: &Count,
) -> Result<Sent, ChildError> {
    let publisher = client.publisher(pace.ack());
    let mut sent = Sent::default();
    pace.begin();
    while let Some(due) = pace.next() {
        if schedule.measures(due.at) {
            sent.behind.saturating_record(now().saturating_sub(due.at));
        }
        publisher
            .publish_blocking(messages.make(due))
            .map_err(|error| ChildError::Publish(error.to_string()))?;
        sent.messages += 1;
        count.fetch_add(1, Ordering::Relaxed);
    }
    sent.unsent.0 = pace.unsent(&mut sent.unsent.1);
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::plan;
    use super::*;

    #[test]
    fn streams_take_turns_and_number_their_own_messages() {
        let plan = Plan { keys: 2, ..plan() };
        let mut messages = Messages::new(&plan, 1);
        let made: Vec<_> = (0..8)
            .map(|number| {
                let message = messages.make(Due { number, at: 9 });
                let header = Header::read(&message.body, plan.size);
                (
                    message.subject,
                    header.map(|header| (header.stream, header.number)),
                )
            })
            .collect();
        assert_eq!(made[0], (String::from("bench.x.0"), Some((0, 0))));
        assert_eq!(made[4], (String::from("bench.x.1"), Some((4, 0))));
        assert_eq!(made[7], (String::from("bench.x.1"), Some((1, 1))));
    }
}
