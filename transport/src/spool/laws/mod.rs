//! The laws of stores as tests, for whoever writes a store.
//!
//! A failed law panics and names itself: this module is called from tests only.

mod model;

use super::contract::{
    Operation, Position, QueueId, Recovered, Store, StoreError, Stored, Usage, WallClock,
};
use super::random::Random;
use crate::wire::Record;
use bytes::Bytes;
use mcpbus_actors::Time;
use model::Model;
use std::sync::Arc;

/// A disk with an open store on it.
pub trait Place {
    /// The store.
    fn store(&mut self) -> &mut dyn Store;
    /// The machine loses its power; what was not synced may be lost. Then the store is opened again.
    fn crash(&mut self);
    /// The power goes after as many steps of the disk as this, within whatever the store does then. A disk that cannot do
    /// this does nothing.
    fn crash_after(&mut self, steps: u64) {
        let _ = steps;
    }
    /// The process ends as it should, and the store is opened again.
    fn restart(&mut self);
}

/// Room enough for every law.
pub const ROOM: u64 = 1 << 30;

/// Runs every law, each on a fresh place whose store has the given limit in bytes.
///
/// # Panics
///
/// When a law is broken; the message names the law.
pub fn uphold<P: Place>(mut place: impl FnMut(u64) -> P) {
    empty(&mut place(ROOM));
    what_is_synced_survives(&mut place(ROOM));
    one_log_many_queues(&mut place(ROOM));
    refused_commits_change_nothing(&mut place(ROOM));
    full(&mut place(1 << 20));
    deadlines(&mut place(ROOM));
    for seed in 0..20 {
        random(seed, 40, &mut place(ROOM));
    }
}

/// Random commits, restarts and crashes, compared with a model.
///
/// After a crash the store holds what it held after some commit, the last one with `sync` or a later one.
///
/// # Panics
///
/// When a law is broken; the message names the law, and the seed gives the same run again.
pub fn random<P: Place>(seed: u64, commits: usize, place: &mut P) {
    let mut random = Random::new(seed);
    let mut next = recover(place).next;
    // What may be found after a crash: as of the last sync, and as of each commit since.
    let mut found = vec![Model::default()];
    for commit in 0..commits {
        let at = format!("seed {seed}, commit {commit}");
        let mut model = found.last().cloned().unwrap_or_default();
        let operations = model::operations(&mut random, &model, &mut next);
        let sync = !random.one_in(3);
        let cut = random.one_in(5);
        if cut {
            place.crash_after(random.below(40));
        }
        let result = place.store().commit(&operations, CLOCK, sync);
        model.apply(&operations);
        match &result {
            Ok(usage) => {
                model.agrees(*usage);
                if sync {
                    found.clear();
                }
            }
            // It may be there all the same, as a whole.
            Err(_) if cut => {}
            Err(error) => panic!("{at}: {error}"),
        }
        found.push(model);
        if cut || random.one_in(8) {
            if cut || random.one_in(2) {
                place.crash();
            } else {
                place.restart();
            }
            let recovered = recover(place);
            let held = law(Model::of(place.store(), &recovered, CLOCK), &at);
            assert!(
                found.contains(&held),
                "{at}: after a crash the store is as after a commit, the last synced one or a later one"
            );
            // What was forgotten may be numbered again; what is there may not.
            next = next.max(recovered.next);
            assert!(
                recovered.next
                    > held
                        .queues()
                        .into_iter()
                        .flat_map(|queue| held.positions(queue))
                        .max()
                        .unwrap_or(0),
                "{at}: the next position is free"
            );
            found = vec![held];
        }
    }
}

/// The clock of most laws: deadlines come back as they were.
const CLOCK: WallClock = WallClock {
    now: Time::from_nanos(1_000_000_000),
    unix_micros: 1_700_000_000_000_000,
};

fn law<T>(result: Result<T, StoreError>, what: &str) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error}"),
    }
}

fn recover<P: Place>(place: &mut P) -> Recovered {
    law(place.store().recover(), "a store recovers")
}

fn commit<P: Place>(place: &mut P, operations: &[Operation]) -> Usage {
    law(
        place.store().commit(operations, CLOCK, true),
        "a commit succeeds",
    )
}

fn read<P: Place>(
    place: &mut P,
    queue: u32,
    after: Position,
    messages: usize,
    bytes: u64,
) -> Vec<Stored> {
    let read = place
        .store()
        .read(QueueId(queue), after, messages, bytes, CLOCK);
    law(read, "a queue can be read")
}

fn positions<P: Place>(place: &mut P, queue: u32) -> Vec<Position> {
    let read = read(place, queue, 0, 10_000, u64::MAX);
    read.iter().map(|stored| stored.position).collect()
}

fn put_queue(queue: u32) -> Operation {
    Operation::PutQueue {
        queue: QueueId(queue),
        definition: Bytes::from(format!("queue {queue}")),
    }
}

fn append(first: Position, records: Vec<Record>, queues: &[u32]) -> Operation {
    let tagged = queues
        .iter()
        .map(|queue| (QueueId(*queue), Bytes::from(format!("tag {queue}"))));
    Operation::Append {
        first,
        records,
        queues: tagged.collect(),
    }
}

fn settle(queue: u32, positions: &[Position]) -> Operation {
    Operation::Settle {
        queue: QueueId(queue),
        positions: positions.to_vec(),
    }
}

/// Messages with bodies of these lengths.
pub(super) fn sized(lengths: &[usize]) -> Vec<Record> {
    let mut random = Random::new(1);
    let record = |(index, length): (usize, &usize)| Record {
        body: Bytes::from(vec![index as u8; *length]),
        ..model::record(&mut random, index as u64)
    };
    lengths.iter().enumerate().map(record).collect()
}

fn empty<P: Place>(place: &mut P) {
    let recovered = recover(place);
    assert!(
        recovered.queues.is_empty() && recovered.values.is_empty(),
        "a new store is empty"
    );
    assert_eq!(recovered.usage.messages, 0, "a new store has no messages");
    assert!(recovered.next > 0, "position 0 is before every message");
    assert!(
        read(place, 9, 0, 10, 100).is_empty(),
        "a queue that is not there has no messages"
    );
    place.restart();
    assert_eq!(
        recover(place),
        recovered,
        "an empty store is empty after a restart"
    );
}

fn what_is_synced_survives<P: Place>(place: &mut P) {
    let first = recover(place).next;
    let value = |value: &'static str| Operation::Put {
        key: Bytes::from_static(b"epoch"),
        value: Bytes::from_static(value.as_bytes()),
    };
    let usage = commit(
        place,
        &[
            put_queue(1),
            append(first, sized(&[10, 0, 5000]), &[1]),
            value("7"),
        ],
    );
    assert_eq!(usage.messages, 3, "the usage counts the messages");
    let stored = read(place, 1, 0, 10, 1 << 20);
    place.crash();
    let recovered = recover(place);
    assert_eq!(
        recovered.usage, usage,
        "the usage is the same after a crash"
    );
    assert_eq!(recovered.next, first + 3, "positions go on after a crash");
    assert_eq!(recovered.queues.len(), 1, "a synced queue survives");
    assert_eq!(
        recovered.queues[0].definition, "queue 1",
        "a definition comes back as it was put"
    );
    assert_eq!(
        recovered.queues[0].messages, 3,
        "recovery counts the messages of a queue"
    );
    assert_eq!(
        recovered.values,
        [(Bytes::from_static(b"epoch"), Bytes::from_static(b"7"))],
        "a synced value survives"
    );
    let again = read(place, 1, 0, 10, 1 << 20);
    assert_eq!(again, stored, "synced messages survive as they were");
    assert_eq!(again[2].tag, "tag 1", "a tag comes back");

    let unsynced = [settle(1, &[first]), value("8")];
    law(
        place.store().commit(&unsynced, CLOCK, false),
        "a commit without sync succeeds",
    );
    assert_eq!(
        positions(place, 1),
        [first + 1, first + 2],
        "a commit without sync is visible at once"
    );
    commit(place, &[]);
    place.crash();
    let recovered = recover(place);
    assert_eq!(
        recovered.values[0].1, "8",
        "a sync makes earlier commits durable"
    );
    assert_eq!(
        positions(place, 1),
        [first + 1, first + 2],
        "a sync makes earlier settlements durable"
    );
}

fn one_log_many_queues<P: Place>(place: &mut P) {
    let first = recover(place).next;
    let empty = commit(place, &[put_queue(1), put_queue(2)]).bytes;
    let all = sized(&[3000; 40]);
    let one = commit(place, &[append(first, all.clone(), &[1])]).bytes - empty;
    commit(
        place,
        &[settle(1, &(first..first + 40).collect::<Vec<_>>())],
    );
    let two = commit(place, &[append(first + 50, all, &[1, 2])]).bytes - empty;
    assert!(
        two < one + one / 4,
        "a body is stored once for all queues: {one} bytes for one, {two} for two"
    );

    let from = first + 50;
    let page = read(place, 1, from + 4, 3, u64::MAX);
    let lie: Vec<_> = page.iter().map(|stored| stored.position).collect();
    assert_eq!(
        lie,
        [from + 5, from + 6, from + 7],
        "a read begins behind its position"
    );
    assert_eq!(
        read(place, 1, 0, 100, 7000).len(),
        3,
        "a read ends with the message that passes its bytes"
    );
    assert_eq!(
        read(place, 1, 0, 100, 0).len(),
        1,
        "a read gives at least one message"
    );

    let even: Vec<_> = (from..from + 40).step_by(2).collect();
    let usage = commit(place, &[settle(1, &even)]);
    assert_eq!(
        usage.messages, 40,
        "a message is there as long as a queue needs it"
    );
    let odd: Vec<_> = (from + 1..from + 40).step_by(2).collect();
    assert_eq!(positions(place, 1), odd, "what is settled is not read");
    assert_eq!(positions(place, 2).len(), 40, "settling concerns one queue");
    let usage = commit(place, &[settle(2, &(from..from + 40).collect::<Vec<_>>())]);
    assert_eq!(
        usage.messages, 20,
        "a message that every queue has settled is gone"
    );
    commit(place, &[settle(2, &[from, from + 7]), settle(9, &[from])]);
    let usage = commit(place, &[Operation::RemoveQueue { queue: QueueId(1) }]);
    assert_eq!(usage.messages, 0, "a removed queue needs nothing");
    assert!(
        usage.bytes < empty,
        "the space of settled messages is free: {} bytes are left",
        usage.bytes
    );
    place.restart();
    let recovered = recover(place);
    assert_eq!(
        recovered.usage, usage,
        "the usage is the same after a restart"
    );
    assert_eq!(recovered.queues.len(), 1, "a removed queue stays removed");
    assert!(
        recovered.next >= from + 40,
        "positions of settled messages are not used again"
    );
}

fn refused_commits_change_nothing<P: Place>(place: &mut P) {
    let first = recover(place).next;
    let before = commit(place, &[put_queue(1), append(first, sized(&[10]), &[1])]);
    let twice: Arc<[_]> = Arc::new([(QueueId(1), Bytes::new()), (QueueId(1), Bytes::new())]);
    let one = sized(&[1]);
    let mut long = one.clone();
    let head = Arc::make_mut(&mut long[0].head);
    head.subject = Arc::from("s".repeat(256));
    let refused = [
        append(first, one.clone(), &[1]),
        append(first + 5, vec![], &[1]),
        append(first + 5, one.clone(), &[]),
        append(first + 5, one.clone(), &[7]),
        append(first + 5, sized(&[1; 1025]), &[1]),
        Operation::Append {
            first: first + 5,
            records: one,
            queues: twice,
        },
        append(first + 5, long, &[1]),
        settle(1, &[first + 1, first]),
        Operation::Put {
            key: Bytes::from(vec![1; 257]),
            value: Bytes::new(),
        },
        Operation::PutQueue {
            queue: QueueId(4),
            definition: Bytes::from(vec![1; 65 * 1024]),
        },
    ];
    for operation in refused {
        let text = format!("{operation:?}");
        let result =
            place
                .store()
                .commit(&[put_queue(3), settle(1, &[first]), operation], CLOCK, true);
        assert!(
            matches!(result, Err(StoreError::Invalid { .. })),
            "{result:?} of {text:.80}"
        );
    }
    assert_eq!(commit(place, &[]), before, "a refused commit does nothing");
    assert_eq!(
        positions(place, 1),
        [first],
        "a refused commit settles nothing"
    );
}

fn full<P: Place>(place: &mut P) {
    let mut next = recover(place).next;
    commit(place, &[put_queue(1)]);
    let batch = sized(&[10_000; 10]);
    let mut stored = Vec::new();
    loop {
        match place
            .store()
            .commit(&[append(next, batch.clone(), &[1])], CLOCK, true)
        {
            Ok(_) => stored.extend(next..next + 10),
            Err(StoreError::Full) => break,
            Err(error) => panic!("a store that reaches its limit is full: {error}"),
        }
        next += 10;
        assert!(
            stored.len() < 200,
            "a limit is a limit: {} messages of 10 kB in 1 MiB",
            stored.len()
        );
    }
    assert!(
        stored.len() >= 50,
        "at least half of the limit is for bodies: {} messages of 10 kB in 1 MiB",
        stored.len()
    );
    assert_eq!(
        positions(place, 1),
        stored,
        "nothing of a refused commit is there"
    );
    let both = [settle(1, &stored[..20]), append(next, batch.clone(), &[1])];
    law(
        place.store().commit(&both, CLOCK, true),
        "a commit that frees what it needs is possible when the store is full",
    );
    next += 10;
    for round in 0..30 {
        let lie = positions(place, 1);
        commit(place, &[settle(1, &lie[..30])]);
        for _ in 0..3 {
            let result =
                place
                    .store()
                    .commit(&[append(next, batch.clone(), &[1])], CLOCK, round % 2 == 0);
            law(result, "settling makes room");
            next += 10;
        }
    }
    commit(place, &[Operation::RemoveQueue { queue: QueueId(1) }]);
}

fn deadlines<P: Place>(place: &mut P) {
    let first = recover(place).next;
    let seconds = |seconds: u64| Time::from_nanos(seconds * 1_000_000_000);
    let at = |now, unix: i64| WallClock {
        now: seconds(now),
        unix_micros: unix * 1_000_000,
    };
    let record = Record {
        deadline: Some(seconds(150)),
        ..sized(&[5]).remove(0)
    };
    let operations = [put_queue(1), append(first, vec![record], &[1])];
    law(
        place.store().commit(&operations, at(50, 1000), true),
        "a commit succeeds",
    );
    let deadline = |place: &mut P, clock| {
        let read = law(
            place.store().read(QueueId(1), 0, 1, 1, clock),
            "a queue can be read",
        );
        read[0]
            .record
            .as_ref()
            .ok()
            .and_then(|record| record.deadline)
    };
    assert_eq!(
        deadline(place, at(60, 1010)),
        Some(seconds(150)),
        "a deadline stays in one life"
    );
    assert_eq!(
        deadline(place, at(60, 500)),
        Some(seconds(150)),
        "a wall clock that jumps back moves no deadline"
    );
    place.restart();
    recover(place);
    assert_eq!(
        deadline(place, at(0, 1030)),
        Some(seconds(70)),
        "the time of a restart is taken off"
    );
    place.restart();
    recover(place);
    assert_eq!(
        deadline(place, at(0, 10)),
        Some(seconds(100)),
        "never more is left than was at storing"
    );
}
