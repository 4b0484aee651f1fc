//! What stands between the database and the disk: it remembers what went wrong, and after a failed sync nothing more
//! reaches the disk.

use super::super::disk::Disk;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What went wrong so far.
#[derive(Debug, Default)]
pub(super) struct Health {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    full: bool,
    sync_failed: Option<String>,
}

impl Health {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the disk had no room since this was last asked.
    pub(super) fn take_full(&self) -> bool {
        std::mem::take(&mut self.state().full)
    }

    /// What the system said when a sync failed.
    pub(super) fn sync_failed(&self) -> Option<String> {
        self.state().sync_failed.clone()
    }
}

/// A disk, as the database sees it.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) health: Arc<Health>,
}

impl Layer {
    fn checked<T>(&self, run: impl FnOnce(&dyn Disk) -> io::Result<T>) -> io::Result<T> {
        // After a failed sync the cache of the system may show what the disk does not hold: writing on would build on it.
        if let Some(reason) = self.health.sync_failed() {
            return Err(io::Error::other(reason));
        }
        let result = run(&*self.disk);
        if let Err(error) = &result
            && is_full(error)
        {
            self.health.state().full = true;
        }
        result
    }
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

impl redb::StorageBackend for Layer {
    fn len(&self) -> io::Result<u64> {
        self.checked(|disk| disk.length())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.checked(|disk| disk.read(offset, out))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.checked(|disk| disk.set_length(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.checked(|disk| disk.sync()).inspect_err(|error| {
            let mut state = self.health.state();
            state.sync_failed.get_or_insert_with(|| error.to_string());
        })
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.checked(|disk| disk.write(offset, bytes))
    }
}
