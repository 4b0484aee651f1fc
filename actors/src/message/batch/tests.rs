//! A batch beside a deque of envelopes.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::buffer::Then;
use super::*;
use crate::message::Key;

#[derive(Clone, Debug)]
enum Step {
    Push(u8),
    PushFront(u8),
    Pop,
    PopBack,
    Move(usize),
    Append,
    Handle { most: usize, stay_at: usize },
    Retry,
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Mostly of one kind, so that batches stay uniform for a while.
    let kind = prop_oneof![6 => Just(0_u8), 1 => 0..5_u8];
    let step = prop_oneof![
        8 => kind.clone().prop_map(Step::Push),
        1 => kind.prop_map(Step::PushFront),
        2 => Just(Step::Pop),
        1 => Just(Step::PopBack),
        1 => (0..6_usize).prop_map(Step::Move),
        1 => Just(Step::Append),
        2 => (0..6_usize, 0..6_usize).prop_map(|(most, stay_at)| Step::Handle { most, stay_at }),
        1 => Just(Step::Retry),
        1 => Just(Step::Clear),
    ];
    prop::collection::vec(step, 0..80)
}

/// An envelope of one of five kinds of header.
fn envelope(number: u64, kind: u8) -> Envelope<String> {
    let mut header = Header::new();
    header.set_identity(u32::from(kind / 2), 0, number);
    match kind {
        1 => header.set_key(Some(Key(number))),
        2 => header.set_deadline(Some(Time::from_nanos(1_000 + number))),
        3 => header.set_event_time(Some(-5)),
        4 => header.rest_mut().reply_to = Some(Box::from(&b"here"[..])),
        _ => {}
    }
    Envelope {
        header,
        body: "x".repeat((number % 9) as usize),
    }
}

/// Looks at messages, and lets one stay.
struct Look {
    seen: Vec<(Header, String)>,
    stay_at: usize,
}

impl Handle<String> for Look {
    fn handle(&mut self, header: &Header, body: Body<'_, String>) -> Then {
        self.seen.push((header.clone(), body.clone()));
        if self.seen.len() > self.stay_at {
            Then::Stay
        } else {
            Then::Next
        }
    }
}

proptest! {
    /// Against a deque of whole envelopes: headers come out as they went in, whatever they have in common.
    #[test]
    fn it_behaves_as_a_deque_of_envelopes(steps in steps()) {
        let (mut batch, mut other) = (Batch::<String>::new(), Batch::<String>::new());
        let (mut model, mut model_other) = (VecDeque::new(), VecDeque::new());
        for (number, step) in (1_u64..).zip(steps) {
            match step {
                Step::Push(kind) => {
                    batch.push(envelope(number, kind));
                    model.push_back(envelope(number, kind));
                }
                Step::PushFront(kind) => {
                    batch.push_front(envelope(number, kind));
                    model.push_front(envelope(number, kind));
                }
                Step::Pop => prop_assert_eq!(batch.pop(), model.pop_front()),
                Step::PopBack => prop_assert_eq!(batch.pop_back(), model.pop_back()),
                Step::Move(count) => {
                    let moved = batch.move_to(&mut other, count);
                    prop_assert_eq!(moved, count.min(model.len()));
                    model_other.extend(model.drain(..moved));
                }
                Step::Append => {
                    batch.append(&mut other);
                    model.append(&mut model_other);
                }
                Step::Handle { most, stay_at } => {
                    let mut look = Look { seen: Vec::new(), stay_at };
                    batch.handle_each(number, most, &mut look);
                    let count = most.min(model.len());
                    prop_assert_eq!(look.seen.len(), count.min(stay_at + 1));
                    for (header, body) in look.seen.iter().take(stay_at) {
                        let expected = model.pop_front();
                        prop_assert_eq!(expected, Some(Envelope { header: header.clone(), body: body.clone() }));
                    }
                }
                Step::Retry => {
                    if let Some(first) = model.front_mut() {
                        first.header.set_attempt(first.header.attempt() + 1);
                        prop_assert_eq!(batch.count_attempt(), first.header.attempt());
                    }
                }
                Step::Clear => {
                    batch.clear();
                    model.clear();
                }
            }
            prop_assert_eq!(batch.len(), model.len());
            prop_assert_eq!(batch.first_weight(), model.front().map(Envelope::weight));
            let seen = batch.iter().map(|(header, body)| Envelope { header, body: body.clone() });
            prop_assert!(seen.eq(model.iter().cloned()));
            let earliest = model.iter().filter_map(|envelope| envelope.header.deadline()).min();
            prop_assert!(earliest.is_none_or(|time| batch.may_hold_expired(time)));
        }
    }
}

#[test]
fn bytes_and_deadline_follow_the_messages() {
    let mut batch: Batch<u64> = [1, 2, 3].into_iter().collect();
    let one = Envelope::new(1u64).weight();
    assert_eq!(batch.bytes(), 3 * one);
    let mut urgent = Envelope::new(4u64);
    urgent.header.set_deadline(Some(Time::from_nanos(9)));
    batch.push(urgent);
    assert!(batch.may_hold_expired(Time::from_nanos(9)));
    assert!(!batch.may_hold_expired(Time::from_nanos(8)));
    let mut other = Batch::new();
    assert_eq!(batch.move_to(&mut other, 2), 2);
    assert_eq!((batch.len(), other.len(), batch.bytes()), (2, 2, 2 * one));
    other.append(&mut batch);
    let order: Vec<u64> = other.drain().map(|envelope| envelope.body).collect();
    assert_eq!(order, [1, 2, 3, 4]);
    assert_eq!((other.bytes(), other.earliest_deadline()), (0, None));
}
