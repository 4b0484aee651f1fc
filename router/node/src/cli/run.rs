//! `mcpbus run`: the node or topology that a file describes.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::connection::{credentials, duration};
use super::{Exit, files, session};
use crate::config::NodeFile;
use crate::run::{self, Event, RunEnd, RunError};

/// Run the node or topology that a file describes: listeners, links to other nodes, routes, built-in stages.
///
/// A file whose stages come to an end, and on which nobody can connect, ends by itself. Others run until Ctrl-C, which
/// drains what is under way. At the end the ledger is printed to standard error.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The node file (TOML); `mcpbus check FILE` looks at it without running it.
    file: PathBuf,
    /// Replace the path of the file's first stage of kind `lines`; - is standard input.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Replace a key of the file, for example stage.lines.path=FILE; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// End, as with Ctrl-C, when no message has moved for so long.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    idle_exit: Option<Duration>,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let loaded = files::load(&arguments.file, &arguments.set, arguments.input.as_deref());
    let (file, warnings) = match loaded {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    for warning in &warnings {
        eprintln!("{}: warning: {warning}", arguments.file.display());
    }
    session::block_on_threads(run_file(file, arguments.idle_exit))
}

async fn run_file(file: NodeFile, idle_exit: Option<Duration>) -> Exit {
    // What is heard from here on ends the run, also while it starts.
    let interrupted = session::interrupted();
    tokio::pin!(interrupted);
    let needs_credentials = file.listen.is_some() || !file.links.is_empty();
    let credentials = if needs_credentials {
        let (identity, trust) = (file.tls.identity.as_deref(), file.tls.trust.as_deref());
        match credentials(identity, trust, &file.name, SystemTime::now()) {
            Ok(credentials) => Some(credentials),
            Err(error) => {
                eprintln!("{error}");
                return Exit::NotPermitted;
            }
        }
    } else {
        None
    };
    let started = tokio::select! {
        started = run::start(&file, credentials) => started,
        () = &mut interrupted => return Exit::Interrupted,
    };
    let started = match started {
        Ok(started) => started,
        Err(error) => {
            eprintln!("{error}");
            return match error {
                RunError::Node(_) | RunError::Connect(_) | RunError::Data { .. } => {
                    Exit::Unavailable
                }
                RunError::Assemble(_) | RunError::Routes(_) | RunError::Topology(_) => Exit::Usage,
                RunError::Subscribe { .. } => Exit::Failure,
            };
        }
    };
    match started.address() {
        Some(address) => eprintln!("ready: {} listens on {address}", file.name),
        None => eprintln!("ready: {}", file.name),
    }
    let idle = idle_exit.map(|idle| started.idle(idle));
    let idle = async {
        match idle {
            Some(idle) => idle.await,
            None => std::future::pending().await,
        }
    };
    let event = tokio::select! {
        event = started.event() => Some(event),
        () = idle => None,
        () = &mut interrupted => None,
        () = started.over() => None,
    };
    let again = session::interrupted_again();
    let end = tokio::select! {
        end = started.end() => end,
        () = again => {
            eprintln!("interrupted a second time: what is under way is given up");
            return Exit::Interrupted;
        }
    };
    finish(&end, event)
}

fn finish(end: &RunEnd, event: Option<Event>) -> Exit {
    eprintln!("{end}");
    match (&end.failure, event) {
        // A reader that has gone away takes nothing more; what was under way to it is counted above.
        (_, Some(Event::OutputClosed)) => Exit::Success,
        (Some(failure), _) => {
            eprintln!("{failure}");
            Exit::Failure
        }
        (None, _) => Exit::Success,
    }
}
