use super::super::laws;
use super::*;
use bytes::Bytes;

impl laws::Place for MemoryStore {
    fn store(&mut self) -> &mut dyn Store {
        self
    }

    fn crash(&mut self) {
        Self::crash(self);
    }

    fn restart(&mut self) {
        let all = self.unsynced();
        self.kill(all);
    }
}

#[test]
fn the_laws_hold() {
    laws::uphold(MemoryStore::new);
}

const CLOCK: WallClock = WallClock {
    now: mcpbus_actors::Time::ZERO,
    unix_micros: 0,
};

fn value(number: u8) -> Vec<Operation> {
    let (key, value) = (Bytes::from(vec![number]), Bytes::from(vec![number; 100]));
    vec![Operation::Put { key, value }]
}

fn numbers(store: &mut MemoryStore) -> Vec<u8> {
    let recovered = store.recover().expect("a model recovers");
    recovered.values.iter().map(|(key, _)| key[0]).collect()
}

/// A store with one synced commit and two that are not.
fn partly_synced() -> MemoryStore {
    let mut store = MemoryStore::new(10_000);
    for number in 0..3 {
        let result = store.commit(&value(number), CLOCK, number == 0);
        result.expect("a healthy store commits");
    }
    assert_eq!((store.unsynced(), numbers(&mut store)), (2, vec![0, 1, 2]));
    store
}

#[test]
fn a_crash_forgets_what_is_not_synced_and_a_kill_as_much_as_it_is_told() {
    let mut store = partly_synced();
    store.crash();
    assert_eq!(numbers(&mut store), [0]);
    for survive in 0..4 {
        let mut store = partly_synced();
        store.kill(survive);
        let expected: Vec<u8> = (0..=survive.min(2) as u8).collect();
        assert_eq!((numbers(&mut store), store.unsynced()), (expected, 0));
    }
}

#[test]
fn a_failed_write_forgets_what_is_not_synced_and_the_store_goes_on() {
    let mut store = partly_synced();
    store.faults().write = true;
    let failed = store.commit(&value(3), CLOCK, true);
    assert!(
        matches!(failed, Err(StoreError::Failed { .. })),
        "{failed:?}"
    );
    store.faults().write = false;
    assert_eq!(numbers(&mut store), [0]);
    store
        .commit(&value(4), CLOCK, true)
        .expect("the store goes on");
    store.crash();
    assert_eq!(numbers(&mut store), [0, 4]);
}

#[test]
fn after_a_failed_sync_nothing_is_promised_until_the_process_starts_again() {
    let mut store = partly_synced();
    store.faults().sync = true;
    store
        .commit(&value(3), CLOCK, false)
        .expect("no sync, no failure");
    let failed = store.commit(&value(4), CLOCK, true);
    assert!(
        matches!(failed, Err(StoreError::SyncFailed { .. })),
        "{failed:?}"
    );
    store.faults().sync = false;
    let refused = store.commit(&value(5), CLOCK, false);
    assert!(
        matches!(refused, Err(StoreError::SyncFailed { .. })),
        "{refused:?}"
    );
    let mut kept = store.clone();
    kept.kill(4);
    assert_eq!(
        numbers(&mut kept),
        [0, 1, 2, 3, 4],
        "the failed commit may be there"
    );
    store.crash();
    assert_eq!(numbers(&mut store), [0], "and may be not");
    store
        .commit(&value(6), CLOCK, true)
        .expect("a new process may use it");
}

#[test]
fn a_full_disk_refuses_growth_only() {
    let mut store = partly_synced();
    store.faults().full = true;
    assert_eq!(store.commit(&value(3), CLOCK, true), Err(StoreError::Full));
    store
        .commit(&value(2), CLOCK, true)
        .expect("the same again needs no room");
    let key = Bytes::from(vec![1]);
    store
        .commit(&[Operation::Delete { key }], CLOCK, true)
        .expect("removing is possible");
    store.faults().full = false;
    store
        .commit(&value(3), CLOCK, true)
        .expect("the store goes on by itself");
    assert_eq!(numbers(&mut store), [0, 2, 3]);
}

#[test]
fn a_corrupt_message_is_told_of_in_its_place() {
    let mut store = MemoryStore::new(1 << 20);
    let record = laws::sized(&[10, 20, 30]);
    let queue = QueueId(1);
    let operations = [
        Operation::PutQueue {
            queue,
            definition: Bytes::new(),
        },
        Operation::Append {
            first: 5,
            records: record,
            queues: [(queue, Bytes::new())].into(),
        },
    ];
    store
        .commit(&operations, CLOCK, true)
        .expect("a healthy store commits");
    assert!(store.corrupt(6) && !store.corrupt(8));
    store.crash();
    let read = store
        .read(queue, 0, 10, 1000, CLOCK)
        .expect("the queue is read");
    let good: Vec<_> = read
        .iter()
        .map(|stored| (stored.position, stored.record.is_ok()))
        .collect();
    assert_eq!(good, [(5, true), (6, false), (7, true)]);
    let settle = Operation::Settle {
        queue,
        positions: vec![6],
    };
    let usage = store
        .commit(&[settle], CLOCK, true)
        .expect("it can be settled");
    assert_eq!(usage.messages, 2);
}
