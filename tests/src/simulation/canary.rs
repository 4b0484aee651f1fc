//! A new version that fails gets nothing any more, and one that does well gets everything.

use super::client::Client;
use super::random::Random;
use super::script::{Level, Pace, Publication, Reaction, Step, Subscription};
use super::world::{Edge, End, Weather, World};
use mcpbus::node::NodeConfig;
use mcpbus::policy::PolicyFactory;
use mcpbus::resilience::CanaryConfig;
use mcpbus::routing::{Pattern, Route, RouteCanary, RouteGuards, RouteTable};
use mcpbus_actors::Time;
use mcpbus_transport::session::SessionConfig;
use std::time::Duration;

/// Messages in a second.
const RATE: u64 = 1000;

/// Which version got how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    /// When each message came to the stable version, since the first one was published.
    pub stable: Vec<Duration>,
    /// The same for the new version.
    pub canary: Vec<Duration>,
    /// Where the canary stands at the end, in words.
    pub state: String,
    /// What the node has for messages that did not go on.
    pub limited: u64,
}

/// One node whose route gives a new version 20, then 50, then 100 percent, each for five seconds; its consumer reacts as it is
/// told. A client publishes a thousand messages a second.
///
/// # Errors
///
/// What went wrong in the world, or a route that cannot be.
pub fn run(seed: u64, reaction: Reaction, seconds: u64) -> Result<Shares, String> {
    let mut random = Random::new(seed);
    let begin = Time::ZERO + Duration::from_secs(100);
    let pattern = Pattern::new("tx").map_err(|error| error.to_string())?;
    let policy = PolicyFactory::named("weighted").map_err(|error| error.to_string())?;
    let canary = RouteCanary {
        group: "v2".into(),
        config: CanaryConfig {
            steps: vec![20, 50, 100],
            min_step_time: Duration::from_secs(5),
            ..CanaryConfig::default()
        },
    };
    let guards = RouteGuards {
        canary: Some(canary),
        ..RouteGuards::default()
    };
    let route = Route::new(pattern, policy).to("v1", 1).to("v2", 1);
    let config = NodeConfig {
        routes: RouteTable::new(vec![route.guards(guards)]).map_err(|error| error.to_string())?,
        ..NodeConfig::new("node", random.number(), 1)
    };
    let session = SessionConfig::default();
    let mut clients = Vec::new();
    for (group, reaction) in [("v1", Reaction::Take), ("v2", reaction)] {
        let wanted = Subscription {
            pattern: "tx".into(),
            group: Some(group.into()),
            durable: None,
            pace: Pace::Immediate,
            reaction,
            window: (100, 1 << 20),
        };
        let script = vec![(begin + Duration::from_millis(100), Step::Subscribe(wanted))];
        clients.push(Client::new(
            clients.len(),
            session.clone(),
            random.number(),
            script,
        ));
    }
    let start = begin + Duration::from_secs(1);
    let script = (0..seconds * RATE).map(|number| {
        let publication = Publication {
            subject: "tx".into(),
            key: None,
            level: Level::Processed,
            size: 20,
            time_to_live: None,
            request: false,
        };
        let at = start + Duration::from_secs(1) * number as u32 / RATE as u32;
        (at, Step::Publish(publication))
    });
    clients.push(Client::new(2, session, random.number(), script.collect()));
    let edges = (0..3).map(|client| Edge {
        dialer: End::Client(client),
        acceptor: 0,
        dialed: 0,
    });
    let weather = Weather {
        delay: (50, 100),
        silent: false,
    };
    let mut world = World::new(
        random,
        vec![(config, None)],
        clients,
        edges.collect(),
        weather,
    );
    let end = start + Duration::from_secs(seconds + 1);
    world.run_until(end)?;
    let came = |client: usize| -> Vec<Duration> {
        let deliveries = world.clients[client].subscriptions[0].deliveries.iter();
        deliveries
            .map(|came| came.at.saturating_since(start))
            .collect()
    };
    let core = world.nodes[0].core.as_ref().ok_or("the node is gone")?;
    let report = core.report(end);
    let route = report.routes.iter().find(|route| route.group == "v2");
    Ok(Shares {
        stable: came(0),
        canary: came(1),
        state: route.map_or_else(String::new, |route| format!("{:?}", route.canary)),
        limited: report.ledger.dead.get("limited").copied().unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn within(times: &[Duration], from: u64, to: u64) -> usize {
        let range = Duration::from_secs(from)..Duration::from_secs(to);
        times.iter().filter(|at| range.contains(*at)).count()
    }

    #[test]
    fn a_bad_canary_is_back_at_nothing_within_ten_seconds_and_nothing_is_lost() {
        for seed in 0..3 {
            let shares = run(seed, Reaction::Reject, 20).unwrap();
            assert!(shares.state.contains("RolledBack"), "{}", shares.state);
            let last = shares.canary.last().unwrap();
            assert!(*last < Duration::from_secs(10), "seed {seed}: {last:?}");
            let all = shares.canary.len() + shares.stable.len();
            assert_eq!(all as u64, 20 * RATE, "seed {seed}: all came, none twice");
        }
    }

    #[test]
    fn a_good_canary_gets_its_steps_and_then_everything() {
        let shares = run(1, Reaction::Take, 20).unwrap();
        assert!(shares.state.contains("Promoted"), "{}", shares.state);
        let parts = [(1, 4, 0.2), (6, 9, 0.5), (11, 20, 1.0)];
        for (from, to, share) in parts {
            let canary = within(&shares.canary, from, to) as f64;
            let stable = within(&shares.stable, from, to) as f64;
            let found = canary / (canary + stable);
            assert!((found - share).abs() < 0.01, "{from} to {to} s: {found}");
        }
        assert_eq!(shares.limited, 0);
    }
}
