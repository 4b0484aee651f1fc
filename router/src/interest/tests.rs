#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mcpbus_actors::Time;
use proptest::prelude::*;

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

#[derive(Debug, Clone)]
enum Action {
    Up(usize, usize),
    Down(usize, usize, bool),
    Notice,
    Restart(usize),
    Set(usize, u32, u32),
    Remove(usize, u32),
    Steps(Vec<usize>),
    Wait(u64),
}

fn action() -> impl Strategy<Value = Action> {
    let index = 0usize..8;
    let steps = proptest::collection::vec(any::<usize>(), 1..40);
    prop_oneof![
        4 => (index.clone(), index.clone()).prop_map(|(a, b)| Action::Up(a, b)),
        2 => (index.clone(), index.clone(), any::<bool>()).prop_map(|(a, b, both)| Action::Down(a, b, both)),
        1 => Just(Action::Notice),
        1 => index.clone().prop_map(Action::Restart),
        4 => (index.clone(), 0u32..6, 0u32..12).prop_map(|(at, id, value)| Action::Set(at, id, value)),
        2 => (index, 0u32..6).prop_map(|(at, id)| Action::Remove(at, id)),
        6 => steps.prop_map(Action::Steps),
        1 => (0u64..12).prop_map(Action::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_mesh_at_rest_knows_exactly_what_is_wanted(
        count in 2usize..=8,
        actions in proptest::collection::vec(action(), 1..60),
    ) {
        let mut mesh = Mesh::new(count);
        for action in actions {
            match action {
                Action::Up(a, b) => mesh.up(a % count, b % count),
                Action::Down(a, b, both) => mesh.down(a % count, b % count, both),
                Action::Notice => mesh.notice_all(),
                Action::Restart(at) => mesh.restart(at % count),
                Action::Set(at, id, value) => mesh.set(at % count, id, entry(value / 2, 1 + value % 2)),
                Action::Remove(at, id) => mesh.remove(at % count, id),
                Action::Steps(picks) => picks.into_iter().for_each(|pick| mesh.step(pick)),
                Action::Wait(seconds) => {
                    mesh.now += Duration::from_secs(seconds);
                    for index in 0..count {
                        let now = mesh.now;
                        mesh.nodes[index].handle_timeout(now);
                        mesh.settle(index);
                    }
                }
            }
        }
        mesh.finish();
        mesh.check();
    }

    #[test]
    fn a_confirmed_entry_is_known_to_every_node(
        count in 2usize..=8,
        links in proptest::collection::vec((0usize..8, 0usize..8), 1..16),
        sets in proptest::collection::vec((0usize..8, 0u32..6, 0u32..12), 1..20),
        picks in proptest::collection::vec(any::<usize>(), 1..2000),
    ) {
        let mut mesh = Mesh::new(count);
        links.iter().for_each(|(a, b)| mesh.up(a % count, b % count));
        mesh.finish();
        let mut picks = picks.into_iter();
        for (at, id, value) in sets {
            mesh.set(at % count, id, entry(value / 2, 1 + value % 2));
            for pick in picks.by_ref().take(100) {
                mesh.step(pick);
                for index in 0..count {
                    for id in &mesh.views[index].confirmed {
                        let wanted = &mesh.local[index][id];
                        for other in mesh.distances(index).into_keys().filter(|other| *other != index) {
                            let known = mesh.views[other].entries.get(&(node(index), *id));
                            prop_assert_eq!(known, Some(wanted), "entry of {} at {}", index, other);
                        }
                    }
                }
            }
        }
        mesh.finish();
        mesh.check();
    }
}

fn chain(count: usize) -> Mesh {
    let mut mesh = Mesh::new(count);
    for index in 1..count {
        mesh.up(index - 1, index);
    }
    mesh
}

#[test]
fn large_states_come_whole_or_not_at_all() {
    let mut mesh = chain(3);
    for id in 0..2_000 {
        mesh.set(0, id, entry(id, 1));
    }
    let mut sizes = BTreeSet::new();
    for pick in 0..100_000 {
        mesh.step(pick * 7919 % 104_729);
        sizes.insert(mesh.views[2].entries.len());
    }
    mesh.finish();
    mesh.check();
    assert_eq!(sizes, BTreeSet::from([0, 2_000]));
}

#[test]
fn paths_over_a_lost_link_stay_in_use_for_a_while() {
    let mut mesh = chain(3);
    mesh.set(2, 1, entry(1, 1));
    mesh.finish();
    mesh.down(0, 1, true);
    mesh.quiesce();
    assert!(mesh.nodes[0].is_stale(node(2)));
    assert_eq!(mesh.views[0].entries.len(), 1);
    // The middle node comes back without knowing anything: it gets its time, and nothing flaps.
    mesh.restart(1);
    mesh.up(0, 1);
    let changes = mesh.views[0].entries.clone();
    mesh.quiesce();
    assert_eq!(mesh.views[0].entries, changes);
    assert!(!mesh.nodes[0].is_stale(node(2)));
    mesh.finish();
    mesh.check();
    // For good.
    mesh.down(0, 1, true);
    let at = mesh.nodes[0].next_timeout().unwrap();
    assert_eq!(at, mesh.now + HOLD);
    mesh.nodes[0].handle_timeout(at);
    mesh.settle(0);
    assert!(mesh.views[0].entries.is_empty() && mesh.views[0].hops.is_empty());
}

#[test]
fn two_nodes_that_lost_the_same_origin_do_not_chase_each_other() {
    let mut mesh = Mesh::new(3);
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        mesh.up(a, b);
    }
    mesh.set(2, 1, entry(1, 1));
    mesh.finish();
    mesh.down(0, 2, true);
    mesh.down(1, 2, true);
    let before = mesh.delivered;
    mesh.quiesce();
    assert!(
        mesh.delivered - before < 20,
        "{} messages",
        mesh.delivered - before
    );
    assert!(mesh.nodes[0].is_stale(node(2)) && mesh.nodes[1].is_stale(node(2)));
    mesh.finish();
    mesh.check();
}

#[test]
fn a_newer_epoch_beats_a_shorter_path() {
    let mut interest = fresh(9, 1);
    for peer in 0..2 {
        interest
            .neighbour_up(Neighbour(peer), node(peer as usize), Time::ZERO)
            .unwrap();
    }
    let mut tell = |peer: usize, epoch: u64, path: &[NodeId]| {
        let announce = Announce {
            origin: node(5),
            epoch,
            path: Arc::from(path),
            ..announce()
        };
        interest
            .handle(
                Neighbour(peer as u32),
                Message::Announce(announce),
                Time::ZERO,
            )
            .unwrap();
        interest.next_hop(node(5))
    };
    assert_eq!(tell(0, 1, &[node(0), node(5)]), Some(Neighbour(0)));
    assert_eq!(
        tell(1, 1, &[node(1), node(5)]),
        Some(Neighbour(0)),
        "the path in use stays on ties"
    );
    assert_eq!(tell(1, 2, &[node(1), node(4), node(5)]), Some(Neighbour(1)));
    assert_eq!(tell(0, 2, &[node(0), node(5)]), Some(Neighbour(0)));
}

#[test]
fn after_its_return_a_neighbour_has_time_to_hear_of_origins_again() {
    let mut interest = fresh(9, 1);
    let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
    let far = Announce {
        origin: node(5),
        path: Arc::from([node(0), node(5)]),
        ..announce()
    };
    interest.neighbour_up(Neighbour(0), node(0), at(0)).unwrap();
    interest
        .handle(Neighbour(0), Message::Announce(far.clone()), at(0))
        .unwrap();
    interest.neighbour_down(Neighbour(0), at(1));
    assert_eq!(interest.next_timeout(), Some(at(11)));
    interest.neighbour_up(Neighbour(0), node(0), at(5)).unwrap();
    assert_eq!(interest.next_timeout(), Some(at(15)));
    interest
        .handle(Neighbour(0), Message::SyncDone, at(7))
        .unwrap();
    assert_eq!(interest.next_timeout(), Some(at(17)));
    assert!(interest.is_stale(node(5)));
    interest
        .handle(Neighbour(0), Message::Announce(far), at(8))
        .unwrap();
    assert!(!interest.is_stale(node(5)));
    interest.handle_timeout(at(17));
    assert_eq!(interest.next_hop(node(5)), Some(Neighbour(0)));
    assert_eq!(interest.next_timeout(), None);
}

#[test]
fn paths_end_at_the_hop_limit() {
    let mut mesh = chain(18);
    mesh.finish();
    assert!(mesh.nodes[0].next_hop(node(16)).is_some());
    assert!(mesh.nodes[0].next_hop(node(17)).is_none());
}

#[test]
fn what_exceeds_the_limits_is_refused_counted_and_told() {
    let limits = Limits {
        entries: 2,
        origins: 1,
        neighbours: 1,
        hold: HOLD,
    };
    let mut small = Interest::new(node(9), 1, limits);
    small
        .neighbour_up(Neighbour(0), node(0), Time::ZERO)
        .unwrap();
    let full = Err(InterestError::TooManyNeighbours { limit: 1 });
    assert_eq!(small.neighbour_up(Neighbour(1), node(1), Time::ZERO), full);
    let mut big = fresh(0, 1);
    big.neighbour_up(Neighbour(0), node(9), Time::ZERO).unwrap();
    for id in 0..3 {
        big.local_set(EntryId(id), entry(id, 1)).unwrap();
        small.local_set(EntryId(id.min(1)), entry(id, 1)).unwrap();
    }
    let full = Err(InterestError::TooManyEntries { limit: 2 });
    assert_eq!(small.local_set(EntryId(7), entry(7, 1)), full);
    while let Some((_, message)) = big.poll_send() {
        small.handle(Neighbour(0), message, Time::ZERO).unwrap();
    }
    assert_eq!(small.refused().entries, 1);
    assert_eq!(small.entries(node(0)).count(), 2);
    while let Some((_, message)) = small.poll_send() {
        big.handle(Neighbour(0), message, Time::ZERO).unwrap();
    }
    let changes: Vec<Change> = std::iter::from_fn(|| big.poll_change()).collect();
    assert!(changes.contains(&Change::Confirmed {
        id: EntryId(2),
        refused: true
    }));
    let other = Announce {
        path: Arc::from([node(0), node(5)]),
        origin: node(5),
        ..announce()
    };
    small
        .handle(Neighbour(0), Message::Announce(other), Time::ZERO)
        .unwrap();
    assert_eq!(small.refused().origins, 1);
    small
        .handle(
            Neighbour(0),
            Message::Confirm {
                token: 99,
                refused: false,
            },
            Time::ZERO,
        )
        .unwrap();
    assert_eq!(small.refused().confirmations, 1);
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

#[test]
fn a_neighbour_that_breaks_the_protocol_is_refused_and_changes_nothing() {
    let mut interest = fresh(9, 1);
    assert_eq!(
        interest.handle(Neighbour(0), Message::SyncDone, Time::ZERO),
        Err(InterestError::UnknownNeighbour {
            neighbour: Neighbour(0)
        })
    );
    assert_eq!(
        interest.neighbour_up(Neighbour(0), node(9), Time::ZERO),
        Err(InterestError::LinkToSelf {
            neighbour: Neighbour(0)
        })
    );
    interest
        .neighbour_up(Neighbour(0), node(0), Time::ZERO)
        .unwrap();
    let mut handle =
        |announce: Announce| interest.handle(Neighbour(0), Message::Announce(announce), Time::ZERO);
    let long: Vec<NodeId> = std::iter::once(node(0)).chain((20..36).map(node)).collect();
    let paths: [&[NodeId]; 6] = [
        &[],
        &[node(1)],
        &[node(0), node(1)],
        &[node(0), node(9), node(0)],
        &[node(0), node(1), node(1), node(0)],
        &long,
    ];
    for path in paths {
        let origin = if path.len() > 16 { node(35) } else { node(0) };
        let refused = handle(Announce {
            origin,
            path: Arc::from(path),
            ..announce()
        });
        assert_eq!(
            refused,
            Err(InterestError::Path {
                origin,
                nodes: path.len()
            })
        );
    }
    handle(announce()).unwrap();
    let refused = handle(Announce {
        first: false,
        epoch: 2,
        ..announce()
    });
    assert_eq!(
        refused,
        Err(InterestError::Epoch {
            origin: node(0),
            epoch: 2
        })
    );
    assert_eq!(interest.origins().count(), 1);
    // A neighbour that never confirms makes us owe without end; the window bounds what another may ask of us.
    interest
        .neighbour_up(Neighbour(1), node(1), Time::ZERO)
        .unwrap();
    for token in 1..=u64::from(CONFIRM_WINDOW) {
        let asking = Announce {
            first: false,
            token: Some(token),
            ..announce()
        };
        interest
            .handle(Neighbour(0), Message::Announce(asking), Time::ZERO)
            .unwrap();
    }
    let asking = Message::Announce(Announce {
        first: false,
        token: Some(77),
        ..announce()
    });
    assert_eq!(
        interest.handle(Neighbour(0), asking, Time::ZERO),
        Err(InterestError::ConfirmWindow { origin: node(0) })
    );
    interest.neighbour_down(Neighbour(1), Time::ZERO);
    let confirms = std::iter::from_fn(|| interest.poll_send_to(Neighbour(0)))
        .filter(|message| matches!(message, Message::Confirm { .. }))
        .count();
    assert_eq!(confirms, CONFIRM_WINDOW as usize);
}
