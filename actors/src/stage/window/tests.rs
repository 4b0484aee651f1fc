//! Windows against plain models, which keep everything and search it.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::message::{Envelope, Header, Key, Outcome, Reason, Time};
use crate::stage::{Aggregator, AggregatorStage, Trial};

type Message = (Option<u64>, i64, u64);
type Result = Windowed<String>;

fn note(text: &mut String, n: &u64) {
    text.push_str(&format!("{n},"));
}

fn join(text: &mut String, more: String) {
    text.push_str(&more);
}

/// Gives all messages and then the end; what came out, and which were rejected why.
fn run<A: Aggregator<u64, Result>>(
    windows: A,
    messages: &[Message],
) -> (Vec<Result>, Vec<(u64, Reason)>) {
    let mut trial: Trial<AggregatorStage<A, u64, Result>> = Trial::of_aggregator(windows);
    let (mut results, mut rejected) = (Vec::new(), Vec::new());
    for (key, time, number) in messages {
        let mut header = Header::with_key(key.map(Key));
        header.set_event_time(Some(*time));
        let body = *number;
        if let Outcome::Reject(rejection) = trial.give_envelope(Envelope { header, body }) {
            rejected.push((*number, rejection.reason));
        }
        results.extend(trial.outputs());
        trial.advance_to(Time::from_nanos(1));
        results.extend(trial.outputs());
    }
    trial.finish();
    results.extend(trial.outputs());
    (results, rejected)
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let message = (prop::option::of(0..3u64), -5..25i64);
    prop::collection::vec(message, 0..60).prop_map(|messages| {
        // Time goes on slowly, and messages come somewhat out of order.
        let messages = messages.into_iter().enumerate();
        messages
            .map(|(index, (key, shift))| (key, index as i64 + shift - 10, index as u64))
            .collect()
    })
}

/// The open windows of a model, and what it has said.
#[derive(Default)]
struct Model {
    open: Vec<Result>,
    results: Vec<Result>,
    rejected: Vec<(u64, Reason)>,
    watermark: Option<i64>,
}

impl Model {
    fn is_past(&self, end: i64) -> bool {
        self.watermark.is_some_and(|watermark| end <= watermark)
    }

    fn advance(&mut self, watermark: i64) {
        self.watermark = Some(
            self.watermark
                .map_or(watermark, |before| before.max(watermark)),
        );
        let complete = |window: &Result| self.watermark.is_some_and(|mark| window.end <= mark);
        let (mut due, open) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(complete);
        self.open = open;
        sort(&mut due);
        self.results.append(&mut due);
    }

    fn end(mut self) -> (Vec<Result>, Vec<(u64, Reason)>) {
        sort(&mut self.open);
        self.results.append(&mut self.open);
        (self.results, self.rejected)
    }
}

fn sort(windows: &mut [Result]) {
    windows.sort_by_key(|window| (window.end, window.key, window.start));
}

fn fresh(key: Option<u64>, start: i64, end: i64) -> Result {
    Windowed {
        key: key.map(Key),
        start,
        end,
        messages: 0,
        value: String::new(),
    }
}

fn model_event(
    messages: &[Message],
    (size, every, lateness, most): (i64, i64, i64, usize),
) -> (Vec<Result>, Vec<(u64, Reason)>) {
    let mut model = Model::default();
    for (key, time, number) in messages {
        let starts = (time - size + 1..=*time).filter(|start| start.rem_euclid(every) == 0);
        let starts: Vec<i64> = starts
            .filter(|start| !model.is_past(start + size))
            .collect();
        if starts.is_empty() {
            model.rejected.push((*number, Reason::Rejected));
            continue;
        }
        model.advance(time - lateness);
        let find = |open: &[Result], start: i64| {
            open.iter()
                .position(|window| (window.key, window.start) == (key.map(Key), start))
        };
        let opens = starts
            .iter()
            .filter(|start| find(&model.open, **start).is_none());
        if model.open.len() + opens.count() > most {
            model.rejected.push((*number, Reason::Quota));
            continue;
        }
        for start in starts {
            let index = find(&model.open, start).unwrap_or_else(|| {
                model.open.push(fresh(*key, start, start + size));
                model.open.len() - 1
            });
            model.open[index].messages += 1;
            note(&mut model.open[index].value, number);
        }
    }
    model.end()
}

fn model_session(
    messages: &[Message],
    (gap, lateness, most): (i64, i64, usize),
) -> (Vec<Result>, Vec<(u64, Reason)>) {
    let mut model = Model::default();
    for (key, time, number) in messages {
        let near = |window: &Result| {
            window.key == key.map(Key) && window.start < time + gap && *time < window.end
        };
        if !model.open.iter().any(near) && model.is_past(time + gap) {
            model.rejected.push((*number, Reason::Rejected));
            continue;
        }
        model.advance(time - lateness);
        if !model.open.iter().any(near) && model.open.len() + 1 > most {
            model.rejected.push((*number, Reason::Quota));
            continue;
        }
        let open = std::mem::take(&mut model.open).into_iter();
        let (mut joined, open): (Vec<Result>, Vec<Result>) = open.partition(near);
        model.open = open;
        joined.sort_by_key(|window| window.start);
        let mut window = fresh(*key, *time, time + gap);
        for its in joined {
            window.start = window.start.min(its.start);
            window.end = window.end.max(its.end);
            window.messages += its.messages;
            join(&mut window.value, its.value);
        }
        window.messages += 1;
        note(&mut window.value, number);
        model.open.push(window);
    }
    model.end()
}

fn model_count(messages: &[Message], size: usize, every: usize) -> Vec<Result> {
    let (mut results, mut keys) = (Vec::new(), std::collections::BTreeMap::new());
    let window = |key: Option<u64>, of: &[(i64, u64)], end: i64| {
        let mut window = fresh(key, of[0].0, end);
        window.messages = of.len() as u64;
        of.iter()
            .for_each(|(_, number)| note(&mut window.value, number));
        window
    };
    for (index, (key, _, number)) in messages.iter().enumerate() {
        let of: &mut Vec<(i64, u64)> = keys.entry(*key).or_default();
        of.push((index as i64, *number));
        if let Some(begin) = of.len().checked_sub(size)
            && begin % every == 0
        {
            results.push(window(*key, &of[begin..], index as i64 + 1));
        }
    }
    for (key, of) in keys {
        let begins = (0..of.len())
            .step_by(every)
            .filter(|begin| begin + size > of.len());
        results.extend(begins.map(|begin| window(key, &of[begin..], messages.len() as i64)));
    }
    results
}

fn time(nanoseconds: i64) -> Duration {
    Duration::from_nanos(nanoseconds.unsigned_abs())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn windows_by_event_time_are_those_of_the_model(
        messages in messages(),
        size in 1..20i64,
        every in 1..25i64,
        lateness in 0..15i64,
        most in prop_oneof![1..6usize, Just(1000)],
    ) {
        let windows = sliding(time(size), time(every), String::new(), note);
        let windows = windows.lateness(time(lateness)).max_windows(most);
        let model = model_event(&messages, (size, every.min(size), lateness, most));
        prop_assert_eq!(run(windows, &messages), model);
    }

    #[test]
    fn sessions_are_those_of_the_model(
        messages in messages(),
        gap in 1..20i64,
        lateness in 0..15i64,
        most in prop_oneof![1..4usize, Just(1000)],
    ) {
        let windows = session(time(gap), String::new(), note, join);
        let windows = windows.lateness(time(lateness)).max_windows(most);
        let model = model_session(&messages, (gap, lateness, most));
        prop_assert_eq!(run(windows, &messages), model);
    }

    #[test]
    fn windows_by_number_are_those_of_the_model(
        messages in messages(),
        size in 1..8usize,
        every in 1..10usize,
    ) {
        let windows = sliding_count(size as u64, every as u64, String::new(), note);
        let model = model_count(&messages, size, every.min(size));
        prop_assert_eq!(run(windows, &messages), (model, Vec::new()));
    }
}

#[test]
fn a_window_by_number_too_many_is_rejected_until_one_is_complete() {
    let windows = tumbling_count(2, String::new(), note).max_windows(2);
    let messages = [(1, 0), (2, 1), (3, 2), (1, 3), (3, 4)];
    let messages = messages.map(|(key, number)| (Some(key), 0, number));
    let (results, rejected) = run(windows, &messages);
    assert_eq!(rejected, [(2, Reason::Quota)]);
    let values: Vec<&str> = results.iter().map(|window| window.value.as_str()).collect();
    assert_eq!(values, ["0,3,", "1,", "4,"]);
}

#[test]
fn states_that_weigh_too_much_take_no_more_until_windows_are_complete() {
    let add = |text: &mut String, _: &u64| text.push_str(&"x".repeat(1000));
    let windows = tumbling(time(10), String::new(), add).max_bytes(2500);
    let messages = [0, 1, 2, 3, 10].map(|time: i64| (None, time, time.unsigned_abs()));
    let (results, rejected) = run(windows, &messages);
    assert_eq!(rejected, [(3, Reason::Quota)]);
    assert_eq!(
        results
            .iter()
            .map(|window| window.messages)
            .collect::<Vec<_>>(),
        [3, 1]
    );
}

#[test]
fn at_the_ends_of_time_nothing_overflows() {
    let times = [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX];
    let messages: Vec<Message> = times.iter().map(|time| (None, *time, 0)).collect();
    let (results, rejected) = run(sliding(time(100), time(30), String::new(), note), &messages);
    let within = results.iter().map(|window| window.messages).max();
    assert!(within.is_some() && rejected.len() <= 2);
    let (results, rejected) = run(session(time(100), String::new(), note, join), &messages);
    assert!(!results.is_empty() && rejected.len() <= 1, "{rejected:?}");
}

#[test]
fn a_message_without_event_time_is_rejected_and_results_have_one() {
    let mut trial = Trial::of_aggregator(tumbling(time(10), String::new(), note));
    let rejected = trial.give(1);
    assert!(matches!(rejected, Outcome::Reject(rejection) if rejection.reason == Reason::Decode));
    let mut envelope = Envelope::new(1);
    envelope.header.set_event_time(Some(3));
    envelope.header.set_key(Some(Key(9)));
    envelope.header.set_deadline(Some(Time::from_nanos(5)));
    assert_eq!(trial.give_envelope(envelope), Outcome::Done);
    trial.finish();
    let result = trial.output_envelopes().remove(0);
    assert_eq!(
        (result.header.event_time(), result.header.key()),
        (Some(9), Some(Key(9)))
    );
    assert_eq!(
        result.header.deadline(),
        None,
        "the result of many has no deadline of one"
    );
}

#[test]
fn a_message_that_is_in_far_too_many_windows_is_refused_at_once() {
    let hour = Duration::from_secs(3600);
    let windows = sliding(hour, Duration::from_nanos(1), String::new(), note);
    let (results, rejected) = run(windows, &[(None, 0, 7)]);
    assert_eq!((results.len(), rejected), (0, vec![(7, Reason::Quota)]));
}
