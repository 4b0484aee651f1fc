//! What a client is told to do.

use mcpbus_transport::wire::AckLevel;
use std::time::Duration;

/// What a publisher wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Nothing.
    None = 0,
    /// That the node has it.
    Accepted = 1,
    /// That it is on a disk.
    Stored = 2,
    /// That its subscribers have settled it.
    Processed = 3,
}

impl Level {
    /// As the wire has it.
    pub fn wire(self) -> AckLevel {
        match self {
            Self::None => AckLevel::None,
            Self::Accepted => AckLevel::Accepted,
            Self::Stored => AckLevel::Stored,
            Self::Processed => AckLevel::Processed,
        }
    }
}

/// How fast a subscriber settles what it has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// On arrival.
    Immediate,
    /// One after the other, each taking this long.
    Slow(Duration),
    /// Not before it is healed.
    Stalled,
}

/// What a subscriber does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// It takes it.
    Take,
    /// It answers requests.
    Reply,
    /// It refuses it.
    Reject,
}

/// A subscription to be made.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Which subjects.
    pub pattern: String,
    /// Whose members share the messages.
    pub group: Option<String>,
    /// The name under which the node keeps its messages.
    pub durable: Option<String>,
    /// How fast.
    pub pace: Pace,
    /// What is done with a message.
    pub reaction: Reaction,
    /// Messages and bytes it may hold.
    pub window: (u64, u64),
}

/// A message to be published.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Where to.
    pub subject: String,
    /// Its key.
    pub key: Option<u64>,
    /// What the publisher wants to know.
    pub level: Level,
    /// Bytes of its body beyond the 16 that name it.
    pub size: usize,
    /// After how long it is worth nothing.
    pub time_to_live: Option<Duration>,
    /// Whether it asks for an answer.
    pub request: bool,
}

/// One step of a script.
#[derive(Clone, Debug)]
pub enum Step {
    /// Subscribe; subscriptions are numbered in the order of the script.
    Subscribe(Subscription),
    /// End the subscription of this number.
    Unsubscribe(usize),
    /// Publish a message.
    Publish(Publication),
    /// End the durable subscription of this number for good.
    Delete(usize),
    /// Give up the request that is this publication of the script.
    Cancel(usize),
}
