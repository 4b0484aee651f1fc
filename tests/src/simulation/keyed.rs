//! A route whose limit lets each key wait for its own turn: messages of a key go on in their order, at its rate, and those of other keys
//! on the same flow do not wait with them.

use super::client::Client;
use super::random::Random;
use super::script::{Level, Pace, Publication, Reaction, Step, Subscription};
use super::world::{Edge, End, Weather, World};
use mcpbus::node::{NodeConfig, NodeReport};
use mcpbus::policy::PolicyFactory;
use mcpbus::resilience::{KeyedLimitsConfig, TokenBucketConfig, WhenFull, WhenLimited};
use mcpbus::routing::{LimitKey, Pattern, Route, RouteGuards, RouteLimit, RouteTable};
use mcpbus_actors::Time;
use mcpbus_transport::session::SessionConfig;
use std::time::Duration;

/// Between two messages of one key.
pub const PAUSE: Duration = Duration::from_millis(100);
/// The subject of all messages: they share a flow.
const SUBJECT: &str = "limited";

/// What came of the messages.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrivals {
    /// Publisher and number of the message, and when it came after all were published, in the order of arrival.
    pub came: Vec<((usize, usize), Duration)>,
    /// The node before the first of those that wait has its turn.
    pub while_waiting: NodeReport,
    /// The node when all is over.
    pub report: NodeReport,
}

/// Each publisher publishes messages with its keys on one subject at once. The first one is at a node whose messages come to the one
/// with the route and the consumer, the others are at that. At `edited` the route is replaced by one whose limit is the same, and whose policy is not.
///
/// # Errors
///
/// What went wrong in the world, or a route that cannot be.
pub fn run(
    seed: u64,
    publishers: &[Vec<u64>],
    edited: Option<Duration>,
) -> Result<Arrivals, String> {
    let mut random = Random::new(seed);
    let keys = publishers.iter().map(Vec::len).sum();
    let begin = Time::ZERO + Duration::from_secs(100);
    let start = begin + Duration::from_secs(2);
    let nodes = vec![
        (NodeConfig::new("near", random.number(), 1), None),
        (
            NodeConfig {
                routes: table("weighted", keys)?,
                ..NodeConfig::new("far", random.number(), 1)
            },
            None,
        ),
    ];
    let wanted = Subscription {
        pattern: SUBJECT.into(),
        group: Some("group".into()),
        durable: None,
        pace: Pace::Immediate,
        reaction: Reaction::Take,
        window: (10_000, 64 << 20),
    };
    let subscribe = vec![(begin + Duration::from_secs(1), Step::Subscribe(wanted))];
    let publish = |key: &u64| {
        let publication = Publication {
            subject: SUBJECT.into(),
            key: Some(*key),
            level: Level::Processed,
            size: 100,
            time_to_live: None,
            request: false,
        };
        (start, Step::Publish(publication))
    };
    let session = SessionConfig::default();
    let mut clients = vec![Client::new(0, session.clone(), random.number(), subscribe)];
    for (number, keys) in (1..).zip(publishers) {
        let script = keys.iter().map(publish).collect();
        let client = Client::new(number, session.clone(), random.number(), script);
        clients.push(client);
    }
    let edge = |dialer, acceptor| Edge {
        dialer,
        acceptor,
        dialed: 0,
    };
    let mut edges = vec![edge(End::Node(0), 1), edge(End::Client(0), 1)];
    let home = |client| usize::from(client > 1);
    edges.extend((1..clients.len()).map(|client| edge(End::Client(client), home(client))));
    let weather = Weather {
        delay: (50, 100),
        silent: false,
    };
    let mut world = World::new(random, nodes, clients, edges, weather);
    let report = |world: &World| {
        let core = world.nodes[1].core.as_ref();
        core.map(|core| core.report(world.now)).ok_or("it is down")
    };
    world.run_until(start + PAUSE * 9 / 10)?;
    let while_waiting = report(&world)?;
    if let Some(after) = edited {
        world.run_until(start + after)?;
        world.set_routes(1, table("hash", keys)?)?;
    }
    world.run_until(start + Duration::from_secs(20))?;
    let deliveries = &world.clients[0].subscriptions[0].deliveries;
    let came = deliveries.iter().map(|delivery| {
        let after = delivery.at.saturating_since(start);
        let (client, number) = delivery.message;
        ((client - 1, number), after)
    });
    Ok(Arrivals {
        came: came.collect(),
        while_waiting,
        report: report(&world)?,
    })
}

fn table(policy: &str, keys: usize) -> Result<RouteTable, String> {
    let max = Duration::from_secs(60);
    let rate = 1.0 / PAUSE.as_secs_f64();
    let each = TokenBucketConfig::new(rate, 1, WhenLimited::Delay { max });
    let each = each.map_err(|error| error.to_string())?;
    let keyed = KeyedLimitsConfig::new(each, keys, WhenFull::Refuse);
    let keyed = keyed.map_err(|error| error.to_string())?;
    let pattern = Pattern::new(SUBJECT).map_err(|error| error.to_string())?;
    let policy = PolicyFactory::named(policy).map_err(|error| error.to_string())?;
    let route = Route::new(pattern, policy)
        .to("group", 1)
        .guards(RouteGuards {
            limit: Some(RouteLimit::Each(LimitKey::Key, keyed)),
            ..RouteGuards::default()
        });
    RouteTable::new(vec![route]).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use mcpbus::node::PARKED_MESSAGES;
    use std::collections::BTreeMap;

    /// Every message came, the messages of each key in their order, and not before their turns.
    fn in_turns(publishers: &[Vec<u64>], arrivals: &Arrivals) {
        let all: usize = publishers.iter().map(Vec::len).sum();
        assert_eq!(arrivals.came.len(), all);
        let mut last: BTreeMap<u64, (usize, u32)> = BTreeMap::new();
        for ((publisher, number), after) in &arrivals.came {
            let key = publishers[*publisher][*number];
            let before = last.get(&key).copied();
            let turn = before.map_or(0, |(_, turn)| turn + 1);
            assert!(before.is_none_or(|(before, _)| before < *number));
            assert!(*after >= PAUSE * turn, "{number} came after {after:?}");
            last.insert(key, (*number, turn));
        }
        let ledger = &arrivals.report.ledger;
        assert_eq!((ledger.held, ledger.residual()), (0, 0));
    }

    #[test]
    fn a_key_that_waits_holds_its_own_messages_and_no_others() {
        // Most have one key; behind them come ten others.
        let keys = [[7; 12].into_iter().chain(100..110).collect()];
        for seed in 0..40 {
            let edited = (seed % 2 == 1).then_some(PAUSE * 5 / 2);
            let arrivals = run(seed, &keys, edited).unwrap();
            in_turns(&keys, &arrivals);
            assert_eq!(arrivals.while_waiting.parked, 11);
            let late = Duration::from_millis(5);
            for ((_, number), after) in &arrivals.came {
                let turn = (*number).min(11) as u32;
                let due = if *number < 12 {
                    PAUSE * turn
                } else {
                    Duration::ZERO
                };
                assert!(
                    *after < due + late,
                    "seed {seed}: {number} came after {after:?}"
                );
            }
        }
    }

    #[test]
    fn more_than_a_node_parks_hold_their_flow_and_all_come() {
        // Nine thousand keys, each twice: the second ones have to wait, and there are more of them than are parked.
        let keys = |publisher: u64| {
            let keys = 3_000 * publisher..3_000 * (publisher + 1);
            keys.clone().chain(keys).collect::<Vec<u64>>()
        };
        let keys = [keys(0), keys(1), keys(2)];
        let arrivals = run(1, &keys, None).unwrap();
        in_turns(&keys, &arrivals);
        assert_eq!(arrivals.while_waiting.parked, PARKED_MESSAGES);
        assert_eq!(arrivals.report.parked, 0);
    }
}
