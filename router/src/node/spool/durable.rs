//! Durable subscriptions: those of this node, and those of others that are remembered while they are away.

use super::definition::{
    self, ENTRIES_MAX, NAME_MAX, QueueKind, recover_entries, recover_interest,
};
use super::queue::{Attached, Queue};
use super::state::{DEAD, DURABLE, SPOOL, Spool, is_durable};
use crate::interest::{Entry, EntryId, NodeId};
use crate::node::core::NodeCore;
use crate::node::decide::{EntryState, Out, Verdict};
use crate::node::flow::{InFlow, InFlowId, Purpose};
use crate::node::peer::PeerId;
use crate::policy::MemberChooser;
use crate::protocol::{Signal, SubscribeRefusal, Target};
use crate::routing::Pattern;
use mcpbus_actors::Time;
use mcpbus_transport::planted::{Fault, planted};
use mcpbus_transport::spool::{Operation, QueueId, Recovered};
use mcpbus_transport::wire::Record;
use std::rc::Rc;

/// Most durable subscriptions and nodes with some.
const QUEUES_MAX: usize = 65_536;

impl NodeCore {
    /// Gives the node its spool, with what the store knew when it was opened. `limit` is what it may hold, in bytes.
    /// Called once, before anything else.
    ///
    /// The node's requests to the store come from [`poll_store`](Self::poll_store).
    pub fn attach_spool(&mut self, recovered: Recovered, limit: u64) {
        let mut spool = Spool::new(limit);
        spool.next = recovered.next.max(1);
        spool.usage = recovered.usage;
        for (key, value) in &recovered.values {
            spool.producers.recover(key, value.clone());
        }
        self.spool = Some(spool);
        let mut dead_known = false;
        for stored in recovered.queues {
            match QueueKind::decode(stored.definition) {
                Ok(kind) => {
                    dead_known |= kind == QueueKind::Dead;
                    self.recover_queue(stored.queue, kind, stored.messages);
                }
                Err(error) => {
                    tracing::error!(%error, queue = stored.queue.0, "a queue of the spool is of an unknown kind; it is left as it is");
                    if let Some(spool) = &mut self.spool {
                        spool.next_queue = spool.next_queue.max(stored.queue.0 + 1);
                    }
                }
            }
        }
        if let Some(spool) = self.spool.as_mut().filter(|_| !dead_known) {
            spool.pending.before.push(Operation::PutQueue {
                queue: DEAD,
                definition: QueueKind::Dead.encode(),
            });
            spool.enlist(Queue::new(DEAD, QueueKind::Dead, usize::MAX, 0));
        }
        for (key, value) in &recovered.values {
            if let Some((target, pattern)) = recover_interest(key, value) {
                self.remember(target, &pattern);
            }
        }
        self.version += 1;
    }

    fn recover_queue(&mut self, id: QueueId, kind: QueueKind, messages: u64) {
        let inflow = match kind {
            QueueKind::Dead => usize::MAX,
            _ => self.inflows.insert(InFlow::of_queue(id.0)),
        };
        let Some(spool) = &mut self.spool else { return };
        if kind != QueueKind::Dead {
            spool.ledger.recovered += messages;
        }
        let subscription = match &kind {
            QueueKind::Subscription { pattern, .. } => Some(pattern.clone()),
            _ => None,
        };
        spool.enlist(Queue::new(id, kind, inflow, messages).recovered());
        if let Some(pattern) = subscription {
            self.durable_entry(id.0, &pattern);
        }
        self.read_on(id.0);
    }

    /// Lets the mesh, and this node, know of a durable subscription.
    fn durable_entry(&mut self, queue: u32, pattern: &Pattern) {
        let number = DURABLE | queue;
        if self.local_entries.contains_key(&number) {
            return;
        }
        let entry = Entry {
            pattern: pattern.clone(),
            group: None,
            members: 1,
            route: None,
        };
        if let Err(error) = self.interest.local_set(EntryId(number), entry) {
            tracing::warn!(%error, "a durable subscription is not announced");
        }
        let index = self.entries.insert(EntryState {
            target: Target {
                origin: self.config.id,
                entry: number,
            },
            pattern: pattern.clone(),
            group: None,
            members: 1,
            route: None,
            local: Vec::new(),
            chooser: MemberChooser::new(),
        }) as u32;
        self.local_entries.insert(number, index);
        self.table.insert(pattern, index);
        self.version += 1;
    }

    /// A client takes up a durable subscription, or makes it. Returns its queue.
    pub(in crate::node) fn durable_queue(
        &mut self,
        name: &str,
        pattern: &Pattern,
    ) -> Result<u32, (SubscribeRefusal, String)> {
        let refuse = |reason: String| Err((SubscribeRefusal::Durable, reason));
        let Some(spool) = &mut self.spool else {
            return Err((
                SubscribeRefusal::NoSpool,
                format!(
                    "node {} has no spool; give it `data` in [node] and a [spool] section",
                    self.config.name
                ),
            ));
        };
        if !(1..=NAME_MAX).contains(&name.len()) || name.chars().any(char::is_control) {
            return refuse(format!(
                "a durable name has 1 to {NAME_MAX} bytes and no control characters"
            ));
        }
        if let Some(&queue) = spool.names.get(name) {
            let known = spool.queues.get(&queue).map(|queue| &queue.kind);
            return match known {
                Some(QueueKind::Subscription { pattern: known, .. }) if known == pattern => {
                    Ok(queue)
                }
                Some(QueueKind::Subscription { pattern: known, .. }) => refuse(format!(
                    "durable subscription {name} is for {known}; delete it first"
                )),
                _ => refuse(format!("{name} is no durable subscription")),
            };
        }
        if let Some(reason) = &spool.broken {
            return Err((SubscribeRefusal::NoSpool, reason.clone()));
        }
        if spool.names.len() >= ENTRIES_MAX {
            return refuse(format!(
                "the node has {ENTRIES_MAX} durable subscriptions, its limit"
            ));
        }
        let kind = QueueKind::Subscription {
            name: name.into(),
            pattern: pattern.clone(),
        };
        Ok(self.new_queue(kind))
    }

    fn new_queue(&mut self, kind: QueueKind) -> u32 {
        let inflow = self.inflows.insert(InFlow::of_queue(0));
        let queue = self
            .spool
            .as_mut()
            .map_or(0, |spool| spool.make_queue(kind, inflow));
        self.inflows[inflow].purpose = Purpose::Spooled { queue };
        self.inflows[inflow].spool = Some(queue);
        queue
    }

    /// The definition of a queue is on the disk: from here on nothing published passes it by.
    pub(super) fn queue_committed(&mut self, queue: u32) {
        let Some(state) = self
            .spool
            .as_mut()
            .and_then(|spool| spool.queues.get_mut(&queue))
        else {
            return;
        };
        state.committed = true;
        if let QueueKind::Subscription { pattern, .. } = &state.kind {
            let pattern = pattern.clone();
            self.durable_entry(queue, &pattern);
        }
    }

    /// Whether a durable subscription is on the disk and known to the mesh.
    pub(in crate::node) fn is_durable_ready(&self, queue: u32) -> bool {
        let committed = self
            .spool
            .as_ref()
            .and_then(|spool| spool.queues.get(&queue))
            .is_some_and(|queue| queue.committed);
        (committed || planted(Fault::ReadyBeforeKept))
            && !self.interest.is_unconfirmed(EntryId(DURABLE | queue))
    }

    /// A client takes the messages of a queue from now on. Who took them before is told.
    pub(in crate::node) fn attach_taker(&mut self, queue: u32, taker: Attached, now: Time) {
        let former = self.taker(queue);
        if let Some(former) = former.filter(|_| !planted(Fault::TwoTakers)) {
            // A consumer that has died and is back takes over from itself.
            self.end_subscription(former.peer, former.subscription, true, now);
            let signal = Signal::Refused {
                subscription: former.subscription,
                refusal: SubscribeRefusal::TakenOver,
                reason: String::from("another subscriber has taken this durable subscription over"),
            };
            self.tell(former.peer, &signal);
        }
        if let Some(state) = self
            .spool
            .as_mut()
            .and_then(|spool| spool.queues.get_mut(&queue))
        {
            state.attached = Some(taker);
            let inflow = state.inflow;
            self.schedule(inflow);
        }
    }

    pub(in crate::node) fn taker(&self, queue: u32) -> Option<Attached> {
        self.spool.as_ref()?.queues.get(&queue)?.attached
    }

    /// Nobody takes the messages of a queue for now. Called when what was handed out is back.
    pub(in crate::node) fn detach_taker(
        &mut self,
        queue: u32,
        (peer, subscription): (PeerId, u32),
        died_with_some: bool,
        now: Time,
    ) {
        let Some(state) = self
            .spool
            .as_mut()
            .and_then(|spool| spool.queues.get_mut(&queue))
        else {
            return;
        };
        let same =
            |attached: Attached| (attached.peer, attached.subscription) == (peer, subscription);
        if !state.attached.is_some_and(same) {
            return;
        }
        state.attached = None;
        if died_with_some {
            self.suspect_oldest(queue, now);
        }
    }

    /// Ends a durable subscription for good, with what waits for it. `false` if there is none.
    pub(in crate::node) fn delete_durable(&mut self, name: &str, now: Time) -> bool {
        let Some(queue) = self
            .spool
            .as_ref()
            .and_then(|spool| spool.names.get(name).copied())
        else {
            return false;
        };
        if let Some(taker) = self.taker(queue) {
            self.end_subscription(taker.peer, taker.subscription, false, now);
            let signal = Signal::Refused {
                subscription: taker.subscription,
                refusal: SubscribeRefusal::TakenOver,
                reason: String::from("the durable subscription was deleted"),
            };
            self.tell(taker.peer, &signal);
        }
        let number = DURABLE | queue;
        if let Some(index) = self.local_entries.remove(&number) {
            let entry = self.entries.remove(index as usize);
            self.table.remove(&entry.pattern, &index);
            self.interest.local_remove(EntryId(number));
        }
        self.remove_queue(queue, now);
        true
    }

    fn remove_queue(&mut self, queue: u32, now: Time) {
        let Some(spool) = &mut self.spool else { return };
        let Some(state) = spool.queues.remove(&queue) else {
            return;
        };
        match &state.kind {
            QueueKind::Subscription { name, .. } => {
                spool.names.remove(name);
            }
            QueueKind::Node { origin } => {
                spool.origins.remove(origin);
            }
            QueueKind::Dead => {}
        }
        *spool.ledger.shed.entry("unsubscribed").or_default() += state.unfinished();
        spool.in_memory = spool.in_memory.saturating_sub(state.in_memory());
        spool.pending.settled.remove(&queue);
        spool.pending.after.push(Operation::RemoveQueue {
            queue: QueueId(queue),
        });
        self.homeless.remove(&state.inflow);
        if self.inflows.contains(state.inflow) {
            self.inflows.remove(state.inflow);
        }
        self.runnable.retain(|id| *id != state.inflow);
        for (_, token) in state.receipts {
            let outcome = crate::node::ledger::Outcome::Shed("unsubscribed");
            self.copy_ended(token, outcome, now);
        }
        self.version += 1;
    }

    /// Where the message at the front of a queue goes.
    pub(in crate::node) fn decide_spooled(
        &mut self,
        id: InFlowId,
        queue: u32,
        sequence: u64,
        record: &Record,
    ) -> Verdict {
        let Some(state) = self
            .spool
            .as_ref()
            .and_then(|spool| spool.queues.get(&queue))
        else {
            return Verdict::Nobody;
        };
        match (&state.kind, state.attached) {
            (QueueKind::Subscription { .. }, Some(taker)) => Verdict::Go(Rc::new([Out {
                peer: taker.peer,
                flow: taker.flow,
                onward: false,
                durable: true,
            }])),
            (QueueKind::Node { origin }, _) => {
                let origin = *origin;
                let tag = state.get(sequence).map(|held| held.tag.clone());
                let Some(Ok(entries)) = tag.map(recover_entries) else {
                    return Verdict::Nobody;
                };
                let targets: Vec<Target> = entries
                    .into_iter()
                    .map(|entry| Target { origin, entry })
                    .collect();
                self.decide_targets(id, sequence, &targets, record)
            }
            _ => Verdict::Wait,
        }
    }

    /// A durable entry of another node became known: it is remembered, and there is a queue for that node. `false` for more
    /// of them than one stored message can name, which that node does not have: such an entry is passed over.
    pub(in crate::node) fn remember_durable(&mut self, target: Target, pattern: &Pattern) -> bool {
        let Some(spool) = self.spool.as_mut().filter(|_| is_durable(target.entry)) else {
            return true;
        };
        let key = (target.origin, target.entry);
        let of_origin = (target.origin, DURABLE)..=(target.origin, u32::MAX);
        if !self.remote_entries.contains_key(&key)
            && self.remote_entries.range(of_origin).count() >= ENTRIES_MAX
        {
            tracing::warn!(
                origin = format!("{:032x}", target.origin),
                limit = ENTRIES_MAX,
                "a node has more durable subscriptions than it may"
            );
            return false;
        }
        spool.withdrawn.remove(&target);
        let (key, value) = definition::interest(target, pattern);
        if !planted(Fault::InterestNotKept) {
            spool.pending.before.push(Operation::Put { key, value });
            spool.pending.interest = true;
        }
        if !spool.origins.contains_key(&target.origin) && spool.queues.len() < QUEUES_MAX {
            let origin = target.origin;
            self.new_queue(QueueKind::Node { origin });
        }
        true
    }

    /// A durable entry that was remembered over a restart.
    fn remember(&mut self, target: Target, pattern: &Pattern) {
        if self
            .remote_entries
            .contains_key(&(target.origin, target.entry))
        {
            return;
        }
        let index = self.entries.insert(EntryState {
            target,
            pattern: pattern.clone(),
            group: None,
            members: 1,
            route: None,
            local: Vec::new(),
            chooser: MemberChooser::new(),
        }) as u32;
        self.remote_entries
            .insert((target.origin, target.entry), index);
        self.table.insert(pattern, index);
    }

    /// Interest takes an entry away. A durable one stays where its node is only out of reach; see
    /// [`forget_withdrawn`](Self::forget_withdrawn).
    pub(in crate::node) fn keeps_durable(&mut self, target: Target) -> bool {
        match &mut self.spool {
            Some(spool) if is_durable(target.entry) && !planted(Fault::InterestForgotten) => {
                spool.withdrawn.insert(target);
                true
            }
            _ => false,
        }
    }

    /// Forgets the durable entries that their nodes, which can be reached, do not have any more.
    pub(in crate::node) fn forget_withdrawn(&mut self) {
        let Some(spool) = self
            .spool
            .as_mut()
            .filter(|spool| !spool.withdrawn.is_empty())
        else {
            return;
        };
        for target in std::mem::take(&mut spool.withdrawn) {
            if self.is_in_reach(target.origin) {
                self.forget_durable(target);
            }
        }
    }

    /// Whether what interest knows of a node is what that node has now.
    fn is_in_reach(&self, origin: u128) -> bool {
        let origin = NodeId(origin);
        self.interest.next_hop(origin).is_some() && !self.interest.is_stale(origin)
    }

    /// A node has told all it has: remembered entries that it did not name are gone.
    pub(in crate::node) fn forget_durable(&mut self, target: Target) {
        if let Some(index) = self.remote_entries.remove(&(target.origin, target.entry)) {
            let state = self.entries.remove(index as usize);
            self.table.remove(&state.pattern, &index);
            self.version += 1;
        }
        if let Some(spool) = &mut self.spool {
            let key = definition::interest_key(target);
            spool.pending.before.push(Operation::Delete { key });
        }
    }

    /// Remembered entries of a node that can be reached again and does not name them: they ended while it was away.
    pub(in crate::node) fn reconcile_durable(&mut self, origin: u128) {
        // It may be out of reach again by now: changes are heard of one after the other, behind what they say.
        if self.spool.is_none() || !self.is_in_reach(origin) {
            return;
        }
        let known: Vec<u32> = self
            .remote_entries
            .range((origin, DURABLE)..=(origin, u32::MAX))
            .map(|((_, entry), _)| *entry)
            .collect();
        for entry in known {
            let named = self
                .interest
                .entries(NodeId(origin))
                .any(|(id, _)| id.0 == entry);
            if !named {
                self.forget_durable(Target { origin, entry });
            }
        }
    }
}

impl InFlow {
    /// The flow that the messages of a queue come on.
    pub(super) fn of_queue(queue: u32) -> Self {
        Self {
            flow: None,
            window: Some(mcpbus_transport::session::Window::default()),
            spool: Some(queue),
            ..Self::new(SPOOL, 0, Purpose::Spooled { queue })
        }
    }

    /// A message of its queue is in memory.
    pub(super) fn came_from_spool(&mut self, sequence: u64, record: Record) {
        if let Some(window) = &mut self.window {
            window.receive(record.cost());
        }
        self.queue.push_back((sequence, record));
    }
}
