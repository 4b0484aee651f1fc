//! One child process, and a thread for each of its pipes.

use std::io::{self, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use mcpbus_actors::{Clock as _, SystemClock};

use super::log_limit::LogLimit;
use crate::stages::lines::{Line, LineSplitter};

/// Lines of standard error logged at once, and then per second.
const LOG_BURST: u32 = 100;
const LOG_PER_SECOND: u32 = 20;
/// Bytes of a logged line.
const LOG_LINE: usize = 4096;

/// What a child said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A line, without its line break and a carriage return before it.
    Line(Bytes),
    /// A line longer than allowed.
    TooLong {
        /// Its length in bytes.
        length: u64,
    },
    /// It closed its output: it is gone or useless.
    Closed,
}

/// A running child. Dropping it kills it with its process group.
#[derive(Debug)]
pub struct RunningChild {
    child: Child,
    input: Option<Sender<Bytes>>,
    output: Receiver<Said>,
}

impl RunningChild {
    /// Starts `command` in a process group of its own, so that a Ctrl-C at the terminal stops mcpbus, which drains,
    /// and not the children below it. `name` marks its log lines.
    ///
    /// # Errors
    /// What the system says, for example that there is no such program.
    pub fn start(
        name: &str,
        command: &[String],
        window: usize,
        max_answer: usize,
    ) -> io::Result<Self> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the command is empty"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let (input, lines) = bounded::<Bytes>(window);
        let (said, output) = bounded::<Said>(1);
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other("the child has no pipes"));
        };
        let started = spawn(format!("{name}-stdin"), move || {
            // A write blocks while the child does not read: only this thread waits for it.
            for mut line in lines {
                let whole = [&std::mem::take(&mut line)[..], b"\n"].concat();
                if stdin
                    .write_all(&whole)
                    .and_then(|()| stdin.flush())
                    .is_err()
                {
                    return;
                }
            }
        })
        .and_then(|()| {
            spawn(format!("{name}-stdout"), move || {
                read_answers(stdout, max_answer, &said)
            })
        })
        .and_then(|()| {
            let log_name = name.to_owned();
            spawn(format!("{name}-stderr"), move || {
                log_lines(stderr, &log_name)
            })
        });
        let running = Self {
            child,
            input: Some(input),
            output,
        };
        // Dropped on failure, it kills what was started.
        started.map(|()| running)
    }

    /// The child's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Hands a line over; false when the child no longer takes any. Never waits: the window bounds what is under way.
    pub fn send(&self, line: Bytes) -> bool {
        self.input
            .as_ref()
            .is_some_and(|input| input.try_send(line).is_ok())
    }

    /// What it says next; none after `timeout`.
    pub fn hear(&self, timeout: Duration) -> Option<Said> {
        match self.output.recv_timeout(timeout) {
            Ok(said) => Some(said),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Said::Closed),
        }
    }

    /// How it ended, if it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Ends its input, and waits up to `grace` for it to end by itself. True if it did.
    pub fn finish(mut self, grace: Duration) -> bool {
        self.input = None;
        let clock = SystemClock::new();
        let until = clock.now() + grace;
        loop {
            if self.exit_status().is_some() {
                return true;
            }
            let left = until.saturating_since(clock.now());
            if left.is_zero() {
                return false;
            }
            // Its output closes when it ends; a child that closes early is asked again a little later.
            if self.hear(left.min(Duration::from_millis(20))) == Some(Said::Closed) {
                std::thread::sleep(left.min(Duration::from_millis(2)));
            }
        }
    }
}

/// Kills a process group, which may be gone already.
pub(super) fn kill_group(id: u32) {
    let group = i32::try_from(id)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group
        && let Err(error) =
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL)
    {
        tracing::debug!(%error, "the child's process group is gone already");
    }
}

impl Drop for RunningChild {
    fn drop(&mut self) {
        self.input = None;
        // The whole group: a shell's own children would otherwise keep the pipes open.
        kill_group(self.child.id());
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new()
        .name(name)
        .spawn(work)
        .map(|_detached| ())
}

fn read_answers(stdout: impl io::Read, max_answer: usize, said: &Sender<Said>) {
    let mut splitter = LineSplitter::new(BufReader::new(stdout), max_answer.saturating_add(1));
    loop {
        let next = match splitter.next_line() {
            // A last line without a line break is half an answer: the child ended in the middle of it.
            Ok(None) | Err(_) => Said::Closed,
            Ok(Some(Line::Whole { bytes, .. })) => {
                let line = bytes
                    .strip_suffix(b"\r")
                    .map_or_else(|| bytes.clone(), |line| bytes.slice_ref(line));
                if line.len() > max_answer {
                    Said::TooLong {
                        length: line.len() as u64,
                    }
                } else {
                    Said::Line(line)
                }
            }
            Ok(Some(Line::TooLong { length, .. })) => Said::TooLong { length },
        };
        let closed = next == Said::Closed;
        if said.send(next).is_err() || closed {
            return;
        }
    }
}

fn log_lines(stderr: impl io::Read, name: &str) {
    let clock = SystemClock::new();
    let mut limit = LogLimit::new(LOG_BURST, LOG_PER_SECOND);
    let mut splitter = LineSplitter::new(BufReader::new(stderr), LOG_LINE);
    let log = |limit: &mut LogLimit, line: &[u8]| {
        if let Some(suppressed) = limit.admit(clock.now()) {
            if suppressed > 0 {
                tracing::warn!(
                    stage = name,
                    suppressed,
                    "the child writes faster to its standard error than is logged"
                );
            }
            tracing::info!(stage = name, "{}", String::from_utf8_lossy(line));
        }
    };
    loop {
        match splitter.next_line() {
            Ok(Some(Line::Whole { bytes, .. })) => log(&mut limit, &bytes),
            Ok(Some(Line::TooLong { beginning, .. })) => log(&mut limit, &beginning),
            Ok(None) | Err(_) => break,
        }
    }
    if let Some(Line::Whole { bytes, .. }) = splitter.rest() {
        log(&mut limit, &bytes);
    }
    if limit.suppressed() > 0 {
        tracing::warn!(
            stage = name,
            suppressed = limit.suppressed(),
            "lines of the child's standard error were not logged"
        );
    }
}
