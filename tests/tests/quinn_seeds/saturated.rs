//! A link that is full of data: control does not wait behind it.

use super::draw::{End, Plan, SHAPES, draw};
use super::mesh::{Mesh, connect, in_virtual_time};
use super::traffic::pause;
use mcpbus::AckLevel;
use mcpbus::client::{Client, Publication, SubscribeOptions};
use mcpbus_transport::link::impairment::{ImpairmentConfig, RateLimit};
use std::time::Duration;
use tokio::time::Instant;

/// 10 Mbit/s, each way.
const NARROW: u64 = 1_250_000;
/// What the network may hold back before it drops datagrams, in bytes: 52 ms at that rate.
const QUEUE: u64 = 64 * 1024;
const DELAY: Duration = Duration::from_millis(5);
const WAIT: Duration = Duration::from_secs(30);
/// Longer than a link may be silent, several times over.
const TIME: Duration = Duration::from_secs(10);

/// How long questions took that go and are answered on the control lane, and how often a link was renewed.
pub(crate) struct Measured {
    pub(crate) took: Vec<Duration>,
    pub(crate) reconnects: u64,
    pub(crate) delivered: u64,
}

/// Fills the link of a publisher and that of a subscriber with messages of 16 KiB, and asks on both.
pub(crate) fn run(seed: u64) -> Measured {
    in_virtual_time(play(Plan {
        clients: Vec::new(),
        cuts: Vec::new(),
        ..draw(&SHAPES[0], seed)
    }))
}

async fn play(plan: Plan) -> Measured {
    let mesh = Mesh::new(plan.seed);
    let narrow = ImpairmentConfig {
        delay: DELAY,
        rate: Some(RateLimit {
            bytes_per_second: NARROW,
            queue_bytes: QUEUE,
        }),
        ..ImpairmentConfig::default()
    };
    let node = End::Node(0).address();
    for client in [0, 1] {
        let client = End::Client(client).address();
        for (from, to) in [(client, node), (node, client)] {
            mesh.network
                .impair(from, to, narrow.clone())
                .unwrap_or_else(|error| panic!("{error}"));
        }
    }
    let _node = mesh.node(&plan, 0);
    let publisher = connect(&mesh, &plan, 0, 0).await;
    let subscriber = connect(&mesh, &plan, 1, 0).await;
    for number in 0..4 {
        let subject = format!("flood.{number}");
        let subscription = subscriber.subscribe(&subject, SubscribeOptions::default());
        let mut subscription = subscription.unwrap_or_else(|error| panic!("{error}"));
        subscription
            .ready(WAIT)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        tokio::task::spawn_local(async move {
            while let Some(delivery) = subscription.next().await {
                delivery.ack();
            }
        });
        let publisher = publisher.publisher(AckLevel::None);
        tokio::task::spawn_local(async move {
            let message = || Publication::new(subject.clone(), vec![7; 16 * 1024]);
            while publisher.publish(message()).await.is_ok() {}
        });
    }
    pause(Duration::from_secs(2)).await;
    let (up, down) = tokio::join!(ask(&publisher), ask(&subscriber));
    Measured {
        took: up.into_iter().chain(down).collect(),
        reconnects: publisher.stats().reconnects + subscriber.stats().reconnects,
        delivered: subscriber.stats().received,
    }
}

async fn ask(client: &Client) -> Vec<Duration> {
    let (begun, mut took) = (Instant::now(), Vec::new());
    while begun.elapsed() < TIME {
        let asked = Instant::now();
        let answer = client.count_subscribers("nobody.here", WAIT).await;
        answer.unwrap_or_else(|error| panic!("{error}"));
        took.push(asked.elapsed());
        pause(Duration::from_millis(50)).await;
    }
    took
}
