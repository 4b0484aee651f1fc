//! A stalled subscription beside one that is not: what the second costs because of the first.

use super::client::Client;
use super::random::Random;
use super::script::{Level, Pace, Publication, Reaction, Step, Subscription};
use super::world::{Edge, End, Weather, World};
use mcpbus::node::{NodeConfig, NodeLimits};
use mcpbus_actors::Time;
use mcpbus_transport::session::SessionConfig;
use std::time::Duration;

/// Subjects that stall.
const STALLED: usize = 12;
/// Messages on each subject.
const MESSAGES: usize = 120;

/// When the messages of the subject that does not stall came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrivals {
    /// One time for each message, in order.
    pub times: Vec<Time>,
    /// Messages of the other subjects that came.
    pub others: usize,
}

/// Two nodes, one publisher of many subjects, a subscriber for each. All subjects but one stall if `stalled` says so; the
/// one that does not begins when the others are full.
pub fn run(seed: u64, stalled: bool) -> Result<Arrivals, String> {
    let mut random = Random::new(seed);
    let begin = Time::ZERO + Duration::from_secs(100);
    let limits = NodeLimits {
        credit_messages: 4096,
        credit_bytes: 1 << 20,
        ..NodeLimits::default()
    };
    let nodes = ["left", "right"]
        .map(|name| NodeConfig {
            limits: limits.clone(),
            ..NodeConfig::new(name, random.number(), 1)
        })
        .to_vec();
    let subscribe = |subject: usize, pace| {
        let pattern = format!("s.{subject}");
        let window = (8, 8192);
        let wanted = Subscription {
            pattern,
            group: None,
            durable: None,
            pace,
            reaction: Reaction::Take,
            window,
        };
        (begin + Duration::from_millis(100), Step::Subscribe(wanted))
    };
    let pace = if stalled {
        Pace::Stalled
    } else {
        Pace::Immediate
    };
    let mut slow: Vec<_> = (0..STALLED)
        .map(|subject| subscribe(subject, pace))
        .collect();
    slow.push(subscribe(STALLED, Pace::Immediate));
    let mut script = Vec::new();
    for number in 0..MESSAGES {
        for subject in 0..=STALLED {
            let late = if subject == STALLED { 2000 } else { 1000 };
            let at = begin + Duration::from_millis(late + number as u64);
            let publication = Publication {
                subject: format!("s.{subject}"),
                key: None,
                level: Level::Accepted,
                size: 100,
                time_to_live: None,
                request: false,
            };
            script.push((at, Step::Publish(publication)));
        }
    }
    script.sort_by_key(|(at, _)| *at);
    let clients = vec![
        Client::new(0, SessionConfig::default(), random.number(), slow),
        Client::new(1, SessionConfig::default(), random.number(), script),
    ];
    let edges = vec![
        Edge {
            dialer: End::Node(0),
            acceptor: 1,
            dialed: 0,
        },
        Edge {
            dialer: End::Client(0),
            acceptor: 1,
            dialed: 0,
        },
        Edge {
            dialer: End::Client(1),
            acceptor: 0,
            dialed: 0,
        },
    ];
    let weather = Weather {
        delay: (500, 500),
        silent: false,
    };
    let mut world = World::new(
        random,
        nodes.into_iter().map(|node| (node, None)).collect(),
        clients,
        edges,
        weather,
    );
    world.run_until(begin + Duration::from_secs(5))?;
    let subscriptions = &world.clients[0].subscriptions;
    let times = subscriptions[STALLED]
        .deliveries
        .iter()
        .map(|delivery| delivery.at)
        .collect();
    let others = subscriptions[..STALLED]
        .iter()
        .map(|subscribed| subscribed.deliveries.len())
        .sum();
    Ok(Arrivals { times, others })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_stalled_subscription_does_not_slow_another_flow() {
        for seed in 1..4 {
            let alone = run(seed, false).unwrap();
            let beside = run(seed, true).unwrap();
            assert_eq!(alone.others, STALLED * MESSAGES);
            assert!(
                beside.others <= STALLED * 8,
                "what stalls holds no more than its window"
            );
            assert_eq!(
                (alone.times.len(), beside.times.len()),
                (MESSAGES, MESSAGES),
                "seed {seed}"
            );
            let took = |times: &[Time]| times[MESSAGES - 1].saturating_since(times[0]);
            let (alone, beside) = (took(&alone.times), took(&beside.times));
            assert!(
                beside <= alone.mul_f64(1.02),
                "seed {seed}: {beside:?} beside stalled flows, {alone:?} alone"
            );
        }
    }
}
