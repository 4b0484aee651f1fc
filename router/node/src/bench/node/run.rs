//! One run: starts the processes, says when, and gathers what they tell.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mcpbus::identity::{AuthorityError, FileError, IssueError, LocalAuthority};
use tempfile::TempDir;
use tokio::time::timeout;

use super::children::{ChildFailed, Children, Heard};
use super::plan::{Plan, Role, Schedule, Task, Topology};
use super::talk::{Notice, Order, Published, Received, Sample};
use crate::bench::clock::now;

/// How long a process may take to be ready: connections may take 5 s, subscriptions 10.
const START: Duration = Duration::from_secs(25);
/// How long outcomes and last messages may take after the end of the measurement.
const END: Duration = Duration::from_secs(60);
/// Time between the word and the first message: so that every process has heard it.
const AHEAD: u64 = 50_000_000;

/// Which node carries the messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// One that is started for this run, with an authority for this run.
    Own,
    /// One that runs already.
    There {
        /// Where.
        node: String,
        /// Directory of the identity to use there.
        identity: Option<PathBuf>,
        /// The certificates to trust instead of the identity's own.
        trust: Option<PathBuf>,
    },
}

/// A run that came to nothing.
#[derive(Debug)]
pub enum RunError {
    /// There is no place for the authority and the spool of the run.
    Directory(io::Error),
    /// The authority of the run cannot be made.
    Authority(AuthorityError),
    /// An identity cannot be issued.
    Issue(IssueError),
    /// An identity cannot be written.
    Identity(FileError),
    /// A process failed.
    Child(ChildFailed),
    /// It was interrupted.
    Interrupted,
    /// A process does not answer.
    Silent {
        /// Which.
        role: Role,
        /// What was waited for.
        what: &'static str,
        /// For how long.
        after: Duration,
    },
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(error) => write!(
                f,
                "there is no temporary directory (TMPDIR names another place): {error}"
            ),
            Self::Authority(error) => error.fmt(f),
            Self::Issue(error) => error.fmt(f),
            Self::Identity(error) => error.fmt(f),
            Self::Child(error) => error.fmt(f),
            Self::Interrupted => f.write_str("interrupted"),
            Self::Silent { role, what, after } => {
                write!(f, "the {role} did not say {what} within {after:?}")
            }
        }
    }
}

impl std::error::Error for RunError {}

/// All that the processes of a run have told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// How far each process was, in the order of time.
    pub samples: BTreeMap<Role, Vec<Sample>>,
    /// When it was measured.
    pub schedule: Option<Schedule>,
    /// What the publisher has done.
    pub published: Published,
    /// What the subscriber has got.
    pub received: Received,
    /// Messages that the node's ledger does not account for; none if the node was there before, or could not say.
    pub residual: Option<i64>,
}

/// What whoever watches a run is told from time to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Processes start.
    Starting,
    /// It runs: a new sample of what is measured.
    Running(Schedule, Sample),
    /// Everything is published; what is under way is waited for.
    Ending,
}

/// Runs a plan, unless `interrupted` completes before its end. `watch` is told how far it is.
///
/// # Errors
/// [`RunError`]; no process is left.
pub async fn run(
    plan: &Plan,
    place: &Place,
    watch: &mut dyn FnMut(Progress),
    interrupted: impl Future<Output = ()>,
) -> Result<Outcome, RunError> {
    let mut run = Run {
        plan,
        children: Children::none(),
        outcome: Outcome::default(),
        watch,
    };
    let directory = match place {
        Place::Own => Some(Directory::new()?),
        Place::There { .. } => None,
    };
    let result = tokio::select! {
        result = run.all(place, directory.as_ref()) => result,
        () = interrupted => Err(RunError::Interrupted),
    };
    // The directory is removed once nobody writes to it.
    run.children.end().await;
    result.map(|()| run.outcome)
}

/// What the subjects of a run begin with: no two runs on one node have the same.
pub fn prefix() -> String {
    use std::hash::BuildHasher as _;
    // Seeded by the system for each value.
    let number = std::hash::RandomState::new().hash_one(now());
    format!("bench.{number:016x}")
}

/// What the processes of a run with an own node find on disk.
struct Directory {
    folder: TempDir,
    authority: LocalAuthority,
}

impl Directory {
    fn new() -> Result<Self, RunError> {
        let folder = tempfile::Builder::new()
            .prefix("mcpbus-bench-")
            .tempdir()
            .map_err(RunError::Directory)?;
        let place = folder.path().join("authority");
        let authority = LocalAuthority::open_or_create(&place, SystemTime::now())
            .map_err(RunError::Authority)?;
        Ok(Self { folder, authority })
    }

    /// An identity for a process.
    fn identity(&self, role: Role) -> Result<PathBuf, RunError> {
        let name = role.to_string();
        let credentials = self.authority.credentials(&name, SystemTime::now());
        let folder = self.folder.path().join(&name);
        credentials
            .map_err(RunError::Issue)?
            .save(&folder)
            .map_err(RunError::Identity)?;
        Ok(folder)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

struct Run<'a> {
    plan: &'a Plan,
    children: Children,
    outcome: Outcome,
    watch: &'a mut dyn FnMut(Progress),
}

impl Run<'_> {
    async fn all(&mut self, place: &Place, own: Option<&Directory>) -> Result<(), RunError> {
        (self.watch)(Progress::Starting);
        let mut node = match place {
            Place::There { node, .. } => Some(node.clone()),
            Place::Own => None,
        };
        let apart = self.plan.topology == Topology::Node;
        if node.is_none() && apart {
            self.start(Role::Router, None, place, own).await?;
            node = Some(self.listening(Role::Router).await?);
        }
        self.start(Role::Subscriber, node.clone(), place, own)
            .await?;
        if !apart {
            node = Some(self.listening(Role::Subscriber).await?);
        }
        let ready = |notice| matches!(notice, Notice::Ready).then_some(());
        self.wait(Role::Subscriber, "that it is ready", START, ready)
            .await?;
        self.start(Role::Publisher, node, place, own).await?;
        self.wait(Role::Publisher, "that it is ready", START, ready)
            .await?;
        self.measure(place).await
    }

    async fn measure(&mut self, place: &Place) -> Result<(), RunError> {
        let schedule = Schedule::new(now() + AHEAD, self.plan);
        self.outcome.schedule = Some(schedule);
        for role in [Role::Router, Role::Subscriber, Role::Publisher] {
            self.children.order(role, &Order::Start(schedule)).await;
        }
        let length = Duration::from_nanos(schedule.to - schedule.begin);
        let published = |notice| match notice {
            Notice::Published(published) => Some(published),
            _ => None,
        };
        let what = "what became of its messages";
        self.outcome.published = self
            .wait(Role::Publisher, what, length + END, published)
            .await?;
        (self.watch)(Progress::Ending);
        let published = &self.outcome.published;
        let failed: u64 = published.failed.values().sum();
        let messages = published.messages.saturating_sub(failed);
        let expect = Order::Expect { messages };
        self.children.order(Role::Subscriber, &expect).await;
        let received = |notice| match notice {
            Notice::Received(received) => Some(received),
            _ => None,
        };
        self.outcome.received = self
            .wait(Role::Subscriber, "what it received", END, received)
            .await?;
        if *place == Place::Own {
            let router = match self.plan.topology {
                Topology::Node => Role::Router,
                // It ends its node when it is done with all else.
                Topology::Link => Role::Subscriber,
            };
            self.children.order(router, &Order::End).await;
            let routed = |notice| match notice {
                Notice::Routed { residual } => Some(residual),
                _ => None,
            };
            self.outcome.residual = self.wait(router, "that it ended", END, routed).await?;
        }
        Ok(())
    }

    async fn start(
        &mut self,
        role: Role,
        node: Option<String>,
        place: &Place,
        own: Option<&Directory>,
    ) -> Result<(), RunError> {
        let (identity, trust) = match (place, own) {
            (
                Place::There {
                    identity, trust, ..
                },
                _,
            ) => (identity.clone(), trust.clone()),
            (Place::Own, Some(own)) => (Some(own.identity(role)?), None),
            (Place::Own, None) => (None, None),
        };
        let stores = self.plan.durable().is_some() && node.is_none();
        let task = Task {
            role,
            plan: self.plan.clone(),
            name: match place {
                Place::Own => role.to_string(),
                Place::There { .. } => format!("bench-{role}-{}", std::process::id()),
            },
            spool: own
                .filter(|_| stores)
                .map(|own| own.path().join("spool.redb")),
            node,
            identity,
            trust,
        };
        self.children.start(&task).await.map_err(RunError::Child)
    }

    async fn listening(&mut self, role: Role) -> Result<String, RunError> {
        let listening = |notice| match notice {
            Notice::Listening { address } => Some(address),
            _ => None,
        };
        self.wait(role, "where it listens", START, listening).await
    }

    /// Waits for one notice of one process, and keeps the samples of all meanwhile.
    async fn wait<T>(
        &mut self,
        role: Role,
        what: &'static str,
        after: Duration,
        wanted: impl Fn(Notice) -> Option<T>,
    ) -> Result<T, RunError> {
        let heard = async {
            loop {
                match self.children.hear().await {
                    (of, Heard::Notice(Notice::Sample(sample))) => self.sampled(of, sample),
                    (of, Heard::Notice(notice)) if of == role => {
                        if let Some(found) = wanted(notice) {
                            return Ok(found);
                        }
                    }
                    (_, Heard::Notice(notice)) => {
                        tracing::debug!(?notice, "nobody waits for it now");
                    }
                    (_, Heard::Failed(failed)) => return Err(RunError::Child(failed)),
                    (of, Heard::Ended(status, said)) if of == role || !status.success() => {
                        return Err(RunError::Child(ChildFailed::Ended {
                            role: of,
                            status,
                            said,
                        }));
                    }
                    (_, Heard::Ended(..)) => {}
                }
            }
        };
        match timeout(after, heard).await {
            Ok(result) => result,
            Err(_) => Err(RunError::Silent { role, what, after }),
        }
    }

    fn sampled(&mut self, role: Role, sample: Sample) {
        if role == self.plan.counted()
            && let Some(schedule) = self.outcome.schedule
        {
            (self.watch)(Progress::Running(schedule, sample));
        }
        self.outcome.samples.entry(role).or_default().push(sample);
    }
}
