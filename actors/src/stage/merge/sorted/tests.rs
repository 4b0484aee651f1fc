use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::stage::{Outlet, Outputs};

/// A merge over queues, under the test's own time.
struct Bench {
    merger: SortedMerger<u64, fn(&u64) -> u64>,
    queues: Vec<VecDeque<u64>>,
    fronts: Vec<Option<u64>>,
    ended: Vec<bool>,
    out: Outlet<u64>,
    rejected: Vec<u64>,
}

impl Bench {
    fn new(inputs: usize, patience: Option<u64>) -> Self {
        let mut merge = sorted_by((|n: &u64| *n) as fn(&u64) -> u64);
        merge.patience = patience.map(Duration::from_nanos);
        Self {
            merger: SortedMerger::new(merge, inputs),
            queues: vec![VecDeque::new(); inputs],
            fronts: vec![None; inputs],
            ended: vec![false; inputs],
            out: Outlet::detached(),
            rejected: Vec::new(),
        }
    }

    /// Lets pass what may pass at `now`; what came out, and until when it waits.
    fn run(&mut self, now: u64) -> (Vec<u64>, Option<u64>) {
        let until = loop {
            for (index, queue) in self.queues.iter_mut().enumerate() {
                while self.fronts[index].is_none()
                    && let Some(number) = queue.pop_front()
                {
                    match self.merger.arrived(index, &Header::new(), &number) {
                        Ok(()) => self.fronts[index] = Some(number),
                        Err(_) => self.rejected.push(number),
                    }
                }
            }
            let fronts = self.fronts.iter().zip(&self.ended);
            let fronts: Vec<Front> = fronts
                .map(|(front, ended)| match front {
                    Some(_) => Front::Message,
                    None if *ended => Front::Ended,
                    None => Front::Empty,
                })
                .collect();
            match self.merger.choose(&fronts, Time::from_nanos(now)) {
                Choice::Wait(until) => break until,
                Choice::Take(index) => {
                    let front = self.fronts[index].take();
                    let envelope = Envelope::new(front.unwrap_or(u64::MAX));
                    let mut out = self.out.view(None);
                    self.merger.pass(index, envelope, &mut out);
                }
            }
        };
        let passed = self.out.take_pending().drain_bodies().collect();
        (passed, until.map(Time::as_nanos))
    }
}

#[test]
fn without_patience_an_input_that_has_nothing_is_waited_for() {
    let mut bench = Bench::new(2, None);
    bench.queues[0].extend([1, 5, 9]);
    assert_eq!(bench.run(0), (vec![], None));
    bench.queues[1].push_back(5);
    // Of equal ones that of the first input comes first; then the second has nothing again.
    assert_eq!(bench.run(1_000_000), (vec![1, 5, 5], None));
    bench.ended[1] = true;
    assert_eq!(bench.run(1_000_000), (vec![9], None));
}

#[test]
fn with_patience_an_idle_input_is_waited_for_once_and_then_passed_over() {
    let mut bench = Bench::new(3, Some(10));
    // Nobody waits yet, so nobody loses patience.
    assert_eq!(bench.run(0), (vec![], None));
    bench.queues[0].extend([1, 2]);
    bench.queues[1].push_back(3);
    assert_eq!(bench.run(100), (vec![], Some(110)));
    assert_eq!(bench.run(109), (vec![], Some(110)));
    // The third is idle now. The first has nothing after its two, and somebody waits for it from here on.
    assert_eq!(bench.run(110), (vec![1, 2], Some(120)));
    assert_eq!(bench.run(120), (vec![3], None));
    // It gives too late, and is waited for again.
    bench.queues[2].extend([2, 4]);
    bench.queues[0].push_back(9);
    assert_eq!(bench.run(125), (vec![], Some(135)), "now for the second");
    assert_eq!(bench.run(135), (vec![4], Some(145)));
    assert_eq!(bench.run(145), (vec![9], None));
    assert_eq!(bench.rejected, [2]);
}

#[test]
fn what_is_out_of_order_is_rejected_and_the_rest_passes() {
    let mut bench = Bench::new(2, None);
    bench.queues[0].extend([1, 8, 3, 9]);
    bench.queues[1].extend([2, 7, 8]);
    bench.ended = vec![true; 2];
    assert_eq!(bench.run(0).0, [1, 2, 7, 8, 8, 9]);
    assert_eq!(bench.rejected, [3]);
}

#[test]
fn a_message_without_event_time_has_no_place() {
    let mut merger = SortedMerger::<u64, EventTime>::new(by_event_time(), 1);
    let mut header = Header::new();
    assert!(merger.arrived(0, &header, &1).is_err());
    header.set_event_time(Some(-5));
    assert_eq!(merger.arrived(0, &header, &1), Ok(()));
    assert_eq!(
        merger.choose(&[Front::Message], Time::ZERO),
        Choice::Take(0)
    );
}

proptest! {
    /// However messages and silence alternate: what comes out is sorted, and nothing is missing.
    #[test]
    fn the_output_is_sorted_and_complete(
        inputs in prop::collection::vec(prop::collection::vec((0..100u64, 0..30u64), 0..40), 1..5),
        patience in prop::option::of(0..50u64),
    ) {
        let mut bench = Bench::new(inputs.len(), patience);
        // Each message comes at its own time.
        let mut arrivals = Vec::new();
        for (index, input) in inputs.iter().enumerate() {
            let (mut number, mut now) = (0, 0);
            for (step, pause) in input {
                number += step / 10;
                now += pause;
                arrivals.push((now, index, number));
            }
        }
        arrivals.sort_by_key(|(now, index, _)| (*now, *index));
        let mut passed = Vec::new();
        for (now, index, number) in &arrivals {
            passed.extend(bench.run(*now).0);
            bench.queues[*index].push_back(*number);
            let (more, until) = bench.run(*now);
            passed.extend(more);
            prop_assert!(until.is_none_or(|until| until > *now));
        }
        bench.ended.fill(true);
        passed.extend(bench.run(u64::MAX).0);
        prop_assert!(passed.is_sorted());
        prop_assert!(patience.is_some() || bench.rejected.is_empty());
        let mut all = passed;
        all.append(&mut bench.rejected);
        all.sort_unstable();
        let mut model: Vec<u64> = arrivals.iter().map(|(_, _, number)| *number).collect();
        model.sort_unstable();
        prop_assert_eq!(all, model);
    }
}
