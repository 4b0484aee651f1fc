//! Vectors of 256 messages over plain channels, written by hand for this topology.
//!
//! A vector is sent when it is full or when nothing more comes. Who receives few messages waits for the rest of a vector;
//! that is what makes this fast, and unfit for a light load.

use std::thread;

use tokio::sync::mpsc;

use super::{Arrived, BY_HAND_BUSY, Candidate, Case, Failure, Family, Variant};
use crate::checksum::Checksum;
use crate::message::{Busy, CAPACITY, Due, Item, Named, Order};

/// Messages in a vector.
const BATCH: usize = 256;

/// The rows of this family.
pub const ROWS: &[Candidate] = &[
    Candidate {
        name: "tokio_batches",
        family: Family::Batches,
        about: "vectors of 256 over tokio mpsc, five tasks of one thread",
        messages: 20_000_000,
        variants: BY_HAND_BUSY,
        run: on_tokio,
    },
    Candidate {
        name: "crossbeam_batches",
        family: Family::Batches,
        about: "vectors of 256 over crossbeam, five threads",
        messages: 20_000_000,
        variants: BY_HAND_BUSY,
        run: on_crossbeam,
    },
];

fn on_tokio(case: &Case) -> Result<Arrived, Failure> {
    match case.variant {
        Variant::Order => tokio_tasks::<Order>(case.messages),
        Variant::String => tokio_tasks::<Named>(case.messages),
        Variant::Deadline => tokio_tasks::<Due<Order>>(case.messages),
        Variant::Busy => tokio_tasks::<Busy>(case.messages),
        Variant::Panic => Err(Failure::NotApplicable(case.variant)),
    }
}

fn on_crossbeam(case: &Case) -> Result<Arrived, Failure> {
    match case.variant {
        Variant::Order => crossbeam_threads::<Order>(case.messages),
        Variant::String => crossbeam_threads::<Named>(case.messages),
        Variant::Deadline => crossbeam_threads::<Due<Order>>(case.messages),
        Variant::Busy => crossbeam_threads::<Busy>(case.messages),
        Variant::Panic => Err(Failure::NotApplicable(case.variant)),
    }
}

fn empty<T>() -> Vec<T> {
    Vec::with_capacity(BATCH)
}

/// Puts a message at the end; gives the vector when it is full.
#[inline(always)]
fn put<T>(batch: &mut Vec<T>, item: T) -> Option<Vec<T>> {
    batch.push(item);
    (batch.len() == BATCH).then(|| std::mem::replace(batch, empty()))
}

fn process<T: Item>(batch: &[T]) -> Vec<T> {
    let now = T::now();
    let in_time = batch.iter().filter(|item| !item.is_late(now));
    let mut done = empty();
    done.extend(in_time.map(T::processed));
    done
}

fn add<T: Item>(batch: &[T], checksum: &mut Checksum) {
    let now = T::now();
    for item in batch {
        if !item.is_late(now) {
            item.add_to(checksum);
        }
    }
}

fn tokio_tasks<T: Item>(messages: u64) -> Result<Arrived, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let channel = || mpsc::channel::<Vec<T>>(CAPACITY / BATCH);
    let (to_router, mut routed) = channel();
    let (to_even, even) = channel();
    let (to_odd, odd) = channel();
    let (to_sum, mut summed) = channel();
    runtime.spawn(async move {
        let mut batch = empty();
        for item in (0..messages).map(T::new) {
            if let Some(full) = put(&mut batch, item)
                && to_router.send(full).await.is_err()
            {
                return;
            }
        }
        // What a closed channel refuses is missing in the checksum.
        let _closed = to_router.send(batch).await;
    });
    runtime.spawn(async move {
        let ways = [to_even, to_odd];
        let mut batches = [empty(), empty()];
        while let Some(batch) = routed.recv().await {
            let now = T::now();
            for item in batch {
                let way = item.way();
                if !item.is_late(now)
                    && let Some(full) = put(&mut batches[way], item)
                    && ways[way].send(full).await.is_err()
                {
                    return;
                }
            }
        }
        for (way, batch) in ways.iter().zip(batches) {
            let _closed = way.send(batch).await;
        }
    });
    for mut inbox in [even, odd] {
        let to_sum = to_sum.clone();
        runtime.spawn(async move {
            while let Some(batch) = inbox.recv().await {
                if to_sum.send(process(&batch)).await.is_err() {
                    return;
                }
            }
        });
    }
    drop(to_sum);
    let sum = runtime.spawn(async move {
        let mut checksum = Checksum::default();
        while let Some(batch) = summed.recv().await {
            add(&batch, &mut checksum);
        }
        checksum
    });
    let checksum = runtime.block_on(sum).map_err(|_| Failure::Ended)?;
    Ok(checksum.into())
}

fn crossbeam_threads<T: Item>(messages: u64) -> Result<Arrived, Failure> {
    let channel = || crossbeam_channel::bounded::<Vec<T>>(CAPACITY / BATCH);
    let (to_router, routed) = channel();
    let (to_even, even) = channel();
    let (to_odd, odd) = channel();
    let (to_sum, summed) = channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut batch = empty();
            for item in (0..messages).map(T::new) {
                if let Some(full) = put(&mut batch, item)
                    && to_router.send(full).is_err()
                {
                    return;
                }
            }
            let _closed = to_router.send(batch);
        });
        scope.spawn(move || {
            let ways = [to_even, to_odd];
            let mut batches = [empty(), empty()];
            for batch in routed {
                let now = T::now();
                for item in batch {
                    let way = item.way();
                    if !item.is_late(now)
                        && let Some(full) = put(&mut batches[way], item)
                        && ways[way].send(full).is_err()
                    {
                        return;
                    }
                }
            }
            for (way, batch) in ways.iter().zip(batches) {
                let _closed = way.send(batch);
            }
        });
        for inbox in [even, odd] {
            let to_sum = to_sum.clone();
            scope.spawn(move || {
                for batch in inbox {
                    if to_sum.send(process(&batch)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(to_sum);
        let sum = scope.spawn(move || {
            let mut checksum = Checksum::default();
            for batch in summed {
                add(&batch, &mut checksum);
            }
            checksum
        });
        let checksum = sum.join().map_err(|_| Failure::Ended)?;
        Ok(checksum.into())
    })
}
