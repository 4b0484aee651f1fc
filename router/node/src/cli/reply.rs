//! `mcpbus reply`: answers requests with a child process.

use std::time::Duration;

use clap::Args;
use mcpbus::routing::Pattern;

use super::connection::{ConnectionArguments, duration};
use super::subscribe::pattern;
use crate::exec::ExecSpec;

/// Answer requests: each one is a line to a child process, whose line is the reply.
///
/// A child that does not answer in time is killed and replaced. An empty line is an empty reply.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The node.
    #[command(flatten)]
    pub connection: ConnectionArguments,
    /// The subjects to answer: * is one token, > is the rest.
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    pub subject: Pattern,
    /// Share the requests with the other members of this group.
    #[arg(long)]
    pub group: Option<String>,
    /// The command, run by sh -c.
    #[arg(long, value_name = "COMMAND")]
    pub exec: String,
    /// Requests under way in the child, at most.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub window: u32,
    /// How long the child may take for a request.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub timeout: Duration,
}

impl Arguments {
    /// The child that answers: a request is given to one child only, since its deadline would pass meanwhile.
    pub fn exec_spec(&self, max_answer: usize) -> ExecSpec {
        ExecSpec {
            command: ["sh", "-c", self.exec.as_str()].map(str::to_owned).to_vec(),
            window: self.window as usize,
            timeout: self.timeout,
            max_deliver: 1,
            max_answer,
        }
    }
}
