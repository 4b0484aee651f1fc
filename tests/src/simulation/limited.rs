//! A route whose limit lets messages wait: they go on in their order, at the rate, and other flows do not wait with them.

use super::client::Client;
use super::random::Random;
use super::script::{Level, Pace, Publication, Reaction, Step, Subscription};
use super::world::{Edge, End, Weather, World};
use mcpbus::node::NodeConfig;
use mcpbus::policy::PolicyFactory;
use mcpbus::resilience::{LeakyBucketConfig, TokenBucketConfig, WhenLimited};
use mcpbus::routing::{Pattern, Route, RouteGuards, RouteLimit, RouteTable};
use mcpbus_actors::Time;
use mcpbus_transport::session::SessionConfig;
use std::time::Duration;

/// Messages on the limited route.
pub const MESSAGES: usize = 21;
/// What it lets through in a second, and at once.
const RATE: f64 = 10.0;

/// When messages of the limited route and of another flow arrived, since they were published, in the order of their arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrivals {
    /// On the limited route, with their numbers.
    pub limited: Vec<(usize, Duration)>,
    /// On the other flow.
    pub free: Vec<Duration>,
}

/// One node whose route for `limited` lets ten messages through in a second and one at once, or ten evenly spaced, the others wait; a client publishes
/// on it all at once and then as much on another subject.
///
/// # Errors
///
/// What went wrong in the world, or a route that cannot be.
pub fn run(seed: u64, even: bool) -> Result<Arrivals, String> {
    let mut random = Random::new(seed);
    let begin = Time::ZERO + Duration::from_secs(100);
    let max = Duration::from_secs(60);
    let when = WhenLimited::Delay { max };
    let limit = if even {
        LeakyBucketConfig::new(RATE, when).map(RouteLimit::from)
    } else {
        TokenBucketConfig::new(RATE, 1, when).map(RouteLimit::from)
    };
    let pattern = Pattern::new("limited").map_err(|error| error.to_string())?;
    let policy = PolicyFactory::named("weighted").map_err(|error| error.to_string())?;
    let route = Route::new(pattern, policy)
        .to("group", 1)
        .guards(RouteGuards {
            limit: Some(limit.map_err(|error| error.to_string())?),
            ..RouteGuards::default()
        });
    let config = NodeConfig {
        routes: RouteTable::new(vec![route]).map_err(|error| error.to_string())?,
        ..NodeConfig::new("node", random.number(), 1)
    };
    let wanted = Subscription {
        pattern: "*".into(),
        group: Some("group".into()),
        durable: None,
        pace: Pace::Immediate,
        reaction: Reaction::Take,
        window: (100, 1 << 20),
    };
    let subscribe = vec![(begin + Duration::from_millis(100), Step::Subscribe(wanted))];
    let start = begin + Duration::from_secs(1);
    let script = ["limited", "free"].into_iter().flat_map(|subject| {
        (0..MESSAGES).map(move |_| {
            let publication = Publication {
                subject: subject.into(),
                key: None,
                level: Level::Processed,
                size: 100,
                time_to_live: None,
                request: false,
            };
            (start, Step::Publish(publication))
        })
    });
    let session = SessionConfig::default();
    let clients = vec![
        Client::new(0, session.clone(), random.number(), subscribe),
        Client::new(1, session, random.number(), script.collect()),
    ];
    let edges = (0..2).map(|client| Edge {
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
    world.run_until(start + Duration::from_secs(10))?;
    let mut arrivals = Arrivals {
        limited: Vec::new(),
        free: Vec::new(),
    };
    for delivery in &world.clients[0].subscriptions[0].deliveries {
        let (_, number) = delivery.message;
        let after = delivery.at.saturating_since(start);
        if number < MESSAGES {
            arrivals.limited.push((number, after));
        } else {
            arrivals.free.push(after);
        }
    }
    Ok(arrivals)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_delayed_flow_goes_at_its_rate_and_the_other_at_once() {
        for seed in 0..40 {
            let arrivals = run(seed, seed % 2 == 1).unwrap();
            let numbers: Vec<usize> = arrivals.limited.iter().map(|(number, _)| *number).collect();
            assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>(), "seed {seed}");
            for (number, after) in &arrivals.limited {
                let turn = Duration::from_millis(100 * *number as u64);
                let late = after.checked_sub(turn);
                let late = late.unwrap_or_else(|| panic!("seed {seed}: {number} came early"));
                assert!(
                    late < Duration::from_millis(5),
                    "seed {seed}: {number} is {late:?} late"
                );
            }
            assert_eq!(arrivals.free.len(), MESSAGES);
            assert!(
                arrivals
                    .free
                    .iter()
                    .all(|after| *after < Duration::from_millis(5))
            );
        }
    }
}
