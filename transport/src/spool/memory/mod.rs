//! A store without a disk, for tests and simulation: it forgets what a disk would forget, and fails when told to.

mod state;
#[cfg(test)]
mod tests;

use super::clock::{Calendar, Moment};
use super::contract::{
    Operation, Position, QueueId, Recovered, RecoveredQueue, Store, StoreError, Stored, Usage,
    WallClock,
};
use super::validate::validate;
use state::State;

/// What goes wrong from now on. A switch stays until it is set back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The disk is full: a commit that needs more room than before is [`StoreError::Full`].
    pub full: bool,
    /// Commits are [`StoreError::Failed`], and what was not synced before is forgotten, as when the store opens itself
    /// anew.
    pub write: bool,
    /// The next sync fails: [`StoreError::SyncFailed`] from then on, until the process starts again.
    pub sync: bool,
    /// Reads are [`StoreError::Failed`].
    pub read: bool,
}

/// A model of a store: what it holds, and what of it is synced.
///
/// It is opened, used and then [crashed](Self::crash) or [killed](Self::kill) in place; after that it is as a store
/// which the next process has opened, and [`Store::recover`] tells what is left.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    limit: u64,
    /// As it is seen.
    state: State,
    /// As it is on the disk.
    synced: State,
    /// The commits between the two, oldest first.
    unsynced: Vec<(Vec<Operation>, Moment)>,
    calendar: Calendar,
    faults: Faults,
    sync_failed: bool,
}

impl MemoryStore {
    /// An empty store that refuses what would make it hold more than `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            state: State::default(),
            synced: State::default(),
            unsynced: Vec::new(),
            calendar: Calendar::default(),
            faults: Faults::default(),
            sync_failed: false,
        }
    }

    /// The machine loses its power and starts again: what was not synced is forgotten. Faults stay as they are.
    pub fn crash(&mut self) {
        self.kill(0);
    }

    /// The process is killed and starts again: of the commits that were not synced the first `survive` are there (at
    /// most [`Self::unsynced`]), the others are forgotten. Faults stay as they are.
    ///
    /// A commit whose sync failed is one of them: nobody knows whether it is on the disk.
    pub fn kill(&mut self, survive: usize) {
        for (operations, at) in self.unsynced.drain(..).take(survive) {
            self.synced.apply(&operations, at);
        }
        self.unsynced.clear();
        self.state = self.synced.clone();
        self.calendar = Calendar::default();
        self.sync_failed = false;
    }

    /// How many commits are not synced.
    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// What goes wrong.
    pub fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }

    /// Changes the limit, as when the next process is configured with another.
    pub fn set_limit(&mut self, bytes: u64) {
        self.limit = bytes;
    }

    /// Changes the bytes of a stored message on the disk, so that it reads as [`CorruptRecord`](super::CorruptRecord). Whether there is one.
    pub fn corrupt(&mut self, position: Position) -> bool {
        let mut found = false;
        for state in [&mut self.state, &mut self.synced] {
            if let Some(message) = state.messages.get_mut(&position) {
                message.corrupt = true;
                found = true;
            }
        }
        found
    }

    /// What it holds.
    pub fn usage(&self) -> Usage {
        self.state.usage()
    }

    fn refused(&self) -> Option<StoreError> {
        let reason = "a sync failed (planted fault)".to_owned();
        self.sync_failed
            .then_some(StoreError::SyncFailed { reason })
    }

    fn is_full_for(&self, operations: &[Operation], at: Moment) -> bool {
        let growth = self.state.growth(operations);
        let limit = if self.faults.full { 0 } else { self.limit };
        if growth == 0 || self.state.bytes.saturating_add(growth) <= limit {
            return false;
        }
        // The same commit may free as much as it needs.
        let mut trial = self.state.clone();
        trial.apply(operations, at);
        trial.bytes > limit && trial.bytes > self.state.bytes
    }

    fn forget_unsynced(&mut self) {
        if !self.unsynced.is_empty() {
            self.unsynced.clear();
            self.state = self.synced.clone();
        }
    }
}

impl Store for MemoryStore {
    fn recover(&mut self) -> Result<Recovered, StoreError> {
        let queues = self
            .state
            .queues
            .iter()
            .map(|(queue, kept)| RecoveredQueue {
                queue: *queue,
                definition: kept.definition.clone(),
                messages: kept.messages.len() as u64,
            });
        Ok(Recovered {
            queues: queues.collect(),
            values: self
                .state
                .values
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            next: self.state.next.max(1),
            usage: self.state.usage(),
        })
    }

    fn commit(
        &mut self,
        operations: &[Operation],
        clock: WallClock,
        sync: bool,
    ) -> Result<Usage, StoreError> {
        if let Some(error) = self.refused() {
            return Err(error);
        }
        let known = |queue| self.state.queues.contains_key(&queue);
        validate(operations, self.state.next, known)?;
        let at = self.calendar.at(clock);
        if self.is_full_for(operations, at) {
            return Err(StoreError::Full);
        }
        if self.faults.write {
            self.forget_unsynced();
            let reason = "a write failed (planted fault)".to_owned();
            return Err(StoreError::Failed { reason });
        }
        if sync && self.faults.sync {
            self.unsynced.push((operations.to_vec(), at));
            self.sync_failed = true;
            return Err(self.refused().unwrap_or(StoreError::Full));
        }
        self.state.apply(operations, at);
        if sync {
            for (operations, at) in self.unsynced.drain(..) {
                self.synced.apply(&operations, at);
            }
            self.synced.apply(operations, at);
        } else {
            self.unsynced.push((operations.to_vec(), at));
        }
        Ok(self.state.usage())
    }

    fn read(
        &mut self,
        queue: QueueId,
        after: Position,
        messages: usize,
        bytes: u64,
        clock: WallClock,
    ) -> Result<Vec<Stored>, StoreError> {
        if let Some(error) = self.refused() {
            return Err(error);
        }
        if self.faults.read {
            let reason = "a read failed (planted fault)".to_owned();
            return Err(StoreError::Failed { reason });
        }
        let at = self.calendar.at(clock);
        Ok(self.state.read(queue, after, messages, bytes, at))
    }
}
