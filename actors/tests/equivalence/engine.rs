//! A graph as a topology, run in a way that is drawn.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use mcpbus_actors::channel::{Capacity, Sender};
use mcpbus_actors::runtime::Emitter;
use mcpbus_actors::stage::{Consumer, Context, Input, Lease, Out, Processor, Progress, by_key};
use mcpbus_actors::supervisor::RestartPolicy;
use mcpbus_actors::topology::{Fusion, Placement, Port, Running, Topology};
use mcpbus_actors::{Batch, Envelope, Key, Outcome, Reason, Time};
use proptest::prelude::*;

use crate::graph::{
    Act, Graph, Item, Result, SOURCES, Settle, Work, act, edge_name, input, is_refused, stage_name,
    way_by_number,
};

/// A way to run a graph.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    placement: Placement,
    fusion: Fusion,
    /// Which edges ask to be fused, and which stages for a thread of their own, bit by bit.
    fused: u32,
    on_thread: u32,
    /// Messages and bytes, for one edge after the other, over and over.
    capacities: Vec<(usize, usize)>,
    feeds: [Feed; SOURCES],
}

/// How input comes in.
#[derive(Clone, Debug)]
enum Feed {
    /// From a stage that emits so many at a time.
    Stage(usize),
    /// From outside, one by one.
    OneByOne,
    /// From outside, in batches of these sizes, over and over.
    Batches(Vec<usize>),
    /// From outside, through a buffered sender.
    Buffered,
    /// From a producer that blocks, in batches of these sizes.
    Blocking(Vec<usize>),
}

pub(crate) fn ways() -> impl Strategy<Value = Way> {
    let sizes = || prop::collection::vec(1..300_usize, 1..5);
    let feed = move || {
        prop_oneof![
            2 => (1..600_usize).prop_map(Feed::Stage),
            1 => Just(Feed::OneByOne),
            1 => sizes().prop_map(Feed::Batches),
            1 => Just(Feed::Buffered),
            1 => sizes().prop_map(Feed::Blocking),
        ]
    };
    let capacity = (
        prop::sample::select(vec![1, 2, 7, 64, 1024]),
        prop::sample::select(vec![1 << 20, 1 << 20, 2_000, 100]),
    );
    let placements = vec![Placement::OneThread, Placement::Tasks, Placement::Threads];
    (
        prop::sample::select(placements),
        prop::sample::select(vec![Fusion::Automatic, Fusion::Asked]),
        any::<u32>(),
        // Few stages on threads of their own, and often none.
        (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(a, b, c)| a & b & c),
        prop::collection::vec(capacity, 1..4),
        [feed(), feed()],
    )
        .prop_map(
            |(placement, fusion, fused, on_thread, capacities, feeds)| Way {
                placement,
                fusion,
                fused,
                on_thread,
                capacities,
                feeds,
            },
        )
}

/// A processor that acts as the graph says.
struct Worker {
    work: Work,
    stage: usize,
    held: Vec<(Lease, Settle)>,
}

impl Worker {
    fn settle(&mut self, cx: &mut Context<'_>) {
        for (lease, settle) in self.held.drain(..) {
            let outcome = match settle {
                Settle::Done => Outcome::Done,
                Settle::Reject => Outcome::reject(Reason::Quota),
                Settle::Again => Outcome::retry(),
            };
            cx.settle(lease, outcome);
        }
    }
}

impl Processor<Item, Item> for Worker {
    fn process(
        &mut self,
        mut input: Input<'_, Item>,
        out: &mut Out<'_, Item>,
        cx: &mut Context<'_>,
    ) -> Outcome {
        self.settle(cx);
        let attempt = input.header().attempt();
        let mut emit = |emits| {
            (0..emits).for_each(|index| out.emit(input.child(self.stage, index)));
        };
        match act(self.work, self.stage, &input) {
            Act::Emit(emits) => emit(emits),
            Act::Reject => {
                emit(2);
                return Outcome::reject(Reason::Rejected);
            }
            Act::Again(emits) => {
                emit(emits);
                if attempt < 2 {
                    return Outcome::retry();
                }
            }
            Act::NeverDone => {
                emit(1);
                return Outcome::retry();
            }
            Act::Panic => {
                emit(1);
                panic!("planted");
            }
            Act::Defer(_, Settle::Again) if attempt > 0 => {}
            Act::Defer(emits, settle) => {
                emit(emits);
                self.held.push((input.lease(), settle));
                return Outcome::Defer;
            }
        }
        Outcome::Done
    }

    fn finish(&mut self, _: &mut Out<'_, Item>, cx: &mut Context<'_>) -> Progress {
        let more = !self.held.is_empty();
        self.settle(cx);
        if more {
            Progress::More
        } else {
            Progress::Finished
        }
    }
}

/// What arrived, by stage, in order.
pub(crate) type Arrived = BTreeMap<usize, Vec<Item>>;

/// Writes down what arrives.
#[derive(Clone)]
struct End {
    stage: usize,
    arrived: Arc<Mutex<Arrived>>,
}

impl Consumer<Item> for End {
    fn consume(&mut self, input: Input<'_, Item>, _: &mut Context<'_>) -> Outcome {
        assert_eq!(input.header().key(), Some(Key::from(input.key)));
        if is_refused(&input) {
            return Outcome::reject(Reason::Rejected);
        }
        let mut arrived = self.arrived.lock().unwrap();
        arrived.entry(self.stage).or_default().push(input.take());
        Outcome::Done
    }
}

fn envelopes(source: usize, messages: u64) -> impl Iterator<Item = Envelope<Item>> + Send {
    input(source, messages).map(|(item, expired)| {
        let mut envelope = Envelope::new(item);
        if expired {
            let past = Time::from_nanos(1);
            envelope.header.set_deadline(Some(past));
        }
        envelope
    })
}

/// Gives `send` everything in batches of these sizes.
fn in_batches(
    mut envelopes: impl Iterator<Item = Envelope<Item>>,
    sizes: &[usize],
    mut send: impl FnMut(&mut Batch<Item>),
) {
    let mut batch = Batch::new();
    for size in sizes.iter().cycle() {
        batch.extend(envelopes.by_ref().take(*size));
        if batch.is_empty() {
            return;
        }
        send(&mut batch);
        assert!(batch.is_empty());
    }
}

/// The port of a source's messages.
fn source(t: &mut Topology, source: usize, messages: u64, feed: &Feed) -> Port<Item> {
    let mut items = envelopes(source, messages);
    let name = format!("source{source}");
    match feed {
        Feed::Stage(size) => {
            let size = *size;
            t.produce(&name, move |out: &mut Out<'_, Item>| {
                for _ in 0..size {
                    match items.next() {
                        Some(envelope) => out.emit_envelope(envelope),
                        None => return Progress::Finished,
                    }
                }
                Progress::More
            })
        }
        Feed::Blocking(sizes) => {
            let sizes = sizes.clone();
            t.produce_blocking(&name, move |emitter: Emitter<Item>| {
                in_batches(items, &sizes, |batch| emitter.send_batch(batch).unwrap());
            })
        }
        Feed::OneByOne | Feed::Batches(_) | Feed::Buffered => t.input(&name),
    }
}

/// Sends from outside.
fn send(sender: &Sender<Item>, source: usize, messages: u64, feed: &Feed) {
    let items = envelopes(source, messages);
    match feed {
        Feed::Batches(sizes) => in_batches(items, sizes, |batch| {
            sender.blocking_send_batch(batch).unwrap();
        }),
        Feed::Buffered => {
            let mut buffered = sender.buffered();
            for envelope in items {
                // The buffer takes no headers; what has one goes past it, in its turn.
                if envelope.header.deadline().is_none() {
                    buffered.blocking_send(envelope.body).unwrap();
                } else {
                    buffered.blocking_flush().unwrap();
                    sender.blocking_send_envelope(envelope).unwrap();
                }
            }
        }
        Feed::OneByOne | Feed::Stage(_) | Feed::Blocking(_) => {
            items.for_each(|envelope| sender.blocking_send_envelope(envelope).unwrap());
        }
    }
}

fn build(graph: &Graph, way: &Way, arrived: &Arc<Mutex<Arrived>>) -> Topology {
    let mut t = Topology::new("equivalence");
    t.placement(way.placement)
        .fusion(way.fusion)
        .restart_policy(RestartPolicy {
            max_restarts: u32::MAX,
            max_pause: Duration::from_micros(100),
            ..RestartPolicy::default()
        });
    let mut ports: Vec<Option<Port<Item>>> = Vec::new();
    let prepare = |edge: usize, port: Port<Item>| {
        let (messages, bytes) = way.capacities[edge % way.capacities.len()];
        let port = port
            .capacity(Capacity::messages(messages).bytes(bytes))
            .named(edge_name(edge));
        Some(if way.fused & (1 << edge) == 0 {
            port
        } else {
            port.fused()
        })
    };
    for (number, feed) in way.feeds.iter().enumerate() {
        let port = source(&mut t, number, graph.messages, feed);
        ports.push(prepare(number, port));
    }
    for (stage, node) in graph.nodes.iter().enumerate() {
        let name = stage_name(stage);
        let inputs: Vec<_> = node
            .inputs
            .iter()
            .map(|edge| ports[*edge].take().unwrap())
            .collect();
        let outputs = match node.work {
            Work::Panicking | Work::Deferring => {
                let work = node.work;
                vec![t.process_with(&name, inputs, move || Worker {
                    work,
                    stage,
                    held: Vec::new(),
                })]
            }
            Work::ByKey => t.route_to(&name, inputs, 2, by_key()),
            Work::ByNumber => t.route_to(&name, inputs, 2, way_by_number),
            Work::Copy => t.broadcast_to(&name, inputs, 2),
            Work::Total => {
                let nothing = Item {
                    key: 0,
                    number: 0,
                    text: "total".to_owned(),
                };
                let add = |total: &mut Item, item: &Item| {
                    total.number = total.number.wrapping_add(item.number);
                };
                vec![t.aggregate(&name, inputs, nothing, add)]
            }
            Work::End => {
                let arrived = Arc::clone(arrived);
                t.consume(&name, inputs, End { stage, arrived });
                Vec::new()
            }
        };
        for (edge, port) in node.outputs.iter().zip(outputs) {
            ports.push(prepare(*edge, port));
        }
        if way.on_thread & (1 << stage) != 0 {
            t.on_thread(&name);
        }
    }
    t
}

fn start(t: Topology) -> Running {
    // One for all cases: starting one costs more than most of them.
    static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_time().build().unwrap()
    });
    let _inside = RUNTIME.enter();
    t.start().unwrap()
}

pub(crate) fn run(graph: &Graph, way: &Way) -> (Arrived, Result) {
    let arrived = Arc::default();
    let mut t = build(graph, way, &arrived);
    let dead = Arc::new(Mutex::new(Vec::new()));
    let letters = Arc::clone(&dead);
    t.on_dead_letter(move |letter| {
        let body = letter
            .body
            .as_ref()
            .and_then(|body| body.downcast_ref::<Item>());
        let number = body.expect("nobody takes a body here").number;
        let entry = (letter.stage.to_string(), letter.rejection.reason, number);
        letters.lock().unwrap().push(entry);
    });
    let mut running = start(t);
    std::thread::scope(|scope| {
        for (source, feed) in way.feeds.iter().enumerate() {
            // There is none where a stage feeds.
            if let Some(sender) = running.take_input::<Item>(&edge_name(source)) {
                scope.spawn(move || send(&sender, source, graph.messages, feed));
            }
        }
    });
    let report = running.wait_blocking().unwrap();
    let mut ledger = report.ledger;
    // Which sources are stages depends on the way.
    ledger
        .stages
        .retain(|stage| !stage.stage.starts_with("source"));
    ledger.sort();
    let mut dead = std::mem::take(&mut *dead.lock().unwrap());
    dead.sort();
    let arrived = std::mem::take(&mut *arrived.lock().unwrap());
    (arrived, Result { dead, ledger })
}
