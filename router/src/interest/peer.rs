//! What is kept per neighbour: what it told us, what we told it, and what is still to be said.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use mcpbus_actors::Time;

use super::confirm::ObligationId;
use super::message::{Announce, CONFIRM_WINDOW, Entry, EntryId, Message, Neighbour, NodeId};

/// An announcement is closed once its entries take this many bytes, so that control messages stay short.
const ANNOUNCE_BYTES: usize = 16 * 1024;

/// The entries of one origin.
pub(super) type Entries = BTreeMap<EntryId, Entry>;

/// What one neighbour told about one origin.
#[derive(Debug, Clone)]
pub(super) struct Rib {
    pub(super) epoch: u64,
    /// From the neighbour to the origin.
    pub(super) path: Arc<[NodeId]>,
    pub(super) entries: Entries,
    /// The neighbour said that its path leads over a link that is down.
    pub(super) stale_beyond: bool,
    /// Our link to the neighbour went down after it said this.
    pub(super) stale_here: bool,
}

impl Rib {
    pub(super) fn stale(&self) -> bool {
        self.stale_beyond || self.stale_here
    }
}

/// The path that is used towards an origin, and announced to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Best {
    pub(super) next_hop: Option<Neighbour>,
    pub(super) epoch: u64,
    /// From this node to the origin.
    pub(super) path: Arc<[NodeId]>,
    pub(super) stale: bool,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// The whole state is being sent; entries up to `after` have been.
    Fresh { after: Option<EntryId> },
    /// The state has been sent, changes follow.
    Current,
    /// The neighbour must be told that it gets no more.
    Retract,
}

/// What a neighbour was told about one origin.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) phase: Phase,
    /// Whether the neighbour has heard anything.
    pub(super) started: bool,
    /// Entries that changed since they were sent.
    pub(super) dirty: BTreeSet<EntryId>,
    /// Path or staleness changed since they were sent.
    pub(super) path_changed: bool,
    /// Those who wait until the neighbour has confirmed what is still to be sent.
    pub(super) owed: BTreeSet<ObligationId>,
}

impl Told {
    pub(super) fn fresh() -> Self {
        Self {
            phase: Phase::Fresh { after: None },
            started: false,
            dirty: BTreeSet::new(),
            path_changed: false,
            owed: BTreeSet::new(),
        }
    }

    /// Whether the neighbour has been sent the state as it is.
    pub(super) fn is_clean(&self) -> bool {
        matches!(self.phase, Phase::Current) && self.dirty.is_empty() && !self.path_changed
    }

    /// Starts anew with the whole state.
    pub(super) fn restart(&mut self) {
        self.phase = Phase::Fresh { after: None };
        self.dirty.clear();
    }

    pub(super) fn mark(&mut self, id: EntryId) {
        match self.phase {
            // What lies ahead is still to be read from the state as it then is.
            Phase::Fresh { after } if after.is_none_or(|after| after < id) => {}
            Phase::Fresh { .. } | Phase::Current => {
                self.dirty.insert(id);
            }
            Phase::Retract => {}
        }
    }

    /// The next announcement of at most `chunk` entries, without a token; `None` when there is nothing to say.
    /// With `may_ask` an empty one is worth sending for the confirmation it will bring.
    pub(super) fn announce(
        &mut self,
        origin: NodeId,
        best: &Best,
        entries: &Entries,
        (chunk, may_ask): (usize, bool),
    ) -> Option<Announce> {
        let mut announce = Announce {
            origin,
            epoch: best.epoch,
            path: Arc::clone(&best.path),
            first: false,
            last: false,
            stale: best.stale,
            removed: Vec::new(),
            added: Vec::new(),
            token: None,
        };
        let mut bytes = 0;
        let mut room = |entry: &Entry, count: usize| {
            let fits = count < chunk && bytes < ANNOUNCE_BYTES;
            bytes += entry.pattern.as_str().len()
                + entry.group.as_ref().map_or(0, |group| group.len())
                + entry.route.as_ref().map_or(0, |route| {
                    route.groups.iter().map(|group| group.len() + 2).sum()
                })
                + 16;
            fits
        };
        if let Phase::Fresh { after } = &mut self.phase {
            announce.first = after.is_none();
            let ahead = (
                after.map_or(Bound::Unbounded, Bound::Excluded),
                Bound::Unbounded,
            );
            for (id, entry) in entries.range::<EntryId, _>(ahead) {
                if !room(entry, announce.added.len()) {
                    self.started = true;
                    return Some(announce);
                }
                announce.added.push((*id, entry.clone()));
                *after = Some(*id);
            }
        } else if self.dirty.is_empty() && !self.path_changed && !may_ask {
            return None;
        }
        while let Some(id) = self.dirty.first().copied() {
            match entries.get(&id) {
                Some(entry) if room(entry, announce.added.len()) => {
                    announce.added.push((id, entry.clone()))
                }
                None if announce.removed.len() < chunk => announce.removed.push(id),
                _ => break,
            }
            self.dirty.remove(&id);
        }
        self.started = true;
        self.path_changed = false;
        if self.dirty.is_empty() {
            self.phase = Phase::Current;
            announce.last = true;
        }
        Some(announce)
    }
}

/// Something to be said to a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    About(NodeId),
    SyncDone,
}

/// An announcement that waits for its confirmation.
#[derive(Debug)]
pub(super) struct Unconfirmed {
    pub(super) origin: NodeId,
    pub(super) obligations: BTreeSet<ObligationId>,
}

/// One neighbour, up or lately gone.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) up: bool,
    /// Its link is down and may come back to the same session: until then nobody waits for what it confirms.
    pub(super) silent: bool,
    /// When it is taken for silent, while its link is down.
    pub(super) excuse_at: Option<Time>,
    /// When stale state is swept.
    pub(super) sweep_at: Option<Time>,
    pub(super) ribs: BTreeMap<NodeId, Rib>,
    /// State that has not come to its `last` announcement yet.
    pub(super) staging: BTreeMap<NodeId, Rib>,
    pub(super) told: BTreeMap<NodeId, Told>,
    pub(super) confirms: VecDeque<(u64, bool)>,
    pub(super) next_token: u64,
    pub(super) unconfirmed: BTreeMap<u64, Unconfirmed>,
    /// How many of `unconfirmed` concern each origin.
    pub(super) unconfirmed_of: BTreeMap<NodeId, u32>,
    /// How many announcements about each origin the neighbour has not had confirmed by us.
    pub(super) asked: BTreeMap<NodeId, u32>,
    /// Whether the neighbour stands in the list of those that have something to send.
    pub(super) ready: bool,
    queue: VecDeque<Item>,
    queued: BTreeSet<NodeId>,
}

impl Peer {
    pub(super) fn new(node: NodeId) -> Self {
        Self {
            node,
            up: false,
            silent: false,
            excuse_at: None,
            sweep_at: None,
            ribs: BTreeMap::new(),
            staging: BTreeMap::new(),
            told: BTreeMap::new(),
            confirms: VecDeque::new(),
            next_token: 0,
            unconfirmed: BTreeMap::new(),
            unconfirmed_of: BTreeMap::new(),
            asked: BTreeMap::new(),
            ready: false,
            queue: VecDeque::new(),
            queued: BTreeSet::new(),
        }
    }

    /// Forgets everything that only holds while the link is up, and returns those who waited for it.
    pub(super) fn disconnect(&mut self) -> Vec<ObligationId> {
        self.up = false;
        self.silent = false;
        self.excuse_at = None;
        self.staging.clear();
        self.confirms.clear();
        self.queue.clear();
        self.queued.clear();
        self.asked.clear();
        self.unconfirmed_of.clear();
        let told = std::mem::take(&mut self.told)
            .into_values()
            .flat_map(|told| told.owed);
        let sent = std::mem::take(&mut self.unconfirmed)
            .into_values()
            .flat_map(|sent| sent.obligations);
        told.chain(sent).collect()
    }

    /// Those who wait for this neighbour need not any more; what was sent to it, and its answers, stay on their way.
    pub(super) fn excuse(&mut self) -> Vec<ObligationId> {
        self.silent = true;
        self.excuse_at = None;
        let told = self.told.values_mut().map(|told| &mut told.owed);
        let sent = self.unconfirmed.values_mut();
        let waiting = told.chain(sent.map(|sent| &mut sent.obligations));
        waiting.flat_map(std::mem::take).collect()
    }

    /// Whether this neighbour may hear of an origin by way of this node: never one that is on the path.
    pub(super) fn hears(&self, best: &Best) -> bool {
        self.up && best.path.len() <= super::message::PATH_NODES && !best.path.contains(&self.node)
    }

    pub(super) fn push(&mut self, item: Item) {
        if let Item::About(origin) = item
            && !self.queued.insert(origin)
        {
            return;
        }
        self.queue.push_back(item);
    }

    pub(super) fn front(&self) -> Option<Item> {
        self.queue.front().copied()
    }

    pub(super) fn pop(&mut self) {
        if let Some(Item::About(origin)) = self.queue.pop_front() {
            self.queued.remove(&origin);
        }
    }

    /// Has nothing more to say about `origin`; returns those who waited for what was to be sent.
    pub(super) fn retract(&mut self, origin: NodeId) -> BTreeSet<ObligationId> {
        let Some(mut told) = self.told.remove(&origin) else {
            return BTreeSet::new();
        };
        let owed = std::mem::take(&mut told.owed);
        if told.started {
            told.phase = Phase::Retract;
            told.dirty.clear();
            self.told.insert(origin, told);
            self.push(Item::About(origin));
        }
        owed
    }

    /// Whether someone waits for a confirmation and the window lets us ask for it.
    pub(super) fn may_ask(&self, origin: NodeId, told: &Told) -> bool {
        !told.owed.is_empty()
            && self
                .unconfirmed_of
                .get(&origin)
                .is_none_or(|open| *open < CONFIRM_WINDOW)
    }

    /// Turns what a finished announcement carries into a request to confirm it, if the window allows.
    pub(super) fn ask(&mut self, told: &mut Told, announce: &mut Announce) {
        if announce.last && self.may_ask(announce.origin, told) {
            *self.unconfirmed_of.entry(announce.origin).or_insert(0) += 1;
            self.next_token += 1;
            announce.token = Some(self.next_token);
            let obligations = std::mem::take(&mut told.owed);
            self.unconfirmed.insert(
                self.next_token,
                Unconfirmed {
                    origin: announce.origin,
                    obligations,
                },
            );
        }
    }

    /// The announcement of this number is confirmed: who waited for it, `None` when none did.
    pub(super) fn confirmed(&mut self, token: u64) -> Option<Unconfirmed> {
        let confirmed = self.unconfirmed.remove(&token)?;
        if let Some(open) = self.unconfirmed_of.get_mut(&confirmed.origin) {
            *open -= 1;
            if *open == 0 {
                self.unconfirmed_of.remove(&confirmed.origin);
            }
        }
        // What had to wait for room in the window goes out now.
        if self
            .told
            .get(&confirmed.origin)
            .is_some_and(|told| !told.owed.is_empty())
        {
            self.push(Item::About(confirmed.origin));
        }
        Some(confirmed)
    }

    pub(super) fn next_confirm(&mut self) -> Option<Message> {
        self.confirms
            .pop_front()
            .map(|(token, refused)| Message::Confirm { token, refused })
    }
}
