//! The processes of a run, as the one that started them sees them.

use std::fmt;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::plan::{Role, Task};
use super::talk::{Notice, Order};

/// Notices that may wait for the one who measures.
const NOTICES: usize = 256;
/// Bytes of a child's standard error that are kept: the last ones.
const ERRORS: usize = 16 << 10;
/// How long a child may take to end by itself.
const END: Duration = Duration::from_secs(4);

/// A child that did not do its part.
#[derive(Debug)]
pub enum ChildFailed {
    /// It could not be started.
    Start {
        /// What it was to be.
        role: Role,
        /// Why.
        error: io::Error,
    },
    /// It ended early.
    Ended {
        /// What it was.
        role: Role,
        /// How.
        status: ExitStatus,
        /// The last that it wrote to standard error.
        said: String,
    },
    /// It wrote something that is no notice.
    Babble {
        /// What it was.
        role: Role,
        /// Why it is none.
        reason: String,
    },
}

impl fmt::Display for ChildFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { role, error } => write!(f, "cannot start the {role}: {error}"),
            Self::Ended { role, status, said } if said.is_empty() => {
                write!(f, "the {role} ended early ({status}) and said nothing")
            }
            Self::Ended { role, status, said } => {
                write!(f, "the {role} ended early ({status}): {said}")
            }
            Self::Babble { role, reason } => {
                write!(f, "the {role} wrote something that is no notice: {reason}")
            }
        }
    }
}

impl std::error::Error for ChildFailed {}

/// What comes from a child.
#[derive(Debug)]
pub(super) enum Heard {
    /// A notice.
    Notice(Notice),
    /// It has ended in this way, with these last words.
    Ended(ExitStatus, String),
    /// It cannot be understood or waited for.
    Failed(ChildFailed),
}

/// All processes of a run. Dropping it closes their inputs, upon which they end, and kills those that are left.
pub(super) struct Children {
    inputs: Vec<(Role, ChildStdin)>,
    heard: mpsc::Receiver<(Role, Heard)>,
    sender: mpsc::Sender<(Role, Heard)>,
    watchers: JoinSet<()>,
}

impl Children {
    pub(super) fn none() -> Self {
        let (sender, heard) = mpsc::channel(NOTICES);
        Self {
            inputs: Vec::new(),
            heard,
            sender,
            watchers: JoinSet::new(),
        }
    }

    /// Starts a process of this program with a task.
    pub(super) async fn start(&mut self, task: &Task) -> Result<(), ChildFailed> {
        let role = task.role;
        let failed = |error| ChildFailed::Start { role, error };
        let program = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(program)
            .args(["bench", "child"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C at the terminal reaches the parent only, which ends all of them in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = pipes else {
            return Err(failed(io::Error::other("it has no pipes")));
        };
        self.inputs.push((role, input));
        let sender = self.sender.clone();
        self.watchers
            .spawn(watch(role, child, output, errors, sender));
        // A child that is gone already says why by its end.
        self.say(role, task).await;
        Ok(())
    }

    /// Gives an order. A child that is gone does not hear it, and says why by its end.
    pub(super) async fn order(&mut self, role: Role, order: &Order) {
        self.say(role, order).await;
    }

    async fn say(&mut self, role: Role, what: &impl Serialize) {
        let Ok(mut line) = serde_json::to_vec(what) else {
            unreachable!("tasks and orders have names as keys only")
        };
        line.push(b'\n');
        let inputs = self.inputs.iter_mut();
        for (_, input) in inputs.filter(|(of, _)| *of == role) {
            let _gone = input.write_all(&line).await;
            let _gone = input.flush().await;
        }
    }

    /// The next that comes from any of them. Cancel safe.
    pub(super) async fn hear(&mut self) -> (Role, Heard) {
        match self.heard.recv().await {
            Some(heard) => heard,
            // This value holds a sender itself.
            None => std::future::pending().await,
        }
    }

    /// Closes the inputs and waits for the ends; whoever takes too long is killed.
    pub(super) async fn end(mut self) {
        self.inputs.clear();
        // Nobody hears them any more, so nobody may wait to be heard.
        self.heard.close();
        let ended = async { while self.watchers.join_next().await.is_some() {} };
        if tokio::time::timeout(END, ended).await.is_err() {
            self.watchers.shutdown().await;
        }
    }
}

/// Passes on what a child tells, then how it ended.
async fn watch(
    role: Role,
    mut child: Child,
    output: ChildStdout,
    errors: ChildStderr,
    sender: mpsc::Sender<(Role, Heard)>,
) {
    let listen = async {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let heard = match serde_json::from_str(&line) {
                Ok(notice) => Heard::Notice(notice),
                Err(error) => Heard::Failed(ChildFailed::Babble {
                    role,
                    reason: error.to_string(),
                }),
            };
            // Whoever ends a run hears no more, and the child's pipe is read to its end all the same.
            let _nobody_hears = sender.send((role, heard)).await;
        }
    };
    let ((), said) = tokio::join!(listen, last_words(errors));
    let heard = match child.wait().await {
        Ok(status) => Heard::Ended(status, said),
        Err(error) => Heard::Failed(ChildFailed::Start { role, error }),
    };
    let _nobody_hears = sender.send((role, heard)).await;
}

/// The end of what a child writes to standard error.
async fn last_words(mut errors: ChildStderr) -> String {
    let (mut kept, mut buffer) = (Vec::new(), vec![0; ERRORS]);
    while let Ok(read @ 1..) = errors.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..read]);
        kept.drain(..kept.len().saturating_sub(ERRORS));
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}
