//! Random small graphs of stages, and what a stage does to which message.

use mcpbus_actors::stage::Route;
use mcpbus_actors::{Ledger, Message, Reason};
use proptest::prelude::*;

/// What goes through the graph. It owns memory.
#[derive(Clone, Debug, Message, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Item {
    #[message(key)]
    pub(crate) key: u32,
    pub(crate) number: u64,
    /// One letter for the source and for each stage that made it anew.
    pub(crate) text: String,
}

impl Item {
    /// What a stage makes of it, as one of several.
    pub(crate) fn child(&self, stage: usize, index: u64) -> Self {
        Self {
            key: self.key,
            number: mix(self.number, index),
            text: format!("{}{}", self.text, letter(stage)),
        }
    }
}

/// What came out of a run, beside what arrived.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Result {
    /// Stage, reason and number of each dead letter, sorted.
    pub(crate) dead: Vec<(String, Reason, u64)>,
    /// Sorted by name.
    pub(crate) ledger: Ledger,
}

/// What a stage does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Emits, rejects, asks for further attempts, and panics now and then.
    Panicking,
    /// Emits, rejects, asks for further attempts, and defers under a lease.
    Deferring,
    /// Chooses one of two ways by key.
    ByKey,
    /// Chooses one of two ways by number, or none.
    ByNumber,
    /// Copies to two ways.
    Copy,
    /// Adds everything up.
    Total,
    /// Takes it out of the topology.
    End,
}

/// A stage with the numbers of its edges.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) work: Work,
    pub(crate) inputs: Vec<usize>,
    pub(crate) outputs: Vec<usize>,
}

/// Stages in an order in which those that give come before those that take. The first edges come from the sources.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: usize,
    pub(crate) messages: u64,
}

/// How many sources there are.
pub(crate) const SOURCES: usize = 2;

impl Graph {
    fn new(shapes: Vec<(Work, usize, Option<usize>)>, messages: u64) -> Self {
        let mut graph = Self {
            nodes: Vec::new(),
            edges: SOURCES,
            messages,
        };
        let mut loose: Vec<usize> = (0..SOURCES).collect();
        for (work, one, other) in shapes {
            let mut inputs = vec![loose.swap_remove(one % loose.len())];
            if let Some(other) = other
                && !loose.is_empty()
            {
                inputs.push(loose.swap_remove(other % loose.len()));
            }
            loose.extend(graph.add(work, inputs));
        }
        for edge in loose {
            graph.add(Work::End, vec![edge]);
        }
        graph
    }

    fn add(&mut self, work: Work, inputs: Vec<usize>) -> Vec<usize> {
        let ways = match work {
            Work::Panicking | Work::Deferring | Work::Total => 1,
            Work::ByKey | Work::ByNumber | Work::Copy => 2,
            Work::End => 0,
        };
        let outputs: Vec<usize> = (self.edges..self.edges + ways).collect();
        self.edges += ways;
        self.nodes.push(Node {
            work,
            inputs,
            outputs: outputs.clone(),
        });
        outputs
    }
}

pub(crate) fn graphs() -> impl Strategy<Value = Graph> {
    let work = prop_oneof![
        3 => Just(Work::Panicking),
        3 => Just(Work::Deferring),
        2 => Just(Work::ByKey),
        2 => Just(Work::ByNumber),
        1 => Just(Work::Copy),
        1 => Just(Work::Total),
    ];
    let shape = (work, any::<usize>(), prop::option::of(any::<usize>()));
    (prop::collection::vec(shape, 0..7), 1..400_u64)
        .prop_map(|(shapes, messages)| Graph::new(shapes, messages))
}

pub(crate) fn stage_name(stage: usize) -> String {
    format!("stage{stage}")
}

pub(crate) fn edge_name(edge: usize) -> String {
    format!("edge{edge}")
}

fn letter(stage: usize) -> char {
    ('a'..).nth(stage).unwrap()
}

/// The messages of a source, in order; whether each has a deadline that has passed.
pub(crate) fn input(source: usize, messages: u64) -> impl Iterator<Item = (Item, bool)> + Send {
    (0..messages).map(move |count| {
        let number = mix(count, source as u64);
        let item = Item {
            key: (number % 11) as u32,
            number,
            text: source.to_string(),
        };
        (item, number % 29 == 7)
    })
}

/// What a stage does to a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Emit(u64),
    Reject,
    /// Asks for two further attempts, then emits.
    Again(u64),
    /// Asks for another attempt whenever it is asked.
    NeverDone,
    Panic,
    /// Emits and defers; the lease is settled with the next message, or at the end.
    Defer(u64, Settle),
}

/// How a lease is settled.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Settle {
    Done,
    Reject,
    /// It comes again, and is done without an output.
    Again,
}

pub(crate) fn act(work: Work, stage: usize, item: &Item) -> Act {
    let draw = mix(item.number, 1000 + stage as u64);
    let emits = [0, 1, 1, 1, 1, 2, 2, 3][(draw >> 32) as usize % 8];
    match (draw % 128, work) {
        (0..8, _) => Act::Reject,
        (8..14, _) => Act::Again(emits),
        (14..16, _) => Act::NeverDone,
        (16, Work::Panicking) => Act::Panic,
        (16..24, Work::Deferring) => Act::Defer(emits, Settle::Done),
        (24..28, Work::Deferring) => Act::Defer(emits, Settle::Reject),
        (28..32, Work::Deferring) => Act::Defer(emits, Settle::Again),
        _ => Act::Emit(emits),
    }
}

/// The way that a router by number chooses.
pub(crate) fn way_by_number(item: &Item) -> Route {
    match item.number >> 7 & 7 {
        0 => Route::from(None),
        bits => Route::To((bits & 1) as usize),
    }
}

/// Whether an end refuses it.
pub(crate) fn is_refused(item: &Item) -> bool {
    item.number % 23 == 3
}

/// Spreads numbers: the last step of splitmix64.
fn mix(number: u64, salt: u64) -> u64 {
    let mut mixed = number.wrapping_add(salt.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
