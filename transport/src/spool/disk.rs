//! The file under a store: what it asks of a disk, and a disk of the system.

use super::contract::StoreError;
use rustix::fs::FallocateFlags;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// One file of bytes. What was written may be lost until a sync returned Ok.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// How long the file is.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn length(&self) -> io::Result<u64>;

    /// Fills `out` from `offset` on.
    ///
    /// # Errors
    ///
    /// What the system says; an error where the file ends before `out` is full.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes within the file.
    ///
    /// # Errors
    ///
    /// What the system says; [`io::ErrorKind::StorageFull`] where there is no room. Then any part may be written.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file, or lets it go on with zeros.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// Waits until all that was written survives a loss of power.
    ///
    /// # Errors
    ///
    /// What the system says. Then nobody knows what is on the disk.
    fn sync(&self) -> io::Result<()>;

    /// How much can still be written to new places, in bytes.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn free(&self) -> io::Result<u64>;

    /// How much room the file has on the disk, in bytes. Less than its length where it has holes.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn allocated(&self) -> io::Result<u64>;

    /// Sets as many bytes aside for bad times, or gives them back with 0.
    ///
    /// # Errors
    ///
    /// What the system says; [`io::ErrorKind::StorageFull`] where there is no room.
    fn reserve(&self, bytes: u64) -> io::Result<()>;
}

/// A file, which no other process opens as a store at the same time.
#[derive(Debug)]
pub(super) struct FileDisk {
    file: File,
    reserve: File,
    /// Held for as long as the store is open.
    _lock: File,
}

impl FileDisk {
    /// Opens the file at `path`, with the locked file and the reserve beside it. Where there is none, `initialize` makes
    /// it, and it gets its name when it is whole and on the disk.
    pub(super) fn open(
        path: &Path,
        initialize: impl FnOnce(Self) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let lock = private(&beside(path, "lock")).map_err(failed(path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let reason = format!(
                    "{} is in use by another process: stop it, or give this node a directory of its own",
                    path.display()
                );
                return Err(StoreError::Unreadable { reason });
            }
            Err(TryLockError::Error(error)) => return Err(failed(path)(error)),
        }
        let disk = |path: &Path, name: &Path| -> io::Result<Self> {
            Ok(Self {
                file: private(path)?,
                reserve: private(&beside(name, "reserve"))?,
                _lock: lock.try_clone()?,
            })
        };
        if !path.try_exists().map_err(failed(path))? {
            let unfinished = beside(path, "new");
            // What an earlier process left half made was never promised to anybody.
            match std::fs::remove_file(&unfinished) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed(path)(error));
                }
                _ => {}
            }
            initialize(disk(&unfinished, path).map_err(failed(path))?)?;
            std::fs::rename(&unfinished, path)
                .and_then(|()| sync_directory_of(path))
                .map_err(failed(path))?;
        }
        disk(path, path).map_err(failed(path))
    }
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}

/// A file that only its owner may read.
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

fn failed(path: &Path) -> impl Fn(io::Error) -> StoreError {
    let path = path.display().to_string();
    move |error| StoreError::Failed {
        reason: format!("{path}: {error}"),
    }
}

impl Disk for FileDisk {
    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn free(&self) -> io::Result<u64> {
        let room = rustix::fs::fstatvfs(&self.file)?;
        Ok(room.f_bavail.saturating_mul(room.f_frsize))
    }

    fn allocated(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.blocks().saturating_mul(512))
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return self.reserve.set_len(0);
        }
        match rustix::fs::fallocate(&self.reserve, FallocateFlags::empty(), 0, bytes) {
            // A file system that cannot set room aside: then a full disk refuses settlements too, until it has room.
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(()) => Ok(()),
        }
    }
}
