//! Files of identities: permissions are checked on reading, writes are atomic, sizes are bounded.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use zeroize::Zeroizing;

/// No certificate or key file is read beyond this many bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Why a file or directory of an identity could not be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileError {
    /// The operating system refused; `source` says why.
    Io {
        /// What was tried, as a verb: "read", "create".
        operation: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A private key that others can read is no longer private. The user runs `chmod 600`, or issues a new one.
    KeyReadableByOthers {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others could replace files in the directory. The user runs `chmod 700` or names another directory.
    DirectoryWritableByOthers {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The directory belongs to another user, who could replace files in it. The user names another directory.
    OwnedByAnother {
        /// The directory.
        path: PathBuf,
        /// The numeric id of its owner.
        owner: u32,
    },
    /// The file is larger than any certificate or key file (1 MiB). The user names the right file.
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

impl FileError {
    /// Whether the path does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io {
                operation,
                path,
                source,
            } => {
                write!(formatter, "cannot {operation} {}: {source}", path.display())
            }
            Self::KeyReadableByOthers { path, mode } => write!(
                formatter,
                "the private key {} can be read by others (mode {mode:04o}): run `chmod 600` on it, or issue a new one",
                path.display()
            ),
            Self::DirectoryWritableByOthers { path, mode } => write!(
                formatter,
                "others can write to the directory {} (mode {mode:04o}): run `chmod 700` on it, or name another",
                path.display()
            ),
            Self::OwnedByAnother { path, owner } => write!(
                formatter,
                "the directory {} belongs to another user (id {owner}): name a directory of your own",
                path.display()
            ),
            Self::TooLarge { path } => {
                write!(
                    formatter,
                    "{} is larger than 1 MiB: it is no certificate or key file",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

pub(super) fn io_error(
    operation: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> FileError {
    move |source| FileError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

/// Makes the directory and its parents with mode 0700 where they are missing, and refuses one that another user controls.
pub(super) fn create_directory(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_error("create the directory", path))?;
    check_directory(path)
}

fn check_directory(path: &Path) -> Result<(), FileError> {
    let metadata = fs::metadata(path).map_err(io_error("examine", path))?;
    if metadata.mode() & 0o022 != 0 {
        return Err(FileError::DirectoryWritableByOthers {
            path: path.to_owned(),
            mode: metadata.mode() & 0o7777,
        });
    }
    // The superuser may well use a directory that a service's account owns, for example a mounted volume.
    let user = fs::metadata("/proc/self")
        .map_err(io_error("examine", Path::new("/proc/self")))?
        .uid();
    if user != 0 && metadata.uid() != user && metadata.uid() != 0 {
        return Err(FileError::OwnedByAnother {
            path: path.to_owned(),
            owner: metadata.uid(),
        });
    }
    Ok(())
}

/// Reads a text file of at most 1 MiB.
pub(super) fn read_text(path: &Path) -> Result<String, FileError> {
    let file = File::open(path).map_err(io_error("read", path))?;
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(io_error("read", path))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(text)
}

/// Reads a private key, and refuses it when others can read it too.
pub(super) fn read_secret(path: &Path) -> Result<Zeroizing<String>, FileError> {
    let mut file = File::open(path).map_err(io_error("read", path))?;
    // The opened file is examined, not the path: the path may have been exchanged in between.
    let metadata = file.metadata().map_err(io_error("examine", path))?;
    if metadata.mode() & 0o077 != 0 {
        return Err(FileError::KeyReadableByOthers {
            path: path.to_owned(),
            mode: metadata.mode() & 0o7777,
        });
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
        });
    }
    // Room for the whole file from the start, so that growing leaves no copies of the key behind.
    let mut text = Zeroizing::new(String::with_capacity(metadata.len() as usize + 1));
    (&mut file)
        .take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(io_error("read", path))?;
    Ok(text)
}

/// Writes a file so that readers see either the old content or the whole new one, and syncs it to disk.
pub(super) fn write_atomically(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    static UNIQUE: AtomicU64 = AtomicU64::new(0);
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(
        ".{}.{}.new",
        std::process::id(),
        UNIQUE.fetch_add(1, Ordering::Relaxed)
    ));
    let temporary = PathBuf::from(temporary);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        })
        .map_err(io_error("write", &temporary))
        .and_then(|()| fs::rename(&temporary, path).map_err(io_error("write", path)));
    if written.is_err() {
        // The first error is the one to report; a leftover temporary file harms nothing.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(io_error("sync", directory))
}

/// An exclusive lock on `directory/.lock`, held until dropped; the system releases it when its holder dies.
pub(super) fn lock(directory: &Path) -> Result<File, FileError> {
    let path = directory.join(".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io_error("open", &path))?;
    file.lock().map_err(io_error("lock", &path))?;
    Ok(file)
}
