//! What a seed comes to.

use mcpbus::node::NodeConfig;
use mcpbus_tests::simulation::random::{Random, mix};
use mcpbus_transport::link::impairment::{BurstLoss, ImpairmentConfig, RateLimit};
use mcpbus_transport::session::SessionConfig;
use mcpbus_transport::wire::AckLevel;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// One who has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Node(usize),
    Client(usize),
}

impl End {
    pub(crate) fn address(self) -> SocketAddr {
        let (kind, number) = match self {
            Self::Node(number) => (0, number),
            Self::Client(number) => (1, number),
        };
        let ip = Ipv4Addr::new(10, kind, 0, number as u8 + 1);
        SocketAddr::new(
            IpAddr::V4(ip),
            4000 + u16::from(kind) * 1000 + number as u16,
        )
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Node(number) => format!("node-{number}"),
            Self::Client(number) => format!("client-{number}"),
        }
    }
}

/// A mesh's form: nodes, and the links between them, where the first dials the second.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) nodes: usize,
    pub(crate) links: &'static [(usize, usize)],
}

/// All shapes.
pub(crate) const SHAPES: &[Shape] = &[
    Shape {
        name: "one_node",
        nodes: 1,
        links: &[],
    },
    Shape {
        name: "two_nodes",
        nodes: 2,
        links: &[(0, 1)],
    },
    Shape {
        name: "chain",
        nodes: 3,
        links: &[(0, 1), (2, 1)],
    },
    Shape {
        name: "triangle",
        nodes: 3,
        links: &[(0, 1), (1, 2), (2, 0)],
    },
];

/// A message before it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) pause: Duration,
    pub(crate) subject: &'static str,
    pub(crate) key: u64,
    pub(crate) size: usize,
}

/// What a client does.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Publish {
        level: AckLevel,
        messages: Vec<Message>,
    },
    Subscribe {
        pattern: &'static str,
        group: Option<&'static str>,
        /// How long it takes over a message.
        takes: Duration,
        window: u64,
    },
}

/// A client and its node.
#[derive(Clone, Debug)]
pub(crate) struct ClientPlan {
    pub(crate) home: usize,
    pub(crate) work: Work,
}

/// A link is cut this long after publishing began, for this long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) after: Duration,
    pub(crate) ends: (End, End),
    pub(crate) time: Duration,
}

/// A run before it starts.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) links: &'static [(usize, usize)],
    pub(crate) nodes: Vec<NodeConfig>,
    pub(crate) clients: Vec<ClientPlan>,
    pub(crate) session: SessionConfig,
    /// What happens between two that are linked, there and back.
    pub(crate) impairments: Vec<((End, End), [ImpairmentConfig; 2])>,
    pub(crate) cuts: Vec<Cut>,
}

const SUBJECTS: [&str; 3] = ["s.0", "s.1", "s.2"];
const PATTERNS: [&str; 4] = ["s.*", "s.0", "s.1", ">"];

/// Draws a run.
pub(crate) fn draw(shape: &Shape, seed: u64) -> Plan {
    let mut random = Random::new(mix(seed
        ^ (shape.nodes as u64) << 40
        ^ shape.name.len() as u64));
    let session = SessionConfig {
        lanes: *random.pick(&[1, 2, 4]),
        frame_target: *random.pick(&[1000, 64 * 1024]),
        ..SessionConfig::default()
    };
    let nodes = (0..shape.nodes)
        .map(|node| NodeConfig {
            session: session.clone(),
            // Longer than any cut: nobody is given up while it can come back.
            resume: Duration::from_secs(60),
            hold: Duration::from_secs(60),
            ..NodeConfig::new(&End::Node(node).name(), random.number(), 1)
        })
        .collect();
    let mut clients = Vec::new();
    for place in 0..random.between(1, 3) {
        clients.push(ClientPlan {
            home: random.below(shape.nodes as u64) as usize,
            work: subscriber(&mut random, place == 0),
        });
    }
    for _ in 0..random.between(1, 2) {
        clients.push(ClientPlan {
            home: random.below(shape.nodes as u64) as usize,
            work: publisher(&mut random),
        });
    }
    let between_nodes = shape
        .links
        .iter()
        .map(|(dialer, acceptor)| (End::Node(*dialer), End::Node(*acceptor)));
    let to_clients = clients
        .iter()
        .enumerate()
        .map(|(client, plan)| (End::Client(client), End::Node(plan.home)));
    let pairs: Vec<(End, End)> = between_nodes.chain(to_clients).collect();
    let cuts = (0..random.below(4))
        .map(|_| Cut {
            after: random.micros(0, 4_000_000),
            ends: *random.pick(&pairs),
            time: random.micros(100_000, 8_000_000),
        })
        .collect();
    let impairments = pairs
        .into_iter()
        .map(|pair| (pair, [impairment(&mut random), impairment(&mut random)]))
        .collect();
    Plan {
        seed,
        links: shape.links,
        nodes,
        clients,
        session,
        impairments,
        cuts,
    }
}

/// Up to 5 % loss, 50 +- 20 ms, 1 % duplicates, 0.1 % corruption, reordering, a rate.
fn impairment(random: &mut Random) -> ImpairmentConfig {
    let mut share = |most: f64| most * random.below(1001) as f64 / 1000.0;
    let (loss, duplicate, corrupt, reorder) = (share(0.05), share(0.01), share(0.001), share(0.05));
    let bursts = BurstLoss {
        begins: 0.001,
        ends: 0.2,
        loss: 1.0,
        longest: Duration::from_millis(200),
    };
    ImpairmentConfig {
        delay: random.micros(30_000, 50_000),
        jitter: random.micros(0, 20_000),
        loss,
        bursts: random.one_in(3).then_some(bursts),
        reorder,
        reorder_by: random.micros(0, 40_000),
        duplicate,
        corrupt,
        rate: random.one_in(2).then(|| RateLimit {
            bytes_per_second: random.between(250_000, 5_000_000),
            queue_bytes: random.between(30_000, 300_000),
        }),
    }
}

fn subscriber(random: &mut Random, all: bool) -> Work {
    Work::Subscribe {
        pattern: if all {
            "s.*"
        } else {
            random.pick::<&str>(&PATTERNS)
        },
        group: random.one_in(4).then_some("workers"),
        takes: random.micros(0, 3_000) / if random.one_in(3) { 1 } else { 1000 },
        window: *random.pick(&[4, 64, 1024]),
    }
}

fn publisher(random: &mut Random) -> Work {
    let bursts = random.one_in(2);
    let messages = (0..random.between(20, 120))
        .map(|_| Message {
            pause: if bursts && !random.one_in(10) {
                Duration::ZERO
            } else {
                random.micros(0, 60_000)
            },
            subject: random.pick::<&str>(&SUBJECTS),
            key: random.below(4),
            size: *random.pick(&[0, 100, 1000, 1000, 5000, 40_000]),
        })
        .collect();
    let level = *random.pick(&[AckLevel::Accepted, AckLevel::Accepted, AckLevel::Processed]);
    Work::Publish { level, messages }
}
