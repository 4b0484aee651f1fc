//! The demo run: three nodes in one process, linked over QUIC on loopback with mutual TLS.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use mcpbus::AckLevel;
use mcpbus::client::{
    Client, ClientConfig, ConnectError, Delivery, Publication, SubscribeError, SubscribeOptions,
    Subscription,
};
use mcpbus::codec::{BincodeCodec, Codec as _, EncodeError};
use mcpbus::identity::{AuthorityError, IssueError, LocalAuthority};
use mcpbus::node::{Node, NodeBuilder, NodeLedger, StartError};
use mcpbus::policy::PolicyFactory;
use mcpbus::routing::{Pattern, Route, RouteTable};
use mcpbus_actors::channel::{Capacity, Receiver, Sender};
use mcpbus_actors::mcp::Triad;
use mcpbus_actors::topology::{self, Observer, Running, Topology};
use mcpbus_actors::{Clock as _, Key, Ledger, SystemClock};

use super::generator::{Generator, GeneratorSpec};
use super::payment::Payment;
use super::picture::{
    Bar, Event as PictureEvent, Events as PictureEvents, Progress, Sample, present,
};
use super::report::EndToEnd;
use super::risk::Version;
use super::stages::{Join, Live, MAX_BODY, Risk, Source, decode_row, read_rows};
use super::totals::Totals;
use crate::run::{Event, Events};
use crate::stages::lines::{LineSource, LinesError, LinesSpec};

/// Messages between two stages, and in a subscription's window.
const EDGE: usize = 4096;
/// How long nodes may take to find each other.
const MEET: Duration = Duration::from_secs(10);
/// How long what is under way may take at the end.
const DRAIN: Duration = Duration::from_secs(60);
/// How often the run is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How often it is looked whether everything has arrived.
const SOON: Duration = Duration::from_millis(5);
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

/// The demo did not start.
#[derive(Debug)]
pub enum DemoError {
    /// The certificate authority of the user cannot be used.
    Authority(AuthorityError),
    /// An identity cannot be issued.
    Issue(IssueError),
    /// A node did not start.
    Node(StartError),
    /// A client did not find its own node.
    Connect(ConnectError),
    /// A subscription did not come about.
    Subscribe(SubscribeError),
    /// A topology did not start.
    Topology(topology::StartError),
    /// The input cannot be opened.
    Input(LinesError),
    /// The nodes did not find each other in time.
    Meet,
    /// The demo's own set-up is wrong.
    Setup(&'static str),
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authority(error) => error.fmt(f),
            Self::Issue(error) => error.fmt(f),
            Self::Node(error) => error.fmt(f),
            Self::Connect(error) => error.fmt(f),
            Self::Subscribe(error) => error.fmt(f),
            Self::Topology(error) => error.fmt(f),
            Self::Input(error) => error.fmt(f),
            Self::Meet => write!(f, "the three nodes did not find each other within {MEET:?}"),
            Self::Setup(what) => write!(f, "the demo cannot be set up: {what}"),
        }
    }
}

impl std::error::Error for DemoError {}

/// Runs the demo to its end. `interrupted` stops the source; everything under way is still handled.
///
/// # Errors
/// [`DemoError`] when it could not start.
pub async fn run(
    options: &DemoOptions,
    authority: &LocalAuthority,
    interrupted: impl Future<Output = ()>,
) -> Result<DemoOutcome, DemoError> {
    let clock = SystemClock::new();
    let live = Live::default();
    let events = Events::default();
    let mesh = Mesh::start(options, authority).await?;
    let risk = RiskSide::start(&mesh.risk, clock, &live).await?;
    let ingest_client = mesh
        .ingest
        .client(config("ingest"))
        .await
        .map_err(DemoError::Connect)?;
    wait_for_subscribers(&ingest_client).await?;
    let mut ingest = source(options, clock, &live, &events)?
        .start()
        .map_err(DemoError::Topology)?;
    let payments = ingest
        .take_output::<Payment>("payments")
        .ok_or(DemoError::Setup("no output"))?;
    let start = clock.now();
    let mut publishing = tokio::spawn(publish(payments, ingest_client.clone()));
    let picture = Watch {
        live: &live,
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

fn config(name: &str) -> ClientConfig {
    ClientConfig {
        name: name.to_owned(),
        flow_messages: EDGE,
        ..ClientConfig::default()
    }
}

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
struct Mesh {
    ingest: Node,
    router: Node,
    risk: Node,
}

impl Mesh {
    async fn start(options: &DemoOptions, authority: &LocalAuthority) -> Result<Self, DemoError> {
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
    async fn wait_until_empty(&self) {
        for node in [&self.ingest, &self.router, &self.risk] {
            while node.ledger().await.is_some_and(|ledger| ledger.held > 0) {
                tokio::time::sleep(SOON).await;
            }
        }
    }

    async fn shutdown(self) -> Vec<NodeLedger> {
        let mut ledgers = Vec::new();
        for node in [self.ingest, self.router, self.risk] {
            ledgers.extend(node.shutdown(Duration::from_secs(2)).await);
        }
        ledgers
    }
}

async fn wait_for_subscribers(client: &Client) -> Result<(), DemoError> {
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

/// The ingest node's topology: generator or file, then the open port `payments`.
fn source(
    options: &DemoOptions,
    clock: SystemClock,
    live: &Live,
    events: &Events,
) -> Result<Topology, DemoError> {
    let mut topology = Topology::new("ingest");
    topology
        .clock(clock)
        .default_capacity(Capacity::messages(EDGE));
    let payments = match &options.input {
        None => {
            let spec = GeneratorSpec {
                count: options.messages,
                seed: options.seed,
                ..GeneratorSpec::default()
            };
            topology.produce(
                "generator",
                Source::new(Generator::new(&spec), live.clone()),
            )
        }
        Some(path) => {
            let spec = LinesSpec {
                path: path.clone(),
                header: true,
                follow: false,
                max_line: 1 << 20,
            };
            let source = LineSource::open(spec).map_err(DemoError::Input)?;
            let (live, events) = (live.clone(), events.clone());
            let rows = topology.produce_blocking("rows", move |emitter| {
                read_rows(source, &emitter, clock, &live, &events)
            });
            topology.process("decode", rows, decode_row)
        }
    };
    topology.output("payments", payments);
    Ok(topology)
}

/// Publishes payments until the source ends.
async fn publish(mut payments: Receiver<Payment>, client: Client) -> Result<(), String> {
    use std::fmt::Write as _;
    let publisher = client.publisher(AckLevel::Accepted);
    let mut subject = String::new();
    while let Some(payment) = payments.recv().await {
        subject.clear();
        // Writing to a String cannot fail.
        let _infallible = write!(subject, "{SUBJECT}.{}", payment.account);
        let mut body = Vec::with_capacity(64);
        let encoded: Result<(), EncodeError> = BincodeCodec.encode(&payment, MAX_BODY, &mut body);
        encoded.map_err(|error| error.to_string())?;
        let message = Publication::new(subject.as_str(), body)
            .key(Key::from_bytes(&subject.as_bytes()[SUBJECT.len() + 1..]));
        publisher
            .publish(message)
            .await
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The risk node's side: two subscriptions into a topology that ends in totals.
struct RiskSide {
    client: Client,
    running: Running,
    totals: Receiver<Totals>,
    stop: tokio::sync::watch::Sender<bool>,
    feeds: Vec<tokio::task::JoinHandle<()>>,
}

impl RiskSide {
    async fn start(node: &Node, clock: SystemClock, live: &Live) -> Result<Self, DemoError> {
        let client = node
            .client(config("risk"))
            .await
            .map_err(DemoError::Connect)?;
        let mut topology = Topology::new("risk");
        topology
            .clock(clock)
            .default_capacity(Capacity::messages(EDGE));
        let mut assessed = Vec::new();
        for version in [Version::One, Version::Two] {
            let deliveries = topology.input::<Delivery>(version.group());
            assessed.push(topology.process(
                &format!("{}.assess", version.group()),
                deliveries,
                Risk::new(version, live),
            ));
        }
        let totals = topology.aggregate_with("totals", assessed, Join::default);
        topology.output("result", totals);
        let mut running = topology.start().map_err(DemoError::Topology)?;
        let totals = running
            .take_output::<Totals>("result")
            .ok_or(DemoError::Setup("no totals"))?;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut feeds = Vec::new();
        for version in [Version::One, Version::Two] {
            let options = SubscribeOptions::default()
                .group(version.group())
                .window_messages(EDGE as u64);
            let mut subscription = client
                .subscribe(ROUTED, options)
                .map_err(DemoError::Subscribe)?;
            subscription
                .ready(MEET)
                .await
                .map_err(DemoError::Subscribe)?;
            let sender = running
                .take_input::<Delivery>(version.group())
                .ok_or(DemoError::Setup("no input"))?;
            feeds.push(tokio::spawn(feed(subscription, sender, stopped.clone())));
        }
        Ok(Self {
            client,
            running,
            totals,
            stop,
            feeds,
        })
    }

    async fn end(mut self, failure: &mut Option<String>) -> (Totals, Ledger) {
        self.stop.send_replace(true);
        for feed in self.feeds {
            // A feed that panicked has dropped its deliveries, and the ledger shows them.
            let _ended = feed.await;
        }
        self.running.begin_drain();
        let totals = self.totals.recv().await.unwrap_or_default();
        let ledger = match self.running.wait().await {
            Ok(report) => report.ledger,
            Err(error) => {
                failure.get_or_insert(error.to_string());
                self.running.ledger()
            }
        };
        self.client.close(Duration::from_secs(2)).await;
        (totals, ledger)
    }
}

/// Moves deliveries into the topology as they are; the stage acknowledges them.
async fn feed(
    mut subscription: Subscription,
    sender: Sender<Delivery>,
    mut stop: tokio::sync::watch::Receiver<bool>,
) {
    loop {
        let delivery = tokio::select! {
            biased;
            delivery = subscription.next() => delivery,
            () = crate::run::bus::stopped(&mut stop) => return,
        };
        let Some(delivery) = delivery else { return };
        if sender.send(delivery).await.is_err() {
            return;
        }
    }
}

/// What the live picture looks at.
struct Watch<'a> {
    live: &'a Live,
    clock: SystemClock,
    risk: Observer,
    ingest: Observer,
}

/// There is no value of it: what returns it never returns.
enum Never {}

impl Watch<'_> {
    /// Draws until it is dropped, and hears the interruption meanwhile.
    async fn watch(&self, options: &DemoOptions, interrupt: impl Future<Output = ()>) -> Never {
        let total = if options.input.is_some() {
            0
        } else {
            options.messages
        };
        let model = Progress {
            total,
            ..Progress::default()
        };
        let triad = Triad::on_tasks(model, present, Capacity::messages(16))
            .ok()
            .filter(|_| options.picture);
        if let Some(triad) = &triad {
            // Without a picture the run is the same.
            let _no_picture = triad.attach(Bar::new());
        }
        let mut controller = PictureEvents;
        let start = self.clock.now();
        let mut drained = false;
        tokio::pin!(interrupt);
        loop {
            let event = tokio::select! {
                () = &mut interrupt, if !drained => {
                    drained = true;
                    tracing::info!("interrupted: what is under way is still handled");
                    PictureEvent::Interrupted
                }
                () = tokio::time::sleep(LOOK) => PictureEvent::Sampled(self.sample(start)),
            };
            if let Some(triad) = &triad {
                // The model ends only with the triad.
                let _model_is_there = triad.control(&mut controller, event).await;
            }
        }
    }

    fn sample(&self, start: mcpbus_actors::Time) -> Sample {
        use std::sync::atomic::Ordering::Relaxed;
        let reports = [self.ingest.report(), self.risk.report()];
        let queues = reports.iter().flat_map(|report| &report.edges);
        Sample {
            elapsed: self.clock.now().saturating_since(start),
            made: self.live.made.load(Relaxed),
            assessed: [
                self.live.assessed[0].load(Relaxed),
                self.live.assessed[1].load(Relaxed),
            ],
            queues: queues
                .map(|edge| (edge.name.clone(), edge.queued_messages as u64))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use mcpbus::identity::KeyAlgorithm;
    use mcpbus::policy::{destination_id, rendezvous};

    use super::*;

    async fn demo(messages: u64, sticky: bool) -> DemoOutcome {
        let folder = tempfile::tempdir().unwrap();
        let authority =
            LocalAuthority::create(folder.path(), KeyAlgorithm::default(), SystemTime::now())
                .unwrap();
        let options = DemoOptions {
            messages,
            seed: 7,
            sticky,
            input: None,
            picture: false,
        };
        let outcome = run(&options, &authority, std::future::pending())
            .await
            .unwrap();
        assert_eq!(outcome.failure, None);
        assert_eq!(outcome.ledger.residual(), 0);
        assert_eq!(
            (outcome.ledger.accepted, outcome.ledger.delivered),
            (messages, messages)
        );
        outcome
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_account_stays_with_the_version_that_the_documented_hash_gives_it() {
        let outcome = demo(30_000, true).await;
        let totals = &outcome.totals;
        assert_eq!(totals.out_of_order(), 0);
        for (account, total) in totals.accounts() {
            let key = Key::from_bytes(account.to_string().as_bytes());
            let groups = [
                (destination_id("risk-v1"), 80),
                (destination_id("risk-v2"), 20),
            ];
            let wanted = rendezvous(key.value(), groups).unwrap();
            assert_eq!(
                [total.was_assessed_by(1), total.was_assessed_by(2)],
                [wanted == 0, wanted == 1],
                "account {account}"
            );
        }
        let accounts = totals.accounts().len() as f64;
        let deviation = (accounts * 0.8 * 0.2).sqrt();
        let off = (totals.accounts_of(1) as f64 - accounts * 0.8).abs();
        assert!(
            off <= 3.0 * deviation,
            "{off} accounts away from four fifths"
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn without_stickiness_the_split_is_exact() {
        let outcome = demo(10_000, false).await;
        assert!((7_999..=8_001).contains(&outcome.totals.messages_of(1)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_interruption_drains() {
        let folder = tempfile::tempdir().unwrap();
        let authority =
            LocalAuthority::create(folder.path(), KeyAlgorithm::default(), SystemTime::now())
                .unwrap();
        let options = DemoOptions {
            messages: u64::MAX >> 1,
            seed: 7,
            sticky: true,
            input: None,
            picture: false,
        };
        let interrupted = tokio::time::sleep(Duration::from_millis(300));
        let outcome = run(&options, &authority, interrupted).await.unwrap();
        assert_eq!(outcome.failure, None);
        assert_eq!(outcome.ledger.residual(), 0);
        assert_eq!((outcome.ledger.held, outcome.ledger.dead), (0, 0));
    }
}
