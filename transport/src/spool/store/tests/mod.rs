mod damage;
mod faults;
mod files;

use super::super::faulty::FaultyDisk;
use super::super::laws::{self, ROOM};
use super::*;
use bytes::Bytes;
use mcpbus_actors::Time;

const CLOCK: WallClock = WallClock {
    now: Time::ZERO,
    unix_micros: 0,
};
const QUEUE: QueueId = QueueId(1);

/// A store on a disk with faults.
struct OnFaulty {
    disk: Arc<FaultyDisk>,
    limit: u64,
    store: Option<DiskStore>,
}

impl OnFaulty {
    fn new(seed: u64, limit: u64) -> Self {
        let disk = Arc::new(FaultyDisk::new(seed));
        let mut place = Self {
            disk,
            limit,
            store: None,
        };
        place.open();
        place
    }

    fn open(&mut self) {
        self.store = None;
        let opened = DiskStore::on(self.disk.clone(), self.limit);
        self.store = Some(opened.unwrap_or_else(|error| panic!("the store opens: {error}")));
    }

    fn disk_store(&mut self) -> &mut DiskStore {
        self.store.as_mut().expect("the store is open")
    }

    fn commit(&mut self, operations: &[Operation], sync: bool) -> Result<Usage, StoreError> {
        self.disk_store().commit(operations, CLOCK, sync)
    }

    /// What is in the queue: positions, and whether each can be read.
    fn held(&mut self) -> Vec<(Position, bool)> {
        let read = self.disk_store().read(QUEUE, 0, 10_000, u64::MAX, CLOCK);
        let read = read.expect("the queue is read");
        let held = read
            .iter()
            .map(|stored| (stored.position, stored.record.is_ok()));
        held.collect()
    }

    /// The counters agree with what is stored.
    fn survey(&mut self) {
        let store = self.disk_store();
        let database = store.database.0.as_ref().expect("the database is open");
        let transaction = database.begin_read().expect("the database is read");
        let view = View::new(&transaction).expect("the tables are there");
        let survey = view.survey().expect("the database is read");
        let known = store.known.meta;
        assert_eq!(
            (survey.messages, survey.bytes),
            (known.messages, known.bytes)
        );
    }
}

impl laws::Place for OnFaulty {
    fn store(&mut self) -> &mut dyn Store {
        self.disk_store()
    }

    fn crash(&mut self) {
        // What the process does while it ends reaches no disk.
        self.disk.cut_power_after(0);
        self.store = None;
        self.disk.restart();
        self.open();
        self.survey();
    }

    fn crash_after(&mut self, steps: u64) {
        self.disk.cut_power_after(steps);
    }

    fn restart(&mut self) {
        self.store = None;
        self.open();
        self.survey();
    }
}

fn put_queue() -> Operation {
    Operation::PutQueue {
        queue: QUEUE,
        definition: Bytes::from_static(b"definition"),
    }
}

fn append(first: Position, lengths: &[usize]) -> Operation {
    Operation::Append {
        first,
        records: laws::sized(lengths),
        queues: [(QUEUE, Bytes::from_static(b"tag"))].into(),
    }
}

fn settle(positions: impl IntoIterator<Item = Position>) -> Operation {
    Operation::Settle {
        queue: QUEUE,
        positions: positions.into_iter().collect(),
    }
}

#[test]
fn the_laws_hold_on_a_disk_that_loses_power() {
    let mut seed = 1000;
    laws::uphold(|limit| {
        seed += 1;
        OnFaulty::new(seed, limit)
    });
}

/// Random commits, with the power going anywhere within them. `MCPBUS_SPOOL_SEEDS` says how many seeds, and
/// `MCPBUS_SEED` runs one again.
#[test]
fn what_was_synced_survives_the_power_going_at_any_step() {
    let variable = |name| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    let seeds = match variable("MCPBUS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("MCPBUS_SPOOL_SEEDS").unwrap_or(200),
    };
    for seed in seeds {
        laws::random(seed, 12, &mut OnFaulty::new(seed, ROOM));
    }
}

#[test]
fn a_store_that_does_not_sync_is_found() {
    let lying = |seed| {
        let mut place = OnFaulty::new(seed, ROOM);
        let faults = super::super::faulty::DiskFaults {
            sync_lies: true,
            ..Default::default()
        };
        place.disk.set_faults(faults);
        catch_unwind(AssertUnwindSafe(|| laws::random(seed, 12, &mut place))).is_err()
    };
    assert!(
        (0..10).any(lying),
        "a crash forgets what no sync has brought to the disk"
    );
}
