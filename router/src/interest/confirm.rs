//! Who waits for whom until an entry is known everywhere.
//!
//! A node confirms an announcement to the neighbour it heard it from once all to whom it passed it on have
//! confirmed it; repeats, which come by a path that is not used, are confirmed at once. An obligation only ever
//! waits for announcements sent after it arose, so no circle of nodes can wait for itself. What comes by a path that is
//! not used, and is not known by the one that is, is confirmed when that knows it too: announcements never wait for
//! confirmations, so it does in time, or is given up.

use std::collections::BTreeMap;

use super::message::{EntryId, Neighbour, NodeId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ObligationId(u64);

/// Who is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// The neighbour that asked; when its link goes down the obligation is cancelled.
    Peer {
        neighbour: Neighbour,
        origin: NodeId,
        token: u64,
    },
    /// The owner of a local entry.
    Local { id: EntryId },
}

/// A confirmation to a neighbour of what is not used here yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deferred {
    pub(super) neighbour: Neighbour,
    pub(super) origin: NodeId,
    pub(super) token: u64,
    pub(super) refused: bool,
}

#[derive(Debug)]
struct Obligation {
    reply: Reply,
    outstanding: usize,
    refused: bool,
}

/// All answers that this node owes.
#[derive(Debug, Default)]
pub(super) struct Obligations {
    next: u64,
    open: BTreeMap<ObligationId, Obligation>,
}

impl Obligations {
    /// A number for an obligation, before it is known how many it waits for.
    pub(super) fn reserve(&mut self) -> ObligationId {
        self.next += 1;
        ObligationId(self.next)
    }

    /// Opens an obligation that waits for `outstanding` (above 0) confirmations.
    pub(super) fn open(
        &mut self,
        id: ObligationId,
        reply: Reply,
        outstanding: usize,
        refused: bool,
    ) {
        self.open.insert(
            id,
            Obligation {
                reply,
                outstanding,
                refused,
            },
        );
    }

    /// One confirmation came; returns what is to be answered when it was the last.
    pub(super) fn discharge(&mut self, id: ObligationId, refused: bool) -> Option<(Reply, bool)> {
        let obligation = self.open.get_mut(&id)?;
        obligation.refused |= refused;
        obligation.outstanding = obligation.outstanding.saturating_sub(1);
        if obligation.outstanding > 0 {
            return None;
        }
        self.open.remove(&id).map(|done| (done.reply, done.refused))
    }

    /// Nobody waits for this answer any more.
    pub(super) fn cancel(&mut self, id: ObligationId) {
        self.open.remove(&id);
    }

    /// The obligations towards this neighbour, each with the origin it concerns.
    pub(super) fn towards(&self, towards: Neighbour) -> Vec<(ObligationId, NodeId)> {
        let all = self
            .open
            .iter()
            .filter_map(|(id, obligation)| match obligation.reply {
                Reply::Peer {
                    neighbour, origin, ..
                } if neighbour == towards => Some((*id, origin)),
                _ => None,
            });
        all.collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}
