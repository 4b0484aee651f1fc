//! Requests that wait for an answer.

use super::cancel::Asking;
use super::error::RequestError;
use super::handle::Client;
use super::outbox::{Notify, record};
use crate::protocol::ReplyStatus;
use bytes::Bytes;
use mcpbus_actors::Key;
use mcpbus_transport::wire::{Extra, Failure, ReplyAddress};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// Where the answer to a request goes.
pub(super) type Pending = oneshot::Sender<Result<Reply, RequestError>>;

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What the responder sent.
    pub body: Bytes,
}

/// How a failure of the request's message reads to its sender.
pub(super) fn failed(failure: Failure) -> RequestError {
    match failure {
        Failure::NoRoute => RequestError::NoRoute,
        Failure::Cancelled | Failure::PeerDied => RequestError::ResponderLost,
        other => RequestError::Refused(other),
    }
}

/// How an answer reads to its sender.
pub(super) fn answered(status: ReplyStatus, body: Bytes) -> Result<Reply, RequestError> {
    match status {
        ReplyStatus::Ok => Ok(Reply { body }),
        ReplyStatus::Failed => Err(RequestError::Failed {
            reason: String::from_utf8_lossy(&body).into_owned(),
        }),
        ReplyStatus::ResponderLost => Err(RequestError::ResponderLost),
    }
}

impl Client {
    /// Sends a request to one responder of a subject and waits for its answer, at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`RequestError`] says whether the responder may have acted. Cancel safe: dropping the future
    /// cancels the request wherever it is. One that waits somewhere is not handled any more; whoever works on it
    /// [is told](super::Delivery::cancelled), and may be done already.
    pub async fn request(
        &self,
        subject: &str,
        key: Option<Key>,
        body: impl Into<Bytes>,
        timeout: Duration,
    ) -> Result<Reply, RequestError> {
        let body = body.into();
        let deadline = self.shared().now() + timeout;
        let (answer, answered) = oneshot::channel();
        let limit = self.shared().config.requests;
        let correlation = {
            let mut state = self.shared().lock();
            if state.requests.len() >= limit {
                return Err(RequestError::TooMany { limit });
            }
            let correlation = state.next_request;
            state.next_request += 1;
            state.requests.insert(correlation, answer);
            correlation
        };
        let asking = Asking {
            shared: self.shared(),
            subject,
            correlation,
            deadline,
            queued: AtomicBool::new(false),
        };
        let publisher = self.request_publisher();
        let address = publisher
            .address(subject)
            .map_err(|error| RequestError::Publish(error.to_string()))?;
        let reply = ReplyAddress {
            node: 0,
            session: 0,
            correlation,
        };
        let extra = Box::new(Extra {
            reply: Some(reply),
            ..Extra::default()
        });
        let (head, sequence, slot) = (address.head, address.sequence, address.slot);
        let message = record(head, sequence, key, Some(deadline), Some(extra), body);
        let work = async {
            publisher
                .queue(message, slot, Notify::Request(correlation))
                .await
                .map_err(|error| RequestError::Publish(error.to_string()))?;
            asking.queued.store(true, Ordering::Relaxed);
            answered.await.unwrap_or(Err(RequestError::Closed))
        };
        let result = tokio::time::timeout(timeout, work).await;
        drop(asking);
        match result {
            // Whoever had it may say so before the time is up here.
            Err(_) | Ok(Err(RequestError::Refused(Failure::Expired))) => {
                Err(RequestError::TimedOut { after: timeout })
            }
            Ok(answer) => answer,
        }
    }
}
