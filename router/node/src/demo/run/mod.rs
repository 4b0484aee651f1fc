//! The demo run: three nodes in one process, linked over QUIC on loopback with mutual TLS.
//!
//! * `mesh`: the three nodes;
//! * `ingest`: where payments come from and how they are published;
//! * `risk_side`: where they are assessed and added up;
//! * `watch`: looking at the run meanwhile;
//! * `error`: why it did not start.

mod error;
mod ingest;
mod mesh;
mod risk_side;
mod watch;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use mcpbus::client::ClientConfig;
use mcpbus::identity::LocalAuthority;
use mcpbus::node::NodeLedger;
use mcpbus_actors::{Clock as _, Ledger, SystemClock};

use self::ingest::{publish, source};
use self::mesh::{Mesh, wait_for_subscribers};
use self::risk_side::RiskSide;
use self::watch::Watch;
use super::report::EndToEnd;
use super::stages::Live;
use super::totals::Totals;
use crate::payments::Payment;
use crate::run::{Event, Events};

pub use self::error::DemoError;

/// Messages between two stages, and in a subscription's window.
const EDGE: usize = 4096;
/// How long nodes may take to find each other.
const MEET: Duration = Duration::from_secs(10);
/// How long what is under way may take at the end.
const DRAIN: Duration = Duration::from_secs(60);
const SUBJECT: &str = "bank.tx";
const ROUTED: &str = "bank.tx.*";

/// What the demo is told.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Payments to generate.
    pub messages: u64,
    /// The seed of the generator.
    pub seed: u64,
    /// An account always goes to the same version.
    pub sticky: bool,
    /// The bank's file instead of the generator; `-` is standard input.
    pub input: Option<PathBuf>,
    /// Draw the live picture.
    pub picture: bool,
}

/// What the demo has shown.
#[derive(Debug)]
pub struct DemoOutcome {
    /// The ledger from source to aggregator.
    pub ledger: EndToEnd,
    /// The totals.
    pub totals: Totals,
    /// From the first payment to the last, in seconds.
    pub seconds: f64,
    /// Why the run failed, if something did.
    pub failure: Option<String>,
}

/// Runs the demo to its end. `interrupted` stops the source; everything under way is still handled.
///
/// # Errors
/// [`DemoError`] when it could not start.
pub async fn run(
    options: &DemoOptions,
    authority: &LocalAuthority,
    interrupted: impl Future<Output = ()>,
) -> Result<DemoOutcome, DemoError> {
    run_seen(options, authority, &Live::default(), interrupted).await
}

/// As [`run`], with counts that the caller can see during the run.
async fn run_seen(
    options: &DemoOptions,
    authority: &LocalAuthority,
    live: &Live,
    interrupted: impl Future<Output = ()>,
) -> Result<DemoOutcome, DemoError> {
    let clock = SystemClock::new();
    let events = Events::default();
    let mesh = Mesh::start(options, authority).await?;
    let risk = RiskSide::start(&mesh.risk, clock, live).await?;
    let ingest_client = mesh
        .ingest
        .client(client_config("ingest"))
        .await
        .map_err(DemoError::Connect)?;
    wait_for_subscribers(&ingest_client).await?;
    let mut ingest = source(options, clock, live, &events)?
        .start()
        .map_err(DemoError::Topology)?;
    let payments = ingest
        .take_output::<Payment>("payments")
        .ok_or(DemoError::Setup("no output"))?;
    let start = clock.now();
    let mut publishing = tokio::spawn(publish(payments, ingest_client.clone()));
    let picture = Watch {
        live,
        clock,
        risk: risk.running.observer(),
        ingest: ingest.observer(),
    };
    let mut failure = None;
    let interrupt = async {
        interrupted.await;
        ingest.begin_drain();
    };
    {
        let watch = picture.watch(options, interrupt);
        tokio::pin!(watch);
        let published = tokio::select! {
            published = &mut publishing => published,
            never = &mut watch => match never {},
        };
        match published {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failure = Some(error),
            Err(_) => failure = Some("the publisher has ended early".to_owned()),
        }
        let arrived = async {
            ingest_client.flush(DRAIN).await;
            mesh.wait_until_empty().await;
        };
        tokio::select! {
            result = tokio::time::timeout(DRAIN, arrived) => {
                if result.is_err() {
                    failure.get_or_insert(format!("not everything had arrived after {DRAIN:?}"));
                }
            }
            never = &mut watch => match never {},
        }
    }
    let seconds = clock.now().saturating_since(start).as_secs_f64();
    let source_ledger = match ingest.drain().await {
        Ok(report) => report.ledger,
        Err(error) => {
            failure.get_or_insert(error.to_string());
            ingest.ledger()
        }
    };
    let (totals, risk_ledger) = risk.end(&mut failure).await;
    ingest_client.close(Duration::from_secs(2)).await;
    let nodes = mesh.shutdown().await;
    if let Some(Event::Failed { stage, reason }) = events.first() {
        failure = Some(format!("{stage}: {reason}"));
    }
    let ledger = end_to_end(&source_ledger, &risk_ledger, &nodes, totals.payments());
    Ok(DemoOutcome {
        ledger,
        totals,
        seconds,
        failure,
    })
}

/// Counts from the source to the aggregator: what was taken in at the first edge, what the aggregator has added, and
/// every other end wherever it happened.
fn end_to_end(source: &Ledger, risk: &Ledger, nodes: &[NodeLedger], delivered: u64) -> EndToEnd {
    let accepted = source.edges.first().map_or(0, |edge| edge.counts.accepted);
    let (source, risk) = (source.total(), risk.total());
    let sum = |of: fn(&NodeLedger) -> u64| nodes.iter().map(of).sum::<u64>();
    EndToEnd {
        accepted,
        delivered,
        dead: source.dead.total() + risk.dead.total() + sum(|node| node.dead.values().sum()),
        expired: source.expired + risk.expired + sum(|node| node.expired),
        shed: source.shed.total() + risk.shed.total() + sum(|node| node.shed.values().sum()),
        cancelled: source.cancelled + risk.cancelled + sum(|node| node.cancelled),
        held: source.held + risk.held + sum(|node| node.held),
        lost: source.lost + risk.lost + sum(|node| node.lost),
    }
}

fn client_config(name: &str) -> ClientConfig {
    ClientConfig {
        name: name.to_owned(),
        flow_messages: EDGE,
        ..ClientConfig::default()
    }
}

#[cfg(test)]
mod tests;
