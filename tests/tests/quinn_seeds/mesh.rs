//! Nodes, links and clients on one thread under virtual time.

use super::draw::{End, Plan, Shape, Work, draw};
use super::log::Entry;
use super::record::Recorded;
use super::traffic::{Done, Go, Shared, pause, work};
use super::verdict::{expected, judge};
use mcpbus::client::{Client, ClientConfig, ClientStats, ConnectError};
use mcpbus::identity::{Credentials, Identity, KeyAlgorithm, LocalAuthority, Validity};
use mcpbus_transport::bridge::Hub;
use mcpbus_transport::clock::RuntimeClock;
use mcpbus_transport::link::Link as _;
use mcpbus_transport::link::quic::{MemoryNetwork, QuicConfig, QuicEndpoint};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};
use tokio::task::LocalSet;
use tokio::time::Instant;

/// How long everything may take until clients are connected, and from the first message until all is done: virtual time.
const CONNECT: Duration = Duration::from_secs(120);
const FINISH: Duration = Duration::from_secs(300);
/// How long what should not come is waited for.
const QUIET: Duration = Duration::from_secs(2);

/// What a run came to, where all was well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Hash of when which datagrams were sent from where to where.
    pub(crate) trace: u64,
    /// Virtual time.
    pub(crate) took: Duration,
    pub(crate) messages: usize,
    pub(crate) deliveries: usize,
    /// Datagrams that were lost, damaged, dropped by a cut or by a full queue.
    pub(crate) harmed: u64,
}

/// A run: what was wrong, and the logs of its nodes.
pub(crate) struct Run {
    pub(crate) outcome: Outcome,
    pub(crate) wrong: Vec<String>,
    pub(crate) logs: Vec<Vec<Entry>>,
}

/// Identities of everybody, made once. Their certificates are equally long, so that a seed is a run in any process.
fn credentials(name: &str) -> Credentials {
    static ALL: OnceLock<BTreeMap<String, Credentials>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let make = || -> Result<BTreeMap<String, Credentials>, Box<dyn std::error::Error>> {
            let (place, now) = (tempfile::tempdir()?, SystemTime::now());
            let authority = LocalAuthority::create(place.path(), KeyAlgorithm::Ed25519, now)?;
            let mut all = BTreeMap::new();
            let nodes = (0..3).map(|number| End::Node(number).name());
            for name in nodes.chain((0..5).map(|number| End::Client(number).name())) {
                let issue =
                    || authority.issue(&name, KeyAlgorithm::Ed25519, Validity::identity_from(now));
                let length =
                    |identity: &Identity| identity.chain_pem().matches(|sign| sign != '=').count();
                // One in 128 serial numbers is a byte shorter.
                let mut identity = issue()?;
                for _ in 0..3 {
                    let other = issue()?;
                    if length(&other) > length(&identity) {
                        identity = other;
                    }
                }
                let trust = authority.trust()?;
                all.insert(name, Credentials { identity, trust });
            }
            Ok(all)
        };
        make().unwrap_or_else(|error| panic!("no identities: {error}"))
    });
    all[name].clone()
}

type Panics = Rc<RefCell<Vec<String>>>;

/// Spawns a task whose panic is told.
fn spawn(panics: &Panics, future: impl Future<Output = ()> + 'static) {
    let panics = panics.clone();
    let task = tokio::task::spawn_local(future);
    tokio::task::spawn_local(async move {
        if let Err(error) = task.await
            && error.is_panic()
        {
            let panic = error.into_panic();
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
            panics.borrow_mut().push(text.unwrap_or_default());
        }
    });
}

/// A network without anybody on it.
pub(crate) struct Mesh {
    pub(crate) network: MemoryNetwork,
    clock: RuntimeClock,
    seed: u64,
    panics: Panics,
}

impl Mesh {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            network: MemoryNetwork::new(seed),
            clock: RuntimeClock::new(),
            seed,
            panics: Panics::default(),
        }
    }

    fn endpoint(&self, end: End) -> QuicEndpoint {
        let address = end.address();
        let seed = self.seed ^ u64::from(address.port()) << 32;
        let credentials = credentials(&end.name());
        let config = QuicConfig::default();
        QuicEndpoint::on_network(&self.network, address, &credentials, config, seed)
            .unwrap_or_else(|error| panic!("{}: {error}", end.name()))
    }

    /// A node as the library runs one, except that its calls are recorded.
    pub(crate) fn node(&self, plan: &Plan, node: usize) -> Hub<Recorded> {
        let config = plan.nodes[node].clone();
        let lanes = config.session.lanes;
        let hub = Hub::new(Recorded::new(config), self.clock);
        let endpoint = Rc::new(self.endpoint(End::Node(node)));
        let timer = hub.clone();
        spawn(&self.panics, async move { timer.run_timer().await });
        let (accepting, at, panics) = (hub.clone(), endpoint.clone(), self.panics.clone());
        spawn(&self.panics, async move {
            while let Ok(link) = at.accept().await {
                let identity = link.peer().name.clone();
                let attached = accepting.attach(link, lanes, move |owner, handle, now| {
                    owner.accepted(handle, &identity, now);
                });
                spawn(&panics, attached);
            }
        });
        let dialed = plan.links.iter().filter(|(dialer, _)| *dialer == node);
        for (index, (_, acceptor)) in dialed.enumerate() {
            let (hub, endpoint) = (hub.clone(), endpoint.clone());
            let to = End::Node(*acceptor).address();
            spawn(&self.panics, async move {
                loop {
                    if let Ok(link) = endpoint.dial(to, None).await {
                        let identity = link.peer().name.clone();
                        hub.attach(link, lanes, |owner, handle, now| {
                            owner.dialed(handle, index, &identity, now);
                        })
                        .await;
                        hub.with(|owner, now| owner.take_refused_dial(index, now));
                    }
                    pause(Duration::from_millis(100)).await;
                }
            });
        }
        hub
    }
}

/// Runs one seed.
pub(crate) fn run(shape: &Shape, seed: u64) -> Run {
    in_virtual_time(play(draw(shape, seed)))
}

/// Runs on one thread whose clock goes on when nobody has anything to do.
pub(crate) fn in_virtual_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap_or_else(|error| panic!("no runtime: {error}"));
    LocalSet::new().block_on(&runtime, future)
}

/// A client of a node, which must be there.
pub(crate) async fn connect(mesh: &Mesh, plan: &Plan, place: usize, home: usize) -> Client {
    let connected = try_connect(mesh.endpoint(End::Client(place)), plan, place, home).await;
    connected.unwrap_or_else(|error| panic!("{}: {error}", End::Client(place).name()))
}

fn try_connect(
    endpoint: QuicEndpoint,
    plan: &Plan,
    place: usize,
    home: usize,
) -> impl Future<Output = Result<Client, ConnectError>> + 'static {
    let config = ClientConfig {
        name: End::Client(place).name(),
        session: plan.session.clone(),
        connect_timeout: CONNECT,
        ..ClientConfig::default()
    };
    let home = End::Node(home).address();
    let seed = plan.seed ^ (place as u64 + 1) << 48;
    Client::connect_simulated(endpoint, home, config, seed)
}

async fn play(plan: Plan) -> Run {
    let mesh = Mesh::new(plan.seed);
    let mut wrong = Vec::new();
    for ((one, other), [there, back]) in &plan.impairments {
        let (one, other) = (one.address(), other.address());
        for (from, to, config) in [(one, other, there), (other, one, back)] {
            if let Err(error) = mesh.network.impair(from, to, config.clone()) {
                wrong.push(error.to_string());
            }
        }
    }
    let began = Instant::now();
    let hubs: Vec<Hub<Recorded>> = (0..plan.nodes.len())
        .map(|node| mesh.node(&plan, node))
        .collect();
    // A subscription is ready when all nodes that can be reached know of it; so all can be, before there are any.
    let joined = |hub: &Hub<Recorded>| {
        let report = hub.with(|owner, now| owner.core.report(now));
        report.peers.iter().filter(|peer| peer.live).count()
    };
    let met = || hubs.iter().map(joined).sum::<usize>() == 2 * plan.links.len();
    if !until(CONNECT, met).await {
        wrong.push(String::from("the nodes have not met in time"));
    }
    let go = Rc::new(Go::default());
    let dones: Vec<Shared> = plan.clients.iter().map(|_| Shared::default()).collect();
    let clients: Rc<RefCell<Vec<Client>>> = Rc::default();
    for (place, (client, done)) in plan.clients.iter().zip(&dones).enumerate() {
        let endpoint = mesh.endpoint(End::Client(place));
        let connected = try_connect(endpoint, &plan, place, client.home);
        let (task, done, go) = (client.work.clone(), done.clone(), go.clone());
        let clients = clients.clone();
        spawn(&mesh.panics, async move {
            match connected.await {
                Ok(client) => {
                    clients.borrow_mut().push(client.clone());
                    work(client, place, task, done, go).await;
                }
                Err(error) => done.borrow_mut().wrong.push(error.to_string()),
            }
        });
    }
    let stopped = || {
        !mesh.panics.borrow().is_empty() || dones.iter().any(|done| !done.borrow().wrong.is_empty())
    };
    let ready = || stopped() || dones.iter().all(|done| done.borrow().ready);
    if !until(CONNECT, ready).await {
        wrong.push(String::from("not all clients were ready in time"));
    }
    for cut in plan.cuts.clone() {
        let network = mesh.network.clone();
        spawn(&mesh.panics, async move {
            pause(cut.after).await;
            network.cut(cut.ends.0.address(), cut.ends.1.address(), cut.time);
        });
    }
    go.say();
    let due = expected(&plan);
    let settled = || {
        let dones: Vec<_> = dones.iter().map(|done| done.borrow()).collect();
        let held = |hub: &Hub<Recorded>| hub.with(|owner, _| owner.core.ledger().held);
        dones.iter().all(|done| done.is_answered())
            && dones.iter().map(|done| done.got.len()).sum::<usize>() >= due
            && hubs.iter().map(held).sum::<u64>() == 0
    };
    if wrong.is_empty() && !until(FINISH, || stopped() || settled()).await {
        wrong.push(format!("not done within {FINISH:?} of virtual time"));
        wrong.extend(
            hubs.iter()
                .map(|hub| hub.with(|owner, now| format!("{:?}", owner.core.report(now)))),
        );
    }
    let took = began.elapsed();
    pause(QUIET).await;
    let stats: Vec<ClientStats> = clients.borrow().iter().map(Client::stats).collect();
    let ledgers = hubs
        .iter()
        .map(|hub| hub.with(|owner, _| owner.core.ledger()));
    let dones: Vec<Done> = dones.iter().map(|done| done.take()).collect();
    wrong.extend(
        mesh.panics
            .take()
            .into_iter()
            .map(|text| format!("panicked: {text}")),
    );
    wrong.extend(judge(&plan, &dones, &ledgers.collect::<Vec<_>>(), &stats));
    let outcome = Outcome {
        trace: mesh.network.trace(),
        took,
        messages: dones.iter().map(|done| done.results.len()).sum(),
        deliveries: dones.iter().map(|done| done.got.len()).sum(),
        harmed: harmed(&mesh.network, &plan),
    };
    let logs = hubs
        .iter()
        .map(|hub| hub.with(|owner, _| std::mem::take(&mut owner.log)));
    Run {
        outcome,
        wrong,
        logs: logs.collect(),
    }
}

/// Waits for a condition, in virtual time; false when it did not come true.
async fn until(most: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + most;
    while !condition() {
        if Instant::now() >= end {
            return false;
        }
        pause(Duration::from_millis(50)).await;
    }
    true
}

fn harmed(network: &MemoryNetwork, plan: &Plan) -> u64 {
    let mut harmed = 0;
    for ((one, other), _) in &plan.impairments {
        let (one, other) = (one.address(), other.address());
        for (from, to) in [(one, other), (other, one)] {
            let counts = network.counts(from, to);
            harmed += counts.lost + counts.lost_in_bursts + counts.corrupted;
            harmed += counts.cut + counts.queue_full;
        }
    }
    harmed
}

/// How many messages a plan publishes.
pub(crate) fn published(plan: &Plan) -> usize {
    let messages = plan.clients.iter().map(|client| match &client.work {
        Work::Publish { messages, .. } => messages.len(),
        Work::Subscribe { .. } => 0,
    });
    messages.sum()
}
