//! A buffer beside a deque of optional bodies.

#![allow(clippy::unwrap_used)]
use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

type Body = Arc<u32>;

/// A closure as a visitor.
struct With<F>(F);

impl<M, F: FnMut(u64, u64, super::Body<'_, M>) -> Then> Visit<M> for With<F> {
    fn visit(&mut self, sequence: u64, key: u64, body: super::Body<'_, M>) -> Then {
        (self.0)(sequence, key, body)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push,
    PushFront,
    /// This many, of so many that there are.
    Fill(usize, usize),
    Look,
    Take(bool),
    Handle(usize, usize),
    TakeFirst,
    PopBack,
    Move(usize),
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Push),
        1 => Just(Step::PushFront),
        2 => (0..9_usize, 0..9_usize).prop_map(|(most, count)| Step::Fill(most, count)),
        2 => Just(Step::Look),
        2 => any::<bool>().prop_map(Step::Take),
        3 => (0..9_usize, 0..5_usize).prop_map(|(count, stop)| Step::Handle(count, stop)),
        1 => Just(Step::TakeFirst),
        1 => Just(Step::PopBack),
        1 => (0..9_usize).prop_map(Step::Move),
        1 => Just(Step::Clear),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 256 }))]

    /// Against a deque of optional bodies; every body is owned exactly once at every step.
    #[test]
    fn it_behaves_as_a_deque(steps in steps()) {
        let source = Body::new(7);
        let mut buffer = Buffer::<Body>::default();
        let mut model = VecDeque::<(u64, bool)>::new();
        let mut moved = Buffer::<Body>::default();
        for (number, step) in (1_u64..).zip(steps) {
            let hollow = model.front().is_some_and(|(_, full)| !full);
            match step {
                Step::Push => {
                    buffer.push(number, 1, Arc::clone(&source));
                    model.push_back((number, true));
                }
                Step::PushFront if !hollow => {
                    let (sequence, body) = (number, Arc::clone(&source));
                    buffer.push_front(Row { sequence, key: 1, body });
                    model.push_front((number, true));
                }
                Step::Fill(most, count) => {
                    let mut last = number;
                    let mut left = count;
                    let filled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        buffer.fill(&mut last, most, || {
                            if left == 0 && count > 6 {
                                std::panic::resume_unwind(Box::new(()));
                            }
                            left = left.checked_sub(1)?;
                            Some((1, Arc::clone(&source)))
                        });
                    }));
                    let added = most.min(count) as u64;
                    prop_assert_eq!(filled.is_err(), most > count && count > 6);
                    prop_assert_eq!(last, number + added);
                    model.extend((1..=added).map(|added| (number + added, true)));
                }
                Step::Look => {
                    let mut seen = None;
                    buffer.visit_each(9, &mut With(|sequence, _, body: super::Body<'_, Body>| {
                        seen = Some((sequence, **body));
                        Then::Stay
                    }));
                    let expected = model.front().filter(|(_, full)| *full).map(|(number, _)| (*number, 7));
                    prop_assert_eq!(seen, expected);
                }
                Step::Take(panics) => {
                    let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        buffer.visit_each(9, &mut With(|_, _, body: super::Body<'_, Body>| {
                            assert_eq!(*body.take(), 7);
                            if panics {
                                std::panic::resume_unwind(Box::new(()));
                            }
                            Then::Stay
                        }));
                    }));
                    if !hollow && let Some(first) = model.front_mut() {
                        first.1 = false;
                        prop_assert_eq!(looked.is_err(), panics);
                        prop_assert_eq!(buffer.take_at_handler(), panics);
                    }
                }
                Step::Handle(count, stop) if !hollow => {
                    let mut seen = Vec::new();
                    buffer.visit_each(count, &mut With(|sequence, key, body: super::Body<'_, Body>| {
                        seen.push(sequence);
                        match sequence % 3 {
                            0 => drop(body.take()),
                            1 => moved.push_moved(sequence, key, body),
                            _ => {}
                        }
                        if seen.len() == stop { Then::Stop } else { Then::Next }
                    }));
                    let most = if stop == 0 { count } else { count.min(stop) };
                    let handled = model.drain(..most.min(model.len()));
                    prop_assert!(handled.map(|(number, _)| number).eq(seen));
                }
                Step::TakeFirst => {
                    let taken = buffer.take_first().map(|(sequence, _, body)| (sequence, body.is_some()));
                    prop_assert_eq!(taken, model.pop_front());
                }
                Step::PopBack if !hollow => {
                    let taken = buffer.pop_back().map(|row| row.sequence);
                    prop_assert_eq!(taken, model.pop_back().map(|(number, _)| number));
                }
                Step::Move(count) if !hollow => {
                    buffer.move_to(&mut moved, count);
                    model.drain(..count.min(model.len()));
                }
                Step::Clear => {
                    buffer.clear();
                    model.clear();
                }
                _ => {}
            }
            let full = model.iter().filter(|(_, full)| *full).count();
            prop_assert_eq!(buffer.len(), model.len());
            prop_assert_eq!(Arc::strong_count(&source), 1 + full + moved.len());
            if model.front().is_none_or(|(_, full)| *full) {
                let clone = buffer.clone();
                let numbers = |buffer: &Buffer<Body>| {
                    buffer.as_slice().iter().map(|row| row.sequence).collect::<Vec<_>>()
                };
                prop_assert_eq!(numbers(&clone), numbers(&buffer));
                prop_assert!(model.iter().map(|(number, _)| *number).eq(numbers(&buffer)));
            }
        }
        drop((buffer, moved));
        prop_assert_eq!(Arc::strong_count(&source), 1);
    }
}

#[test]
fn a_buffer_that_is_never_empty_does_not_grow() {
    let (mut buffer, mut more) = (Buffer::<u64>::default(), Buffer::<u64>::default());
    for number in 0..10 {
        buffer.push(number, 0, number);
    }
    for number in 10..10_000 {
        if number % 2 == 0 {
            buffer.push(number, 0, number);
        } else {
            more.push(number, 0, number);
            more.move_to(&mut buffer, 1);
        }
        assert_eq!(
            buffer.take_first(),
            Some((number - 10, 0, Some(number - 10)))
        );
        assert!(
            buffer.allocated() <= 64,
            "{} slots for 10 rows",
            buffer.allocated()
        );
    }
}

#[test]
fn a_body_whose_drop_panics_is_dropped_once() {
    struct Bad(#[allow(dead_code, reason = "counted")] Arc<u32>, bool);
    impl Drop for Bad {
        fn drop(&mut self) {
            assert!(!self.1, "bad");
        }
    }
    let source = Arc::new(1);
    let mut buffer = Buffer::default();
    for bad in [false, true, false] {
        buffer.push(1, 1, Bad(Arc::clone(&source), bad));
    }
    let cleared = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| buffer.clear()));
    assert!(cleared.is_err());
    assert_eq!(buffer.len(), 1);
    drop(buffer);
    assert_eq!(Arc::strong_count(&source), 1);
}
