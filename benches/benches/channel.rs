//! One hop: a sender, a bounded channel of 1,024 messages of 64 bytes, a receiver.
//!
//! Ours beside tokio's and crossbeam's, and beside vectors of 256 messages sent by hand over both.

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use mcpbus_actors::Batch;
use mcpbus_actors::channel::{Capacity, Receiver, Sender, channel};
use mcpbus_benches::clock::{Clock, criterion};
use mcpbus_benches::message::{Order, orders};
use std::hint::black_box;
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// Messages per measured run: enough that starting a thread is less than a hundredth of it.
const MESSAGES: u64 = 1 << 18;
const CAPACITY: usize = 1024;
const BATCH: usize = 256;

fn ours() -> (Sender<Order>, Receiver<Order>) {
    channel(Capacity::messages(CAPACITY))
}

fn check(count: u64) {
    assert_eq!(count, MESSAGES, "every message must arrive");
}

fn group<'a>(criterion: &'a mut Criterion<Clock>, name: &str) -> BenchmarkGroup<'a, Clock> {
    let mut group = criterion.benchmark_group(name);
    group
        .throughput(Throughput::Elements(MESSAGES))
        .sample_size(15)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    group
}

fn two_threads(criterion: &mut Criterion<Clock>) {
    let mut group = group(criterion, "channel/two_threads");
    group.bench_function("mcpbus, single sends", |bencher| {
        bencher.iter(|| {
            let (sender, receiver) = ours();
            let producer = thread::spawn(move || {
                orders(MESSAGES).for_each(|order| sender.blocking_send(order).expect("a receiver"));
            });
            receive(receiver);
            producer.join().expect("a producer");
        });
    });
    group.bench_function("mcpbus, buffered", |bencher| {
        bencher.iter(|| {
            let (sender, receiver) = ours();
            let producer = thread::spawn(move || {
                let mut sender = sender.buffered();
                orders(MESSAGES).for_each(|order| sender.blocking_send(order).expect("a receiver"));
            });
            receive(receiver);
            producer.join().expect("a producer");
        });
    });
    group.bench_function("mcpbus, batches", |bencher| {
        bencher.iter(|| {
            let (sender, receiver) = ours();
            let producer = thread::spawn(move || {
                let mut batch = Batch::new();
                for order in orders(MESSAGES) {
                    batch.push(order.into());
                    if batch.len() == BATCH {
                        sender.blocking_send_batch(&mut batch).expect("a receiver");
                    }
                }
                sender.blocking_send_batch(&mut batch).expect("a receiver");
            });
            receive(receiver);
            producer.join().expect("a producer");
        });
    });
    group.bench_function("tokio mpsc, single sends", |bencher| {
        bencher.iter(|| {
            let (sender, mut receiver) = tokio::sync::mpsc::channel(CAPACITY);
            let producer = thread::spawn(move || {
                orders(MESSAGES).for_each(|order| sender.blocking_send(order).expect("a receiver"));
            });
            let (mut taken, mut count) = (Vec::with_capacity(BATCH), 0);
            while receiver.blocking_recv_many(&mut taken, BATCH) > 0 {
                count += taken.drain(..).map(black_box).count() as u64;
            }
            check(count);
            producer.join().expect("a producer");
        });
    });
    group.bench_function("tokio mpsc, vectors by hand", |bencher| {
        bencher.iter(|| {
            let (sender, mut receiver) = tokio::sync::mpsc::channel(CAPACITY / BATCH);
            let producer = thread::spawn(move || {
                in_vectors(|batch| sender.blocking_send(batch).expect("a receiver"));
            });
            let mut count = 0;
            while let Some(batch) = receiver.blocking_recv() {
                count += take(batch);
            }
            check(count);
            producer.join().expect("a producer");
        });
    });
    group.bench_function("crossbeam, single sends", |bencher| {
        bencher.iter(|| {
            let (sender, receiver) = crossbeam_channel::bounded(CAPACITY);
            let producer = thread::spawn(move || {
                orders(MESSAGES).for_each(|order| sender.send(order).expect("a receiver"));
            });
            check(receiver.iter().map(black_box).count() as u64);
            producer.join().expect("a producer");
        });
    });
    group.bench_function("crossbeam, vectors by hand", |bencher| {
        bencher.iter(|| {
            let (sender, receiver) = crossbeam_channel::bounded(CAPACITY / BATCH);
            let producer = thread::spawn(move || {
                in_vectors(|batch| sender.send(batch).expect("a receiver"));
            });
            check(receiver.iter().map(take).sum());
            producer.join().expect("a producer");
        });
    });
    group.finish();
}

fn receive(mut receiver: Receiver<Order>) {
    let (mut batch, mut count) = (Batch::new(), 0);
    while receiver.blocking_recv_batch(&mut batch, BATCH).is_some() {
        count += batch.drain_bodies().map(black_box).count() as u64;
    }
    check(count);
}

fn in_vectors(mut send: impl FnMut(Vec<Order>)) {
    let mut batch = Vec::with_capacity(BATCH);
    for order in orders(MESSAGES) {
        batch.push(order);
        if batch.len() == BATCH {
            send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH)));
        }
    }
    send(batch);
}

fn take(batch: Vec<Order>) -> u64 {
    batch.into_iter().map(black_box).count() as u64
}

fn two_tasks(criterion: &mut Criterion<Clock>) {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let mut group = group(criterion, "channel/two_tasks");
    group.bench_function("mcpbus, single sends", |bencher| {
        bencher.iter(|| {
            let (sender, receiver) = ours();
            runtime.spawn(async move {
                for order in orders(MESSAGES) {
                    sender.send(order).await.expect("a receiver");
                }
            });
            receive_on(&runtime, receiver);
        });
    });
    group.bench_function("mcpbus, buffered", |bencher| {
        bencher.iter(|| {
            let (sender, receiver) = ours();
            runtime.spawn(async move {
                let mut sender = sender.buffered();
                for order in orders(MESSAGES) {
                    sender.send(order).await.expect("a receiver");
                }
            });
            receive_on(&runtime, receiver);
        });
    });
    group.bench_function("mcpbus, batches", |bencher| {
        bencher.iter(|| {
            let (sender, receiver) = ours();
            runtime.spawn(async move {
                let mut batch = Batch::new();
                for order in orders(MESSAGES) {
                    batch.push(order.into());
                    if batch.len() == BATCH {
                        sender.send_batch(&mut batch).await.expect("a receiver");
                    }
                }
                sender.send_batch(&mut batch).await.expect("a receiver");
            });
            receive_on(&runtime, receiver);
        });
    });
    group.bench_function("tokio mpsc, single sends", |bencher| {
        bencher.iter(|| {
            let (sender, mut receiver) = tokio::sync::mpsc::channel(CAPACITY);
            runtime.spawn(async move {
                for order in orders(MESSAGES) {
                    sender.send(order).await.expect("a receiver");
                }
            });
            runtime.block_on(async {
                let (mut taken, mut count) = (Vec::with_capacity(BATCH), 0);
                while receiver.recv_many(&mut taken, BATCH).await > 0 {
                    count += taken.drain(..).map(black_box).count() as u64;
                }
                check(count);
            });
        });
    });
    group.bench_function("tokio mpsc, vectors by hand", |bencher| {
        bencher.iter(|| {
            let (sender, mut receiver) = tokio::sync::mpsc::channel(CAPACITY / BATCH);
            runtime.spawn(async move {
                let mut batch = Vec::with_capacity(BATCH);
                for order in orders(MESSAGES) {
                    batch.push(order);
                    if batch.len() == BATCH {
                        let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                        sender.send(full).await.expect("a receiver");
                    }
                }
                sender.send(batch).await.expect("a receiver");
            });
            runtime.block_on(async {
                let mut count = 0;
                while let Some(batch) = receiver.recv().await {
                    count += take(batch);
                }
                check(count);
            });
        });
    });
    group.finish();
}

fn receive_on(runtime: &Runtime, mut receiver: Receiver<Order>) {
    runtime.block_on(async {
        let (mut batch, mut count) = (Batch::new(), 0);
        while receiver.recv_batch(&mut batch, BATCH).await.is_some() {
            count += batch.drain_bodies().map(black_box).count() as u64;
        }
        check(count);
    });
}

criterion_group!(name = benches; config = criterion(); targets = two_threads, two_tasks);
criterion_main!(benches);
