//! Logs: to standard error, as lines for people or as JSON.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging by `LOG_LEVEL` and `LOG_FORMAT`; a second call changes nothing.
///
/// Without `LOG_LEVEL` it is `level`. A level that is not understood counts as `info`, and says so.
pub(super) fn start(level: &str) {
    let given = std::env::var("LOG_LEVEL").unwrap_or_default();
    let (filter, wrong) = match EnvFilter::try_new(if given.is_empty() { level } else { &given }) {
        Ok(filter) => (filter, false),
        Err(_) => (EnvFilter::new("info"), true),
    };
    let json = std::env::var("LOG_FORMAT").is_ok_and(|format| format == "json");
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    let started = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder
            .compact()
            .with_ansi(std::io::stderr().is_terminal())
            .try_init()
    };
    if started.is_ok() && wrong {
        tracing::warn!(
            given,
            "LOG_LEVEL is not understood; known: error, warn, info, debug, trace"
        );
    }
}
