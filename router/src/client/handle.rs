//! The handle of a client, and the thread behind it.

use super::config::ClientConfig;
use super::core::ClientCore;
use super::error::{ConnectError, QueryError, SubscribeError};
use super::inbox::inbox;
use super::publisher::Publisher;
use super::retry::Retries;
use super::shared::{Command, Progress, Shared, SubscriptionState};
use super::subscription::{MAX_DELIVER, SubscribeOptions, Subscription};
use crate::dial::{Backoff, Dial, DialFailure};
use crate::protocol::SubscribeRefusal;
use crate::random::Numbers;
use crate::reactor::Reactor;
use crate::routing::Pattern;
use mcpbus_actors::{Clock, SystemClock};
use mcpbus_transport::bridge::Hub;
use mcpbus_transport::link::Link;
use mcpbus_transport::session::Local;
use mcpbus_transport::wire::{AckLevel, ProducerId, Role};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

pub use super::shared::{ClientStats, ClientStatus};

/// A connection to a node. Clones share it; the last one to go says goodbye.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    id: u128,
    epoch: u64,
    requests: OnceLock<Publisher>,
    /// The thread lives as long as its handles.
    _reactor: Reactor,
    done: watch::Receiver<bool>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.act(|state| state.commands.push(Command::Close));
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to a node over QUIC and waits until the session is up. `address` is `HOST:PORT`. From then on a lost
    /// link is renewed for ever.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] with what the last attempt said.
    #[cfg(feature = "quic")]
    pub async fn connect(
        address: &str,
        credentials: &mcpbus_transport::identity::Credentials,
        config: ClientConfig,
    ) -> Result<Self, ConnectError> {
        use crate::dial::quic::QuicDial;
        use mcpbus_transport::link::quic::{QuicConfig, QuicEndpoint};

        let reactor = Reactor::start("mcpbus-client").map_err(|error| ConnectError::Setup {
            reason: error.to_string(),
        })?;
        let credentials = credentials.clone();
        let address = address.to_owned();
        Self::start(reactor, config, move || {
            let endpoint =
                QuicEndpoint::dialer(&credentials, QuicConfig::default()).map_err(|error| {
                    ConnectError::Setup {
                        reason: error.to_string(),
                    }
                })?;
            Ok(QuicDial {
                endpoint: endpoint.into(),
                address,
            })
        })
        .await
    }

    /// Starts a client on the calling thread, within a `LocalSet`, that dials from this endpoint. For simulation: it follows
    /// the runtime's time, paused or not, and draws what it leaves to chance from `seed`.
    ///
    /// # Errors
    ///
    /// As [`Client::connect`].
    #[cfg(feature = "quic")]
    pub async fn connect_simulated(
        endpoint: mcpbus_transport::link::quic::QuicEndpoint,
        address: std::net::SocketAddr,
        config: ClientConfig,
        seed: u64,
    ) -> Result<Self, ConnectError> {
        let dial = move || {
            Ok(crate::dial::quic::QuicDial {
                endpoint: endpoint.into(),
                address: address.to_string(),
            })
        };
        let clock = Arc::new(mcpbus_transport::clock::RuntimeClock::new());
        Self::start_with(Reactor::here(), config, clock, Numbers::of_seed(seed), dial).await
    }

    /// Starts a client whose links `make` provides, on a reactor's thread, and waits for the first session.
    pub(crate) async fn start<D: Dial>(
        reactor: Reactor,
        config: ClientConfig,
        make: impl FnOnce() -> Result<D, ConnectError> + Send + 'static,
    ) -> Result<Self, ConnectError> {
        let clock = Arc::new(SystemClock::new());
        Self::start_with(reactor, config, clock, Numbers::default(), make).await
    }

    async fn start_with<D: Dial>(
        reactor: Reactor,
        config: ClientConfig,
        clock: Arc<dyn Clock>,
        numbers: Numbers,
        make: impl FnOnce() -> Result<D, ConnectError> + Send + 'static,
    ) -> Result<Self, ConnectError> {
        let gone = |reason: String| ConnectError::Setup { reason };
        let timeout = config.connect_timeout;
        let (id, epoch) = (numbers.u128(), numbers.epoch());
        let shared = Arc::new(Shared::new(config, clock, numbers));
        let local = Local {
            role: Role::Client,
            id,
            epoch,
            name: shared.config.name.clone(),
        };
        let (ready, first) = oneshot::channel();
        let (last_error, mut last) = watch::channel(DialFailure::temporary("no attempt was made"));
        let (done_sender, done) = watch::channel(false);
        let task_shared = shared.clone();
        let highest_lane = shared.config.session.lanes;
        reactor
            .spawn(move || async move {
                let dial = match make() {
                    Ok(dial) => dial,
                    Err(error) => {
                        let _ = ready.send(Err(error));
                        task_shared.closed();
                        done_sender.send_replace(true);
                        return;
                    }
                };
                let _ = ready.send(Ok(dial.address()));
                let number = task_shared.numbers.u64();
                let hub = Hub::new(
                    ClientCore::new(task_shared.clone(), local, number),
                    task_shared.clock.clone(),
                );
                run(hub, dial, task_shared.clone(), highest_lane, last_error).await;
                task_shared.closed();
                done_sender.send_replace(true);
            })
            .await
            .map_err(|error| gone(error.to_string()))?;
        let address = first
            .await
            .map_err(|_| gone(String::from("the I/O thread has ended")))??;
        let inner = Inner {
            shared: shared.clone(),
            id,
            epoch,
            requests: OnceLock::new(),
            _reactor: reactor,
            done,
        };
        let client = Self {
            inner: Arc::new(inner),
        };
        let live = client.wait_status(|status| status != ClientStatus::Connecting);
        let first = async {
            tokio::select! {
                biased;
                _ = live => true,
                Ok(_) = last.wait_for(|failure| !failure.temporary) => false,
                // The task that dials has ended without a word.
                else => false,
            }
        };
        let live = tokio::time::timeout(timeout, first).await;
        if live == Ok(true) && client.status() != ClientStatus::Closed {
            return Ok(client);
        }
        let DialFailure { reason, temporary } = last.borrow().clone();
        Err(if temporary {
            ConnectError::TimedOut {
                address,
                after: timeout,
                last: reason,
            }
        } else {
            ConnectError::Refused { address, reason }
        })
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// How the client stands with its node.
    pub fn status(&self) -> ClientStatus {
        self.shared().lock().status
    }

    /// Counts since the start.
    pub fn stats(&self) -> ClientStats {
        self.shared().lock().stats.clone()
    }

    /// A publisher of its own identity with this ack level.
    pub fn publisher(&self, ack: AckLevel) -> Publisher {
        self.publisher_of_kind(ack, 0)
    }

    /// A publisher of messages whose bodies are of one type, named by its fingerprint.
    pub fn publisher_of_kind(&self, ack: AckLevel, kind: u64) -> Publisher {
        let producer = ProducerId {
            id: self.shared().numbers.u128(),
            epoch: self.inner.epoch,
        };
        Publisher::new(self.shared().clone(), producer, ack, kind)
    }

    pub(super) fn request_publisher(&self) -> &Publisher {
        self.inner.requests.get_or_init(|| {
            let producer = ProducerId {
                id: self.inner.id,
                epoch: self.inner.epoch,
            };
            Publisher::new(self.shared().clone(), producer, AckLevel::Accepted, 0)
        })
    }

    /// Subscribes to the subjects of a pattern: `*` is one token, `>` the rest.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] if the pattern is none or the client is closed; what the node says comes with
    /// [`Subscription::ready`].
    pub fn subscribe(
        &self,
        pattern: &str,
        options: SubscribeOptions,
    ) -> Result<Subscription, SubscribeError> {
        Pattern::new(pattern).map_err(|error| SubscribeError::Pattern {
            reason: error.to_string(),
        })?;
        let config = &self.shared().config;
        let messages = options
            .window_messages
            .unwrap_or(config.window_messages)
            .max(1);
        let window = (messages, config.subscription_bytes());
        let (sender, receiver) = inbox();
        let (state, progress) = watch::channel(Progress::Asked);
        let retries = Arc::<Retries>::default();
        // Each takes a flow of the session, so a node could not serve more.
        let limit = config.session.flows_max as usize;
        let number = self.shared().act(|shared| {
            if shared.status == ClientStatus::Closed {
                return Err(SubscribeError::Closed);
            }
            if shared.subscriptions.len() >= limit {
                return Err(SubscribeError::Refused {
                    refusal: SubscribeRefusal::Limit,
                    reason: format!("the client has {limit} subscriptions, its limit"),
                });
            }
            let number = shared.next_subscription;
            shared.next_subscription += 1;
            let group = options.group.clone();
            let durable = options.durable.clone();
            shared.subscriptions.insert(
                number,
                SubscriptionState {
                    pattern: pattern.to_owned(),
                    group: group.clone(),
                    durable: durable.clone(),
                    max_deliver: options.max_deliver.unwrap_or(MAX_DELIVER),
                    retries: retries.clone(),
                    sender,
                    state,
                    window,
                },
            );
            shared.commands.push(Command::Subscribe {
                subscription: number,
                pattern: pattern.to_owned(),
                group,
                durable,
            });
            Ok(number)
        })?;
        Ok(Subscription {
            shared: self.shared().clone(),
            number,
            receiver,
            retries,
            progress,
        })
    }

    /// How many subscribers a subject has, over all reachable nodes, as the client's node knows them.
    ///
    /// # Errors
    ///
    /// [`QueryError`]. Cancel safe.
    pub async fn count_subscribers(
        &self,
        subject: &str,
        timeout: Duration,
    ) -> Result<u64, QueryError> {
        let subject = subject.to_owned();
        self.ask(timeout, |question| Command::Count { question, subject })
            .await
    }

    /// Ends a durable subscription for good, with what waits for it. Whether there was one.
    ///
    /// # Errors
    ///
    /// [`QueryError`]. Cancel safe; the node may delete it although nobody waits for the answer.
    pub async fn delete_durable(&self, name: &str, timeout: Duration) -> Result<bool, QueryError> {
        let durable = name.to_owned();
        let deleted = self.ask(timeout, |question| Command::Delete { question, durable });
        Ok(deleted.await? > 0)
    }

    async fn ask(
        &self,
        timeout: Duration,
        command: impl FnOnce(u32) -> Command,
    ) -> Result<u64, QueryError> {
        let (answer, answered) = oneshot::channel();
        let limit = self.shared().config.requests;
        let number = self.shared().act(|shared| {
            if shared.status == ClientStatus::Closed {
                return Err(QueryError::Closed);
            }
            if shared.questions.len() >= limit {
                return Err(QueryError::TooMany);
            }
            let question = shared.next_question;
            shared.next_question = shared.next_question.wrapping_add(1);
            shared.questions.insert(question, answer);
            shared.commands.push(command(question));
            Ok(question)
        })?;
        let question = Question {
            shared: self.shared(),
            number,
        };
        let result = tokio::time::timeout(timeout, answered).await;
        drop(question);
        match result {
            Ok(Ok(subscribers)) => Ok(subscribers),
            Ok(Err(_)) => Err(QueryError::Closed),
            Err(_) => Err(QueryError::TimedOut),
        }
    }

    /// Waits until every message published so far has its outcome, and returns the counts; after `timeout` it
    /// returns them as they are. Cancel safe.
    pub async fn flush(&self, timeout: Duration) -> ClientStats {
        let goal = self.stats().published;
        let done = async {
            loop {
                let moved = self.shared().progress.notified();
                tokio::pin!(moved);
                moved.as_mut().enable();
                let (stats, status) = (self.stats(), self.status());
                if stats.acknowledged + stats.failures() >= goal || status == ClientStatus::Closed {
                    return;
                }
                moved.await;
            }
        };
        let _ = tokio::time::timeout(timeout, done).await;
        self.stats()
    }

    /// Waits for messages to be on their way, says goodbye and ends; what has no outcome after `timeout` is given up.
    /// Returns the final counts.
    pub async fn close(self, timeout: Duration) -> ClientStats {
        let stats = self.flush(timeout).await;
        let mut done = self.inner.done.clone();
        self.shared()
            .act(|state| state.commands.push(Command::Close));
        let _ = tokio::time::timeout(Duration::from_secs(2), done.wait_for(|done| *done)).await;
        stats
    }

    async fn wait_status(&self, wanted: impl Fn(ClientStatus) -> bool) {
        loop {
            let moved = self.shared().progress.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if wanted(self.status()) {
                return;
            }
            moved.await;
        }
    }
}

/// A question's place among those that wait, given back however its future ends.
struct Question<'a> {
    shared: &'a Shared,
    number: u32,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.shared.lock().questions.remove(&self.number);
    }
}

/// Carries a client out until it is closed.
async fn run<D: Dial>(
    hub: Hub<ClientCore>,
    dial: D,
    shared: Arc<Shared>,
    highest_lane: u8,
    last_error: watch::Sender<DialFailure>,
) {
    let timer = hub.run_timer();
    let pump = async {
        loop {
            shared.wake.notified().await;
            hub.with(|core, now| core.pump(now));
            // What was taken over is written before more is fetched, so that publishers seldom meet this thread at the lock.
            tokio::task::yield_now().await;
        }
    };
    let connect = connect_for_ever(&hub, &dial, &shared, highest_lane, &last_error);
    // In this order and not by chance, so that a simulated run repeats itself.
    tokio::select! {
        biased;
        () = connect => {}
        () = timer => {}
        () = pump => {}
    }
}

async fn connect_for_ever<D: Dial>(
    hub: &Hub<ClientCore>,
    dial: &D,
    shared: &Shared,
    highest_lane: u8,
    last_error: &watch::Sender<DialFailure>,
) {
    let mut backoff = Backoff::new(shared.config.retry, shared.numbers.u64());
    loop {
        let attempt = closed_or(hub, shared, dial.dial()).await;
        match attempt {
            None => return,
            Some(Ok(link)) => {
                let peer = link.peer().name.clone();
                tracing::debug!(peer, "link up");
                hub.attach(link, highest_lane, |core, handle, now| {
                    core.link_dialed(handle, now)
                })
                .await;
                let (closed, goodbye) = hub.with(|core, _| (core.is_closed(), core.take_goodbye()));
                if closed {
                    return;
                }
                match goodbye {
                    // Turned away: trying at once would only be turned away again.
                    Some((code, reason)) => {
                        let said = format!("the node said {code}: {reason}");
                        last_error.send_replace(DialFailure::temporary(said));
                    }
                    None => backoff.reset(),
                }
            }
            Some(Err(failure)) => {
                tracing::debug!(error = failure.reason, "no link");
                last_error.send_replace(failure);
            }
        }
        let pause = backoff.pause();
        if closed_or(hub, shared, tokio::time::sleep(pause))
            .await
            .is_none()
        {
            return;
        }
    }
}

/// Waits for `future` unless the client is closed meanwhile.
async fn closed_or<F: Future>(
    hub: &Hub<ClientCore>,
    shared: &Shared,
    future: F,
) -> Option<F::Output> {
    tokio::pin!(future);
    loop {
        if hub.with(|core, _| core.is_closed()) {
            return None;
        }
        tokio::select! {
            biased;
            output = &mut future => return Some(output),
            () = shared.progress.notified() => {}
        }
    }
}
