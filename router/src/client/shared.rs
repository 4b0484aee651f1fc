//! What user code and the client's thread share, behind one short lock.

use super::cancel::Answering;
use super::error::ReceiptError;
use super::inbox::InboxSender;
use super::outbox::Outbox;
use super::request::Pending;
use super::retry::Retries;
use crate::client::ClientConfig;
use crate::protocol::SubscribeRefusal;
use crate::random::Numbers;
use mcpbus_actors::{Clock, Time};
use mcpbus_transport::wire::Failure;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot, watch};

/// The generation of a client's first session.
pub(super) const FIRST_GENERATION: u64 = 1;

/// How a client stands with its node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientStatus {
    /// Never connected yet.
    #[default]
    Connecting,
    /// Connected.
    Live,
    /// The link is lost; it is being renewed.
    Reconnecting,
    /// Closed, by its user or because every handle is gone.
    Closed,
}

/// Counts of a client since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientStats {
    /// Messages queued by publishers.
    pub published: u64,
    /// Messages whose ack came, or that were taken over where none was asked.
    pub acknowledged: u64,
    /// Messages that ended otherwise, by reason.
    pub failed: BTreeMap<&'static str, u64>,
    /// Messages handed to subscriptions.
    pub received: u64,
    /// Messages that the node had taken over and held when it died.
    pub lost: u64,
    /// Times the link was renewed.
    pub reconnects: u64,
    /// Times a node without memory of the session was met.
    pub resets: u64,
}

impl ClientStats {
    /// Messages that did not end well.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Messages of which no outcome is known yet.
    pub fn outstanding(&self) -> u64 {
        self.published - self.acknowledged - self.failures()
    }
}

/// Messages in a row that users have settled alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settlement {
    /// The generation of the session, and the flow.
    pub(super) place: (u64, u32),
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) failure: Option<Failure>,
}

/// What users have settled and the session does not know yet.
#[derive(Default)]
pub(super) struct Settlements {
    runs: Vec<Settlement>,
}

impl Settlements {
    /// One more; the next of a flow only adds to a count.
    #[inline]
    pub(super) fn push(&mut self, place: (u64, u32), sequence: u64, failure: Option<Failure>) {
        if let Some(last) = self.runs.last_mut()
            && last.place == place
            && last.failure == failure
            && last.first + last.count == sequence
        {
            last.count += 1;
            return;
        }
        self.runs.push(Settlement {
            place,
            first: sequence,
            count: 1,
            failure,
        });
    }

    /// Takes all of them out.
    pub(super) fn take(&mut self) -> Vec<Settlement> {
        std::mem::take(&mut self.runs)
    }
}

/// What a user wants of the session.
pub(super) enum Command {
    Subscribe {
        subscription: u32,
        pattern: String,
        group: Option<String>,
        durable: Option<String>,
    },
    Unsubscribe {
        subscription: u32,
    },
    Count {
        question: u32,
        subject: String,
    },
    Delete {
        question: u32,
        durable: String,
    },
    Close,
}

/// One subscription, as the client's thread sees it.
pub(super) struct SubscriptionState {
    pub(super) pattern: String,
    pub(super) group: Option<String>,
    pub(super) durable: Option<String>,
    /// How often a message is handed to the consumer at most.
    pub(super) max_deliver: u16,
    /// Where its deliveries go to be tried again.
    pub(super) retries: Arc<Retries>,
    pub(super) sender: InboxSender,
    pub(super) state: watch::Sender<Progress>,
    pub(super) window: (u64, u64),
}

/// How far a subscription has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Progress {
    #[default]
    Asked,
    Ready,
    Refused(SubscribeRefusal, String),
}

pub(super) struct State {
    pub(super) status: ClientStatus,
    pub(super) outbox: Outbox,
    pub(super) settlements: Settlements,
    /// Deliveries that were given back: when each is due, its subscription, its key.
    pub(super) retries: Vec<(Time, u32, Option<u64>)>,
    pub(super) commands: Vec<Command>,
    pub(super) subscriptions: BTreeMap<u32, SubscriptionState>,
    pub(super) next_subscription: u32,
    pub(super) requests: BTreeMap<u64, Pending>,
    pub(super) next_request: u64,
    /// Requests that were given up, and when they would have been.
    pub(super) cancels: Vec<(u64, Time)>,
    pub(super) questions: BTreeMap<u32, oneshot::Sender<u64>>,
    pub(super) next_question: u32,
    pub(super) stats: ClientStats,
    pub(super) message_max: u64,
    /// As [`ClientCore`](super::ClientCore) counts it: rises when the node forgets.
    pub(super) generation: u64,
    /// Whether the thread has been woken and has not come yet.
    woken: bool,
}

/// Shared by the handles of a client and its thread.
pub(super) struct Shared {
    pub(super) config: ClientConfig,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) numbers: Numbers,
    state: Mutex<State>,
    /// Requests that this client was given.
    pub(super) answering: Answering,
    /// Wakes the client's thread.
    pub(super) wake: Notify,
    /// Wakes those who wait for counts to move or the status to change.
    pub(super) progress: Notify,
}

impl Shared {
    pub(super) fn new(config: ClientConfig, clock: Arc<dyn Clock>, numbers: Numbers) -> Self {
        Self {
            state: Mutex::new(State {
                status: ClientStatus::Connecting,
                outbox: Outbox::new(&config),
                settlements: Settlements::default(),
                retries: Vec::new(),
                commands: Vec::new(),
                subscriptions: BTreeMap::new(),
                next_subscription: 1,
                requests: BTreeMap::new(),
                next_request: 1,
                cancels: Vec::new(),
                questions: BTreeMap::new(),
                next_question: 1,
                stats: ClientStats::default(),
                message_max: config.session.message_max,
                generation: FIRST_GENERATION,
                woken: false,
            }),
            answering: Answering::new(),
            config,
            clock,
            numbers,
            wake: Notify::new(),
            progress: Notify::new(),
        }
    }

    pub(super) fn now(&self) -> Time {
        self.clock.now()
    }

    /// The state. Nothing panics while it is held, so a poisoned lock still guards a whole state.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes the thread, once for many changes.
    pub(super) fn act<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let (result, wake) = {
            let mut state = self.lock();
            let result = change(&mut state);
            (result, !std::mem::replace(&mut state.woken, true))
        };
        if wake {
            self.wake.notify_one();
        }
        result
    }

    /// The thread has come: from here on it is to be woken again.
    pub(super) fn arrived(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.woken = false;
        state
    }

    /// Ends everything that waits.
    pub(super) fn closed(&self) {
        let mut state = self.lock();
        state.status = ClientStatus::Closed;
        for queued in state.outbox.close() {
            if let super::outbox::Notify::Receipt(receipt) = queued.notify {
                let _ = receipt.send(Err(ReceiptError::Closed));
            }
        }
        state.subscriptions.clear();
        state.requests.clear();
        state.questions.clear();
        drop(state);
        self.progress.notify_waiters();
    }
}
