//! A service that is offered more than it can do: what is processed in time, without guards and with them.

use crate::load::{End, Ended, Ends, Load, Tally, latencies};
use crate::memory::Memory;
use crate::options::Options;
use crate::service::{Service, ServiceConfig};
use crate::tell;
use crate::world::{RunningNode, World, route};
use mcpbus::AckLevel;
use mcpbus::client::{Client, Publication, Publisher};
use mcpbus::node::NodeLimits;
use mcpbus::resilience::{AdaptiveConfig, DeadlineConfig, DestinationGuardsConfig, ShedConfig};
use mcpbus::routing::RouteGuards;
use mcpbus_benches::failed::Failed;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PATTERN: &str = "work.*";
const GROUP: &str = "service";
const PUBLISHERS: usize = 4;
const BODY: usize = 256;
const TIME_TO_LIVE: Duration = Duration::from_millis(300);
const WORK: Duration = Duration::from_millis(10);
const CONSUMERS: usize = 4;
const PLACES: usize = 4;

/// Times the capacity.
const LOADS: [f64; 5] = [0.5, 1.0, 2.0, 5.0, 10.0];
/// What is offered before and after the overload, times the capacity.
const NORMAL: f64 = 0.5;
const WINDOW: Duration = Duration::from_millis(500);
/// How long it is waited for answers once the time of all messages is over.
const ANSWERS: Duration = Duration::from_secs(2);

/// What stands before the service.
#[derive(Clone, Copy)]
struct Setup {
    name: &'static str,
    about: &'static str,
    window: Option<u64>,
    deadline: bool,
    shed: bool,
    adaptive: bool,
}

/// A consumer's window that holds what it works on and as much again.
const SMALL: Option<u64> = Some(2 * PLACES as u64);

const SETUPS: [Setup; 4] = [
    Setup {
        name: "none",
        about: "no guards, default windows",
        window: None,
        deadline: false,
        shed: false,
        adaptive: false,
    },
    Setup {
        name: "window",
        about: "no guards, consumers with a window of 8",
        window: SMALL,
        deadline: false,
        shed: false,
        adaptive: false,
    },
    Setup {
        name: "shed",
        about: "deadline and shed, consumers with a window of 8",
        window: SMALL,
        deadline: true,
        shed: true,
        adaptive: false,
    },
    Setup {
        name: "adaptive",
        about: "deadline, shed and adaptive, default windows",
        window: None,
        deadline: true,
        shed: true,
        adaptive: true,
    },
];

impl Setup {
    fn guards(self) -> RouteGuards {
        RouteGuards {
            // What has less time than it needs once it is let through: a place of a window, then the work.
            deadline: self.deadline.then_some(DeadlineConfig {
                min_remaining: 5 * WORK,
                ..DeadlineConfig::default()
            }),
            shed: self.shed.then(ShedConfig::default),
            destination: DestinationGuardsConfig {
                adaptive: self.adaptive.then(AdaptiveConfig::default),
                ..DestinationGuardsConfig::default()
            },
            ..RouteGuards::default()
        }
    }
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Goodput {
    /// Messages per second in a closed loop, without guards.
    pub(crate) capacity: f64,
    pub(crate) time_to_live_ms: u128,
    /// Most bytes that a node with these limits takes.
    pub(crate) node_memory_bound: u64,
    pub(crate) setups: Vec<SetupFigures>,
}

#[derive(Debug, Serialize)]
pub(crate) struct SetupFigures {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) loads: Vec<LoadFigures>,
    /// Seconds after the last load until latency is normal again; `None`: not within the time that was waited.
    pub(crate) recovered_s: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct LoadFigures {
    /// Times the capacity.
    pub(crate) load: f64,
    pub(crate) offered_per_s: f64,
    /// Processed in time, by when that was.
    pub(crate) goodput_per_s: f64,
    /// Of those that were processed in time.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) ends: Tally,
    /// Of the whole process: node, publishers, consumers and the bench.
    pub(crate) resident: u64,
    pub(crate) resident_at_most: u64,
}

impl Goodput {
    /// The highest goodput of all.
    pub(crate) fn peak(&self) -> f64 {
        let loads = self.setups.iter().flat_map(|setup| &setup.loads);
        loads.map(|load| load.goodput_per_s).fold(0.0, f64::max)
    }
}

pub(crate) fn measure(world: &World, options: &Options) -> Result<Goodput, Failed> {
    tell("goodput: capacity");
    let capacity = capacity(world, options)?;
    let mut setups = Vec::new();
    for setup in SETUPS {
        setups.push(measure_setup(world, options, setup, capacity)?);
    }
    Ok(Goodput {
        capacity,
        time_to_live_ms: TIME_TO_LIVE.as_millis(),
        node_memory_bound: NodeLimits::default().memory_bound(),
        setups,
    })
}

/// A node, the service behind it, and clients that publish.
struct Stand<'a> {
    node: RunningNode<'a>,
    service: Service,
    clients: Vec<Client>,
    publishers: Vec<Publisher>,
    subjects: Vec<String>,
}

impl<'a> Stand<'a> {
    fn start(world: &'a World, guards: RouteGuards, window: Option<u64>) -> Result<Self, Failed> {
        let node = world.node(route(PATTERN, "weighted", &[GROUP], guards)?)?;
        let config = ServiceConfig {
            consumers: CONSUMERS,
            places: PLACES,
            work: WORK,
            window,
        };
        let service = Service::start(world, &node, PATTERN, GROUP, config)?;
        let names = (0..PUBLISHERS).map(|number| format!("publisher-{number}"));
        let clients: Result<Vec<_>, _> = names.map(|name| node.client(&name)).collect();
        let clients = clients?;
        let publishers = clients.iter();
        Ok(Self {
            publishers: publishers
                .map(|client| client.publisher(AckLevel::Processed))
                .collect(),
            subjects: (0..PUBLISHERS)
                .map(|number| format!("work.{number}"))
                .collect(),
            node,
            service,
            clients,
        })
    }

    fn end(self) -> Result<(), Failed> {
        drop(self.publishers);
        drop(self.clients);
        drop(self.service);
        self.node.end()
    }
}

/// Messages per second that the service does when it always has something to do and nothing waits long.
fn capacity(world: &World, options: &Options) -> Result<f64, Failed> {
    let stand = Stand::start(world, RouteGuards::default(), SMALL)?;
    let done = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let loops: Vec<_> = (0..2 * CONSUMERS * PLACES)
        .map(|number| {
            let publisher = stand.publishers[number % PUBLISHERS].clone();
            let subject = stand.subjects[number % PUBLISHERS].clone();
            let (done, stop) = (done.clone(), stop.clone());
            world.handle().spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let message = Publication::new(subject.as_str(), vec![7; BODY]);
                    let receipt = publisher.publish_with_receipt(message).await;
                    let receipt = receipt.map_err(Failed::at("a message"))?;
                    receipt.await.map_err(Failed::at("a receipt"))?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<(), Failed>(())
            })
        })
        .collect();
    thread::sleep(options.phase / 4);
    let (begin, before) = (Instant::now(), done.load(Ordering::Relaxed));
    thread::sleep(options.phase);
    let count = done.load(Ordering::Relaxed) - before;
    let capacity = count as f64 / begin.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    for task in loops {
        world.wait(task).map_err(Failed::at("a publisher"))??;
    }
    stand.end()?;
    match count {
        0 => Err(Failed::new("the service", "it has processed nothing")),
        _ => Ok(capacity),
    }
}

fn measure_setup(
    world: &World,
    options: &Options,
    setup: Setup,
    capacity: f64,
) -> Result<SetupFigures, Failed> {
    let stand = Stand::start(world, setup.guards(), setup.window)?;
    let memory = Memory::watch();
    let offer = |load: f64, duration: Duration, ends: &Ends| {
        let load = Load {
            publishers: &stand.publishers,
            subjects: &stand.subjects,
            rate: load * capacity,
            duration,
            time_to_live: Some(TIME_TO_LIVE),
        };
        load.offer(world.handle(), ends, |_| vec![7; BODY])
    };
    // Windows have opened and latencies have been learned before anything counts.
    offer(NORMAL, options.phase / 2, &Ends::default())?;
    let mut phases = Vec::new();
    for load in LOADS {
        tell(&format!(
            "goodput, {}: {load} times the capacity",
            setup.name
        ));
        memory.begin();
        let ends = Ends::default();
        let offered = offer(load, options.phase, &ends)?;
        if load < LOADS[LOADS.len() - 1] {
            ends.wait_for(offered, TIME_TO_LIVE + ANSWERS);
        }
        phases.push((load, offered, ends, memory.now(), memory.most()));
    }
    tell(&format!("goodput, {}: after the overload", setup.name));
    let after = Ends::default();
    let offered = offer(NORMAL, options.recovery, &after)?;
    after.wait_for(offered, TIME_TO_LIVE + ANSWERS);
    let figures = phases.into_iter().map(|(load, offered, ends, now, most)| {
        let ended = ends.all();
        let (tally, latency) = (Tally::of(&ended, offered), latencies(&ended));
        let seconds = options.phase.as_secs_f64();
        LoadFigures {
            load,
            offered_per_s: offered as f64 / seconds,
            goodput_per_s: goodput(&ended, options.phase),
            p50_ms: latency.quantile(0.5),
            p99_ms: latency.quantile(0.99),
            ends: tally,
            resident: now,
            resident_at_most: most,
        }
    });
    let loads: Vec<LoadFigures> = figures.collect();
    let normal = loads.first().map_or(f64::NAN, |load| load.p99_ms);
    let due = NORMAL * capacity * WINDOW.as_secs_f64();
    let recovered_s = recovered(&after.all(), due, normal);
    stand.end()?;
    Ok(SetupFigures {
        name: setup.name,
        about: setup.about,
        loads,
        recovered_s,
    })
}

/// Messages per second that were processed in time, by when that was: from the time on at which the first of the load's messages are
/// worth nothing any more, when what was there before is gone, until the last is offered.
fn goodput(ended: &[Ended], phase: Duration) -> f64 {
    let counted = TIME_TO_LIVE.min(phase / 2)..phase;
    let in_time = ended.iter().filter(|ended| ended.end == End::InTime);
    let count = in_time
        .filter(|ended| counted.contains(&(ended.due + ended.took)))
        .count();
    count as f64 / (counted.end - counted.start).as_secs_f64()
}

/// When the first window ends in which nine in ten of the messages that were `due` were processed in time, and p99 of those was
/// within twice what is `normal`.
fn recovered(after: &[Ended], due: f64, normal: f64) -> Option<f64> {
    let last = after.iter().map(|ended| ended.due).max()?;
    let windows = (last.as_nanos() / WINDOW.as_nanos()) as u32;
    (0..windows)
        .map(|number| WINDOW * number)
        .find_map(|begin| {
            let end = begin + WINDOW;
            let within = after
                .iter()
                .filter(|ended| (begin..end).contains(&ended.due));
            let series = latencies(within);
            let enough = series.count() as f64 >= 0.9 * due;
            (enough && series.quantile(0.99) <= 2.0 * normal).then_some(end.as_secs_f64())
        })
}
