#![allow(clippy::unwrap_used)]

use super::*;
use crate::message::{Envelope, Header, Key, Message, Outcome, Reason, Rejection};
use crate::stage::{Processor, ProcessorStage, Trial, owned};

/// What steps make of numbers, and how each ended.
fn run<O: Message>(
    steps: impl Processor<u64, O>,
    numbers: impl IntoIterator<Item = u64>,
) -> (Vec<Outcome>, Vec<O>) {
    let mut trial: Trial<ProcessorStage<_, u64, O>> = Trial::of_processor(steps);
    let outcomes = numbers
        .into_iter()
        .map(|number| trial.give(number))
        .collect();
    trial.finish();
    (outcomes, trial.outputs())
}

#[test]
fn each_kind_of_step_does_what_its_iterator_does() {
    let steps = filter(|n: &u64| !n.is_multiple_of(5))
        .then(filter_map(|n: &u64| (*n > 2).then_some(n * 10)))
        .then(flat_map(|n: u64| [n, n + 1]))
        .then(map(|n: u64| n.to_string()));
    let (outcomes, outputs) = run(steps, 1..7);
    assert_eq!(outcomes, vec![Outcome::Done; 6]);
    assert_eq!(outputs, ["30", "31", "40", "41", "60", "61"]);
}

#[test]
fn branches_may_differ_and_join_again() {
    let choose = |n: &u64| usize::try_from(n % 3).unwrap();
    let branches = (
        map(|n: &u64| format!("three times {}", n / 3)),
        filter_map(|n: &u64| (*n > 1).then(|| n.to_string())),
        flat_map(|n: &u64| vec![String::new(); usize::try_from(*n).unwrap()]),
    );
    let length = split(choose, branches).then(fold(0, |sum: &mut u64, text: String| {
        *sum += 1 + text.len() as u64;
    }));
    let (outcomes, outputs) = run(length, [1, 2, 3, 4]);
    assert_eq!(outcomes, vec![Outcome::Done; 4]);
    // Two empty texts, one of three times, and one of a digit.
    assert_eq!(outputs, [2 + (1 + "three times 1".len() as u64) + 2]);
}

#[test]
fn a_step_that_rejects_takes_back_what_its_message_became() {
    let no = |n: u64| Rejection::new(Reason::Rejected, n.to_string());
    let steps =
        flat_map(|n: &u64| *n..n + 3).then(try_map(
            move |n: u64| if n == 12 { Err(no(n)) } else { Ok(n) },
        ));
    let (outcomes, outputs) = run(steps, [1, 10, 5]);
    let rejected = Outcome::Reject(no(12));
    assert_eq!(outcomes, [Outcome::Done, rejected, Outcome::Done]);
    assert_eq!(outputs, [1, 2, 3, 5, 6, 7]);
}

#[test]
fn a_branch_that_is_not_there_rejects() {
    for branches in [1, 2] {
        let steps = split(
            |n: &u64| usize::try_from(*n).unwrap(),
            vec![map(|n: &u64| *n); branches],
        );
        let (outcomes, outputs) = run(steps, [0, branches as u64]);
        assert_eq!(outputs, [0]);
        assert!(
            matches!(&outcomes[1], Outcome::Reject(rejection) if rejection.reason == Reason::NoRoute)
        );
    }
    let refused = split(|_: &u64| None, [map(|n: &u64| *n)]);
    let (outcomes, _) = run(refused, [0]);
    assert_eq!(outcomes, [Outcome::reject(Reason::NoRoute)]);
}

#[test]
fn owned_steps_get_the_message_itself_and_outputs_inherit() {
    let steps = owned(map(|mut text: String| {
        text.push('!');
        text
    }));
    let mut trial = Trial::of_processor(steps);
    let header = Header::with_key(Some(Key(7)));
    let body = "so".to_owned();
    trial.give_envelope(Envelope { header, body });
    let outputs = trial.output_envelopes();
    assert_eq!(outputs[0].body, "so!");
    assert_eq!(outputs[0].header.key(), Some(Key(7)));
}

#[test]
#[should_panic(expected = "what was left at the end was rejected")]
fn what_is_rejected_at_the_end_is_not_silent() {
    let steps = fold(0, |sum: &mut u64, n: &u64| *sum += n)
        .then(try_map(|_: u64| Err::<u64, _>(Reason::Rejected)));
    run(steps, [1, 2]);
}
