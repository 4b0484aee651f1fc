//! What comes of a graph when one message after the other goes through plain function calls.

use std::collections::BTreeMap;

use mcpbus_actors::stage::Route;
use mcpbus_actors::{EdgeCounts, EdgeLedger, Reason, StageLedger};

use crate::graph::{
    Act, Graph, Item, Node, Result, SOURCES, Settle, Work, act, edge_name, input, is_refused,
    stage_name, way_by_number,
};

/// The edges that a message, and those that caused it, came over.
type Path = Vec<usize>;

/// What arrived, by stage and path. In which order messages of different paths arrive is not said.
pub(crate) type Arrived = BTreeMap<usize, BTreeMap<Path, Vec<Item>>>;

struct Model {
    /// What was sent on each edge, in order, and whether it has expired.
    edges: Vec<Vec<(Item, Path, bool)>>,
    counts: Vec<EdgeCounts>,
    arrived: Arrived,
    result: Result,
}

pub(crate) fn run(graph: &Graph) -> (Arrived, Result) {
    let mut model = Model {
        edges: vec![Vec::new(); graph.edges],
        counts: vec![EdgeCounts::default(); graph.edges],
        arrived: Arrived::new(),
        result: Result::default(),
    };
    for source in 0..SOURCES {
        let input = input(source, graph.messages);
        let input = input.map(|(item, expired)| (item, vec![source], expired));
        model.edges[source] = input.collect();
        model.counts[source].accepted = graph.messages;
    }
    for (stage, node) in graph.nodes.iter().enumerate() {
        model.stage(stage, node);
    }
    let edges = model.counts.into_iter().enumerate();
    let edges = edges.map(|(edge, counts)| EdgeLedger {
        edge: edge_name(edge),
        counts,
    });
    model.result.ledger.edges = edges.collect();
    model.result.ledger.sort();
    model.result.dead.sort();
    (model.arrived, model.result)
}

impl Model {
    fn stage(&mut self, stage: usize, node: &Node) {
        let mut consumed = 0;
        let mut total = Item {
            key: 0,
            number: 0,
            text: "total".to_owned(),
        };
        for &edge in &node.inputs {
            for (item, path, expired) in std::mem::take(&mut self.edges[edge]) {
                consumed += 1;
                if expired {
                    self.counts[edge].expired += 1;
                    continue;
                }
                match self.message(stage, node, (&item, &path), &mut total) {
                    None => self.counts[edge].delivered += 1,
                    Some(reason) => {
                        self.counts[edge].dead.add(reason, 1);
                        let letter = (stage_name(stage), reason, item.number);
                        self.result.dead.push(letter);
                    }
                }
            }
        }
        if node.work == Work::Total {
            self.send(node.outputs[0], total, &[]);
        }
        let emitted = node.outputs.iter().map(|edge| self.counts[*edge].accepted);
        self.result.ledger.stages.push(StageLedger {
            stage: stage_name(stage),
            consumed,
            emitted: emitted.sum(),
        });
    }

    fn send(&mut self, edge: usize, item: Item, path: &[usize]) {
        self.counts[edge].accepted += 1;
        let path = [path, &[edge]].concat();
        self.edges[edge].push((item, path, false));
    }

    /// Why the message is dead at the end, if it is.
    fn message(
        &mut self,
        stage: usize,
        node: &Node,
        (item, path): (&Item, &[usize]),
        total: &mut Item,
    ) -> Option<Reason> {
        match node.work {
            Work::Panicking | Work::Deferring => {
                let (emits, dead) = match act(node.work, stage, item) {
                    Act::Emit(emits) | Act::Again(emits) => (emits, None),
                    Act::Defer(emits, Settle::Done | Settle::Again) => (emits, None),
                    // What was emitted with the deferral has gone its way.
                    Act::Defer(emits, Settle::Reject) => (emits, Some(Reason::Quota)),
                    Act::Reject => (0, Some(Reason::Rejected)),
                    Act::NeverDone => (0, Some(Reason::MaxDeliver)),
                    Act::Panic => (0, Some(Reason::Panic)),
                };
                (0..emits)
                    .for_each(|index| self.send(node.outputs[0], item.child(stage, index), path));
                dead
            }
            Work::ByKey => {
                // As `by_key` documents it: the high half of the product of the spread key and the number of ways.
                let spread = u64::from(item.key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                self.send(node.outputs[(spread >> 63) as usize], item.clone(), path);
                None
            }
            Work::ByNumber => match way_by_number(item) {
                Route::To(way) => {
                    self.send(node.outputs[way], item.clone(), path);
                    None
                }
                Route::Reject(rejection) => Some(rejection.reason),
            },
            Work::Copy => {
                for way in &node.outputs {
                    self.send(*way, item.clone(), path);
                }
                None
            }
            Work::Total => {
                total.number = total.number.wrapping_add(item.number);
                None
            }
            Work::End => {
                if is_refused(item) {
                    return Some(Reason::Rejected);
                }
                let arrived = self.arrived.entry(stage).or_default();
                arrived.entry(path.to_vec()).or_default().push(item.clone());
                None
            }
        }
    }
}
