//! tokio mpsc one by one: the timekeeper sends into the router's channel.

use std::thread;
use std::time::Instant;

use tokio::sync::mpsc;

use super::{Candidate, Pace, Recorder};
use crate::candidates::Failure;
use crate::message::{CAPACITY, Item, Order};

pub(super) const ROWS: &[Candidate] = &[Candidate {
    name: "tokio_mpsc",
    about: "tokio mpsc one by one, four tasks of one thread",
    run,
}];

fn run(pace: &Pace) -> Result<Recorder, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let begin = Instant::now();
    let channel = || mpsc::channel::<Order>(CAPACITY);
    let (to_router, mut routed) = channel();
    let (to_even, even) = channel();
    let (to_odd, odd) = channel();
    let (to_sum, mut summed) = channel();
    runtime.spawn(async move {
        let ways = [to_even, to_odd];
        while let Some(order) = routed.recv().await {
            if ways[order.way()].send(order).await.is_err() {
                return;
            }
        }
    });
    for mut inbox in [even, odd] {
        let to_sum = to_sum.clone();
        runtime.spawn(async move {
            while let Some(order) = inbox.recv().await {
                if to_sum.send(order.processed()).await.is_err() {
                    return;
                }
            }
        });
    }
    drop(to_sum);
    let sum = runtime.spawn(async move {
        let mut recorder = Recorder::new(begin);
        while let Some(order) = summed.recv().await {
            recorder.record(&order);
        }
        recorder
    });
    let tasks = thread::Builder::new().spawn(move || runtime.block_on(sum))?;
    pace.keep(begin, |order| to_router.blocking_send(order).is_ok());
    drop(to_router);
    match tasks.join() {
        Ok(Ok(recorder)) => Ok(recorder),
        _ => Err(Failure::Ended),
    }
}
