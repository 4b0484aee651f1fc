//! A disk that fails or fills up.

use super::super::super::faulty::DiskFaults;
use super::*;

/// A queue with one synced message.
fn one_message(seed: u64) -> OnFaulty {
    let mut place = OnFaulty::new(seed, ROOM);
    let result = place.commit(&[put_queue(), append(1, &[100])], true);
    result.expect("a healthy store commits");
    place
}

#[test]
fn after_a_failed_write_the_store_opens_itself_anew() {
    let mut place = one_message(1);
    place.disk.set_faults(DiskFaults {
        write: true,
        ..DiskFaults::default()
    });
    let failed = place.commit(&[append(2, &[100])], true);
    assert!(
        matches!(failed, Err(StoreError::Failed { .. })),
        "{failed:?}"
    );
    place.disk.set_faults(DiskFaults::default());
    assert_eq!(place.held(), [(1, true)]);
    place
        .commit(&[append(3, &[100])], true)
        .expect("it goes on");
    laws::Place::crash(&mut place);
    assert_eq!(place.held(), [(1, true), (3, true)]);
}

#[test]
fn after_a_failed_read_the_store_opens_itself_anew() {
    let mut place = one_message(2);
    // More than the store keeps in memory, so that reading all of it needs the disk.
    let large = CACHE_BYTES / 8;
    for position in 2..14 {
        let result = place.commit(&[append(position, &[large])], true);
        result.expect("a healthy store commits");
    }
    place.disk.set_faults(DiskFaults {
        read: true,
        ..DiskFaults::default()
    });
    let failed = place.disk_store().read(QUEUE, 0, 100, u64::MAX, CLOCK);
    assert!(matches!(failed, Err(StoreError::Failed { .. })));
    place.disk.set_faults(DiskFaults::default());
    let expected: Vec<_> = (1..14).map(|position| (position, true)).collect();
    assert_eq!(place.held(), expected);
}

#[test]
fn after_a_failed_sync_nothing_more_is_promised() {
    for seed in 0..20 {
        let mut place = one_message(seed);
        place.disk.set_faults(DiskFaults {
            sync: true,
            ..DiskFaults::default()
        });
        let failed = place.commit(&[append(2, &[100])], true);
        assert!(
            matches!(failed, Err(StoreError::SyncFailed { .. })),
            "{failed:?}"
        );
        place.disk.set_faults(DiskFaults::default());
        for sync in [true, false] {
            let refused = place.commit(&[settle([1])], sync);
            assert!(
                matches!(refused, Err(StoreError::SyncFailed { .. })),
                "{refused:?}"
            );
        }
        laws::Place::crash(&mut place);
        let held = place.held();
        assert!(
            held == [(1, true)] || held == [(1, true), (2, true)],
            "{held:?}"
        );
        place
            .commit(&[append(5, &[100])], true)
            .expect("a new process may use it");
    }
}

/// Commits batches until the disk has refused three. Gives the positions that are stored.
fn fill_up(place: &mut OnFaulty, next: &mut Position) -> Vec<(Position, bool)> {
    let mut stored = Vec::new();
    let mut refused = 0;
    while refused < 3 {
        match place.commit(&[append(*next, &[20_000; 5])], true) {
            Ok(_) => stored.extend((*next..*next + 5).map(|position| (position, true))),
            Err(StoreError::Full) => refused += 1,
            Err(error) => panic!("a full disk is full: {error}"),
        }
        *next += 5;
        assert!(*next < 10_000, "a full disk takes no end of messages");
    }
    stored
}

#[test]
fn a_full_disk_refuses_messages_and_takes_settlements() {
    let mut place = one_message(3);
    let mut next = 2;
    for _ in 0..200 {
        let result = place.commit(&[append(next, &[20_000; 5])], true);
        result.expect("there is room");
        next += 5;
    }
    // Not synced yet: a full disk must not make it forgotten.
    let result = place.commit(&[append(next, &[10])], false);
    result.expect("there is room");
    next += 1;
    let mut all = place.held();
    place.disk.fill();
    all.extend(fill_up(&mut place, &mut next));
    for round in 0..3 {
        assert_eq!(place.held(), all);
        for positions in all[..all.len() - 1].chunks(7) {
            let positions = positions.iter().map(|(position, _)| *position);
            let result = place.commit(&[settle(positions)], true);
            result.expect("settling is possible");
        }
        all.drain(..all.len() - 1);
        assert_eq!(place.held(), all);
        place.survey();
        // The disk is as full as before, and the file has room.
        let stored = fill_up(&mut place, &mut next);
        assert!(
            stored.len() > 300,
            "round {round}: settling makes room, here for {}",
            stored.len()
        );
        all.extend(stored);
    }
    place.disk.clear();
    let result = place.commit(&[append(next, &[20_000; 5])], true);
    result.expect("the store goes on by itself");
    laws::Place::crash(&mut place);
    assert_eq!(place.held().len(), all.len() + 5);
}
