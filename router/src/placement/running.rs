//! A part of a topology that runs.

use super::PlacementError;
use super::carrier::{Carrier, Egress, Ingress};
use crate::client::Client;
use mcpbus_actors::topology::{Observer, Report, RunError, Running};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long the last messages may take to be taken over by the next node.
const FLUSH: Duration = Duration::from_secs(30);

/// Counts of the edges between this process and others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bridged {
    /// Messages carried, out and in.
    pub carried: u64,
    /// Messages that could not be encoded, published or decoded.
    pub undeliverable: u64,
    /// Messages that the bus refused or lost.
    pub failed: u64,
}

#[derive(Debug)]
pub(super) struct Progress {
    carried: AtomicU64,
    undeliverable: AtomicU64,
    stop: watch::Sender<bool>,
    edges: watch::Sender<BTreeMap<String, EdgeState>>,
}

/// What has become of an edge to or from another node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EdgeState {
    /// The other end has not been met yet.
    #[default]
    Waiting,
    /// Both ends mean the same type: messages are carried.
    Up,
    /// No node receives it: what it carries is refused.
    Alone,
    /// The ends do not mean the same type: nothing is carried. Says which type differs and how; build both ends from the
    /// same one.
    Refused(String),
}

impl Progress {
    pub(super) fn carried(&self) {
        self.carried.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set(&self, edge: &str, state: EdgeState) {
        self.edges.send_modify(|edges| {
            edges.insert(edge.to_owned(), state);
        });
    }

    pub(super) fn undeliverable(&self) {
        self.undeliverable.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        if stop.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A part of a topology that runs on one node. Dropping it stops the part.
pub struct PlacedRunning {
    running: Running,
    client: Client,
    progress: Arc<Progress>,
    egress: JoinSet<()>,
    ingress: JoinSet<()>,
}

/// What a part of a topology has come to.
#[derive(Debug)]
pub struct PlacedReport {
    /// The stages, edges and ledger of the part.
    pub report: Report,
    /// Its edges to other processes.
    pub bridged: Bridged,
    /// What has become of each edge to or from another node, by name.
    pub edges: BTreeMap<String, EdgeState>,
}

impl fmt::Debug for PlacedRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlacedRunning")
            .field("bridged", &self.bridged())
            .finish_non_exhaustive()
    }
}

impl PlacedRunning {
    pub(super) fn new(running: Running, client: Client) -> Self {
        let progress = Progress {
            carried: AtomicU64::new(0),
            undeliverable: AtomicU64::new(0),
            stop: watch::Sender::new(false),
            edges: watch::Sender::default(),
        };
        Self {
            running,
            client,
            progress: Arc::new(progress),
            egress: JoinSet::new(),
            ingress: JoinSet::new(),
        }
    }

    pub(super) fn add_egress(&mut self, carrier: Carrier, egress: Egress) {
        if egress.is_edge() {
            self.progress.set(&egress.edge, EdgeState::Waiting);
        }
        self.egress.spawn((carrier.egress)(
            egress,
            self.client.clone(),
            self.progress.clone(),
        ));
    }

    pub(super) fn add_ingress(&mut self, carrier: Carrier, ingress: Ingress) {
        if ingress.ends {
            self.progress.set(&ingress.edge, EdgeState::Waiting);
        }
        self.ingress
            .spawn((carrier.ingress)(ingress, self.progress.clone()));
    }

    /// Looks at the part from elsewhere.
    pub fn observer(&self) -> Observer {
        self.running.observer()
    }

    /// What has become of each edge to or from another node, by name.
    pub fn edges(&self) -> BTreeMap<String, EdgeState> {
        self.progress.edges.borrow().clone()
    }

    /// Waits until every edge to or from another node is up. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`PlacementError::Refused`] as soon as the ends of an edge do not mean the same type, and
    /// [`PlacementError::NoReceiver`] when nobody receives one. The part goes on with the other edges; whoever started it
    /// decides whether to stop it.
    pub async fn ready(&self) -> Result<(), PlacementError> {
        let mut edges = self.progress.edges.subscribe();
        loop {
            for (edge, state) in edges.borrow_and_update().iter() {
                match state {
                    EdgeState::Refused(reason) => {
                        return Err(PlacementError::Refused {
                            edge: edge.clone(),
                            reason: reason.clone(),
                        });
                    }
                    EdgeState::Alone => {
                        return Err(PlacementError::NoReceiver { edge: edge.clone() });
                    }
                    EdgeState::Waiting | EdgeState::Up => {}
                }
            }
            let waits = |state: &EdgeState| *state == EdgeState::Waiting;
            if !edges.borrow().values().any(waits) || edges.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    /// Counts of the edges to other processes.
    pub fn bridged(&self) -> Bridged {
        Bridged {
            carried: self.progress.carried.load(Ordering::Relaxed),
            undeliverable: self.progress.undeliverable.load(Ordering::Relaxed),
            failed: self.client.stats().failures(),
        }
    }

    /// Waits until the part is over: its producers and the parts before it have ended, everything has been handled,
    /// and what left has been taken over by the next node. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`RunError`]: a stage panicked too often and the topology was stopped.
    pub async fn wait(&mut self) -> Result<PlacedReport, RunError> {
        let over = self.running.wait().await;
        self.finished(over).await
    }

    /// Takes nothing more in, lets everything that is here be handled, and waits for that.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub async fn drain(&mut self) -> Result<PlacedReport, RunError> {
        self.begin_drain();
        while self.ingress.join_next().await.is_some() {}
        let over = self.running.drain().await;
        self.finished(over).await
    }

    /// Takes nothing more in; [`wait`](Self::wait) ends when what is here has been handled.
    pub fn begin_drain(&self) {
        self.progress.stop.send_replace(true);
        self.running.observer().begin_drain();
    }

    async fn finished(&mut self, over: Result<Report, RunError>) -> Result<PlacedReport, RunError> {
        while self.egress.join_next().await.is_some() {}
        self.client.flush(FLUSH).await;
        self.progress.stop.send_replace(true);
        while self.ingress.join_next().await.is_some() {}
        over?;
        // Only now is what the stages sent out of the process too.
        Ok(PlacedReport {
            report: self.running.report(),
            bridged: self.bridged(),
            edges: self.edges(),
        })
    }
}
