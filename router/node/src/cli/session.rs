//! Running a command's async part, and hearing signals.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};

use super::Exit;

/// Runs a command to its end on a runtime of this thread. Threads that still block are left behind: the process ends.
pub(super) fn block_on(command: impl Future<Output = Exit>) -> Exit {
    run_on(tokio::runtime::Builder::new_current_thread(), command)
}

/// As [`block_on`], on a few threads: for commands that run stages.
pub(super) fn block_on_threads(command: impl Future<Output = Exit>) -> Exit {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(
        std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(1, 8)),
    );
    run_on(builder, command)
}

/// As [`block_on`], for a part of a command whose result is needed; without a runtime the command ends.
pub(super) fn block_on_value<T>(part: impl Future<Output = T>) -> Result<T, Exit> {
    value_on(tokio::runtime::Builder::new_current_thread(), part)
}

fn run_on(builder: tokio::runtime::Builder, command: impl Future<Output = Exit>) -> Exit {
    value_on(builder, command).unwrap_or_else(|exit| exit)
}

fn value_on<T>(
    mut builder: tokio::runtime::Builder,
    command: impl Future<Output = T>,
) -> Result<T, Exit> {
    let runtime = builder.enable_all().build().map_err(|error| {
        eprintln!("cannot start: {error}");
        Exit::Failure
    })?;
    let value = runtime.block_on(command);
    runtime.shutdown_background();
    Ok(value)
}

/// Completes at Ctrl-C or SIGTERM; never where signals cannot be heard. Each call hears only what comes after it.
pub(super) async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Hears SIGHUP, which asks for a file to be read again.
pub(super) struct Hangups(Option<tokio::signal::unix::Signal>);

impl Hangups {
    pub(super) fn new() -> Self {
        Self(signal(SignalKind::hangup()).ok())
    }

    /// Completes at the next one; never where signals cannot be heard. Cancel safe.
    pub(super) async fn next(&mut self) {
        let heard = match &mut self.0 {
            Some(signals) => signals.recv().await,
            None => None,
        };
        if heard.is_none() {
            std::future::pending().await
        }
    }
}

/// How close two signals may be that mean one: a wrapper such as `timeout` passes on what the terminal sends as well.
const ONE_SIGNAL: std::time::Duration = std::time::Duration::from_millis(500);

/// Completes at a signal that comes well after an earlier one.
pub(super) async fn interrupted_again() {
    tokio::time::sleep(ONE_SIGNAL).await;
    interrupted().await;
}
