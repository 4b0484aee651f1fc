//! Stores in files.

use super::*;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

/// A store in a file of its own.
struct OnFile {
    directory: TempDir,
    limit: u64,
    store: Option<DiskStore>,
}

impl OnFile {
    fn new(limit: u64) -> Self {
        let mut place = Self {
            directory: directory(),
            limit,
            store: None,
        };
        place.open();
        place
    }

    fn open(&mut self) {
        self.store = None;
        let path = self.directory.path().join("spool");
        self.store = Some(DiskStore::open(&path, self.limit).expect("the store opens"));
    }
}

impl laws::Place for OnFile {
    fn store(&mut self) -> &mut dyn Store {
        self.store.as_mut().expect("the store is open")
    }

    fn crash(&mut self) {
        self.open();
    }

    fn restart(&mut self) {
        self.open();
    }
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory for a test")
}

fn unreadable_because(result: Result<DiskStore, StoreError>, words: &str) {
    match result {
        Err(StoreError::Unreadable { reason }) => assert!(reason.contains(words), "{reason}"),
        other => panic!("expected: unreadable, {words}; is: {other:?}"),
    }
}

#[test]
fn the_laws_hold_on_a_file() {
    laws::uphold(OnFile::new);
}

#[test]
fn one_process_opens_a_store_and_only_its_owner_reads_it() {
    let place = OnFile::new(ROOM);
    let path = place.directory.path().join("spool");
    unreadable_because(DiskStore::open(&path, ROOM), "in use by another process");
    let mode = std::fs::metadata(&path)
        .expect("the file is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(place.store);
    DiskStore::open(&path, ROOM).expect("it is free again");
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let directory = directory();
    let path = directory.path().join("spool");
    let text = b"a letter, not a spool".repeat(1000);
    std::fs::write(&path, &text).expect("the file is written");
    unreadable_because(DiskStore::open(&path, ROOM), "move the file away");
    assert_eq!(std::fs::read(&path).expect("the file is there"), text);
}

#[test]
fn another_database_and_another_version_are_refused() {
    let directory = directory();
    let path = directory.path().join("spool");
    let store = DiskStore::open(&path, ROOM).expect("the store opens");
    let database = store.database.0.as_ref().expect("the database is open");
    let change = |header: Option<Vec<u8>>| {
        let transaction = database.begin_write().expect("a transaction");
        {
            let mut rows = transaction.open_table(ROWS).expect("the table is there");
            match &header {
                Some(header) => rows.insert(HEADER_KEY, header.as_slice()),
                None => rows.remove(HEADER_KEY),
            }
            .expect("the header is changed");
        }
        transaction.commit().expect("the change is committed");
    };
    change(Some([FORMAT, &7_u32.to_le_bytes()].concat()));
    drop(store);
    unreadable_because(DiskStore::open(&path, ROOM), "version 7");
    let file = super::super::super::disk::FileDisk::open(&path, |_| Ok(()));
    let disk = Arc::new(file.expect("the file opens"));
    let layer = Layer {
        disk,
        health: Arc::default(),
    };
    let database = Builder::new()
        .create_with_backend(layer)
        .expect("the database opens");
    let transaction = database.begin_write().expect("a transaction");
    transaction
        .delete_table(ROWS)
        .expect("the table is removed");
    transaction.commit().expect("the change is committed");
    drop(database);
    unreadable_because(DiskStore::open(&path, ROOM), "no spool of mcpbus");
}

#[test]
fn a_store_that_was_never_finished_is_begun_again() {
    let directory = directory();
    let path = directory.path().join("spool");
    std::fs::write(directory.path().join("spool.new"), [7; 5000]).expect("the file is written");
    let mut store = DiskStore::open(&path, ROOM).expect("the store opens");
    assert_eq!(store.recover().map(|recovered| recovered.next), Ok(1));
}
