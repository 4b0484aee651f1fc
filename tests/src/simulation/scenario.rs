//! What a seed comes to: a mesh, clients with scripts, and faults.

use super::client::Client;
use super::random::Random;
use super::script::{Level, Pace, Publication, Reaction, Step, Subscription};
use super::shapes::Shape;
use super::stores::Disk;
use super::world::{Edge, End, Weather, World};
use mcpbus::node::{NodeConfig, NodeLimits};
use mcpbus::policy::PolicyFactory;
use mcpbus::resilience::{
    AdaptiveConfig, BulkheadConfig, CanaryConfig, DestinationGuardsConfig, KeyedLimitsConfig,
    LeakyBucketConfig, OutlierConfig, TokenBucketConfig, WhenFull, WhenLimited,
};
use mcpbus::routing::{LimitKey, Pattern, Route, RouteCanary, RouteGuards, RouteLimit, RouteTable};
use mcpbus_actors::Time;
use mcpbus_transport::session::SessionConfig;
use mcpbus_transport::spool::Faults;
use std::time::Duration;

/// A world that is about to start, and when what happens in it.
pub struct Scenario {
    /// The shape it was drawn from.
    pub shape: Shape,
    /// The world.
    pub world: World,
    /// How many links between nodes are cut.
    pub node_links_cut: usize,
    /// When the faults happen.
    pub faults: Vec<(Time, Fault)>,
    /// When the last message is published and the last fault is over.
    pub calm_at: Time,
    /// By when everything must be done.
    pub done_by: Time,
    /// The node of each client.
    pub homes: Vec<usize>,
    /// What every node was given to grant.
    pub budget: (u64, u64),
}

/// A fault.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The newest link of an edge is cut.
    Cut(usize),
    /// A node dies and is away for this long.
    Crash(usize, Duration),
    /// A client's process dies and begins anew.
    Restart(usize),
    /// From now on something is wrong with a node's disk, or nothing any more.
    Disk(usize, Faults),
    /// Messages on a node's disk are damaged.
    Corrupt(usize),
    /// A node gets other routes, while messages flow.
    Routes(usize, RouteTable),
}

/// Subjects of ordinary messages; nobody listens to the last.
const SUBJECTS: [&str; 6] = ["a.0", "a.1", "b.0", "b.x.1", "c", "nobody.here"];
const PATTERNS: [&str; 7] = ["a.*", "a.0", "b.>", "b.0", "c", "a.1", "*.0"];

/// Draws a scenario.
pub fn draw(shape: &Shape, seed: u64) -> Scenario {
    let mut random =
        Random::new(seed ^ super::random::mix(shape.name.len() as u64 + shape.nodes as u64));
    let begin = Time::ZERO + Duration::from_secs(100);
    let session = SessionConfig {
        lanes: *random.pick(&[1, 2, 4]),
        frame_target: *random.pick(&[100, 1000, 64 * 1024]),
        ..SessionConfig::default()
    };
    let limits = NodeLimits {
        credit_messages: *random.pick(&[200, 8192, 262_144]),
        credit_bytes: *random.pick(&[200 << 10, 2 << 20, 64 << 20]),
        flow_messages: *random.pick(&[64, 300, 16_384]),
        flow_bytes: *random.pick(&[16 << 10, 4 << 20]),
        ..NodeLimits::default()
    };
    let budget = (limits.credit_messages, limits.credit_bytes);
    let nodes: Vec<(NodeConfig, Option<Disk>)> = (0..shape.nodes)
        .map(|node| {
            let hold = NodeConfig::new("", 0, 0).hold;
            let short = Duration::from_millis(200);
            let config = NodeConfig {
                hold: if shape.short_hold { short } else { hold },
                session: session.clone(),
                limits: limits.clone(),
                routes: routes(shape, &mut random),
                ..NodeConfig::new(&format!("node-{node}"), random.number(), 1)
            };
            let room = if shape.small_spools {
                *random.pick(&[512 << 10, 640 << 10])
            } else {
                64 << 20
            };
            (config, shape.durable.then(|| Disk::new(room)))
        })
        .collect();
    let mut edges: Vec<Edge> = Vec::new();
    for &(dialer, acceptor) in shape.links {
        let dialed = edges
            .iter()
            .filter(|edge| edge.dialer == End::Node(dialer))
            .count();
        edges.push(Edge {
            dialer: End::Node(dialer),
            acceptor,
            dialed,
        });
    }
    let mut homes = Vec::new();
    let mut clients = Vec::new();
    let mut add = |random: &mut Random, home: usize, mut script: Vec<(Time, Step)>| {
        script.sort_by_key(|(at, _)| *at);
        let lanes = *random.pick(&[1, 3, 4]);
        let client = Client::new(
            clients.len(),
            SessionConfig {
                lanes,
                ..session.clone()
            },
            random.number(),
            script,
        );
        edges.push(Edge {
            dialer: End::Client(clients.len()),
            acceptor: home,
            dialed: 0,
        });
        homes.push(home);
        clients.push(client);
    };
    let subscribers = random.between(2, 5);
    let mut heirs = Vec::new();
    for place in 0..subscribers {
        let home = if shape.apart {
            random.between(1, 2) as usize
        } else {
            random.below(shape.nodes as u64) as usize
        };
        let script = subscriber(shape, &mut random, begin, place == 0);
        if shape.lives {
            heirs.extend(heir(&mut random, begin, &script).map(|script| (home, script)));
        }
        add(&mut random, home, script);
    }
    let publishers = random.between(1, 3);
    let messages = random.between(shape.messages.0, shape.messages.1) / publishers;
    for _ in 0..publishers {
        let home = if shape.apart {
            0
        } else {
            random.below(shape.nodes as u64) as usize
        };
        let script = publisher(shape, &mut random, begin, messages);
        add(&mut random, home, script);
    }
    for (home, script) in heirs {
        add(&mut random, home, script);
    }
    let last = begin + Duration::from_millis(2500);
    let mut faults = Vec::new();
    for _ in 0..random.between(shape.cuts.0, shape.cuts.1) {
        let edge = random.below(edges.len() as u64) as usize;
        faults.push((begin + random.micros(700_000, 2_400_000), Fault::Cut(edge)));
    }
    if let Some(node) = shape.crash {
        let node = if shape.apart {
            node
        } else {
            random.below(shape.nodes as u64) as usize
        };
        let away = random.micros(20_000, 1_500_000);
        let at = begin + random.micros(1_000_000, 2_000_000);
        faults.push((at, Fault::Crash(node, away)));
        if shape.corrupt {
            faults.push((at + away / 2, Fault::Corrupt(node)));
        }
    }
    if shape.disk_faults {
        disk_faults(shape, &mut random, begin, &mut faults);
    }
    for _ in 0..random.between(shape.restarts.0, shape.restarts.1) {
        // The first clients are the subscribers.
        let client = random.below(subscribers) as usize;
        faults.push((
            begin + random.micros(800_000, 2_400_000),
            Fault::Restart(client),
        ));
    }
    if shape.edits.1 > 0 {
        edits(shape, &mut random, begin, &mut faults);
    }
    faults.sort_by_key(|(at, _)| *at);
    let mut node_links: Vec<usize> = faults
        .iter()
        .filter_map(|(_, fault)| match fault {
            Fault::Cut(edge) if *edge < shape.links.len() => Some(*edge),
            _ => None,
        })
        .collect();
    node_links.sort_unstable();
    node_links.dedup();
    let delay = *random.pick(&[(50, 100), (50, 3000), (1000, 20_000)]);
    let weather = Weather {
        delay,
        silent: true,
    };
    let patience = if shape.crash.is_some() || shape.disk_faults {
        90
    } else {
        30
    };
    Scenario {
        shape: shape.clone(),
        world: World::new(random, nodes, clients, edges, weather),
        node_links_cut: node_links.len(),
        faults,
        calm_at: last,
        done_by: last + Duration::from_secs(patience),
        homes,
        budget,
    }
}

/// Nodes get other routes to the same groups. The first node always has one, so that at no time each group has its own copy.
fn edits(shape: &Shape, random: &mut Random, begin: Time, faults: &mut Vec<(Time, Fault)>) {
    for _ in 0..random.between(shape.edits.0, shape.edits.1) {
        let node = random.below(shape.nodes as u64) as usize;
        let at = begin + random.micros(700_000, 2_400_000);
        let routes = if node > 0 && random.one_in(4) {
            RouteTable::default()
        } else {
            routes(shape, random)
        };
        faults.push((at, Fault::Routes(node, routes)));
    }
}

/// What goes wrong with disks: for a while, or until the node is started again.
fn disk_faults(shape: &Shape, random: &mut Random, begin: Time, faults: &mut Vec<(Time, Fault)>) {
    let healthy = Faults::default();
    for node in 0..shape.nodes {
        let at = begin + random.micros(800_000, 1_800_000);
        let over = at + random.micros(1_000, 600_000);
        let mut wrong = healthy;
        match random.below(4) {
            0 => wrong.full = true,
            1 => (wrong.write, wrong.read) = (true, random.one_in(2)),
            2 => {
                let away = random.micros(20_000, 500_000);
                faults.push((over, Fault::Crash(node, away)));
                wrong.sync = true;
            }
            _ => continue,
        }
        faults.push((at, Fault::Disk(node, wrong)));
        faults.push((over, Fault::Disk(node, healthy)));
    }
}

/// Another client that takes a durable subscription of this script over, if there is one and it stays.
fn heir(random: &mut Random, begin: Time, script: &[(Time, Step)]) -> Option<Vec<(Time, Step)>> {
    let ends = |(_, step): &(Time, Step)| matches!(step, Step::Delete(_));
    let wanted = script.iter().find_map(|(_, step)| match step {
        Step::Subscribe(wanted) if wanted.durable.is_some() => Some(wanted.clone()),
        _ => None,
    })?;
    if script.iter().any(ends) || random.one_in(2) {
        return None;
    }
    let wanted = Subscription {
        pace: Pace::Immediate,
        reaction: Reaction::Take,
        ..wanted
    };
    let at = begin + random.micros(1_000_000, 2_400_000);
    Some(vec![(at, Step::Subscribe(wanted))])
}

fn routes(shape: &Shape, random: &mut Random) -> RouteTable {
    if !shape.routes {
        return RouteTable::default();
    }
    let policy = *random.pick(&[
        "weighted",
        "hash",
        "round-robin",
        "subset",
        "bounded-load",
        "least-loaded",
        "failover",
    ]);
    let route = PolicyFactory::named(policy)
        .ok()
        .zip(Pattern::new("r.*").ok())
        .map(|(policy, pattern)| {
            let level = u8::from(random.one_in(2));
            let route = Route::new(pattern, policy)
                .to("v1", 80)
                .to("v2", 20)
                .priority(level)
                .sticky(random.one_in(2));
            let mut guards = guards(random);
            if matches!(route.policy.name(), "round-robin" | "failover") {
                guards.canary = None;
            }
            let route = route.guards(guards);
            // Nobody is in the group of the mirror: what becomes of copies changes nothing for the others.
            if random.one_in(3) {
                route.mirror("mirror", 0.5)
            } else {
                route
            }
        });
    RouteTable::new(route.into_iter().collect()).unwrap_or_default()
}

/// Sometimes a limit that lets messages wait, sometimes bounds on what is in flight at each destination, with or without a queue,
/// sometimes a canary.
fn guards(random: &mut Random) -> RouteGuards {
    let max = Duration::from_secs(20);
    let delay = TokenBucketConfig::new(500.0, 5, WhenLimited::Delay { max });
    let keyed = TokenBucketConfig::new(50.0, 2, WhenLimited::Delay { max });
    let keyed = keyed.and_then(|each| KeyedLimitsConfig::new(each, 1000, WhenFull::Share));
    let keyed = keyed.ok();
    let even = LeakyBucketConfig::new(500.0, WhenLimited::Delay { max });
    let draw = random.below(8);
    let bulkhead = match draw % 3 {
        0 => BulkheadConfig::new(20, 0, Duration::ZERO),
        1 => BulkheadConfig::new(3, 100, Duration::from_millis(400)),
        _ => BulkheadConfig::new(5, 2, Duration::from_secs(20)),
    };
    let limit = match draw {
        0 | 1 => delay.ok().map(RouteLimit::from),
        2 => even.ok().map(RouteLimit::from),
        3 => keyed.map(|keyed| RouteLimit::Each(LimitKey::Key, keyed)),
        _ => None,
    };
    let canary = RouteCanary {
        group: "v2".into(),
        config: CanaryConfig {
            steps: vec![5, 50],
            min_step_time: Duration::from_secs(1),
            ..CanaryConfig::default()
        },
    };
    RouteGuards {
        limit,
        destination: DestinationGuardsConfig {
            bulkhead: bulkhead.ok().filter(|_| random.one_in(4)),
            adaptive: random.one_in(6).then(AdaptiveConfig::default),
            ..DestinationGuardsConfig::default()
        },
        outlier: random.one_in(4).then(OutlierConfig::default),
        canary: Some(canary).filter(|_| random.one_in(4)),
        ..RouteGuards::default()
    }
}

fn subscriber(shape: &Shape, random: &mut Random, begin: Time, first: bool) -> Vec<(Time, Step)> {
    let mut script = Vec::new();
    let both = shape.routes && first;
    let count = if both {
        2
    } else {
        random.between(1, 2) as usize
    };
    for place in 0..count {
        // A destination without members holds the messages that are routed to it, so each has one.
        let (pattern, group) = if both {
            ("r.>".into(), Some(["v1", "v2"][place].to_string()))
        } else if shape.routes && !random.one_in(4) {
            ("r.>".into(), Some(random.pick(&["v1", "v2"]).to_string()))
        } else if shape.requests && !random.one_in(4) {
            ("req.*".into(), Some("responders".into()))
        } else if shape.groups && random.one_in(2) {
            ("a.*".into(), Some(random.pick(&["g", "h"]).to_string()))
        } else {
            (random.pick(&PATTERNS).to_string(), None)
        };
        let durable = (shape.durable && !random.one_in(4))
            .then(|| format!("durable-{}-{place}", random.number()));
        let kept = durable.is_some();
        let pace = match random.below(6) {
            0 if shape.slow => Pace::Stalled,
            1 | 2 if shape.slow => Pace::Slow(random.micros(100, 20_000)),
            _ => Pace::Immediate,
        };
        let reaction = match &group {
            Some(group) if group == "responders" => Reaction::Reply,
            // Dead letters stay in the spool until somebody has looked at them: a small one would be full of them.
            _ if random.one_in(if shape.disk_faults { 3 } else { 12 }) && !shape.small_spools => {
                Reaction::Reject
            }
            _ => Reaction::Take,
        };
        let window = (
            *random.pick(&[1, 2, 10, 1000]),
            *random.pick(&[200, 5000, 1 << 20]),
        );
        let late = (shape.churn || shape.lives) && random.one_in(3);
        let at = begin
            + if late {
                random.micros(900_000, 2_200_000)
            } else {
                random.micros(0, 100_000)
            };
        script.push((
            at,
            Step::Subscribe(Subscription {
                pattern,
                group,
                durable,
                pace,
                reaction,
                window,
            }),
        ));
        if shape.lives && kept && random.one_in(4) && !late {
            script.push((
                begin + random.micros(1_000_000, 2_400_000),
                Step::Delete(place),
            ));
        }
        if shape.churn && random.one_in(3) && !late {
            script.push((
                begin + random.micros(1_000_000, 2_400_000),
                Step::Unsubscribe(place),
            ));
        }
    }
    // A late subscription before an early one would change their numbers.
    let late = script.iter().any(|(at, step)| {
        matches!(step, Step::Subscribe(_)) && *at > begin + Duration::from_millis(500)
    });
    if late {
        script.retain(|(_, step)| matches!(step, Step::Subscribe(_)));
    } else {
        let mut at = begin;
        for (time, step) in &mut script {
            if matches!(step, Step::Subscribe(_)) {
                at = at.max(*time);
                *time = at;
            }
        }
    }
    script
}

fn publisher(shape: &Shape, random: &mut Random, begin: Time, messages: u64) -> Vec<(Time, Step)> {
    let subjects: Vec<&str> = (0..random.between(1, 3))
        .map(|_| *random.pick(&SUBJECTS))
        .collect();
    let level = if shape.durable {
        (!random.one_in(4)).then_some(Level::Stored)
    } else {
        *random.pick(&[None, Some(Level::Accepted), Some(Level::Processed)])
    };
    let bursts = random.one_in(2);
    let mut at = begin + Duration::from_secs(1);
    let (mut script, mut given_up) = (Vec::new(), Vec::new());
    for _ in 0..messages {
        if !bursts || random.one_in(10) {
            at += random.micros(
                0,
                2 * 1_400_000 / messages.max(1) / if bursts { 1 } else { 2 },
            );
        }
        let mut any = *random.pick(&[Level::None, Level::Accepted, Level::Processed]);
        if shape.durable && random.one_in(2) {
            any = Level::Stored;
        }
        let (subject, request) = if shape.requests && random.one_in(2) {
            ("req.1", true)
        } else if shape.routes && !random.one_in(4) {
            (*random.pick(&["r.1", "r.2"]), false)
        } else {
            (*random.pick(&subjects), false)
        };
        let publication = Publication {
            subject: subject.into(),
            key: (!random.one_in(3)).then(|| random.below(5)),
            level: if request {
                Level::Accepted
            } else {
                level.unwrap_or(any)
            },
            size: *random.pick(&[0, 10, 100, 3000, 30_000]),
            time_to_live: (shape.deadlines && random.one_in(8))
                .then(|| random.micros(100, 300_000)),
            request,
        };
        let when = at.min(begin + Duration::from_millis(2450));
        script.push((when, Step::Publish(publication)));
        if request && shape.cancels && random.one_in(2) {
            let number = script
                .iter()
                .filter(|(_, step)| matches!(step, Step::Publish(_)));
            given_up.push((
                when + random.micros(0, 100_000),
                Step::Cancel(number.count() - 1),
            ));
        }
    }
    script.append(&mut given_up);
    script
}
