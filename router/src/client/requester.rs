//! Requests that are tried again when they fail, and sent twice when they take long.

use super::error::RequestError;
use super::handle::Client;
use super::request::Reply;
use crate::random;
use crate::resilience::{
    ConfigError, Ended, ErrorClass, FailedAttempt, Hedge, HedgeConfig, Retry, RetryConfig,
    RetryDecision,
};
use bytes::Bytes;
use mcpbus_actors::{Key, Time};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a [`Requester`] does about requests that fail or take long. By default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RequesterConfig {
    /// The longest time for one attempt; without it an attempt has all the time that is left.
    pub attempt_timeout: Option<Duration>,
    /// When failed attempts are tried again.
    pub retry: Option<RetryConfig>,
    /// When a second copy is sent.
    pub hedge: Option<HedgeConfig>,
}

impl RequesterConfig {
    /// Gives an attempt at most this time.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// Tries again what fails.
    #[must_use]
    pub fn retry(mut self, retry: RetryConfig) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Sends a second copy of what takes long.
    #[must_use]
    pub fn hedge(mut self, hedge: HedgeConfig) -> Self {
        self.hedge = Some(hedge);
        self
    }
}

/// What a [`Requester`] has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequesterStats {
    /// Requests that were made.
    pub requests: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// Second copies that were sent.
    pub copies: u64,
    /// Of those, how many had the first answer.
    pub copies_won: u64,
}

/// Makes requests that may be handled twice: tries them again when they fail, within a budget, and sends a second copy of those
/// that take longer than most do. Whoever handles them must not mind a repeat. Clones share their budgets.
///
/// A copy, and what is tried again, goes the way of any request: among the members of a group the group's policy chooses, so with
/// one that goes by key it is the same member. What is no longer needed is cancelled.
#[derive(Clone)]
pub struct Requester {
    client: Client,
    attempt_timeout: Option<Duration>,
    state: Arc<Mutex<State>>,
}

struct State {
    retry: Option<Retry>,
    hedge: Option<Hedge>,
    stats: RequesterStats,
}

impl std::fmt::Debug for Requester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Requester")
            .field("attempt_timeout", &self.attempt_timeout)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Makes requests that are tried again or sent twice, as `config` says.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where a setting cannot be.
    pub fn requester(&self, config: &RequesterConfig) -> Result<Requester, ConfigError> {
        let state = State {
            retry: config.retry.as_ref().map(Retry::new).transpose()?,
            hedge: config.hedge.as_ref().map(Hedge::new).transpose()?,
            stats: RequesterStats::default(),
        };
        Ok(Requester {
            client: self.clone(),
            attempt_timeout: config.attempt_timeout,
            state: Arc::new(Mutex::new(state)),
        })
    }
}

/// A request, for each of its attempts.
#[derive(Clone)]
struct Request<'a> {
    subject: &'a str,
    key: Option<Key>,
    body: Bytes,
    deadline: Time,
}

impl Requester {
    /// Sends a request, as [`Client::request`] does, and does what is set about its failures. `timeout` is for all attempts
    /// together.
    ///
    /// # Errors
    ///
    /// [`RequestError`] of the last attempt. Cancel safe: dropping the future cancels what is under way.
    pub async fn request(
        &self,
        subject: &str,
        key: Option<Key>,
        body: impl Into<Bytes>,
        timeout: Duration,
    ) -> Result<Reply, RequestError> {
        let request = Request {
            subject,
            key,
            body: body.into(),
            deadline: self.now() + timeout,
        };
        {
            let mut state = self.lock();
            state.stats.requests += 1;
            if let Some(retry) = &mut state.retry {
                retry.first_attempt();
            }
        }
        let mut attempt = 1;
        loop {
            let error = match self.attempt(&request).await {
                Ok(reply) => return Ok(reply),
                // The time of one attempt is no more than a part of the caller's.
                Err(RequestError::TimedOut { .. }) if self.now() >= request.deadline => {
                    return Err(RequestError::TimedOut { after: timeout });
                }
                Err(error) => error,
            };
            let Some(at) = self.try_again(&error, attempt, request.deadline) else {
                return Err(error);
            };
            tokio::time::sleep(at.saturating_since(self.now())).await;
            attempt += 1;
        }
    }

    /// What was done so far.
    pub fn stats(&self) -> RequesterStats {
        self.lock().stats
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Time {
        self.client.shared().now()
    }

    /// When a request that failed is tried again, if it is.
    fn try_again(&self, error: &RequestError, attempt: u32, deadline: Time) -> Option<Time> {
        let now = self.now();
        let failed = FailedAttempt {
            attempt,
            class: error.class(),
            deadline: Some(deadline),
            another_ready: false,
            retry_after: error.retry_after(),
        };
        let mut state = self.lock();
        let decision = state.retry.as_mut()?.decide(&failed, random::u64(), now);
        match decision {
            RetryDecision::Elsewhere => {
                state.stats.retries += 1;
                Some(now)
            }
            RetryDecision::Again { at } => {
                state.stats.retries += 1;
                Some(at)
            }
            RetryDecision::GiveUp(_) => None,
        }
    }

    /// One attempt, and its second copy if it takes long.
    async fn attempt(&self, request: &Request<'_>) -> Result<Reply, RequestError> {
        let begun = self.now();
        let delay = self.lock().hedge.as_mut().and_then(Hedge::sent);
        let first = self.send(request);
        let answer = match delay {
            None => first.await,
            Some(delay) => self.hedged(first, delay, request).await,
        };
        let latency = self.now().saturating_since(begun);
        let ended = match &answer {
            Ok(_) => Ended::success(latency),
            Err(error) => Ended::failure(error.class(), latency),
        };
        let now = self.now();
        if let Some(hedge) = &mut self.lock().hedge {
            hedge.ended(ended, now);
        }
        answer
    }

    async fn hedged(
        &self,
        first: impl Future<Output = Result<Reply, RequestError>>,
        delay: Duration,
        request: &Request<'_>,
    ) -> Result<Reply, RequestError> {
        let mut first = pin!(first);
        tokio::select! {
            answer = &mut first => return answer,
            () = tokio::time::sleep(delay) => {}
        }
        if !self.may_copy(request.deadline) {
            return first.await;
        }
        let mut second = pin!(self.send(request));
        // One that fails leaves it to the other.
        tokio::select! {
            answer = &mut first => match answer {
                Ok(reply) => Ok(reply),
                Err(_) => self.won(second.await),
            },
            answer = &mut second => match answer {
                Ok(reply) => self.won(Ok(reply)),
                Err(_) => first.await,
            },
        }
    }

    fn may_copy(&self, deadline: Time) -> bool {
        let now = self.now();
        let mut state = self.lock();
        let may = state
            .hedge
            .as_mut()
            .is_some_and(|hedge| hedge.copy(Some(deadline), now));
        state.stats.copies += u64::from(may);
        may
    }

    fn won(&self, answer: Result<Reply, RequestError>) -> Result<Reply, RequestError> {
        self.lock().stats.copies_won += u64::from(answer.is_ok());
        answer
    }

    async fn send(&self, request: &Request<'_>) -> Result<Reply, RequestError> {
        let left = request.deadline.saturating_since(self.now());
        let timeout = self.attempt_timeout.map_or(left, |limit| limit.min(left));
        let Request {
            subject, key, body, ..
        } = request.clone();
        self.client.request(subject, key, body, timeout).await
    }
}

impl RequestError {
    /// Which kind of error it is; that says whether it is worth another attempt.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NoRoute | Self::ResponderLost => ErrorClass::Unavailable,
            Self::TimedOut { .. } => ErrorClass::Timeout,
            Self::Failed { .. } | Self::Publish(_) => ErrorClass::Validation,
            Self::Refused(failure) => (*failure).into(),
            Self::TooMany { .. } => ErrorClass::Overloaded,
            Self::Closed => ErrorClass::Cancelled,
        }
    }

    /// After which time it is worth coming back, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(failure) => failure.retry_after(),
            _ => None,
        }
    }
}
