//! `mcpbus run`: the node or topology that a file describes.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::connection::{credentials, duration};
use super::reload::{self, Source};
use super::{Exit, files, session};
use crate::config::NodeFile;
use crate::run::{self, Event, RunEnd, RunError, Started};

/// Run the node or topology that a file describes: listeners, links to other nodes, routes, built-in stages.
///
/// A file whose stages come to an end, and on which nobody can connect, ends by itself. Others run until Ctrl-C, which
/// drains what is under way. SIGHUP reads the file again: its routes may have changed, and take effect while messages flow.
/// At the end the ledger is printed to standard error.
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
    let source = Source {
        path: arguments.file.clone(),
        set: arguments.set.clone(),
        input: arguments.input.clone(),
    };
    session::block_on_threads(run_file(file, source, arguments.idle_exit))
}

async fn run_file(mut file: NodeFile, source: Source, idle_exit: Option<Duration>) -> Exit {
    // One that comes while the node starts is heard when it runs.
    let hangups = session::Hangups::new();
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
    let event = go_on(
        &started,
        &mut file,
        &source,
        idle_exit,
        interrupted,
        hangups,
    )
    .await;
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

/// Until something ends the run: an event, a time without messages, a signal, or that there is nothing more to do.
async fn go_on(
    started: &Started,
    file: &mut NodeFile,
    source: &Source,
    idle_exit: Option<Duration>,
    mut interrupted: Pin<&mut impl Future<Output = ()>>,
    mut hangups: session::Hangups,
) -> Option<Event> {
    let idle = async {
        match idle_exit {
            Some(idle) => started.idle(idle).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(idle);
    loop {
        tokio::select! {
            event = started.event() => return Some(event),
            () = &mut idle => return None,
            () = &mut interrupted => return None,
            () = started.over() => return None,
            () = hangups.next() => reload::reload(source, file, started).await,
        }
    }
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
