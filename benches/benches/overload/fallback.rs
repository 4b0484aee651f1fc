//! How long it takes until a fallback has answered, beside a group without guards.

use crate::options::Options;
use crate::report::Spread;
use crate::tell;
use crate::world::{Links, RunningNode, World, route};
use mcpbus::AckLevel;
use mcpbus::client::{Client, Publication, Publisher, ReceiptError, Subscription};
use mcpbus::resilience::{BreakerConfig, DestinationGuardsConfig, TokenBucketConfig, WhenLimited};
use mcpbus::routing::{Route, RouteGuards};
use mcpbus_benches::failed::Failed;
use mcpbus_benches::series::Series;
use serde::Serialize;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const SUBJECT: &str = "risk";
/// Answers of the fallback one after the other before anything counts.
const WARM: usize = 50;
/// Messages after which the guards must have turned to the fallback.
const MOST: usize = 1000;

/// Why messages go to the group that answers.
#[derive(Clone, Copy, Debug)]
enum Why {
    /// It is the only one, and nothing stands before it.
    Straight,
    /// The breaker of the other one is open.
    Open,
    /// The limit of the route is used up.
    Limited,
}

impl Why {
    const ALL: [Self; 3] = [Self::Straight, Self::Open, Self::Limited];

    const fn name(self) -> &'static str {
        match self {
            Self::Straight => "no guards, one group",
            Self::Open => "breaker open",
            Self::Limited => "limit used up",
        }
    }

    fn route(self) -> Result<Route, Failed> {
        let mut guards = RouteGuards::default();
        match self {
            Self::Straight => return route(SUBJECT, "weighted", &["spare"], guards),
            Self::Open => {
                guards.destination = DestinationGuardsConfig {
                    breaker: Some(BreakerConfig {
                        sleep_window: Duration::from_secs(3600),
                        ..BreakerConfig::default()
                    }),
                    ..DestinationGuardsConfig::default()
                }
            }
            Self::Limited => {
                let limit = TokenBucketConfig::new(0.001, 1, WhenLimited::Divert);
                guards.limit = Some(limit.map_err(Failed::at("the limit"))?.into());
            }
        }
        guards.fallback = Some("spare".into());
        route(SUBJECT, "weighted", &["model"], guards)
    }
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Fallback {
    pub(crate) rounds: usize,
    pub(crate) answers: usize,
    pub(crate) rows: Vec<Row>,
}

/// Medians over the rounds, with their ranges, in milliseconds from publishing until the publisher knows that it was processed.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) why: &'static str,
    pub(crate) links: Links,
    pub(crate) p50_ms: Spread,
    pub(crate) p99_ms: Spread,
}

pub(crate) fn measure(world: &World, options: &Options) -> Result<Fallback, Failed> {
    let cases: Vec<(Why, Links)> = [Links::Memory, Links::Quic]
        .into_iter()
        .flat_map(|links| Why::ALL.map(|why| (why, links)))
        .collect();
    let mut series: Vec<[Series; 2]> = cases.iter().map(|_| Default::default()).collect();
    for round in 0..options.rounds {
        tell(&format!(
            "fallback: round {} of {}",
            round + 1,
            options.rounds
        ));
        for ((why, links), series) in cases.iter().zip(&mut series) {
            let took = run(world, options.answers, *why, *links)?;
            series[0].push(took.quantile(0.5));
            series[1].push(took.quantile(0.99));
        }
    }
    let rows = cases.iter().zip(&series).map(|((why, links), series)| {
        let [p50_ms, p99_ms] = [0, 1].map(|at: usize| Spread::of(&series[at]));
        Row {
            why: why.name(),
            links: *links,
            p50_ms,
            p99_ms,
        }
    });
    Ok(Fallback {
        rounds: options.rounds,
        answers: options.answers,
        rows: rows.collect(),
    })
}

/// A node with its consumers: one whose messages always fail, and one that answers.
struct Stand<'a> {
    node: RunningNode<'a>,
    clients: Vec<Client>,
    consumers: Vec<JoinHandle<()>>,
}

impl<'a> Stand<'a> {
    fn start(world: &'a World, why: Why, links: Links) -> Result<Self, Failed> {
        let mut stand = Self {
            node: world.node_over(links, why.route()?)?,
            clients: Vec::new(),
            consumers: Vec::new(),
        };
        let spare = stand.subscribe("spare")?;
        stand.consumers.push(world.handle().spawn(answer(spare)));
        if !matches!(why, Why::Straight) {
            let model = stand.subscribe("model")?;
            stand.consumers.push(world.handle().spawn(fail(model)));
        }
        Ok(stand)
    }

    fn subscribe(&mut self, group: &str) -> Result<Subscription, Failed> {
        let client = self.node.client(group)?;
        let subscription = self.node.subscribe(&client, SUBJECT, group, None);
        self.clients.push(client);
        subscription
    }
}

/// Milliseconds that each answer took.
fn run(world: &World, answers: usize, why: Why, links: Links) -> Result<Series, Failed> {
    let stand = Stand::start(world, why, links)?;
    let client = stand.node.client("publisher")?;
    let publisher = client.publisher(AckLevel::Processed);
    let took = world.handle().spawn(async move {
        let mut answered = 0;
        for _ in 0..MOST {
            answered = match ask(&publisher).await? {
                Ok(()) => answered + 1,
                Err(ReceiptError::Failed(_)) => 0,
                Err(error) => return Err(Failed::new("a receipt", error)),
            };
            if answered == WARM {
                break;
            }
        }
        if answered < WARM {
            return Err(Failed::new(
                why.name(),
                format!("after {MOST} messages they still fail"),
            ));
        }
        let mut took = Series::default();
        for _ in 0..answers {
            let begin = Instant::now();
            ask(&publisher).await?.map_err(Failed::at(why.name()))?;
            took.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        Ok(took)
    });
    let took = world.wait(took).map_err(Failed::at("the publisher"))??;
    stand.consumers.iter().for_each(JoinHandle::abort);
    drop(client);
    drop(stand.clients);
    stand.node.end()?;
    Ok(took)
}

async fn ask(publisher: &Publisher) -> Result<Result<(), ReceiptError>, Failed> {
    let message = Publication::new(SUBJECT, "?");
    let receipt = publisher.publish_with_receipt(message).await;
    Ok(receipt.map_err(Failed::at("a message"))?.await)
}

async fn answer(mut subscription: Subscription) {
    while let Some(message) = subscription.next().await {
        message.ack();
    }
}

async fn fail(mut subscription: Subscription) {
    while let Some(message) = subscription.next().await {
        // With one delivery at most this is its end.
        message.retry();
    }
}
