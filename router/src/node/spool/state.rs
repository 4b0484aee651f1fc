//! The state of a spool, its queues, and the sets of queues that messages go to.

use super::commit::Commit;
use super::dead::DeadLetter;
use super::definition::{QueueKind, entries};
use super::ledger::SpoolLedger;
use super::producers::Producers;
use super::queue::Queue;
use crate::node::flow::InFlowId;
use crate::node::peer::PeerId;
use crate::node::report::{QueueReport, SpoolReport};
use crate::protocol::Target;
use bytes::Bytes;
use foldhash::fast::FixedState;
use mcpbus_actors::Time;
use mcpbus_transport::spool::{Operation, Position, QueueId, Request, Usage};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// Stands for the spool where a peer is named: of flows that lead into it, and of those that come from it.
pub(in crate::node) const SPOOL: PeerId = usize::MAX;
/// Set in the numbers of durable entries: they stay the same over restarts, and nodes with a spool store for them.
pub(in crate::node) const DURABLE: u32 = 1 << 31;

/// Most bytes that are left to messages that have come further.
const RESERVE_MAX: u64 = 64 << 20;

/// Whether an entry of this number is durable.
pub(in crate::node) fn is_durable(entry: u32) -> bool {
    entry & DURABLE != 0
}

/// The queue of dead letters.
pub(super) const DEAD: QueueId = QueueId(0);

/// Where one message goes in the spool.
#[derive(Clone, Debug)]
pub(super) struct Set {
    /// The queues, each with the tag of the message there.
    pub(super) queues: Arc<[(QueueId, Bytes)]>,
    /// The same as targets, in case they must be decided again.
    pub(super) targets: Rc<[Target]>,
}

/// The spool of a node, sans-IO. See the [module](super).
pub(in crate::node) struct Spool {
    /// What it may hold, in bytes.
    pub(super) limit: u64,
    pub(super) usage: Usage,
    pub(super) next: Position,
    pub(super) queues: BTreeMap<u32, Queue>,
    /// Durable subscriptions by name.
    pub(super) names: BTreeMap<Arc<str>, u32>,
    /// Queues for other nodes.
    pub(super) origins: BTreeMap<u128, u32>,
    pub(super) next_queue: u32,
    sets: Vec<Set>,
    set_numbers: HashMap<Arc<[(QueueId, Bytes)]>, u32, FixedState>,
    sets_version: u64,
    pub(super) pending: Commit,
    pub(super) under_way: Option<Commit>,
    pub(super) ticket: u64,
    pub(super) requests: VecDeque<Request>,
    /// Flows that wait for room.
    pub(super) waiters: VecDeque<InFlowId>,
    /// The disk refused: not tried again before then.
    pub(super) retry_at: Option<Time>,
    /// Why nothing more can be stored in this life.
    pub(super) broken: Option<String>,
    pub(super) producers: Producers,
    pub(super) ledger: SpoolLedger,
    /// Durable entries of other nodes that interest has lately taken away.
    pub(super) withdrawn: BTreeSet<Target>,
    /// Bytes of all queues that are in memory.
    pub(super) in_memory: u64,
    /// Dead letters that were asked for.
    pub(super) dead_letters: VecDeque<Vec<DeadLetter>>,
    /// How many dead letters were asked for at most, for each answer that is to come.
    pub(super) dead_letters_asked: VecDeque<usize>,
}

impl Spool {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            usage: Usage::default(),
            next: 1,
            queues: BTreeMap::new(),
            names: BTreeMap::new(),
            origins: BTreeMap::new(),
            next_queue: 1,
            sets: Vec::new(),
            set_numbers: HashMap::default(),
            sets_version: 0,
            pending: Commit::default(),
            under_way: None,
            ticket: 0,
            requests: VecDeque::new(),
            waiters: VecDeque::new(),
            retry_at: None,
            broken: None,
            producers: Producers::default(),
            ledger: SpoolLedger::default(),
            withdrawn: BTreeSet::new(),
            in_memory: 0,
            dead_letters: VecDeque::new(),
            dead_letters_asked: VecDeque::new(),
        }
    }

    /// Whether a message of this cost, which has come this many hops, can be stored now. Some room is left to those that
    /// have come further: two nodes that are full of messages for each other would wait for ever.
    pub(in crate::node) fn has_room(&self, cost: u64, hops: u8) -> bool {
        let reserve = (self.limit / 4).min(RESERVE_MAX) >> hops.min(63);
        let coming = self.pending.bytes
            + self
                .under_way
                .as_ref()
                .map_or(0, |under_way| under_way.bytes);
        self.broken.is_none()
            && self.retry_at.is_none()
            && self.usage.bytes + coming + cost + reserve <= self.limit
    }

    /// How many flows the queues have: all but that of dead letters.
    pub(in crate::node) fn flows(&self) -> usize {
        self.queues.len().saturating_sub(1)
    }

    /// Whether all durable interest of other nodes is on the disk, as far as there is one.
    pub(in crate::node) fn has_kept_interest(&self) -> bool {
        let coming = self.pending.interest
            || self
                .under_way
                .as_ref()
                .is_some_and(|under_way| under_way.interest);
        !coming || self.broken.is_some()
    }

    /// Whether nothing more can be stored in this life of the node.
    pub(in crate::node) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Whether there is a queue for what is to be stored until another node has it.
    pub(in crate::node) fn has_queue_for(&self, origin: u128) -> bool {
        self.origins.contains_key(&origin)
    }

    /// Lets a flow wait for room.
    pub(in crate::node) fn wait(&mut self, id: InFlowId) {
        if !self.waiters.contains(&id) {
            self.waiters.push_back(id);
        }
    }

    /// The number of the set of queues that these durable targets come to, made if there is none. Valid while the
    /// node's version is the same. `None` for a target without a queue.
    pub(in crate::node) fn set_for(
        &mut self,
        targets: &[Target],
        me: u128,
        version: u64,
    ) -> Option<u32> {
        if self.sets_version != version {
            self.sets_version = version;
            self.sets.clear();
            self.set_numbers.clear();
        }
        let mut queues: Vec<(QueueId, Bytes)> = Vec::new();
        let mut elsewhere: BTreeMap<u128, Vec<u32>> = BTreeMap::new();
        for target in targets {
            if target.origin == me {
                queues.push((QueueId(target.entry & !DURABLE), Bytes::new()));
            } else {
                elsewhere
                    .entry(target.origin)
                    .or_default()
                    .push(target.entry);
            }
        }
        for (origin, mut numbers) in elsewhere {
            numbers.sort_unstable();
            queues.push((QueueId(*self.origins.get(&origin)?), entries(&numbers)));
        }
        queues.sort_unstable();
        queues.dedup_by_key(|(queue, _)| *queue);
        if let Some(number) = self.set_numbers.get(&queues[..]) {
            return Some(*number);
        }
        let number = self.sets.len() as u32;
        let queues: Arc<[(QueueId, Bytes)]> = queues.into();
        self.set_numbers.insert(queues.clone(), number);
        self.sets.push(Set {
            queues,
            targets: targets.into(),
        });
        Some(number)
    }

    pub(super) fn set(&self, number: u32) -> Option<&Set> {
        self.sets.get(number as usize)
    }

    /// In how many queues a message of this set is.
    pub(in crate::node) fn set_size(&self, number: u32) -> u32 {
        self.set(number).map_or(0, |set| set.queues.len() as u32)
    }

    /// Makes a queue, on the disk with the next commit.
    pub(super) fn make_queue(&mut self, kind: QueueKind, inflow: InFlowId) -> u32 {
        let id = self.next_queue;
        self.next_queue += 1;
        self.pending.before.push(Operation::PutQueue {
            queue: QueueId(id),
            definition: kind.encode(),
        });
        self.enlist(Queue::new(QueueId(id), kind, inflow, 0));
        id
    }

    /// Lists a queue under what it is for.
    pub(super) fn enlist(&mut self, queue: Queue) {
        let id = queue.id.0;
        self.next_queue = self.next_queue.max(id + 1);
        match &queue.kind {
            QueueKind::Subscription { name, .. } => {
                self.names.insert(name.clone(), id);
            }
            QueueKind::Node { origin } => {
                self.origins.insert(*origin, id);
            }
            QueueKind::Dead => {}
        }
        self.queues.insert(id, queue);
    }

    /// A picture of the spool now.
    pub(in crate::node) fn report(&self) -> SpoolReport {
        let queues = self
            .queues
            .values()
            .filter(|queue| queue.kind != QueueKind::Dead)
            .map(|queue| QueueReport {
                name: queue.name(),
                messages: queue.unfinished(),
                in_memory: queue.unfinished() - queue.behind,
                attached: queue.attached.is_some(),
            });
        SpoolReport {
            ledger: self.ledger(),
            bytes: self.usage.bytes,
            limit: self.limit,
            dead_letters: self.queues.get(&DEAD.0).map_or(0, |dead| dead.behind),
            queues: queues.collect(),
        }
    }

    /// The account, with what is held.
    pub(in crate::node) fn ledger(&self) -> SpoolLedger {
        let mut ledger = self.ledger.clone();
        ledger.held = self
            .queues
            .values()
            .filter(|queue| queue.kind != QueueKind::Dead)
            .map(Queue::unfinished)
            .sum();
        ledger
    }
}
