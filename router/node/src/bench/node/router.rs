//! The node of a run.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use mcpbus::identity::Credentials;
use mcpbus::node::{Node, NodeBuilder};
use tokio::sync::mpsc;

use super::child::ChildError;
use super::meter::{self, Count};
use super::plan::Task;
use super::talk::{Notice, Order, tell};

/// Bytes on disk for what is stored and not taken yet.
const SPOOL_BYTES: u64 = 1 << 30;
/// How long the node may take to hand over what it holds.
const EMPTY: Duration = Duration::from_secs(2);

/// Starts a node that listens on loopback, at a port that the system chooses, with the limits that every node has.
pub(super) async fn listen(
    name: &str,
    credentials: &Credentials,
    spool: Option<&Path>,
) -> Result<Node, ChildError> {
    let mut builder = NodeBuilder::named(name)
        .credentials(credentials.clone())
        .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    if let Some(file) = spool {
        builder = builder.spool(file, SPOOL_BYTES);
    }
    let node = builder.start().await.map_err(ChildError::Node)?;
    let address = node.address().map(|address| address.to_string());
    tell(&Notice::Listening {
        address: address.unwrap_or_default(),
    });
    Ok(node)
}

/// Ends the node and tells whether its ledger is balanced.
pub(super) async fn end(node: Node) {
    let ledger = node.shutdown(EMPTY).await;
    tell(&Notice::Routed {
        residual: ledger.map(|ledger| ledger.residual()),
    });
}

/// A node and nothing else.
pub(super) async fn run(
    task: &Task,
    credentials: &Credentials,
    orders: &mut mpsc::Receiver<Order>,
) -> Result<(), ChildError> {
    let node = listen(&task.name, credentials, task.spool.as_deref()).await?;
    while let Some(order) = orders.recv().await {
        match order {
            Order::Start(schedule) => {
                meter::start(schedule, Count::default()).map_err(ChildError::Thread)?;
            }
            Order::Expect { .. } => {}
            Order::End => break,
        }
    }
    end(node).await;
    Ok(())
}
