//! What a peer never took over when it went away: to somebody else where that is possible, otherwise nowhere.

use super::core::NodeCore;
use super::decide::{EntryIndex, Out, Verdict};
use super::flow::{InFlow, InFlowId, Purpose, from_token, full_sequence, is_unasked};
use super::ledger::Outcome;
use crate::protocol::Target;
use crate::routing::Subject;
use mcpbus_actors::Time;
use mcpbus_transport::planted::{Fault, planted};
use mcpbus_transport::wire::Record;
use std::rc::Rc;
use std::sync::Arc;

/// Who else may take a copy.
#[derive(Clone, Debug)]
pub(super) enum Takers {
    /// Another member of the group.
    Group(Arc<str>),
    /// The same targets, on another way.
    Targets(Rc<[Target]>),
}

impl NodeCore {
    /// Records that a peer never took over. Without takers nobody else may have them.
    pub(super) fn take_back(
        &mut self,
        records: Vec<(Record, u64)>,
        takers: Option<Takers>,
        now: Time,
    ) {
        for (record, token) in records.into_iter().rev() {
            let stored = self
                .inflows
                .get(from_token(token).0)
                .is_some_and(|inflow| inflow.spool.is_some());
            match &takers {
                _ if stored => self.copy_ended(token, Outcome::Shed("subscriber_gone"), now),
                Some(_) if planted(Fault::TakeBackForgets) => {
                    self.copy_ended(token, Outcome::Delivered, now);
                }
                Some(takers) if self.requeue(record, token, takers, now) => {}
                _ => self.copy_ended(token, Outcome::Shed("subscriber_gone"), now),
            }
        }
    }

    /// Puts a record back to the front of its flow.
    fn requeue(&mut self, record: Record, token: u64, takers: &Takers, now: Time) -> bool {
        let (id, low) = from_token(token);
        let Some(inflow) = self.inflows.get_mut(id) else {
            return false;
        };
        let settled = match (inflow.flow, &inflow.window) {
            (Some(flow), _) => self.peers[inflow.peer].session.settled(flow),
            (None, Some(window)) => window.settled(),
            (None, None) => return false,
        };
        let sequence = full_sequence(low, settled);
        self.destination_done(token, None, now);
        self.unpark(id, sequence);
        let inflow = &mut self.inflows[id];
        // The queue is in the order of sequences; records that were handed on are older than those that wait.
        let position = inflow
            .queue
            .partition_point(|(waiting, _)| *waiting < sequence);
        let waits = inflow
            .queue
            .get(position)
            .is_some_and(|(waiting, _)| *waiting == sequence);
        inflow.copies_out = inflow.copies_out.saturating_sub(1);
        inflow.chosen = None;
        let split = waits || self.was_split(id, sequence);
        let peer = self.inflows[id].peer;
        let inflow = &mut self.inflows[id];
        if is_unasked(token) && !waits {
            inflow.unasked.insert(sequence);
        } else if !is_unasked(token) {
            inflow.unasked.remove(&sequence);
        }
        let publish = matches!(inflow.purpose, Purpose::Publish);
        if split || publish || matches!(takers, Takers::Group(_)) {
            // Others have their copies, or came later and have what was published since: only this one is decided again.
            inflow
                .only
                .entry(sequence)
                .or_default()
                .push(takers.clone());
        }
        if !waits {
            inflow.queue.insert(position, (sequence, record));
        } else if let Some(flow) = inflow.flow {
            // Another copy waits there already; they go on as one.
            self.peers[peer].session.done(flow, sequence, now);
        } else if let Some(window) = &mut inflow.window {
            window.done(sequence);
        }
        self.schedule(id);
        true
    }

    fn was_split(&self, id: InFlowId, sequence: u64) -> bool {
        let inflow = &self.inflows[id];
        match (inflow.flow, &inflow.window) {
            (Some(flow), _) => self.peers[inflow.peer].session.was_split(flow, sequence),
            (None, window) => window
                .as_ref()
                .is_some_and(|window| window.was_split(sequence)),
        }
    }

    /// In how many places besides its queue a message exists.
    pub(super) fn copies_elsewhere(&self, inflow: &InFlow, sequence: u64) -> u32 {
        let copies = match (inflow.flow, &inflow.window) {
            (Some(flow), _) => self
                .peers
                .get(inflow.peer)
                .map_or(1, |peer| peer.session.copies(flow, sequence)),
            (None, window) => window.as_ref().map_or(1, |window| window.copies(sequence)),
        };
        copies.saturating_sub(1)
    }

    /// Whether a message goes to those that are here now: nobody is left of those that it was for, and it had no other copies.
    pub(super) fn is_decided_anew(&self, id: InFlowId, sequence: u64, takers: &[Takers]) -> bool {
        let is_left = |target: &Target| {
            let known = (target.origin, target.entry);
            target.origin == self.config.id && self.local_entries.contains_key(&target.entry)
                || self.remote_entries.contains_key(&known)
        };
        let mut all = takers.iter();
        !self.was_split(id, sequence)
            && all.all(|takers| match takers {
                Takers::Targets(targets) => !targets.iter().any(is_left),
                Takers::Group(_) => false,
            })
    }

    /// Where copies go that were taken back.
    pub(super) fn decide_again(
        &mut self,
        id: InFlowId,
        sequence: u64,
        takers: &[Takers],
        record: &Record,
    ) -> Verdict {
        let mut outs: Vec<Out> = Vec::new();
        for takers in takers {
            let verdict = match takers {
                Takers::Targets(targets) => self.decide_targets(id, sequence, targets, record),
                Takers::Group(name) => self.decide_group(name, record),
            };
            match verdict {
                Verdict::Go(more) => {
                    for out in more
                        .iter()
                        .filter(|out| !outs.contains(out))
                        .copied()
                        .collect::<Vec<_>>()
                    {
                        outs.push(out);
                    }
                }
                Verdict::Nobody => {}
                other => return other,
            }
        }
        if outs.is_empty() {
            Verdict::Nobody
        } else {
            Verdict::Go(outs.into())
        }
    }

    fn decide_group(&mut self, name: &Arc<str>, record: &Record) -> Verdict {
        let Ok(subject) = Subject::new(&record.head.subject) else {
            return Verdict::Nobody;
        };
        let mut entries: Vec<EntryIndex> = Vec::new();
        self.table
            .for_each_match(&subject, |entry| entries.push(*entry));
        entries.sort_unstable();
        entries.dedup();
        entries.retain(|index| {
            let entry = self.entries.get(*index as usize);
            entry.is_some_and(|entry| entry.group.as_ref() == Some(name))
        });
        self.decide_member(entries, record)
    }
}
