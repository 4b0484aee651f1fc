//! Two groups of which one takes messages and never answers: what the messages of the other feel of it.

use crate::load::{End, Ends, Load, Tally};
use crate::options::Options;
use crate::report::Spread;
use crate::tell;
use crate::world::{World, route};
use mcpbus::AckLevel;
use mcpbus::client::Subscription;
use mcpbus::resilience::{BreakerConfig, BulkheadConfig, DestinationGuardsConfig};
use mcpbus::routing::RouteGuards;
use mcpbus_benches::failed::Failed;
use mcpbus_benches::series::Series;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const PATTERN: &str = "tx.*";
const RATE: f64 = 2000.0;
/// Messages that a group may have in flight.
const PLACES: u32 = 16;
/// How long it is waited for answers at the end of a round.
const ANSWERS: Duration = Duration::from_millis(500);

/// What is compared with itself, both groups healthy and one dead.
#[derive(Clone, Copy, Debug, Serialize)]
struct Case {
    policy: &'static str,
    /// The publisher's flows: messages of one subject share one.
    subjects: usize,
    /// Whether the route has a bulkhead and a breaker.
    guards: bool,
}

const CASES: [Case; 4] = [
    Case {
        policy: "weighted",
        subjects: 200,
        guards: true,
    },
    Case {
        policy: "least-loaded",
        subjects: 200,
        guards: true,
    },
    Case {
        policy: "weighted",
        subjects: 1,
        guards: true,
    },
    Case {
        policy: "weighted",
        subjects: 200,
        guards: false,
    },
];

impl Case {
    fn guards(self) -> Result<RouteGuards, Failed> {
        if !self.guards {
            return Ok(RouteGuards::default());
        }
        let bulkhead = BulkheadConfig::new(PLACES, 0, Duration::ZERO);
        Ok(RouteGuards {
            destination: DestinationGuardsConfig {
                bulkhead: Some(bulkhead.map_err(Failed::at("the bulkhead"))?),
                breaker: Some(BreakerConfig::default()),
                ..DestinationGuardsConfig::default()
            },
            ..RouteGuards::default()
        })
    }
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Dead {
    pub(crate) rate: f64,
    pub(crate) rounds: usize,
    pub(crate) places: u32,
    pub(crate) cases: Vec<CaseFigures>,
}

/// Medians over the rounds of the messages that the first group had.
#[derive(Debug, Serialize)]
pub(crate) struct CaseFigures {
    pub(crate) policy: &'static str,
    pub(crate) subjects: usize,
    pub(crate) guards: bool,
    pub(crate) healthy: Figures,
    pub(crate) dead: Figures,
    /// One dead divided by both healthy, of the same round: until the consumer had them.
    pub(crate) p99_delivered: Spread,
    /// The same until their publisher knew.
    pub(crate) p99_answered: Spread,
}

#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    /// Part of what was offered that the first group had.
    pub(crate) share: f64,
    /// Milliseconds from publishing until the consumer had it.
    pub(crate) delivered_p50_ms: f64,
    pub(crate) delivered_p99_ms: f64,
    /// Milliseconds until the publisher knew that it was processed.
    pub(crate) answered_p50_ms: f64,
    pub(crate) answered_p99_ms: f64,
    /// Part of them whose publisher heard of it at all until half a second after the round.
    pub(crate) answered: f64,
    /// All messages of the last round.
    pub(crate) ends: Tally,
}

/// What the rounds gave.
#[derive(Default)]
struct Rounds {
    share: Series,
    delivered: [Series; 2],
    answered: [Series; 2],
    part_answered: Series,
    ends: Tally,
}

impl Rounds {
    fn figures(&self) -> Figures {
        Figures {
            share: self.share.median(),
            delivered_p50_ms: self.delivered[0].median(),
            delivered_p99_ms: self.delivered[1].median(),
            answered_p50_ms: self.answered[0].median(),
            answered_p99_ms: self.answered[1].median(),
            answered: self.part_answered.median(),
            ends: self.ends,
        }
    }
}

pub(crate) fn measure(world: &World, options: &Options) -> Result<Dead, Failed> {
    let mut all: Vec<[Rounds; 2]> = CASES.iter().map(|_| Default::default()).collect();
    for round in 0..options.rounds {
        tell(&format!("dead: round {} of {}", round + 1, options.rounds));
        for (case, rounds) in CASES.iter().zip(&mut all) {
            // Who begins changes, so that drift of the machine favours nobody.
            for turn in 0..2 {
                let dead = (turn + round) % 2;
                run(world, options, *case, dead == 1, &mut rounds[dead])?;
            }
        }
    }
    let cases = CASES.iter().zip(&all).map(|(case, [healthy, dead])| {
        let ratio = |dead: &Series, healthy: &Series| Spread::of(&dead.ratio_to(healthy));
        CaseFigures {
            policy: case.policy,
            subjects: case.subjects,
            guards: case.guards,
            p99_delivered: ratio(&dead.delivered[1], &healthy.delivered[1]),
            p99_answered: ratio(&dead.answered[1], &healthy.answered[1]),
            healthy: healthy.figures(),
            dead: dead.figures(),
        }
    });
    Ok(Dead {
        rate: RATE,
        rounds: options.rounds,
        places: PLACES,
        cases: cases.collect(),
    })
}

/// By the number of a message: milliseconds from publishing until the consumer had it.
type Delivered = Arc<Mutex<BTreeMap<usize, f64>>>;

fn run(
    world: &World,
    options: &Options,
    case: Case,
    dead: bool,
    rounds: &mut Rounds,
) -> Result<(), Failed> {
    let node = world.node(route(
        PATTERN,
        case.policy,
        &["first", "second"],
        case.guards()?,
    )?)?;
    let clients = [node.client("first")?, node.client("second")?];
    let first = node.subscribe(&clients[0], PATTERN, "first", None)?;
    let second = node.subscribe(&clients[1], PATTERN, "second", None)?;
    let (origin, delivered) = (Instant::now(), Delivered::default());
    let consumers = [
        world
            .handle()
            .spawn(answer(first, origin, delivered.clone())),
        match dead {
            true => world.handle().spawn(keep(second)),
            false => world
                .handle()
                .spawn(answer(second, origin, Delivered::default())),
        },
    ];
    let client = node.client("publisher")?;
    let subjects: Vec<String> = (0..case.subjects).map(|at| format!("tx.{at}")).collect();
    let load = Load {
        publishers: &[client.publisher(AckLevel::Processed)],
        subjects: &subjects,
        rate: RATE,
        duration: options.round,
        time_to_live: None,
    };
    let ends = Ends::default();
    let offered = load.offer(world.handle(), &ends, |number| {
        let now = origin.elapsed().as_nanos() as u64;
        [number as u64, now].map(u64::to_le_bytes).concat()
    })?;
    ends.wait_for(offered, ANSWERS);
    let ended = ends.all();
    let delivered = std::mem::take(&mut *delivered.lock().unwrap_or_else(PoisonError::into_inner));
    let (mut came, mut answered) = (Series::default(), Series::default());
    delivered.values().for_each(|took| came.push(*took));
    let of_first = ended
        .iter()
        .filter(|ended| ended.end == End::InTime && delivered.contains_key(&ended.number));
    of_first.for_each(|ended| answered.push(ended.took.as_secs_f64() * 1e3));
    rounds.share.push(came.count() as f64 / offered as f64);
    for (at, part) in [0.5, 0.99].into_iter().enumerate() {
        rounds.delivered[at].push(came.quantile(part));
        rounds.answered[at].push(answered.quantile(part));
    }
    rounds
        .part_answered
        .push(answered.count() as f64 / came.count() as f64);
    rounds.ends = Tally::of(&ended, offered);
    consumers.iter().for_each(tokio::task::JoinHandle::abort);
    drop(client);
    drop(clients);
    node.end()
}

/// Answers at once.
async fn answer(mut subscription: Subscription, origin: Instant, delivered: Delivered) {
    while let Some(message) = subscription.next().await {
        let body = message.body();
        if let (Some(number), Some(at)) = (body.first_chunk(), body.last_chunk()) {
            let at = Duration::from_nanos(u64::from_le_bytes(*at));
            let took = origin.elapsed().saturating_sub(at).as_secs_f64() * 1e3;
            let mut delivered = delivered.lock().unwrap_or_else(PoisonError::into_inner);
            delivered.insert(u64::from_le_bytes(*number) as usize, took);
        }
        message.ack();
    }
}

/// Takes messages and never says what became of them.
async fn keep(mut subscription: Subscription) {
    let mut kept = Vec::new();
    while let Some(message) = subscription.next().await {
        kept.push(message);
    }
}
