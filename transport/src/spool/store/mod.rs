//! A store on a disk, in a database of one file.
//!
//! | file | subject |
//! | --- | --- |
//! | `rows`, `batch`, `places` | what stands in the database, byte by byte |
//! | `change`, `read` | the changes of a commit; what is read |
//! | `layer` | between the database and the disk |
//!
//! Invariants:
//! - a commit is one transaction of the database; the disk has it as a whole or not at all;
//! - nothing in memory grows with the messages that are stored;
//! - stored bytes are believed only with their checksum; what cannot be read is lost alone;
//! - after a failed sync nothing more is written.
//!
//! A commit with sync writes the new state, syncs, switches to it, and syncs again. So opening needs no look at what is
//! stored, and damage anywhere in it stops nothing: docs/src/decisions/0014 has the figures.

mod batch;
mod change;
mod layer;
mod places;
mod read;
mod rows;
#[cfg(test)]
mod tests;

use super::clock::{Calendar, Moment};
use super::contract::{
    Operation, Position, QueueId, Recovered, Store, StoreError, Stored, Usage, WallClock,
};
use super::disk::{Disk, FileDisk};
use super::validate::validate;
use change::{Changed, Known, apply};
use layer::{Health, Layer, is_full};
use read::View;
use redb::{Builder, Database, Durability, ReadableDatabase};
use rows::{BODIES, FORMAT, HEADER_KEY, META_KEY, Meta, ROWS, VERSION};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

/// Memory that an open store uses for pages of its file, in bytes. A commit needs its own size beside it.
pub const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// Set aside on the disk, so that messages can be settled when it is full.
const RESERVE: u64 = 4 * 1024 * 1024;
/// After as many commits without sync, or so many bytes of them, one is synced all the same: until then the database
/// cannot use again what they free.
const UNSYNCED_COMMITS: u64 = 64;
const UNSYNCED_BYTES: u64 = 8 * 1024 * 1024;

/// A store in a file.
#[derive(Debug)]
pub struct DiskStore {
    disk: Arc<dyn Disk>,
    limit: u64,
    health: Arc<Health>,
    /// Closed after an error, until the next call opens it anew.
    database: Open,
    known: Known,
    calendar: Calendar,
    /// Commits since the last sync, and bytes of them.
    unsynced: (u64, u64),
    reserved: bool,
    /// The file was compacted, and no message was stored since: it would be in vain.
    compacted: bool,
}

/// A database. Closing one whose pages are damaged may panic, which concerns nobody any more.
#[derive(Debug)]
struct Open(Option<Database>);

impl Open {
    fn close(&mut self) {
        let database = self.0.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.close();
    }
}

impl DiskStore {
    /// Opens the store in the file at `path`, and makes it if there is none; its directory must be there. Beside it lie
    /// `PATH.lock`, which keeps other processes out, and `PATH.reserve`, 4 MiB that are set aside for a full disk.
    ///
    /// It refuses what would make it hold more than `limit` bytes. The file may be about a third larger, and does not
    /// become small again by itself: what is freed in it is used again. Room is freed in pieces of 16 KiB, so a message
    /// that is not settled may keep its neighbours' room.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unreadable`] if the file is no store, one of another version, or in use by another process;
    /// [`StoreError::Failed`] if the system refuses.
    pub fn open(path: &Path, limit: u64) -> Result<Self, StoreError> {
        let disk = FileDisk::open(path, |disk| {
            let disk = Arc::new(disk);
            drop(Self::on(disk.clone(), limit)?);
            // The database synced what it wrote; this is for the length of the file.
            disk.sync().map_err(|error| failed(&error))
        })?;
        Self::on(Arc::new(disk), limit)
    }

    /// Opens the store on a disk, and makes it if the disk is empty.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn on(disk: Arc<dyn Disk>, limit: u64) -> Result<Self, StoreError> {
        let mut store = Self {
            disk,
            limit,
            health: Arc::default(),
            database: Open(None),
            known: Known::default(),
            calendar: Calendar::default(),
            unsynced: (0, 0),
            reserved: false,
            compacted: false,
        };
        store.reopen()?;
        // Without it the store works; only a full disk is worse.
        store.reserved = store.disk.reserve(RESERVE).is_ok();
        Ok(store)
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        let layer = Layer {
            disk: self.disk.clone(),
            health: self.health.clone(),
        };
        let empty = self.disk.length().map_err(|error| failed(&error))? == 0;
        let opened = guarded(|| -> Result<_, redb::Error> {
            let mut builder = Builder::new();
            builder.set_cache_size(CACHE_BYTES);
            Ok(Open(Some(builder.create_with_backend(layer)?)))
        });
        let opened = opened.and_then(|open| {
            let read = guarded(|| {
                let Some(database) = &open.0 else {
                    return Ok((None, Known::default()));
                };
                if empty {
                    initialize(database)?;
                }
                let header = header(database)?;
                if check_header(header.as_deref()).is_err() {
                    return Ok((header, Known::default()));
                }
                let view = View::new(&database.begin_read()?)?;
                Ok((header, view.known()?))
            });
            read.map(|(header, known)| (open, header, known))
        });
        let (database, header, known) = match opened {
            Ok(opened) => opened,
            Err(Trouble::Storage(redb::Error::Io(error)))
                if error.kind() != std::io::ErrorKind::InvalidData
                    && error.kind() != std::io::ErrorKind::UnexpectedEof =>
            {
                return Err(self.refusal().unwrap_or_else(|| failed(&error)));
            }
            Err(trouble) => {
                let refusal = self.refusal();
                return Err(refusal.unwrap_or_else(|| unreadable(&trouble.to_string())));
            }
        };
        check_header(header.as_deref())?;
        self.known = known;
        self.database = database;
        self.unsynced = (0, 0);
        Ok(())
    }

    /// Why nothing may be done any more.
    fn refusal(&self) -> Option<StoreError> {
        let reason = self.health.sync_failed()?;
        Some(StoreError::SyncFailed { reason })
    }

    /// Opens the database if it is not.
    fn ready(&mut self) -> Result<(), StoreError> {
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        match self.database.0 {
            Some(_) => Ok(()),
            None => self.reopen(),
        }
    }

    /// What an error of the database means. It is closed, to be opened anew.
    fn broken(&mut self, trouble: &Trouble) -> StoreError {
        let forgotten = std::mem::take(&mut self.unsynced).0 > 0;
        self.database.close();
        let full = self.health.take_full();
        match self.refusal() {
            Some(refusal) => refusal,
            // Full promises that nothing was forgotten.
            None if full && !forgotten => StoreError::Full,
            None => StoreError::Failed {
                reason: trouble.to_string(),
            },
        }
    }

    /// One transaction. None: it would pass the limit, and nothing was done.
    fn transact(
        &mut self,
        operations: &[Operation],
        at: Moment,
        sync: bool,
        limit: u64,
    ) -> Result<Option<Changed>, Trouble> {
        let (Some(database), known) = (&self.database.0, &self.known) else {
            return Err(Trouble::Panicked("the database is closed".to_owned()));
        };
        guarded(|| {
            let mut transaction = database.begin_write()?;
            // Saves what opening needs, so that it does not depend on every stored byte being readable.
            transaction.set_quick_repair(true);
            if !sync {
                transaction.set_durability(Durability::None)?;
            }
            let changed = apply(&transaction, operations, known, at)?;
            if changed.meta.bytes > limit && changed.meta.bytes > known.meta.bytes {
                transaction.abort()?;
                return Ok(None);
            }
            transaction.commit()?;
            Ok(Some(changed))
        })
    }

    /// Takes the reserve again, from what is free in the file where the disk has no other room. Whether there is one now.
    fn regain_reserve(&mut self, growth: u64) -> Result<bool, StoreError> {
        let mut compacted = false;
        loop {
            match self.disk.reserve(RESERVE) {
                Err(error) if is_full(&error) => {}
                // Where nothing can be set aside the store works; only a full disk is worse.
                _ => return Ok(true),
            }
            if compacted || !self.compact(growth)? {
                return Ok(false);
            }
            compacted = true;
        }
    }

    /// Gives what is free in the file back to a disk without room, if that is worth it: the database may prefer the holes
    /// of the file to the room that it has. Whether it was done.
    fn compact(&mut self, growth: u64) -> Result<bool, StoreError> {
        let used = self.known.meta.bytes;
        let needed = used + used / 4 + 2 * growth + 2 * RESERVE;
        let worth = !self.compacted && self.disk.allocated().is_ok_and(|room| room > needed);
        let Some(database) = self.database.0.as_mut().filter(|_| worth) else {
            return Ok(false);
        };
        self.compacted = true;
        match guarded(|| Ok(database.compact()?)) {
            Ok(_) => Ok(true),
            Err(trouble) => Err(self.broken(&trouble)),
        }
    }

    /// Syncs what is not, so that a disk without room cannot make it forgotten.
    fn settle_accounts(&mut self, growth: u64, at: Moment) -> Result<(), StoreError> {
        if self.unsynced.0 == 0
            || self
                .disk
                .free()
                .is_ok_and(|free| free > 2 * growth + RESERVE)
        {
            return Ok(());
        }
        // What is to be synced was accepted: this is what the reserve is for.
        if self.reserved {
            self.reserved = self.disk.reserve(0).is_err();
        }
        match self.transact(&[], at, true, u64::MAX) {
            Ok(_) => {
                self.unsynced = (0, 0);
                Ok(())
            }
            Err(trouble) => Err(self.broken(&trouble)),
        }
    }
}

impl Store for DiskStore {
    fn recover(&mut self) -> Result<Recovered, StoreError> {
        self.ready()?;
        let (Some(database), known) = (&self.database.0, &self.known) else {
            return Err(unreadable("the database is closed"));
        };
        let recovered = guarded(|| {
            let transaction = database.begin_read()?;
            Ok(View::new(&transaction)?.recovered(known)?)
        });
        recovered.map_err(|trouble| self.broken(&trouble))
    }

    fn commit(
        &mut self,
        operations: &[Operation],
        clock: WallClock,
        sync: bool,
    ) -> Result<Usage, StoreError> {
        self.ready()?;
        let queues = &self.known.queues;
        validate(operations, self.known.meta.next, |queue| {
            queues.contains_key(&queue)
        })?;
        let at = self.calendar.at(clock);
        if operations.is_empty() && (!sync || self.unsynced.0 == 0) {
            return Ok(self.known.usage());
        }
        let growth = growth(operations);
        let grows = growth > 0;
        if grows {
            let frees = operations.iter().any(frees);
            if !frees && self.known.meta.bytes.saturating_add(growth) > self.limit {
                return Err(StoreError::Full);
            }
        }
        self.settle_accounts(growth, at)?;
        if grows && !self.reserved {
            self.reserved = self.regain_reserve(growth)?;
            if !self.reserved {
                return Err(StoreError::Full);
            }
        }
        let sync = sync
            || self.unsynced.0 + 1 >= UNSYNCED_COMMITS
            || self.unsynced.1 + growth >= UNSYNCED_BYTES;
        let limit = if grows { self.limit } else { u64::MAX };
        let mut result = self.transact(operations, at, sync, limit);
        if let Err(trouble) = &result {
            match self.broken(trouble) {
                StoreError::Full => {}
                error => return Err(error),
            }
            self.ready()?;
            let again = if grows {
                self.compact(growth)?
            } else {
                // Settling makes room in the end, and may need some before.
                self.disk.reserve(0).map_err(|error| failed(&error))?;
                std::mem::take(&mut self.reserved)
            };
            if !again {
                return Err(StoreError::Full);
            }
            result = self.transact(operations, at, sync, limit);
        }
        match result {
            Ok(Some(changed)) => {
                changed.enter(&mut self.known);
                self.compacted &= !grows;
                self.unsynced = match sync {
                    true => (0, 0),
                    false => (self.unsynced.0 + 1, self.unsynced.1 + growth),
                };
                Ok(self.known.usage())
            }
            Ok(None) => Err(StoreError::Full),
            Err(trouble) => Err(self.broken(&trouble)),
        }
    }

    fn read(
        &mut self,
        queue: QueueId,
        after: Position,
        messages: usize,
        bytes: u64,
        clock: WallClock,
    ) -> Result<Vec<Stored>, StoreError> {
        self.ready()?;
        let at = self.calendar.at(clock);
        let Some(database) = &self.database.0 else {
            return Err(unreadable("the database is closed"));
        };
        let read = guarded(|| {
            let transaction = database.begin_read()?;
            Ok(View::new(&transaction)?.messages(queue, after, messages, bytes, at)?)
        });
        read.map_err(|trouble| self.broken(&trouble))
    }
}

/// What a commit adds at least, in bytes.
fn growth(operations: &[Operation]) -> u64 {
    let added = operations.iter().map(|operation| match operation {
        Operation::Append { records, .. } => records
            .iter()
            .map(|record| record.body.len() as u64 + 1)
            .sum(),
        // What it replaces may be as large.
        Operation::PutQueue { .. } | Operation::Put { .. } => 1,
        _ => 0,
    });
    added.sum()
}

/// Whether an operation may make room.
fn frees(operation: &Operation) -> bool {
    !matches!(operation, Operation::Append { .. })
}

fn initialize(database: &Database) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    {
        let mut rows = transaction.open_table(ROWS)?;
        let header = [FORMAT, &VERSION.to_le_bytes()].concat();
        rows.insert(HEADER_KEY, header.as_slice())?;
        let meta = Meta {
            next: 1,
            ..Meta::default()
        }
        .encode();
        rows.insert(META_KEY, meta.as_slice())?;
        transaction.open_table(BODIES)?;
    }
    transaction.commit()?;
    Ok(())
}

fn header(database: &Database) -> Result<Option<Vec<u8>>, redb::Error> {
    let transaction = database.begin_read()?;
    let rows = match transaction.open_table(ROWS) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        rows => rows?,
    };
    Ok(rows.get(HEADER_KEY)?.map(|header| header.value().to_vec()))
}

fn check_header(header: Option<&[u8]>) -> Result<(), StoreError> {
    let version = header.and_then(|header| header.strip_prefix(FORMAT));
    let version = version.and_then(|version| version.try_into().ok());
    match version.map(u32::from_le_bytes) {
        Some(VERSION) => Ok(()),
        Some(other) => Err(unreadable(&format!(
            "it is of version {other} and this build reads version {VERSION}"
        ))),
        None => Err(unreadable("it is no spool of mcpbus")),
    }
}

fn unreadable(what: &str) -> StoreError {
    let reason = format!(
        "{what}; use a build that reads it, or move the file away to start with an empty spool, without what is in it"
    );
    StoreError::Unreadable { reason }
}

fn failed(error: &std::io::Error) -> StoreError {
    StoreError::Failed {
        reason: error.to_string(),
    }
}

/// Why the database did not do something.
#[derive(Debug)]
enum Trouble {
    Storage(redb::Error),
    Panicked(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::Panicked(what) => write!(f, "the database gave up: {what}"),
        }
    }
}

/// Runs something of the database, which panics where damaged pages surprise it.
fn guarded<T>(run: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Trouble> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(Trouble::Storage),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(Trouble::Panicked(
                text.unwrap_or("damaged pages").to_owned(),
            ))
        }
    }
}
