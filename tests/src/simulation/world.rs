//! The virtual world: nodes and clients, the links between them, one clock, one order of events.

use super::client::Client;
use super::pipe::Pipe;
use super::random::{Random, mix};
use super::stores::Disk;
use bytes::BytesMut;
use mcpbus::node::{NodeConfig, NodeCore, NodeLedger};
use mcpbus_actors::Time;
use mcpbus_transport::bridge::{LinkHandle, Owner};
use mcpbus_transport::link::LaneId;
use mcpbus_transport::wire::GoodbyeCode;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

/// Events at one instant beyond which the world is taken to go round in circles.
const SAME_INSTANT_MAX: u32 = 200_000;

/// One who has links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// A node, by its place.
    Node(usize),
    /// A client, by its place.
    Client(usize),
}

/// A link that is to be there: who dials whom.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    /// Who dials.
    pub dialer: End,
    /// The node that is dialed.
    pub acceptor: usize,
    /// The place of the link among those the dialer dials.
    pub dialed: usize,
}

/// A node's place: what it is started with, and the node while it runs.
pub struct NodePlace {
    /// What each life starts with; epoch and seed change.
    pub config: NodeConfig,
    /// The present life.
    pub core: Option<NodeCore>,
    /// What earlier lives had counted when they died.
    pub former: Vec<NodeLedger>,
    /// Where it has a spool.
    pub disk: Option<Disk>,
}

/// How links behave.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Shortest and longest delay of a write, in microseconds.
    pub delay: (u64, u64),
    /// Whether cuts may go unnoticed until the heartbeat misses the peer.
    pub silent: bool,
}

pub(super) struct Link {
    pub(super) edge: usize,
    pub(super) ends: [End; 2],
    /// Lanes by the side that writes.
    pub(super) pipes: [Vec<Pipe>; 2],
    /// Which ends still hold it for up.
    pub(super) attached: [bool; 2],
    /// Nothing arrives any more.
    pub(super) cut: bool,
    /// Which side closes it once its control lane is empty, and when it no longer waits for that.
    closing: Option<(usize, Time)>,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Arrive { link: u64, side: usize, lane: usize },
    Down { link: u64, side: usize },
    Timer(End),
    Dial { edge: usize },
    Close { link: u64 },
    Start { node: usize },
    Store { node: usize, life: u64 },
}

/// Everything, at one instant.
pub struct World {
    /// The instant.
    pub now: Time,
    /// The source of chance.
    pub random: Random,
    /// The nodes.
    pub nodes: Vec<NodePlace>,
    /// The clients.
    pub clients: Vec<Client>,
    /// The links that are to be there.
    pub edges: Vec<Edge>,
    /// Hash of everything that happened.
    pub trace: u64,
    /// Events so far.
    pub steps: u64,
    /// Nobody dials any more.
    pub over: bool,
    pub(super) weather: Weather,
    pub(super) links: BTreeMap<u64, Link>,
    next_link: u64,
    /// The newest link of each edge.
    pub(super) current: Vec<Option<u64>>,
    queue: BinaryHeap<Reverse<(Time, u64, usize)>>,
    events: BTreeMap<usize, What>,
    sequence: u64,
    pub(super) timers: BTreeMap<End, Time>,
    same_instant: u32,
    /// Nodes that did something in this step.
    changed: Vec<usize>,
}

impl World {
    /// A world in which every edge is about to be dialed.
    pub fn new(
        random: Random,
        nodes: Vec<(NodeConfig, Option<Disk>)>,
        clients: Vec<Client>,
        edges: Vec<Edge>,
        weather: Weather,
    ) -> Self {
        let places = nodes.into_iter().map(|(config, disk)| NodePlace {
            core: Some(NodeCore::new(config.clone())),
            config,
            former: Vec::new(),
            disk,
        });
        let mut world = Self {
            now: Time::ZERO + Duration::from_secs(100),
            random,
            nodes: places.collect(),
            clients,
            current: vec![None; edges.len()],
            edges,
            trace: 0,
            steps: 0,
            over: false,
            weather,
            links: BTreeMap::new(),
            next_link: 1,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            timers: BTreeMap::new(),
            same_instant: 0,
            changed: Vec::new(),
        };
        for edge in 0..world.edges.len() {
            let after = world.random.micros(0, 20_000);
            world.schedule(after, What::Dial { edge });
        }
        for client in 0..world.clients.len() {
            world.pump(End::Client(client));
        }
        for node in 0..world.nodes.len() {
            world.open_store(node);
            world.pump(End::Node(node));
        }
        world
    }

    /// Lets everything happen until `until`. An error says what went wrong, at once.
    pub fn run_until(&mut self, until: Time) -> Result<(), String> {
        while let Some(Reverse((at, _, _))) = self.queue.peek().copied()
            && at <= until
        {
            self.step()?;
        }
        self.now = self.now.max(until);
        Ok(())
    }

    pub(super) fn schedule(&mut self, after: Duration, what: What) {
        self.sequence += 1;
        let id = self.sequence as usize;
        self.events.insert(id, what);
        self.queue
            .push(Reverse((self.now + after, self.sequence, id)));
    }

    fn schedule_at(&mut self, at: Time, what: What) {
        self.schedule(at.saturating_since(self.now), what);
    }

    pub(super) fn note(&mut self, value: u64) {
        self.trace = mix(self.trace ^ value).wrapping_add(self.now.as_nanos());
    }

    fn step(&mut self) -> Result<(), String> {
        let Some(Reverse((at, _, id))) = self.queue.pop() else {
            return Ok(());
        };
        let Some(what) = self.events.remove(&id) else {
            return Ok(());
        };
        self.same_instant = if at > self.now {
            0
        } else {
            self.same_instant + 1
        };
        if self.same_instant > SAME_INSTANT_MAX {
            return Err(format!("the world goes round in circles with {what:?}"));
        }
        self.now = self.now.max(at);
        self.steps += 1;
        match what {
            What::Arrive { link, side, lane } => self.arrive(link, side, lane),
            What::Down { link, side } => self.down(link, side, "the link was cut"),
            What::Timer(end) => {
                if self.timers.get(&end) == Some(&at) {
                    self.timers.remove(&end);
                }
                self.timer(end);
            }
            What::Dial { edge } => self.dial(edge),
            What::Close { link } => self.close(link),
            What::Start { node } => self.start(node),
            What::Store { node, life } => self.store_done(node, life),
        }
        self.check_goodbyes()?;
        self.check_ledgers()
    }

    /// No node says of another that it has broken a rule.
    fn check_goodbyes(&mut self) -> Result<(), String> {
        let rule = GoodbyeCode::Protocol.to_string();
        for edge in &self.edges {
            if let End::Node(node) = edge.dialer
                && self.changed.contains(&node)
                && let Some(core) = &mut self.nodes[node].core
                && let Some(said) = core.take_refused_dial(edge.dialed)
                && said.starts_with(&rule)
            {
                return Err(format!(
                    "node {} said to node {node}: {said}",
                    edge.acceptor
                ));
            }
        }
        Ok(())
    }

    pub(super) fn owner(&mut self, end: End) -> Option<&mut dyn Owner> {
        match end {
            End::Node(node) => self.nodes[node]
                .core
                .as_mut()
                .map(|core| core as &mut dyn Owner),
            End::Client(client) => Some(&mut self.clients[client]),
        }
    }

    fn timer(&mut self, end: End) {
        let now = self.now;
        if let Some(owner) = self.owner(end)
            && owner.next_timeout().is_some_and(|at| at <= now)
        {
            owner.handle_timeout(now);
            self.note(1);
        }
        self.pump(end);
    }

    /// Brings bytes that have arrived to their reader, in pieces.
    fn arrive(&mut self, id: u64, side: usize, lane: usize) {
        let now = self.now;
        loop {
            let most = if self.random.one_in(3) {
                self.random.between(1, 200)
            } else {
                u64::from(u32::MAX)
            };
            let Some(link) = self.links.get_mut(&id) else {
                return;
            };
            let reader = link.ends[1 - side];
            let writer = link.ends[side];
            if link.cut || !link.attached[1 - side] {
                return;
            }
            let Some(lane_id) = LaneId::new(lane as u8) else {
                return;
            };
            let reads = lane_id.is_control()
                || self
                    .owner(reader)
                    .is_some_and(|owner| owner.reads_data(LinkHandle(id)));
            if !reads {
                return;
            }
            let Some(link) = self.links.get_mut(&id) else {
                return;
            };
            let Some(bytes) = link.pipes[side][lane].take(now, most as usize) else {
                return;
            };
            let done = link.pipes[side][0].is_empty()
                && link.closing.is_some_and(|(closer, _)| closer == side);
            self.note(bytes.len() as u64 ^ (lane as u64) << 32 ^ id << 40);
            if let Some(owner) = self.owner(reader) {
                owner.receive(LinkHandle(id), lane_id, bytes, now);
            }
            self.pump(reader);
            self.pump(writer);
            if done {
                self.close(id);
            }
        }
    }

    /// Carries out what an owner wants to have written and closed, and when it wants to be called.
    pub(super) fn pump(&mut self, end: End) {
        if let End::Node(node) = end {
            if !self.changed.contains(&node) {
                self.changed.push(node);
            }
            self.ask_store(node);
        }
        while let Some(handle) = self.owner(end).and_then(|owner| owner.poll_touched()) {
            self.write(end, handle.0);
        }
        let next = self.owner(end).and_then(|owner| owner.next_timeout());
        if let Some(next) = next {
            let next = next.max(self.now);
            if self
                .timers
                .get(&end)
                .is_none_or(|known| next < *known || *known < self.now)
            {
                self.timers.insert(end, next);
                self.schedule_at(next, What::Timer(end));
            }
        }
    }

    fn write(&mut self, end: End, id: u64) {
        let now = self.now;
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let Some(side) = link.ends.iter().position(|known| *known == end) else {
            return;
        };
        if !link.attached[side] {
            return;
        }
        let lanes = link.pipes[side].len();
        for lane in 0..lanes {
            let Some(lane_id) = LaneId::new(lane as u8) else {
                continue;
            };
            loop {
                let Some(link) = self.links.get(&id) else {
                    return;
                };
                let room = link.cut || link.pipes[side][lane].has_room();
                let budget = if self.random.one_in(4) {
                    self.random.between(1, 2000)
                } else {
                    32 * 1024
                };
                let Some(owner) = self.owner(end) else { return };
                if !room || !owner.wants_transmit(LinkHandle(id), lane_id, now) {
                    break;
                }
                let mut out = BytesMut::new();
                owner.transmit(LinkHandle(id), lane_id, budget as usize, now, &mut out);
                if out.is_empty() {
                    break;
                }
                self.put(id, side, lane, out);
            }
            // What came while its reader was not ready for it is read now.
            let waits = self
                .links
                .get(&id)
                .is_some_and(|link| !link.pipes[1 - side][lane].is_empty());
            if waits
                && lane > 0
                && self
                    .owner(end)
                    .is_some_and(|owner| owner.reads_data(LinkHandle(id)))
            {
                self.schedule(
                    Duration::ZERO,
                    What::Arrive {
                        link: id,
                        side: 1 - side,
                        lane,
                    },
                );
            }
        }
        let close = self
            .owner(end)
            .and_then(|owner| owner.wants_close(LinkHandle(id)));
        if close.is_some()
            && let Some(link) = self.links.get_mut(&id)
            && link.closing.is_none()
        {
            let empty = link.cut || link.pipes[side][0].is_empty();
            link.closing = Some((side, now));
            let wait = if empty {
                Duration::ZERO
            } else {
                Duration::from_secs(1)
            };
            self.schedule(wait, What::Close { link: id });
        }
    }

    fn put(&mut self, id: u64, side: usize, lane: usize, out: BytesMut) {
        let (low, high) = self.weather.delay;
        // Control has priority on the wire, but no promise.
        let delay = if lane == 0 {
            self.random.micros(low, low + (high - low) / 2)
        } else {
            self.random.micros(low, high)
        };
        let now = self.now;
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if link.cut {
            return;
        }
        let at = link.pipes[side][lane].push(out.freeze(), now + delay);
        self.schedule_at(
            at,
            What::Arrive {
                link: id,
                side,
                lane,
            },
        );
    }

    /// One end ends a link; the other learns it a little later.
    fn close(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let side = link.closing.map_or(0, |(side, _)| side);
        self.down(id, side, "closed");
        let after = self.random.micros(100, 5000);
        self.schedule(
            after,
            What::Down {
                link: id,
                side: 1 - side,
            },
        );
    }

    fn down(&mut self, id: u64, side: usize, reason: &str) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.cut = true;
        if !std::mem::take(&mut link.attached[side]) {
            return;
        }
        let (end, edge, dialer) = (link.ends[side], link.edge, side == 0);
        if link.attached == [false, false] {
            self.links.remove(&id);
        }
        self.note(id << 8 | side as u64);
        if let Some(owner) = self.owner(end) {
            owner.link_down(LinkHandle(id), reason, now);
        }
        self.pump(end);
        if dialer && self.current[edge] == Some(id) {
            self.current[edge] = None;
            let after = self.random.micros(10_000, 300_000);
            self.schedule(after, What::Dial { edge });
        }
    }

    fn dial(&mut self, edge: usize) {
        let Edge {
            dialer,
            acceptor,
            dialed,
        } = self.edges[edge];
        let gone = match dialer {
            End::Node(node) => self.nodes[node].core.is_none(),
            End::Client(client) => self.clients[client].leaving,
        };
        if gone || self.over || self.current[edge].is_some() {
            return;
        }
        if self.nodes[acceptor].core.is_none() {
            let after = self.random.micros(50_000, 300_000);
            return self.schedule(after, What::Dial { edge });
        }
        let id = self.next_link;
        self.next_link += 1;
        let lanes = usize::from(self.nodes[acceptor].config.session.lanes.max(4)) + 1;
        let pipes = || (0..lanes).map(|_| Pipe::default()).collect();
        let ends = [dialer, End::Node(acceptor)];
        let link = Link {
            edge,
            ends,
            pipes: [pipes(), pipes()],
            attached: [true, true],
            cut: false,
            closing: None,
        };
        self.links.insert(id, link);
        self.current[edge] = Some(id);
        self.note(id);
        let now = self.now;
        if let Some(node) = &mut self.nodes[acceptor].core {
            node.link_accepted(LinkHandle(id), &identity(dialer), now);
        }
        match dialer {
            End::Node(node) => {
                if let Some(node) = &mut self.nodes[node].core {
                    node.link_dialed(LinkHandle(id), dialed, &identity(End::Node(acceptor)), now);
                }
            }
            End::Client(client) => self.clients[client].link_dialed(LinkHandle(id), now),
        }
        self.pump(End::Node(acceptor));
        self.pump(dialer);
    }

    /// Whether every edge has a link, and no end still believes in one that is cut.
    pub fn is_whole(&self) -> bool {
        self.current.iter().all(Option::is_some) && self.links.values().all(|link| !link.cut)
    }

    /// Lets a client do something of its own.
    pub fn with_client(&mut self, client: usize, act: impl FnOnce(&mut Client, Time)) {
        act(&mut self.clients[client], self.now);
        self.clients[client].handle_timeout(self.now);
        self.pump(End::Client(client));
    }

    /// Lets a node do something of its own.
    pub fn with_node(&mut self, node: usize, act: impl FnOnce(&mut NodeCore, Time)) {
        if let Some(core) = &mut self.nodes[node].core {
            act(core, self.now);
        }
        self.pump(End::Node(node));
    }

    fn check_ledgers(&mut self) -> Result<(), String> {
        for node in std::mem::take(&mut self.changed) {
            let place = &self.nodes[node];
            let Some(core) = &place.core else { continue };
            core.check_credit()
                .and_then(|()| core.check_places())
                .map_err(|wrong| format!("{}: {wrong}", place.config.name))?;
            let ledger = core.ledger();
            if ledger.residual() != 0 {
                return Err(format!(
                    "{}: residual {} of {ledger:?}",
                    place.config.name,
                    ledger.residual()
                ));
            }
            if let Some(ledger) = core.spool_ledger()
                && ledger.residual() != 0
            {
                return Err(format!(
                    "{}: residual {} of {ledger:?}",
                    place.config.name,
                    ledger.residual()
                ));
            }
        }
        Ok(())
    }
}

fn identity(end: End) -> String {
    match end {
        End::Node(node) => format!("node-{node}"),
        End::Client(client) => format!("client-{client}"),
    }
}
