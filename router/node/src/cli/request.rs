//! `mcpbus request`: one message out, one reply back.

use std::io::{self, Write as _, stdin};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use mcpbus::client::Client;
use mcpbus::routing::Subject;

use super::connection::{ConnectionArguments, connect, duration};
use super::{Exit, output, session};
use crate::stages::lines::{Line, LineSplitter};

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

/// The largest request in bytes.
const MAX_REQUEST: usize = 1 << 20;

/// Sends the requests.
pub(super) fn run(arguments: &Arguments) -> Exit {
    session::block_on(async move {
        let client = match connect(&arguments.connection, "request").await {
            Ok(client) => client,
            Err(exit) => return exit,
        };
        tokio::select! {
            exit = send_all(&client, arguments) => {
                client.close(Duration::from_secs(1)).await;
                exit
            }
            () = session::interrupted() => Exit::Interrupted,
        }
    })
}

async fn send_all(client: &Client, arguments: &Arguments) -> Exit {
    let mut failed = 0u64;
    let mut sent = 0u64;
    let mut requests = Requests::of(arguments.body.as_deref());
    loop {
        // Reading may block; on a thread of its own signals and the connection are served meanwhile.
        let (back, next) = match tokio::task::spawn_blocking(move || requests.next()).await {
            Ok(next) => next,
            Err(_) => return Exit::Failure,
        };
        requests = back;
        let body = match next {
            Ok(Some(body)) => body,
            Ok(None) => break,
            Err(error) => {
                eprintln!("{error}");
                return Exit::Failure;
            }
        };
        sent += 1;
        match client
            .request(arguments.subject.as_str(), None, body, arguments.timeout)
            .await
        {
            Ok(reply) => {
                let mut out = io::stdout().lock();
                let written = out
                    .write_all(&reply.body)
                    .and_then(|()| out.write_all(b"\n"))
                    .and_then(|()| out.flush());
                if written.is_err() {
                    return output::finish(written);
                }
            }
            Err(error) => {
                failed += 1;
                eprintln!("request {sent}: {error}");
            }
        }
    }
    if failed == 0 {
        return Exit::Success;
    }
    eprintln!("{failed} of {sent} requests got no reply");
    Exit::Failure
}

/// Where requests come from.
enum Requests {
    One(Option<Bytes>),
    Lines(Box<LineSplitter<io::BufReader<io::Stdin>>>),
}

impl Requests {
    fn of(body: Option<&str>) -> Self {
        match body {
            Some(body) if body != "-" => Self::One(Some(Bytes::copy_from_slice(body.as_bytes()))),
            _ => Self::Lines(Box::new(LineSplitter::new(
                io::BufReader::new(stdin()),
                MAX_REQUEST,
            ))),
        }
    }

    /// The next request, and the source itself back.
    fn next(mut self) -> (Self, Result<Option<Bytes>, String>) {
        let next = match &mut self {
            Self::One(body) => Ok(body.take()),
            Self::Lines(splitter) => match splitter
                .next_line()
                .map(|line| line.or_else(|| splitter.rest()))
            {
                Ok(Some(Line::Whole { bytes, .. })) => Ok(Some(bytes)),
                Ok(Some(Line::TooLong { length, number, .. })) => Err(format!(
                    "line {number}: {length} bytes are longer than a request may be ({MAX_REQUEST})"
                )),
                Ok(None) => Ok(None),
                Err(error) => Err(format!("cannot read standard input further: {error}")),
            },
        };
        (self, next)
    }
}
