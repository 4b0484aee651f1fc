use super::super::laws;
use super::*;

/// A store in a file of its own.
struct OnFile {
    directory: tempfile::TempDir,
    limit: u64,
    store: Option<DiskStore>,
}

impl OnFile {
    fn new(limit: u64) -> Self {
        let directory = tempfile::tempdir().expect("a directory for a test");
        let mut place = Self {
            directory,
            limit,
            store: None,
        };
        place.open();
        place
    }

    fn open(&mut self) {
        drop(self.store.take());
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

#[test]
fn the_laws_hold_on_a_file() {
    laws::uphold(OnFile::new);
}
