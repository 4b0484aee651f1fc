//! A budget of credit for fewer messages than there are flows: each flow has its turn in bounded time, also when others
//! have taken the budget and gone idle.

use super::client::Client;
use super::random::Random;
use super::script::{Level, Pace, Publication, Reaction, Step, Subscription};
use super::world::{Edge, End, Weather, World};
use mcpbus::node::{NodeConfig, NodeLimits};
use mcpbus_actors::Time;
use mcpbus_transport::session::SessionConfig;
use std::time::Duration;

/// Messages and bytes that a node may have granted at once.
const BUDGET: (u64, u64) = (8, 12_000);
/// Flows that publish first and then go idle, and flows that come later.
const FLOWS: usize = 24;
/// Messages of each flow.
const MESSAGES: usize = 4;

/// How long messages of flows that came later took, and what did not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waits {
    /// From publishing to delivery, the longest.
    pub longest: Duration,
    /// Messages that were published and did not arrive.
    pub missing: usize,
}

/// One node or two with the budget, a subscriber of everything, a client that publishes on many flows: on half of them
/// first, then on the others, among them messages that need nearly all of the budget. With `cuts` the publisher's link
/// is cut now and then.
pub fn run(seed: u64, nodes: usize, cuts: u64) -> Result<Waits, String> {
    let mut random = Random::new(seed);
    let begin = Time::ZERO + Duration::from_secs(100);
    let session = SessionConfig {
        frame_target: *random.pick(&[500, 64 * 1024]),
        ..SessionConfig::default()
    };
    let limits = NodeLimits {
        credit_messages: BUDGET.0,
        credit_bytes: BUDGET.1,
        ..NodeLimits::default()
    };
    let configs = (0..nodes).map(|node| NodeConfig {
        limits: limits.clone(),
        session: session.clone(),
        ..NodeConfig::new(&format!("node-{node}"), random.number(), 1)
    });
    let configs: Vec<NodeConfig> = configs.collect();
    let wanted = Subscription {
        pattern: "s.*".into(),
        group: None,
        durable: None,
        pace: Pace::Slow(Duration::from_micros(100)),
        reaction: Reaction::Take,
        window: (16, 1 << 20),
    };
    let subscribe = vec![(begin + Duration::from_millis(100), Step::Subscribe(wanted))];
    let late = begin + Duration::from_secs(5);
    let mut script = Vec::new();
    for (start, flows) in [
        (begin + Duration::from_secs(1), 0..FLOWS / 2),
        (late, FLOWS / 2..FLOWS),
    ] {
        for message in 0..MESSAGES {
            for flow in flows.clone() {
                let large = start == late && random.one_in(6);
                let publication = Publication {
                    subject: format!("s.{flow}"),
                    key: None,
                    level: *random.pick(&[Level::Accepted, Level::Processed]),
                    size: if large { 11_500 } else { 200 },
                    time_to_live: None,
                    request: false,
                };
                script.push((
                    start + Duration::from_millis(message as u64),
                    Step::Publish(publication),
                ));
            }
        }
    }
    let clients = vec![
        Client::new(0, session.clone(), random.number(), subscribe),
        Client::new(1, session, random.number(), script),
    ];
    let mut edges = vec![
        Edge {
            dialer: End::Client(0),
            acceptor: nodes - 1,
            dialed: 0,
        },
        Edge {
            dialer: End::Client(1),
            acceptor: 0,
            dialed: 0,
        },
    ];
    edges.extend((1..nodes).map(|node| Edge {
        dialer: End::Node(node - 1),
        acceptor: node,
        dialed: 0,
    }));
    let weather = Weather {
        delay: (500, 2000),
        silent: false,
    };
    let mut world = World::new(
        random,
        configs.into_iter().map(|config| (config, None)).collect(),
        clients,
        edges,
        weather,
    );
    world.run_until(late)?;
    for _ in 0..cuts {
        let after = world.random.micros(1000, 400_000);
        world.run_until(world.now + after)?;
        world.cut(1);
    }
    world.run_until(late + Duration::from_secs(60))?;
    let arrived = |number: usize| {
        let deliveries = &world.clients[0].subscriptions[0].deliveries;
        let delivery = deliveries
            .iter()
            .find(|delivery| delivery.message == (1, number));
        delivery.map(|delivery| delivery.at)
    };
    let mut waits = Waits {
        longest: Duration::ZERO,
        missing: 0,
    };
    for (number, sent) in world.clients[1].sent.iter().enumerate() {
        match arrived(number) {
            None => waits.missing += 1,
            Some(at) if sent.at >= late => {
                waits.longest = waits.longest.max(at.saturating_since(sent.at));
            }
            Some(_) => {}
        }
    }
    let wrong = world.clients.iter().flat_map(|client| &client.violations);
    match wrong.into_iter().next() {
        Some(violation) => Err(violation.clone()),
        None => Ok(waits),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn each_flow_has_its_turn_with_a_budget_for_fewer_than_there_are() {
        // Nearly each of the 48 messages needs a turn of its own: what was granted before is kept for up to 60 ms, and
        // credit is looked for every 10 ms.
        let bound = Duration::from_millis(48 * 80);
        for nodes in [1, 2] {
            for seed in 1..=20 {
                let waits = run(seed, nodes, 0).unwrap();
                assert_eq!(waits.missing, 0, "{nodes} nodes, seed {seed}");
                assert!(
                    waits.longest < bound,
                    "{nodes} nodes, seed {seed}: {waits:?}"
                );
            }
        }
    }

    #[test]
    fn each_flow_has_its_turn_when_its_link_is_cut_again_and_again() {
        for nodes in [1, 2] {
            for seed in 1..=20 {
                let waits = run(seed, nodes, 6).unwrap();
                assert_eq!(waits.missing, 0, "{nodes} nodes, seed {seed}: {waits:?}");
            }
        }
    }

    #[test]
    fn two_runs_of_a_seed_are_one() {
        assert_eq!(run(7, 2, 3), run(7, 2, 3));
    }
}
