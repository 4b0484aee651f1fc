//! Nodes and clients, over loopback QUIC with mutual TLS or inside the process.

use mcpbus::client::{Client, ClientConfig, SubscribeOptions, Subscription};
use mcpbus::identity::{Credentials, LocalAuthority};
use mcpbus::node::{Node, NodeBuilder};
use mcpbus::policy::PolicyFactory;
use mcpbus::routing::{Route, RouteGuards, RouteTable};
use mcpbus_benches::failed::Failed;
use serde::Serialize;
use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};
use tokio::runtime::{Builder, Handle, Runtime};

const WAIT: Duration = Duration::from_secs(10);

/// What leads from clients to the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Links {
    /// UDP on this machine with mutual TLS; each client has a thread of its own.
    #[default]
    Quic,
    /// Memory; the clients are on the node's thread.
    Memory,
}

/// Where everything runs.
pub(crate) struct World {
    runtime: Runtime,
    links: Links,
    authority: LocalAuthority,
    /// Goes when the bench ends.
    _directory: tempfile::TempDir,
}

/// A node that runs.
pub(crate) struct RunningNode<'a> {
    world: &'a World,
    links: Links,
    node: Node,
}

impl World {
    pub(crate) fn new(links: Links) -> Result<Self, Failed> {
        let directory = tempfile::tempdir().map_err(Failed::at("a directory"))?;
        let authority = LocalAuthority::open_or_create(directory.path(), SystemTime::now())
            .map_err(Failed::at("an authority"))?;
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build();
        Ok(Self {
            runtime: runtime.map_err(Failed::at("a runtime"))?,
            links,
            authority,
            _directory: directory,
        })
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    pub(crate) fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    fn credentials(&self, name: &str) -> Result<Credentials, Failed> {
        self.authority
            .credentials(name, SystemTime::now())
            .map_err(Failed::at("credentials"))
    }

    /// A node with one route, over the links that were asked for.
    pub(crate) fn node(&self, route: Route) -> Result<RunningNode<'_>, Failed> {
        self.node_over(self.links, route)
    }

    pub(crate) fn node_over(&self, links: Links, route: Route) -> Result<RunningNode<'_>, Failed> {
        let routes = RouteTable::new(vec![route]).map_err(Failed::at("the route"))?;
        let mut builder = NodeBuilder::named("router").configure(|config| config.routes = routes);
        if links == Links::Quic {
            builder = builder
                .credentials(self.credentials("router")?)
                .listen(SocketAddr::from(([127, 0, 0, 1], 0)));
        }
        let node = self.wait(builder.start());
        Ok(RunningNode {
            world: self,
            links,
            node: node.map_err(Failed::at("the node"))?,
        })
    }
}

impl RunningNode<'_> {
    pub(crate) fn client(&self, name: &str) -> Result<Client, Failed> {
        let config = ClientConfig {
            name: name.to_owned(),
            ..ClientConfig::default()
        };
        let client = match (self.links, self.node.address()) {
            (Links::Quic, Some(address)) => {
                let credentials = self.world.credentials(name)?;
                let address = address.to_string();
                self.world
                    .wait(Client::connect(&address, &credentials, config))
            }
            _ => self.world.wait(self.node.client(config)),
        };
        client.map_err(Failed::at(name))
    }

    /// A subscription that the node knows of. A message that is given back is not handed out again.
    pub(crate) fn subscribe(
        &self,
        client: &Client,
        pattern: &str,
        group: &str,
        window: Option<u64>,
    ) -> Result<Subscription, Failed> {
        let options = SubscribeOptions {
            window_messages: window,
            ..SubscribeOptions::default().group(group).max_deliver(1)
        };
        let mut subscription = client
            .subscribe(pattern, options)
            .map_err(Failed::at("a subscription"))?;
        self.world
            .wait(subscription.ready(WAIT))
            .map_err(Failed::at("a subscription"))?;
        Ok(subscription)
    }

    /// Ends the node. What is still on its way is in nobody's ledger any more, what was accepted is.
    pub(crate) fn end(self) -> Result<(), Failed> {
        let ledger = self.world.wait(self.node.shutdown(Duration::ZERO));
        let ledger =
            ledger.ok_or_else(|| Failed::new("the node", "it ended before it was told"))?;
        match ledger.residual() {
            0 => Ok(()),
            residual => Err(Failed::new(
                "the node's ledger",
                format!("residual {residual}"),
            )),
        }
    }
}

/// A route to groups of the same weight.
pub(crate) fn route(
    pattern: &str,
    policy: &str,
    groups: &[&str],
    guards: RouteGuards,
) -> Result<Route, Failed> {
    let policy = PolicyFactory::named(policy).map_err(Failed::at("the policy"))?;
    let pattern = pattern.parse().map_err(Failed::at("the pattern"))?;
    let route = Route::new(pattern, policy).guards(guards);
    Ok(groups.iter().fold(route, |route, group| route.to(group, 1)))
}
