//! The three nodes: ingest, router and risk, linked over QUIC on loopback.

use std::time::{Duration, SystemTime};

use mcpbus::client::Client;
use mcpbus::identity::LocalAuthority;
use mcpbus::node::{Node, NodeBuilder, NodeLedger};
use mcpbus::policy::PolicyFactory;
use mcpbus::routing::{Pattern, Route, RouteTable};

use super::{DemoError, DemoOptions, MEET, ROUTED, SUBJECT};
use crate::demo::risk::Version;

/// How often it is looked whether everything has arrived.
const SOON: Duration = Duration::from_millis(5);

/// The route: four fifths to version 1, one fifth to version 2.
fn routes(sticky: bool) -> Result<RouteTable, DemoError> {
    let setup = DemoError::Setup("the route is not valid");
    let (Ok(pattern), Ok(policy)) = (Pattern::new(ROUTED), PolicyFactory::named("weighted")) else {
        return Err(setup);
    };
    let route = Route::new(pattern, policy)
        .sticky(sticky)
        .to(Version::One.group(), 80)
        .to(Version::Two.group(), 20);
    RouteTable::new(vec![route]).map_err(|_| setup)
}

/// The three nodes.
pub(super) struct Mesh {
    pub(super) ingest: Node,
    router: Node,
    pub(super) risk: Node,
}

impl Mesh {
    /// Starts the router, then the nodes that dial it.
    pub(super) async fn start(
        options: &DemoOptions,
        authority: &LocalAuthority,
    ) -> Result<Self, DemoError> {
        let now = SystemTime::now();
        let routes = routes(options.sticky)?;
        let builder = |name: &str| {
            let credentials = authority.credentials(name, now).map_err(DemoError::Issue)?;
            Ok(NodeBuilder::named(name).credentials(credentials))
        };
        let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let router = builder("router")?
            .configure(|config| config.routes = routes)
            .listen(loopback)
            .start()
            .await
            .map_err(DemoError::Node)?;
        let address = router
            .address()
            .ok_or(DemoError::Setup("the router has no address"))?
            .to_string();
        let ingest = builder("ingest")?
            .link(address.clone())
            .start()
            .await
            .map_err(DemoError::Node)?;
        let risk = builder("risk")?
            .link(address)
            .start()
            .await
            .map_err(DemoError::Node)?;
        Ok(Self {
            ingest,
            router,
            risk,
        })
    }

    /// Waits until no node holds anything: asked from the first to the last, so that nothing slips through behind.
    pub(super) async fn wait_until_empty(&self) {
        for node in [&self.ingest, &self.router, &self.risk] {
            while node.ledger().await.is_some_and(|ledger| ledger.held > 0) {
                tokio::time::sleep(SOON).await;
            }
        }
    }

    /// Shuts the nodes down; their ledgers in the same order.
    pub(super) async fn shutdown(self) -> Vec<NodeLedger> {
        let mut ledgers = Vec::new();
        for node in [self.ingest, self.router, self.risk] {
            ledgers.extend(node.shutdown(Duration::from_secs(2)).await);
        }
        ledgers
    }
}

/// Waits until the risk side can take payments.
pub(super) async fn wait_for_subscribers(client: &Client) -> Result<(), DemoError> {
    let met = async {
        let subject = format!("{SUBJECT}.0");
        while !client
            .count_subscribers(&subject, Duration::from_secs(1))
            .await
            .is_ok_and(|count| count >= 2)
        {
            tokio::time::sleep(SOON).await;
        }
    };
    tokio::time::timeout(MEET, met)
        .await
        .map_err(|_| DemoError::Meet)
}
