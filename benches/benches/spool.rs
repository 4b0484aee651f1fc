//! What it costs to keep messages: the store of the spool beside a plain file that is appended to and synced with the same
//! bytes.
//!
//! A plain program. Each case commits batches with sync, then batches that each settle the oldest one, then settles what is
//! left; the two take turns, so that drift of the disk favours nobody. `SPOOL_DIRECTORY` says where (a directory of the
//! disk in question; by default that of temporary files).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mcpbus_actors::Time;
use mcpbus_transport::spool::{DiskStore, Operation, QueueId, Store, WallClock};
use mcpbus_transport::wire::{AckLevel, Head, ProducerId, Record};

const QUEUE: QueueId = QueueId(1);
const CLOCK: WallClock = WallClock {
    now: Time::ZERO,
    unix_micros: 0,
};

/// Bytes of a body, messages of a batch, batches.
const CASES: [(usize, u64, u64); 7] = [
    (64, 1, 400),
    (64, 64, 300),
    (256, 64, 300),
    (1024, 1, 400),
    (1024, 512, 100),
    (16 * 1024, 1, 200),
    (16 * 1024, 64, 40),
];

fn main() {
    // `cargo test` and `cargo bench --no-run` ask for nothing.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    let parent = std::env::var_os("SPOOL_DIRECTORY").unwrap_or_else(|| std::env::temp_dir().into());
    let directory = tempfile::tempdir_in(parent).expect("a directory to write to");
    println!("microseconds per commit: median (99th of 100), and megabytes of bodies per second");
    for (body, count, batches) in CASES {
        case(directory.path(), body, count, batches);
    }
}

fn case(directory: &Path, body: usize, count: u64, batches: u64) {
    let paths = [directory.join("plain"), directory.join("spool")];
    let mut plain = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&paths[0])
        .expect("the plain file opens");
    let mut store = DiskStore::open(&paths[1], 1 << 40).expect("the store opens");
    let definition = Bytes::new();
    commit(
        &mut store,
        &[Operation::PutQueue {
            queue: QUEUE,
            definition,
        }],
    );
    let records = records(body, count);
    let bytes = vec![7; (body + 16) * count as usize];
    let append = |batch: u64| Operation::Append {
        first: 1 + batch * count,
        records: records.clone(),
        queues: [(QUEUE, Bytes::new())].into(),
    };
    let settle = |batch: u64| Operation::Settle {
        queue: QUEUE,
        positions: (1 + batch * count..1 + (batch + 1) * count).collect(),
    };

    let mut times = [vec![], vec![], vec![], vec![]];
    for batch in 0..batches {
        times[0].push(timed(|| append_synced(&mut plain, &bytes)));
        times[1].push(timed(|| commit(&mut store, &[append(batch)])));
    }
    for batch in 0..batches {
        let both = [append(batches + batch), settle(batch)];
        times[2].push(timed(|| commit(&mut store, &both)));
    }
    for batch in batches..2 * batches {
        times[3].push(timed(|| commit(&mut store, &[settle(batch)])));
    }
    let stored = (body as u64 * count * batches) as f64;
    println!("\nbodies of {body} bytes, {count} in a batch");
    let names = [
        "plain append, synced",
        "store: append",
        "store: append and settle",
        "store: settle",
    ];
    for (name, mut times) in names.into_iter().zip(times) {
        let total: Duration = times.iter().sum();
        times.sort();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_micros();
        let rate = stored / 1e6 / total.as_secs_f64();
        println!("  {name:<26} {:>8} ({:>8}) {rate:>9.1}", at(50), at(99));
    }
    for path in paths {
        std::fs::remove_file(path).expect("the file is removed");
    }
}

fn records(body: usize, count: u64) -> Vec<Record> {
    let head = Arc::new(Head {
        producer: ProducerId { id: 1, epoch: 1 },
        subject: Arc::from("orders.created"),
        kind: 0,
        ack: AckLevel::Stored,
        hops: 0,
    });
    let record = |sequence| Record {
        head: head.clone(),
        sequence,
        key: None,
        deadline: None,
        extra: None,
        body: Bytes::from(vec![sequence as u8; body]),
    };
    (0..count).map(record).collect()
}

fn append_synced(file: &mut File, bytes: &[u8]) {
    file.write_all(bytes).expect("the file is written");
    file.sync_data().expect("the file is synced");
}

fn commit(store: &mut DiskStore, operations: &[Operation]) {
    store
        .commit(operations, CLOCK, true)
        .expect("the store commits");
}

fn timed(run: impl FnOnce()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}
