//! A bulkhead with a queue before a consumer that takes one message after the other: what finds no room waits for it in its order, as
//! long as it may.

use super::client::Client;
use super::random::Random;
use super::script::{Level, Pace, Publication, Reaction, Step, Subscription};
use super::world::{Edge, End, Weather, World};
use mcpbus::Failure;
use mcpbus::node::NodeConfig;
use mcpbus::policy::PolicyFactory;
use mcpbus::resilience::{BulkheadConfig, DestinationGuardsConfig};
use mcpbus::routing::{Pattern, Route, RouteGuards, RouteTable};
use mcpbus_actors::Time;
use mcpbus_transport::session::SessionConfig;
use std::time::Duration;

/// How long the consumer takes for a message.
pub const PACE: Duration = Duration::from_millis(10);
/// Between one publisher and the next.
pub const PAUSE: Duration = Duration::from_millis(1);

/// What became of the message of each publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waited {
    /// What it was told, and when after it had published.
    pub results: Vec<(Duration, Result<(), Failure>)>,
    /// The publishers in the order in which their messages came to the consumer.
    pub order: Vec<usize>,
}

/// What the route and the messages are.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// So many publishers, one after the other, with a message each.
    pub publishers: usize,
    /// So many may wait.
    pub waiting: u32,
    /// And so long.
    pub wait: Duration,
    /// The time that the messages behind the second one have.
    pub time_to_live: Option<Duration>,
    /// When the route is replaced by one with room for all, after the first message.
    pub widened: Option<Duration>,
}

fn table(room: u32, waiting: u32, wait: Duration) -> Result<RouteTable, String> {
    let bulkhead = BulkheadConfig::new(room, waiting, wait).map_err(|error| error.to_string())?;
    let pattern = Pattern::new("work").map_err(|error| error.to_string())?;
    let policy = PolicyFactory::named("weighted").map_err(|error| error.to_string())?;
    let route = Route::new(pattern, policy)
        .to("group", 1)
        .guards(RouteGuards {
            destination: DestinationGuardsConfig {
                bulkhead: Some(bulkhead),
                ..DestinationGuardsConfig::default()
            },
            ..RouteGuards::default()
        });
    RouteTable::new(vec![route]).map_err(|error| error.to_string())
}

/// One node whose route lets one message be in flight.
///
/// # Errors
///
/// What went wrong in the world, a route that cannot be, or a publisher that was told nothing.
pub fn run(seed: u64, plan: Plan) -> Result<Waited, String> {
    let mut random = Random::new(seed);
    let begin = Time::ZERO + Duration::from_secs(100);
    let start = begin + Duration::from_secs(1);
    let config = NodeConfig {
        routes: table(1, plan.waiting, plan.wait)?,
        ..NodeConfig::new("node", random.number(), 1)
    };
    let wanted = Subscription {
        pattern: "work".into(),
        group: Some("group".into()),
        durable: None,
        pace: Pace::Slow(PACE),
        reaction: Reaction::Take,
        window: (100, 1 << 20),
    };
    let session = SessionConfig::default();
    let subscribe = vec![(begin + Duration::from_millis(100), Step::Subscribe(wanted))];
    let mut clients = vec![Client::new(0, session.clone(), random.number(), subscribe)];
    for number in 0..plan.publishers {
        let publication = Publication {
            subject: "work".into(),
            key: None,
            level: Level::Processed,
            size: 100,
            time_to_live: plan.time_to_live.filter(|_| number > 1),
            request: false,
        };
        let at = start + PAUSE * number as u32;
        let script = vec![(at, Step::Publish(publication))];
        let client = Client::new(number + 1, session.clone(), random.number(), script);
        clients.push(client);
    }
    let edges = (0..clients.len()).map(|client| Edge {
        dialer: End::Client(client),
        acceptor: 0,
        dialed: 0,
    });
    let weather = Weather {
        delay: (50, 100),
        silent: false,
    };
    let nodes = vec![(config, None)];
    let mut world = World::new(random, nodes, clients, edges.collect(), weather);
    if let Some(after) = plan.widened {
        world.run_until(start + after)?;
        world.set_routes(0, table(100, plan.waiting, plan.wait)?)?;
    }
    world.run_until(start + Duration::from_secs(10))?;
    let results = world.clients[1..].iter().map(|client| {
        let sent = client.sent.first()?;
        let (at, result) = sent.result?;
        Some((at.saturating_since(sent.at), result))
    });
    let results: Option<Vec<_>> = results.collect();
    let deliveries = &world.clients[0].subscriptions[0].deliveries;
    Ok(Waited {
        results: results.ok_or("a publisher was told nothing")?,
        order: deliveries
            .iter()
            .map(|delivery| delivery.message.0 - 1)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const FULL: Result<(), Failure> = Err(Failure::Limited { retry_after: 0 });
    const PLAN: Plan = Plan {
        publishers: 6,
        waiting: 3,
        wait: Duration::from_secs(1),
        time_to_live: None,
        widened: None,
    };

    /// What each publisher was told, and after how many milliseconds.
    fn told(waited: &Waited) -> Vec<(u128, Result<(), Failure>)> {
        let results = waited.results.iter();
        results
            .map(|(after, result)| (after.as_millis(), *result))
            .collect()
    }

    #[test]
    fn so_many_wait_in_their_order_and_the_others_are_refused_at_once() {
        for seed in 0..40 {
            let waited = run(seed, PLAN).unwrap();
            assert_eq!(waited.order, [0, 1, 2, 3], "seed {seed}");
            // Each is done ten milliseconds after the one before it, which came one millisecond earlier.
            let wanted = [
                (10, Ok(())),
                (19, Ok(())),
                (28, Ok(())),
                (37, Ok(())),
                (0, FULL),
                (0, FULL),
            ];
            let told = told(&waited);
            for (one, other) in told.iter().zip(wanted) {
                assert!(
                    one.1 == other.1 && one.0.abs_diff(other.0) <= 4,
                    "seed {seed}: {told:?}"
                );
            }
        }
    }

    #[test]
    fn a_message_waits_as_long_as_it_may_and_no_longer() {
        let expired = Err(Failure::Expired);
        let short = Duration::from_millis(15);
        for seed in 0..40 {
            for (plan, end) in [
                (
                    Plan {
                        wait: short,
                        ..PLAN
                    },
                    FULL,
                ),
                (
                    Plan {
                        time_to_live: Some(short),
                        ..PLAN
                    },
                    expired,
                ),
            ] {
                let waited = run(seed, plan).unwrap();
                let told = told(&waited);
                assert_eq!(waited.order, [0, 1], "seed {seed}");
                for (after, result) in &told[2..4] {
                    assert_eq!((*after, *result), (15, end), "seed {seed}: {told:?}");
                }
            }
        }
    }

    #[test]
    fn those_that_wait_go_when_their_route_gets_room() {
        for seed in 0..40 {
            let plan = Plan {
                widened: Some(Duration::from_millis(7)),
                ..PLAN
            };
            let waited = run(seed, plan).unwrap();
            assert_eq!(waited.order, [0, 1, 2, 3], "seed {seed}");
            let all = waited.results.iter().filter(|(_, result)| result.is_ok());
            assert_eq!(all.count(), 4);
        }
    }
}
