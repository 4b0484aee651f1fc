//! A part of a topology that runs.

use super::carrier::{Carrier, Egress, Ingress};
use crate::client::Client;
use mcpbus_actors::topology::{Observer, Report, RunError, Running};
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
}

impl Progress {
    pub(super) fn carried(&self) {
        self.carried.fetch_add(1, Ordering::Relaxed);
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
        self.egress.spawn((carrier.egress)(
            egress,
            self.client.clone(),
            self.progress.clone(),
        ));
    }

    pub(super) fn add_ingress(&mut self, carrier: Carrier, ingress: Ingress) {
        self.ingress
            .spawn((carrier.ingress)(ingress, self.progress.clone()));
    }

    /// Looks at the part from elsewhere.
    pub fn observer(&self) -> Observer {
        self.running.observer()
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
        })
    }
}
