//! `mcpbus request`: one message out, one reply back.

use std::time::Duration;

use clap::Args;
use mcpbus::routing::Subject;

use super::connection::{ConnectionArguments, duration};

/// Send requests and print their replies, a line each, in order.
///
/// Without BODY each line of standard input is a request. It exits with 1 if any request got no reply.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The node.
    #[command(flatten)]
    pub connection: ConnectionArguments,
    /// The subject that the responder listens on.
    #[arg(long, value_parser = subject)]
    pub subject: Subject,
    /// How long a request may take; no responder starts on it later.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub timeout: Duration,
    /// The request; `-` or nothing reads lines of standard input.
    pub body: Option<String>,
}

/// For clap: a subject.
///
/// # Errors
/// What is wrong with the text.
pub fn subject(text: &str) -> Result<Subject, String> {
    Subject::new(text).map_err(|error| error.to_string())
}
