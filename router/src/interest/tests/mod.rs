//! A mesh of nodes in memory: links that keep order, come, go, and are noticed late.

#![allow(clippy::unwrap_used)]

mod cases;
mod random;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mcpbus_actors::Time;

use super::*;

const HOLD: Duration = Duration::from_secs(10);

fn node(index: usize) -> NodeId {
    NodeId(100 + index as u128)
}

fn entry(number: u32, members: u32) -> Entry {
    let group = number
        .is_multiple_of(3)
        .then(|| Arc::from(format!("g{}", number % 2)));
    Entry {
        pattern: format!("a.{number}.>").parse().unwrap(),
        group,
        members,
        route: None,
    }
}

/// A copy of what a node knows, kept by its changes alone.
#[derive(Debug, Default, Clone, PartialEq)]
struct View {
    hops: BTreeMap<NodeId, (Option<Neighbour>, bool)>,
    entries: BTreeMap<(NodeId, EntryId), Entry>,
    confirmed: BTreeSet<EntryId>,
}

impl View {
    fn apply(&mut self, change: Change) {
        match change {
            Change::NextHopChanged {
                origin,
                next_hop: None,
                ..
            } => {
                assert!(self.hops.remove(&origin).is_some());
                assert!(
                    !self.entries.keys().any(|(held, _)| *held == origin),
                    "entries outlive the way to them"
                );
            }
            Change::NextHopChanged {
                origin,
                next_hop,
                stale,
            } => {
                assert_ne!(
                    self.hops.insert(origin, (next_hop, stale)),
                    Some((next_hop, stale))
                );
            }
            Change::EntryAdded { origin, id, entry } => {
                assert!(
                    self.hops.contains_key(&origin),
                    "an entry before the way to it"
                );
                assert_eq!(self.entries.insert((origin, id), entry), None);
            }
            Change::MembersChanged { origin, id, entry } => {
                let before = self.entries.insert((origin, id), entry.clone()).unwrap();
                assert!(
                    before != entry
                        && before.pattern == entry.pattern
                        && before.group == entry.group
                );
            }
            Change::EntryRemoved { origin, id, entry } => {
                assert_eq!(self.entries.remove(&(origin, id)), Some(entry));
            }
            Change::Confirmed { id, refused } => {
                assert!(!refused);
                assert!(self.confirmed.insert(id), "confirmed twice");
            }
            Change::Synced { .. } => {}
        }
    }
}

struct Mesh {
    nodes: Vec<Interest>,
    views: Vec<View>,
    local: Vec<BTreeMap<EntryId, Entry>>,
    epochs: Vec<u64>,
    /// Messages under way per direction of each link that is up.
    wires: BTreeMap<(usize, usize), VecDeque<Vec<u8>>>,
    /// Ends that have not noticed yet that their link is down.
    unnoticed: BTreeSet<(usize, usize)>,
    /// Numbers of links change with each connection.
    connections: u32,
    numbers: BTreeMap<(usize, usize), Neighbour>,
    now: Time,
    delivered: u64,
}

impl Mesh {
    fn new(count: usize) -> Self {
        Self {
            nodes: (0..count).map(|index| fresh(index, 1)).collect(),
            views: vec![View::default(); count],
            local: vec![BTreeMap::new(); count],
            epochs: vec![1; count],
            wires: BTreeMap::new(),
            unnoticed: BTreeSet::new(),
            connections: 0,
            numbers: BTreeMap::new(),
            now: Time::ZERO,
            delivered: 0,
        }
    }

    fn is_up(&self, a: usize, b: usize) -> bool {
        self.wires.contains_key(&(a, b))
    }

    fn up(&mut self, a: usize, b: usize) {
        if a == b || self.is_up(a, b) {
            return;
        }
        self.connections += 1;
        for (from, to) in [(a, b), (b, a)] {
            self.notice(from, to);
            // Every other connection keeps the number, the rest get a new one.
            let number = if self.connections.is_multiple_of(2) {
                to as u32
            } else {
                to as u32 + self.connections * 16
            };
            self.numbers.insert((from, to), Neighbour(number));
            self.wires.insert((from, to), VecDeque::new());
            self.nodes[from]
                .neighbour_up(Neighbour(number), node(to), self.now)
                .unwrap();
        }
        self.settle(a);
        self.settle(b);
    }

    fn down(&mut self, a: usize, b: usize, both_notice: bool) {
        if !self.is_up(a, b) {
            return;
        }
        for (from, to) in [(a, b), (b, a)] {
            self.wires.remove(&(from, to));
            self.unnoticed.insert((from, to));
        }
        self.notice(a, b);
        if both_notice {
            self.notice(b, a);
        }
    }

    fn notice(&mut self, from: usize, to: usize) {
        if self.unnoticed.remove(&(from, to)) {
            self.nodes[from].neighbour_down(self.numbers[&(from, to)], self.now);
            self.settle(from);
        }
    }

    fn notice_all(&mut self) {
        while let Some((from, to)) = self.unnoticed.first().copied() {
            self.notice(from, to);
        }
    }

    /// A node dies and starts again with another epoch and nothing but its local entries.
    fn restart(&mut self, index: usize) {
        let peers: Vec<usize> = (0..self.nodes.len())
            .filter(|to| self.is_up(index, *to))
            .collect();
        for to in &peers {
            self.down(*to, index, false);
        }
        self.unnoticed.retain(|(from, _)| *from != index);
        self.epochs[index] += 1;
        self.nodes[index] = fresh(index, self.epochs[index]);
        self.views[index] = View::default();
        for (id, entry) in self.local[index].clone() {
            self.nodes[index].local_set(id, entry).unwrap();
        }
        self.settle(index);
        for to in peers {
            self.up(index, to);
        }
    }

    fn set(&mut self, index: usize, id: u32, value: Entry) {
        let id = EntryId(id);
        if self.local[index].insert(id, value.clone()) != Some(value.clone()) {
            self.views[index].confirmed.remove(&id);
        }
        self.nodes[index].local_set(id, value).unwrap();
        self.settle(index);
    }

    fn remove(&mut self, index: usize, id: u32) {
        self.local[index].remove(&EntryId(id));
        self.views[index].confirmed.remove(&EntryId(id));
        self.nodes[index].local_remove(EntryId(id));
        self.settle(index);
    }

    fn settle(&mut self, index: usize) {
        while let Some(change) = self.nodes[index].poll_change() {
            self.views[index].apply(change);
        }
    }

    /// Lets a node send at most `most` messages.
    fn send(&mut self, index: usize, most: usize) -> bool {
        for _ in 0..most {
            let Some((neighbour, message)) = self.nodes[index].poll_send() else {
                return false;
            };
            let (link, _) = self
                .numbers
                .iter()
                .find(|((from, _), number)| *from == index && **number == neighbour)
                .unwrap();
            if let Some(wire) = self.wires.get_mut(link) {
                let bytes = encode(&message);
                assert!(bytes.len() <= MESSAGE_BYTES);
                wire.push_back(bytes);
            }
        }
        true
    }

    fn deliver(&mut self, from: usize, to: usize) -> bool {
        let Some(bytes) = self
            .wires
            .get_mut(&(from, to))
            .and_then(VecDeque::pop_front)
        else {
            return false;
        };
        self.delivered += 1;
        self.nodes[to]
            .handle(self.numbers[&(to, from)], decode(&bytes).unwrap(), self.now)
            .unwrap();
        self.settle(to);
        true
    }

    /// Lets one link or node, chosen by `pick`, do one thing.
    fn step(&mut self, pick: usize) {
        let links: Vec<(usize, usize)> = self.wires.keys().copied().collect();
        let choices = links.len() + self.nodes.len();
        match pick % choices {
            index if index < self.nodes.len() => {
                self.send(index, 1 + pick % 3);
            }
            at => {
                let (from, to) = links[at - self.nodes.len()];
                self.deliver(from, to);
            }
        }
    }

    fn quiesce(&mut self) {
        let before = self.delivered;
        loop {
            let mut busy = false;
            for index in 0..self.nodes.len() {
                busy |= self.send(index, 5);
            }
            let links: Vec<(usize, usize)> = self.wires.keys().copied().collect();
            for (from, to) in links {
                busy |= self.deliver(from, to);
                busy |= !self.wires[&(from, to)].is_empty();
            }
            if !busy {
                return;
            }
            assert!(
                self.delivered - before < 200_000,
                "the mesh does not come to rest"
            );
        }
    }

    fn finish(&mut self) {
        self.notice_all();
        self.quiesce();
        while let Some(at) = self.nodes.iter().filter_map(Interest::next_timeout).min() {
            self.now = self.now.max(at);
            for index in 0..self.nodes.len() {
                self.nodes[index].handle_timeout(self.now);
                self.settle(index);
            }
            self.quiesce();
        }
    }

    fn distances(&self, start: usize) -> BTreeMap<usize, usize> {
        let mut distances = BTreeMap::from([(start, 0)]);
        let mut queue = VecDeque::from([start]);
        while let Some(at) = queue.pop_front() {
            for to in (0..self.nodes.len()).filter(|to| self.is_up(at, *to)) {
                if !distances.contains_key(&to) {
                    distances.insert(to, distances[&at] + 1);
                    queue.push_back(to);
                }
            }
        }
        distances
    }

    /// Everyone knows exactly what everyone reachable wants, over shortest paths, and nothing is left open.
    fn check(&self) {
        for (index, interest) in self.nodes.iter().enumerate() {
            let distances = self.distances(index);
            let reachable: Vec<NodeId> = distances
                .keys()
                .filter(|at| **at != index)
                .map(|at| node(*at))
                .collect();
            assert_eq!(
                interest.origins().collect::<Vec<_>>(),
                reachable,
                "origins known to {index}"
            );
            for (origin, distance) in distances.iter().filter(|(origin, _)| **origin != index) {
                let known: BTreeMap<EntryId, Entry> = interest
                    .entries(node(*origin))
                    .map(|(id, entry)| (id, entry.clone()))
                    .collect();
                assert_eq!(known, self.local[*origin], "entries of {origin} at {index}");
                let path = interest.path(node(*origin)).unwrap();
                assert_eq!(
                    path.len(),
                    distance + 1,
                    "path from {index} to {origin}: {path:?}"
                );
                let hop = (0..self.nodes.len())
                    .find(|to| node(*to) == path[1])
                    .unwrap();
                assert_eq!(
                    interest.next_hop(node(*origin)),
                    Some(self.numbers[&(index, hop)])
                );
                assert_eq!(self.distances(hop)[origin], distance - 1);
                assert_eq!(interest.epoch(node(*origin)), Some(self.epochs[*origin]));
                assert!(!interest.is_stale(node(*origin)));
            }
            let view = &self.views[index];
            let hops: BTreeMap<_, _> = interest
                .origins()
                .map(|origin| (origin, (interest.next_hop(origin), false)))
                .collect();
            assert_eq!(view.hops, hops);
            let entries: BTreeMap<_, _> = interest
                .origins()
                .flat_map(|origin| {
                    interest
                        .entries(origin)
                        .map(move |(id, entry)| ((origin, id), entry.clone()))
                })
                .collect();
            assert_eq!(view.entries, entries);
            assert_eq!(
                view.confirmed,
                self.local[index].keys().copied().collect(),
                "confirmations at {index}"
            );
            assert_eq!(interest.obligations.len(), 0);
            assert!(interest.unconfirmed.is_empty());
            assert_eq!(interest.refused(), Refused::default());
            assert!(
                interest
                    .peers
                    .values()
                    .all(|peer| peer.asked.is_empty() && peer.unconfirmed.is_empty())
            );
        }
    }
}

/// Odd nodes cut what they say into small pieces.
fn fresh(index: usize, epoch: u64) -> Interest {
    let mut interest = Interest::new(
        node(index),
        epoch,
        Limits {
            hold: HOLD,
            ..Limits::default()
        },
    );
    interest.chunk = if index % 2 == 1 { 2 } else { MESSAGE_ENTRIES };
    interest
}

fn chain(count: usize) -> Mesh {
    let mut mesh = Mesh::new(count);
    for index in 1..count {
        mesh.up(index - 1, index);
    }
    mesh
}

fn announce() -> Announce {
    Announce {
        origin: node(0),
        epoch: 1,
        path: Arc::from([node(0)]),
        first: true,
        last: true,
        stale: false,
        removed: vec![],
        added: vec![],
        token: None,
    }
}
