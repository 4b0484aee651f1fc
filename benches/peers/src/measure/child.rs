//! A run in a process of its own: this program again, with the run as its arguments and the result on its output.

use std::fmt;
use std::io::Read as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The first argument of a process that makes one run.
pub const ARGUMENT: &str = "one-run";

/// After so long a run counts as one that never ends, because a message got lost that somebody waits for.
const LIMIT: Duration = Duration::from_secs(120);

/// What one run came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// From before its first thread or runtime was made until everything had arrived.
    pub seconds: f64,
    /// CPU time of all threads meanwhile.
    pub cpu_seconds: f64,
    /// Messages that were given up with a reason.
    pub dead_letters: u64,
    /// Messages missing or wrong.
    pub lost: u64,
}

/// Why a process gave no result.
#[derive(Debug)]
pub enum ChildError {
    /// It could not be started, or its output could not be read.
    Io(std::io::Error),
    /// It did not end in time, and was ended.
    Endless,
    /// It ended without a result.
    Failed {
        /// How.
        status: ExitStatus,
        /// What it said.
        output: String,
    },
}

impl fmt::Display for ChildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "a run has no process: {error}"),
            Self::Endless => write!(
                f,
                "it did not end in {} s; use fewer --messages if the machine is slow",
                LIMIT.as_secs()
            ),
            Self::Failed { status, output } => write!(f, "{status}: {}", output.trim()),
        }
    }
}

impl std::error::Error for ChildError {}

impl From<std::io::Error> for ChildError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// Makes one run in a process of its own.
///
/// # Errors
/// [`ChildError`]: it gave no result.
pub fn run<T: DeserializeOwned>(arguments: &[String]) -> Result<T, ChildError> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg(ARGUMENT)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let (told, ended) = mpsc::channel();
    let reader = thread::spawn(move || {
        let (mut text, mut said) = (String::new(), String::new());
        let read = output
            .map_or(Ok(0), |mut output| output.read_to_string(&mut text))
            .and_then(|_| errors.map_or(Ok(0), |mut errors| errors.read_to_string(&mut said)));
        // Nobody waits any more if it came too late.
        let _late = told.send(());
        read.map(|_| (text, said))
    });
    if ended.recv_timeout(LIMIT).is_err() {
        end(&mut child)?;
        return Err(ChildError::Endless);
    }
    let status = child.wait()?;
    let (text, said) = reader.join().unwrap_or_else(|_| Ok(Default::default()))?;
    match serde_json::from_str(&text) {
        Ok(result) if status.success() => Ok(result),
        _ => Err(ChildError::Failed {
            status,
            output: said,
        }),
    }
}

fn end(child: &mut Child) -> std::io::Result<()> {
    child.kill()?;
    child.wait().map(|_| ())
}
