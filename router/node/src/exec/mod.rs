//! A child process of any language as a processor: it reads a line per message and answers a line per message.
//!
//! * [`conversation`] decides sans-IO: which line is sent when, which answer belongs to which line, when a child
//!   is too slow, and which lines are given up;
//! * [`child`] holds one child process and the threads around its three pipes;
//! * [`log_limit`] keeps a child that floods its standard error from flooding the log;
//! * [`driver`] joins them and blocks, so it belongs on its own thread.
//!
//! Promises: answers come in the order of the lines. An empty answer means filtered. A child that does not answer
//! its oldest line in `timeout` is killed, with its process group. Lines it had not answered go to the next child, at
//! most `max_deliver` times each; after a loss they go one at a time, so that one bad line does not take the others
//! with it. At most `window` lines and one answer of `max_answer` bytes are held.

pub mod child;
pub mod conversation;
pub mod driver;
pub mod log_limit;

use std::time::Duration;

pub use driver::{Answer, Exec, ExecError, GiveUp, KillSwitch};

/// What `exec` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecSpec {
    /// Program and arguments; no shell in between.
    pub command: Vec<String>,
    /// Lines sent and not yet answered, at most.
    pub window: usize,
    /// How long the oldest line may wait for its answer.
    pub timeout: Duration,
    /// Children that a line is given to, at most.
    pub max_deliver: u32,
    /// Bytes of the longest answer.
    pub max_answer: usize,
}

#[cfg(test)]
mod tests;
