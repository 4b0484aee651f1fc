//! What a run is told: how much load of which kind, and when it is measured.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use mcpbus::AckLevel;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::body::HEADER;

/// Largest body of a request: what an answer may carry.
pub const REQUEST_MAX: usize = 64 << 10;
/// Most streams of all links together: the subscriber remembers something of each.
pub const STREAMS_MAX: u64 = 1_000_000;

/// What is between publisher and subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topology {
    /// A router in a process of its own, or on another machine.
    Node,
    /// One link: the subscriber's process holds the node, and subscribes inside of it.
    Link,
}

/// The settings of a run. The same value goes to every process of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What is between publisher and subscriber.
    pub topology: Topology,
    /// Bytes of each body.
    pub size: usize,
    /// Messages a second of all links together; without it as fast as backpressure lets.
    pub rate: Option<u32>,
    /// What the publisher waits for.
    #[serde(
        serialize_with = "level_to_number",
        deserialize_with = "level_from_number"
    )]
    pub ack: AckLevel,
    /// Links that publish.
    pub links: u32,
    /// Subjects, which the messages of a link take in turns.
    pub subjects: u32,
    /// Keys on each subject, in turns; 0: messages have no key.
    pub keys: u32,
    /// Requests and replies instead of messages; so many are under way on each link.
    pub requests: Option<u32>,
    /// Messages that the subscription holds or has granted.
    pub window: u64,
    /// Time before the measurement.
    pub warm_up: Duration,
    /// Time of the measurement.
    pub measured: Duration,
    /// What the subjects begin with, another for each run: runs on one node do not see each other.
    pub prefix: String,
}

fn level_to_number<S: Serializer>(level: &AckLevel, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u8(*level as u8)
}

fn level_from_number<'a, D: Deserializer<'a>>(from: D) -> Result<AckLevel, D::Error> {
    let number = u8::deserialize(from)?;
    AckLevel::from_u8(number).ok_or_else(|| serde::de::Error::custom("no such ack level"))
}

/// Settings that do not go together. Whoever wrote the command line changes one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// Too many streams.
    Streams {
        /// Links times subjects times keys.
        streams: u64,
    },
    /// An answer cannot be as large.
    Request {
        /// The size asked for.
        size: usize,
    },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Streams { streams } => write!(
                f,
                "--links times --subjects times --keys is {streams}, more than {STREAMS_MAX}: choose fewer"
            ),
            Self::Request { size } => write!(
                f,
                "--size {size} is more than an answer can carry ({REQUEST_MAX} bytes): choose less with --request"
            ),
        }
    }
}

impl std::error::Error for PlanError {}

impl Plan {
    /// Streams of a link: each has its subject and key, and its own numbers.
    pub fn streams(&self) -> u64 {
        u64::from(self.subjects.max(1)) * u64::from(self.keys.max(1))
    }

    /// Whether bodies say which message they are; smaller ones are counted only, and have no latency.
    pub fn is_numbered(&self) -> bool {
        self.size >= HEADER
    }

    /// The name of the durable subscription, where there is one: without it nothing would have to be stored.
    pub fn durable(&self) -> Option<String> {
        (self.ack == AckLevel::Stored).then(|| self.prefix.replace('.', "-"))
    }

    /// Whose count says how many messages went through: whoever gets them last.
    pub fn counted(&self) -> Role {
        match self.requests {
            Some(_) => Role::Publisher,
            None => Role::Subscriber,
        }
    }

    /// Looks whether the settings go together.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn verify(&self) -> Result<(), PlanError> {
        let streams = self.streams() * u64::from(self.links);
        if streams > STREAMS_MAX {
            return Err(PlanError::Streams { streams });
        }
        if self.requests.is_some() && self.size > REQUEST_MAX {
            return Err(PlanError::Request { size: self.size });
        }
        Ok(())
    }

    /// The subject of a stream.
    pub fn subject(&self, stream: u64) -> String {
        let subject = stream % u64::from(self.subjects.max(1));
        format!("{}.{subject}", self.prefix)
    }

    /// The key of a stream.
    pub fn key(&self, stream: u64) -> Option<u64> {
        (self.keys > 0).then(|| stream / u64::from(self.subjects.max(1)))
    }

    /// When the message of this number of a link is due, in nanoseconds since the beginning: the links take turns.
    pub fn due(&self, rate: u32, link: u32, number: u64) -> u64 {
        let place = u128::from(number) * u128::from(self.links) + u128::from(link);
        let due = place * 1_000_000_000 / u128::from(rate.max(1));
        u64::try_from(due).unwrap_or(u64::MAX)
    }
}

/// When a run begins, and between which times it is measured, on the clock of [`now`](crate::bench::clock::now).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The first message.
    pub begin: u64,
    /// The end of the warm-up.
    pub from: u64,
    /// The end of the measurement, and of publishing.
    pub to: u64,
}

impl Schedule {
    /// For a run that begins at this time.
    pub fn new(begin: u64, plan: &Plan) -> Self {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4);
        let from = begin + nanoseconds(plan.warm_up);
        Self {
            begin,
            from,
            to: from + nanoseconds(plan.measured),
        }
    }

    /// Whether what was due at this time is measured.
    pub fn measures(&self, due: u64) -> bool {
        (self.from..self.to).contains(&due)
    }
}

/// What a process of a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The node between the others.
    Router,
    /// Whoever subscribes, or answers requests.
    Subscriber,
    /// Whoever publishes, or asks.
    Publisher,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Router => "router",
            Self::Subscriber => "subscriber",
            Self::Publisher => "publisher",
        })
    }
}

/// What a process of a run is told first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// What it is.
    pub role: Role,
    /// The settings of the run.
    pub plan: Plan,
    /// Its name towards its peers.
    pub name: String,
    /// Where the node listens; none for whoever is the node.
    pub node: Option<String>,
    /// Directory of its identity; without it the user's local authority issues one.
    pub identity: Option<PathBuf>,
    /// The certificates to trust instead of the identity's own.
    pub trust: Option<PathBuf>,
    /// Where a node keeps what is stored.
    pub spool: Option<PathBuf>,
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    pub(in crate::bench::node) fn plan() -> Plan {
        Plan {
            topology: Topology::Node,
            size: 64,
            rate: None,
            ack: AckLevel::Stored,
            links: 2,
            subjects: 3,
            keys: 0,
            requests: None,
            window: 16,
            warm_up: Duration::from_millis(250),
            measured: Duration::from_secs(1),
            prefix: String::from("bench.x"),
        }
    }

    #[test]
    fn it_comes_to_a_child_as_it_was() {
        let text = serde_json::to_string(&plan()).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan());
        let wrong = text.replace("\"ack\":2", "\"ack\":9");
        assert!(serde_json::from_str::<Plan>(&wrong).is_err());
    }

    #[test]
    fn settings_that_do_not_go_together_are_refused() {
        assert_eq!(plan().verify(), Ok(()));
        let many = Plan {
            keys: 500_000,
            ..plan()
        };
        assert_eq!(
            many.verify(),
            Err(PlanError::Streams { streams: 3_000_000 })
        );
        let large = Plan {
            size: REQUEST_MAX + 1,
            ..plan()
        };
        assert_eq!(large.verify(), Ok(()));
        let requests = Plan {
            requests: Some(1),
            ..large
        };
        assert!(matches!(requests.verify(), Err(PlanError::Request { .. })));
    }

    #[test]
    fn streams_have_each_subject_with_each_key() {
        let plan = Plan { keys: 2, ..plan() };
        let all: Vec<_> = (0..plan.streams())
            .map(|stream| (plan.subject(stream), plan.key(stream)))
            .collect();
        assert_eq!(all.len(), 6);
        assert_eq!(all[1], (String::from("bench.x.1"), Some(0)));
        assert_eq!(all[5], (String::from("bench.x.2"), Some(1)));
    }

    #[test]
    fn the_links_share_the_rate_and_nothing_drifts() {
        let plan = plan();
        let due: Vec<_> = (0..4)
            .flat_map(|number| [0, 1].map(|link| plan.due(3, link, number)))
            .collect();
        assert_eq!(due[..4], [0, 333_333_333, 666_666_666, 1_000_000_000]);
        assert_eq!(plan.due(3, 0, 3_000_000), 2_000_000_000_000_000);
    }

    #[test]
    fn only_what_was_due_in_time_is_measured() {
        let schedule = Schedule::new(1000, &plan());
        assert_eq!(schedule.from, 250_001_000);
        assert!(!schedule.measures(schedule.from - 1) && schedule.measures(schedule.from));
        assert!(schedule.measures(schedule.to - 1) && !schedule.measures(schedule.to));
    }
}
