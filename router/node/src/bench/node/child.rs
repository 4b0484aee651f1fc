//! A process of a run, from its task to its end.

use std::{fmt, io};

use mcpbus::client::{ConnectError, SubscribeError};
use mcpbus::identity::Credentials;
use mcpbus::node::StartError;
use tokio::sync::mpsc;

use super::plan::{Role, Task};
use super::talk::Order;
use super::{publisher, router, subscriber};

/// Why a process of a run ends early. Its parent shows it to whoever measures.
#[derive(Debug)]
pub enum ChildError {
    /// The node does not start.
    Node(StartError),
    /// The node cannot be reached, or refuses.
    Connect(ConnectError),
    /// The subscription is refused, or not confirmed.
    Subscribe(SubscribeError),
    /// The subscription ended during the run.
    Ended(Option<SubscribeError>),
    /// A message could not be published; the run is wrong from here on.
    Publish(String),
    /// The system gives no thread.
    Thread(io::Error),
    /// The task lacks something that this role needs.
    Task(&'static str),
    /// A thread of this process has panicked, which was reported.
    Panicked,
    /// The parent is gone.
    Parent,
}

impl fmt::Display for ChildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(error) => error.fmt(f),
            Self::Connect(error) => error.fmt(f),
            Self::Subscribe(error) => error.fmt(f),
            Self::Ended(Some(error)) => write!(f, "the subscription ended: {error}"),
            Self::Ended(None) => f.write_str("the subscription ended: the node went away for good"),
            Self::Publish(reason) => write!(f, "a message could not be published: {reason}"),
            Self::Thread(error) => write!(f, "cannot start a thread: {error}"),
            Self::Task(what) => write!(f, "the task does not say {what}"),
            Self::Panicked => f.write_str("a thread of the run has panicked"),
            Self::Parent => f.write_str("the bench that started this process is gone"),
        }
    }
}

impl std::error::Error for ChildError {}

/// Does a task to its end.
///
/// # Errors
/// [`ChildError`]: the run cannot go on.
pub async fn run(
    task: &Task,
    credentials: &Credentials,
    mut orders: mpsc::Receiver<Order>,
) -> Result<(), ChildError> {
    match task.role {
        Role::Router => router::run(task, credentials, &mut orders).await,
        Role::Subscriber => subscriber::run(task, credentials, &mut orders).await,
        Role::Publisher => publisher::run(task, credentials, &mut orders).await,
    }
}
