//! What data costs that should cost nothing, on real links.
//!
//! ```text
//! stress stalled [SECONDS]     99 subscriptions beside one that stalls, and beside one that does not, in turns
//! stress saturated [SECONDS]   round trips on the control lane of links that are full, and of one of 10 Mbit/s
//! ```
//!
//! Prints a table; SECONDS (default 5) is how long each measurement takes.

use mcpbus::AckLevel;
use mcpbus::client::{Client, ClientConfig, Publication, SubscribeOptions};
use mcpbus::identity::LocalAuthority;
use mcpbus::node::{Node, NodeBuilder};
use mcpbus_tests::relay::{RelayImpairment, UdpRelay};
use mcpbus_transport::link::impairment::{ImpairmentConfig, RateLimit};
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::task::JoinSet;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Subscriptions side by side, each with a subject of its own.
const SUBSCRIPTIONS: usize = 100;
/// How often the two forms of a measurement are taken in turns.
const ROUNDS: usize = 3;
/// The pause between two questions on the control lane.
const PAUSE: Duration = Duration::from_millis(20);
/// Bodies that fill a link, in bytes.
const LARGE: usize = 16 * 1024;
const WAIT: Duration = Duration::from_secs(30);

struct Setup {
    authority: LocalAuthority,
    _directory: tempfile::TempDir,
    node: Node,
}

impl Setup {
    async fn new() -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let authority = LocalAuthority::open_or_create(directory.path(), SystemTime::now())?;
        let node = NodeBuilder::named("node")
            .credentials(authority.credentials("node", SystemTime::now())?)
            .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .start()
            .await?;
        Ok(Self {
            authority,
            _directory: directory,
            node,
        })
    }

    fn address(&self) -> Outcome<SocketAddr> {
        Ok(self.node.address().ok_or("the node does not listen")?)
    }

    async fn client(&self, name: &str, address: SocketAddr) -> Outcome<Client> {
        let credentials = self.authority.credentials(name, SystemTime::now())?;
        let address = address.to_string();
        Ok(Client::connect(&address, &credentials, ClientConfig::default()).await?)
    }
}

/// Messages a second that 99 subscriptions got, while one more beside them stalls or does not.
async fn goodput(stalls: bool, time: Duration) -> Outcome<f64> {
    let setup = Setup::new().await?;
    let subscriber = setup.client("subscriber", setup.address()?).await?;
    let publisher = setup.client("publisher", setup.address()?).await?;
    let got = Arc::new(AtomicU64::new(0));
    let mut work = JoinSet::new();
    let mut held = Vec::new();
    for number in 0..SUBSCRIPTIONS {
        let mut subscription =
            subscriber.subscribe(&format!("s.{number}"), SubscribeOptions::default())?;
        subscription.ready(WAIT).await?;
        let counted = (number > 0).then(|| got.clone());
        if number == 0 && stalls {
            held.push(subscription);
            continue;
        }
        work.spawn(async move {
            while let Some(delivery) = subscription.next().await {
                if let Some(got) = &counted {
                    got.fetch_add(1, Ordering::Relaxed);
                }
                delivery.ack();
            }
        });
    }
    for number in 0..SUBSCRIPTIONS {
        let publisher = publisher.publisher(AckLevel::None);
        work.spawn(async move {
            let subject = format!("s.{number}");
            let body = bytes::Bytes::from(vec![7; 256]);
            while publisher
                .publish(Publication::new(subject.clone(), body.clone()))
                .await
                .is_ok()
            {}
        });
    }
    tokio::time::sleep(time / 2).await;
    let (before, begun) = (got.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(time).await;
    let count = got.load(Ordering::Relaxed) - before;
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    work.shutdown().await;
    setup.node.shutdown(Duration::from_secs(1)).await;
    Ok(rate)
}

async fn stalled(time: Duration) -> Outcome<()> {
    println!("messages/s of 99 subscriptions, 256 bytes each, through one node");
    println!("round | beside one that goes on | beside one that stalls | ratio");
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let goes_on = goodput(false, time).await?;
        let stalls = goodput(true, time).await?;
        ratios.push(stalls / goes_on);
        println!(
            "{round} | {goes_on:.0} | {stalls:.0} | {:.3}",
            stalls / goes_on
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.3}", ratios[ROUNDS / 2]);
    Ok(())
}

/// Round trips of questions to the node, which go and are answered on the control lane.
async fn round_trips(client: &Client, time: Duration) -> Outcome<Vec<Duration>> {
    let (begun, mut took) = (Instant::now(), Vec::new());
    while begun.elapsed() < time {
        let asked = Instant::now();
        client.count_subscribers("nobody.here", WAIT).await?;
        took.push(asked.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    took.sort();
    Ok(took)
}

fn show(what: &str, took: &[Duration]) {
    let at = |share: f64| {
        let index = ((took.len() as f64 * share) as usize).min(took.len().saturating_sub(1));
        took.get(index).map_or(f64::NAN, Duration::as_secs_f64) * 1e3
    };
    println!(
        "{what} | {} | {:.2} | {:.2} | {:.2}",
        took.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// A relay to the node through which little goes.
async fn narrow(node: SocketAddr, bytes_per_second: u64) -> Outcome<UdpRelay> {
    let config = ImpairmentConfig {
        delay: Duration::from_millis(5),
        rate: Some(RateLimit {
            bytes_per_second,
            queue_bytes: 64 * 1024,
        }),
        ..ImpairmentConfig::default()
    };
    let impairment = RelayImpairment {
        to_server: config.clone(),
        to_clients: config,
        seed: 1,
    };
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // It sets a runtime of its own up, which must not happen within this one.
    let start = move || UdpRelay::start(listen, node, impairment);
    Ok(tokio::task::spawn_blocking(start).await??)
}

/// A link that is full in both directions: the publisher's towards the node, the subscriber's from it.
async fn saturate(what: &str, rate: Option<u64>, time: Duration) -> Outcome<()> {
    let setup = Setup::new().await?;
    let relay = match rate {
        Some(bytes_per_second) => Some(narrow(setup.address()?, bytes_per_second).await?),
        None => None,
    };
    let address = match &relay {
        Some(relay) => relay.address(),
        None => setup.address()?,
    };
    let publisher = setup.client("publisher", address).await?;
    let subscriber = setup.client("subscriber", address).await?;
    show(
        &format!("{what}: idle"),
        &round_trips(&publisher, time).await?,
    );
    let mut work = JoinSet::new();
    let got = Arc::new(AtomicU64::new(0));
    for number in 0..4 {
        let subject = format!("flood.{number}");
        let mut subscription = subscriber.subscribe(&subject, SubscribeOptions::default())?;
        subscription.ready(WAIT).await?;
        let got = got.clone();
        work.spawn(async move {
            while let Some(delivery) = subscription.next().await {
                got.fetch_add(1, Ordering::Relaxed);
                delivery.ack();
            }
        });
        let publisher = publisher.publisher(AckLevel::None);
        work.spawn(async move {
            let body = bytes::Bytes::from(vec![7; LARGE]);
            while publisher
                .publish(Publication::new(subject.clone(), body.clone()))
                .await
                .is_ok()
            {}
        });
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (before, begun) = (got.load(Ordering::Relaxed), Instant::now());
    let (up, down) = tokio::join!(
        round_trips(&publisher, time),
        round_trips(&subscriber, time)
    );
    let bytes = (got.load(Ordering::Relaxed) - before) * LARGE as u64;
    let rate = bytes as f64 / begun.elapsed().as_secs_f64() / 1e6;
    show(&format!("{what}: full towards the node"), &up?);
    show(&format!("{what}: full from the node"), &down?);
    let links = publisher.stats().reconnects + subscriber.stats().reconnects;
    println!("{what}: {rate:.1} MB/s went through, {links} links were renewed");
    work.shutdown().await;
    setup.node.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

async fn saturated(time: Duration) -> Outcome<()> {
    println!("round trips on the control lane in ms | questions | p50 | p99 | longest");
    saturate("loopback", None, time).await?;
    saturate("10 Mbit/s, 5 ms each way", Some(1_250_000), time).await
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let seconds = arguments.next().map_or(Ok(5), |text| text.parse());
    let outcome = match (what.as_str(), seconds) {
        ("stalled", Ok(seconds)) => stalled(Duration::from_secs(seconds)).await,
        ("saturated", Ok(seconds)) => saturated(Duration::from_secs(seconds)).await,
        _ => {
            eprintln!("usage: stress stalled|saturated [SECONDS]");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stress: {error}");
            ExitCode::FAILURE
        }
    }
}
