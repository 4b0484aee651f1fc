//! The disks of the world: a store for each node that has a spool, slower than the node, and forgetful at a crash.

use super::world::{End, What, World};
use mcpbus::node::NodeCore;
use mcpbus_actors::Time;
use mcpbus_transport::spool::{
    Answer, Faults, MemoryStore, Request, Store, StoreError, WallClock, carry_out,
};
use std::collections::VecDeque;

/// The disk of a node.
pub struct Disk {
    /// What is on it, and what would be lost with the power.
    pub store: MemoryStore,
    /// What it may hold, in bytes.
    pub limit: u64,
    /// From when to when it answered that a sync had failed.
    pub failed: Vec<(Time, Time)>,
    /// Messages that were damaged.
    pub damaged: u64,
    requests: VecDeque<Request>,
    busy: bool,
}

impl Disk {
    /// An empty disk.
    pub fn new(limit: u64) -> Self {
        Self {
            store: MemoryStore::new(limit),
            limit,
            failed: Vec::new(),
            damaged: 0,
            requests: VecDeque::new(),
            busy: false,
        }
    }
}

/// The wall's clock stands beside the world's.
fn wall(now: Time) -> WallClock {
    WallClock {
        now,
        unix_micros: 1_700_000_000_000_000 + (now.as_nanos() / 1000) as i64,
    }
}

impl World {
    /// Gives a node, in a new life, what its disk knows.
    pub(super) fn open_store(&mut self, node: usize) {
        let place = &mut self.nodes[node];
        let (Some(disk), Some(core)) = (&mut place.disk, &mut place.core) else {
            return;
        };
        disk.requests.clear();
        disk.busy = false;
        if let Ok(recovered) = disk.store.recover() {
            core.attach_spool(recovered, disk.limit);
        }
    }

    /// Takes over what a node asks of its disk.
    pub(super) fn ask_store(&mut self, node: usize) {
        let place = &mut self.nodes[node];
        let (Some(disk), Some(core)) = (&mut place.disk, &mut place.core) else {
            return;
        };
        while let Some(request) = core.poll_store() {
            disk.requests.push_back(request);
        }
        if !disk.busy && !disk.requests.is_empty() {
            disk.busy = true;
            let life = place.config.epoch;
            let after = self.random.micros(50, 4000);
            self.schedule(after, What::Store { node, life });
        }
    }

    /// The disk has done the first of what it was asked for.
    pub(super) fn store_done(&mut self, node: usize, life: u64) {
        let now = self.now;
        let place = &mut self.nodes[node];
        let (Some(disk), Some(core)) = (&mut place.disk, &mut place.core) else {
            return;
        };
        if place.config.epoch != life {
            return;
        }
        disk.busy = false;
        let Some(request) = disk.requests.pop_front() else {
            return;
        };
        let answer = carry_out(&mut disk.store, request, wall(now));
        let failed = matches!(
            &answer,
            Answer::Committed {
                result: Err(StoreError::SyncFailed { .. }),
                ..
            }
        );
        if failed
            && disk
                .failed
                .last()
                .is_none_or(|(_, until)| *until != Time::MAX)
        {
            disk.failed.push((now, Time::MAX));
        }
        core.store_answered(answer, now);
        self.note(2);
        self.pump(End::Node(node));
    }

    /// The power of a node goes: what was not synced is lost, or some of it.
    pub(super) fn lose_power(&mut self, node: usize) {
        let now = self.now;
        let written = self.random.one_in(2);
        let survive = self.random.below(4) as usize;
        let Some(disk) = &mut self.nodes[node].disk else {
            return;
        };
        if let Some((_, until)) = disk.failed.last_mut() {
            *until = now.min(*until);
        }
        // What was under way may have been done, and only the answer be missing.
        if written && let Some(request) = disk.requests.pop_front() {
            let _ = carry_out(&mut disk.store, request, wall(now));
        }
        disk.store.kill(survive.min(disk.store.unsynced()));
    }

    /// From now on this is wrong with a node's disk.
    pub fn set_disk_faults(&mut self, node: usize, faults: Faults) {
        if let Some(disk) = &mut self.nodes[node].disk {
            *disk.store.faults() = faults;
            self.note(4);
        }
    }

    /// Up to three messages on the disk of a node that is down are damaged.
    pub fn corrupt(&mut self, node: usize) {
        for _ in 0..3 {
            let number = self.random.number();
            let Some(disk) = &mut self.nodes[node].disk else {
                return;
            };
            let next = disk.store.recover().map_or(1, |known| known.next);
            if disk.store.corrupt(number % next.max(1)) {
                disk.damaged += 1;
            }
        }
        self.note(5);
    }

    /// Whether a node's disk holds nothing that is still to be delivered.
    pub fn is_delivered(core: &NodeCore) -> bool {
        core.spool_ledger().is_none_or(|ledger| ledger.held == 0)
    }

    /// A client's process dies, and another begins in its place.
    pub fn restart_client(&mut self, client: usize) {
        let number = self.random.number();
        let edge = self
            .edges
            .iter()
            .position(|edge| edge.dialer == End::Client(client));
        if let Some(edge) = edge {
            self.cut(edge);
            if let Some(id) = self.current[edge].take()
                && let Some(link) = self.links.get_mut(&id)
            {
                link.attached[0] = false;
            }
            self.links.retain(|_, link| link.attached != [false, false]);
            self.clients[client].restart(number);
            self.note(3);
            let after = self.random.micros(10_000, 300_000);
            self.schedule(after, What::Dial { edge });
            self.pump(End::Client(client));
        }
    }
}
