//! Asks and waits for the answer, as often as there is time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mcpbus::client::{Client, RequestError};

use super::child::ChildError;
use super::meter::Count;
use super::pace::Pace;
use super::plan::Schedule;
use super::publisher::{Messages, Sent};
use crate::bench::clock::now;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The name of a failure in the counts.
fn reason(error: &RequestError) -> String {
    match error {
        RequestError::NoRoute => "no_route",
        RequestError::ResponderLost => "responder_lost",
        RequestError::TimedOut { .. } => "timed_out",
        RequestError::Failed { .. } => "failed",
        RequestError::Refused(failure) => failure.name(),
        RequestError::TooMany { .. } => "too_many",
        _ => "not_sent",
    }
    .to_owned()
}

/// Asks on the calling thread, one request after the other. A round trip counts from when the request was due, without
/// a rate from when it was sent.
pub(super) fn ask_all(
    client: &Client,
    mut messages: Messages,
    mut pace: Pace,
    schedule: Schedule,
    count: &Count,
) -> Result<Sent, ChildError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(ChildError::Thread)?;
    let mut sent = Sent::default();
    pace.begin();
    while let Some(due) = pace.next() {
        let message = messages.make(due);
        let before = now();
        let from = if due.at == 0 { before } else { due.at };
        let measured = schedule.measures(from);
        if measured && due.at > 0 {
            sent.behind.saturating_record(before.saturating_sub(due.at));
        }
        let request = client.request(&message.subject, message.key, message.body.clone(), TIMEOUT);
        let failed = match runtime.block_on(request) {
            Ok(reply) if reply.body == message.body => {
                if measured {
                    let round_trip = now().saturating_sub(from);
                    sent.round_trips.saturating_record(round_trip);
                }
                count.fetch_add(1, Ordering::Relaxed);
                None
            }
            Ok(_) => Some(String::from("changed")),
            Err(error @ (RequestError::Closed | RequestError::Publish(_))) => {
                return Err(ChildError::Publish(error.to_string()));
            }
            Err(error) => Some(reason(&error)),
        };
        sent.messages += 1;
        if let Some(failed) = failed {
            *sent.failed.entry(failed).or_default() += 1;
        }
    }
    sent.unsent.0 = pace.unsent(&mut sent.unsent.1);
    Ok(sent)
}
