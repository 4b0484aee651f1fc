//! Windows of so many messages.

use std::collections::{BTreeMap, VecDeque};

use super::Windowed;
use super::room::{AT_ONCE, Open, Room, limits};
use crate::message::{Key, Message, Outcome};
use crate::stage::{Aggregator, Context, Input, Out, Progress};

/// Windows of so many messages of a key. Made by [`tumbling_count`] and [`sliding_count`].
#[derive(Clone, Debug)]
pub struct CountWindows<S, F> {
    size: u64,
    every: u64,
    state: S,
    add: F,
    room: Room,
    /// How many messages were taken.
    taken: i64,
    keys: BTreeMap<Option<Key>, Opened<S>>,
}

/// The open windows of a key, the oldest first, each with the number of its first message.
#[derive(Clone, Debug)]
struct Opened<S> {
    windows: VecDeque<(i64, Open<S>)>,
    /// Messages since the newest was opened, itself included.
    since: u64,
}

/// Windows of so many messages (at least 1) of a key that follow each other.
///
/// ```
/// use mcpbus_actors::stage::{Trial, window};
///
/// let mut trial = Trial::of_aggregator(window::tumbling_count(2, 0u64, |sum: &mut u64, n: &u64| *sum += n));
/// (1..=5u64).for_each(|n| assert_eq!(trial.give(n), mcpbus_actors::Outcome::Done));
/// trial.finish();
/// let sums: Vec<u64> = trial.outputs().into_iter().map(|window| window.value).collect();
/// assert_eq!(sums, [3, 7, 5]);
/// ```
pub fn tumbling_count<S, F>(size: u64, state: S, add: F) -> CountWindows<S, F> {
    sliding_count(size, size, state, add)
}

/// Windows of so many messages of a key, one beginning every so many messages (at most `size`); each message is in all that
/// overlap it: `size / every`, rounded up.
pub fn sliding_count<S, F>(size: u64, every: u64, state: S, add: F) -> CountWindows<S, F> {
    let size = size.max(1);
    CountWindows {
        size,
        every: every.clamp(1, size),
        state,
        add,
        room: Room::new(),
        taken: 0,
        keys: BTreeMap::new(),
    }
}

impl<S, F> CountWindows<S, F> {
    limits!();
}

fn emit<S: Message>(
    room: &mut Room,
    key: Option<Key>,
    (start, open): (i64, Open<S>),
    end: i64,
    out: &mut Out<'_, Windowed<S>>,
) {
    room.close(&open);
    let result = Windowed {
        key,
        start,
        end,
        messages: open.messages,
        value: open.state,
    };
    result.emit(out, false);
}

impl<I, S, F> Aggregator<I, Windowed<S>> for CountWindows<S, F>
where
    I: Message,
    S: Message + Clone,
    F: FnMut(&mut S, &I) + Send + 'static,
{
    fn add(
        &mut self,
        input: Input<'_, I>,
        out: &mut Out<'_, Windowed<S>>,
        _: &mut Context<'_>,
    ) -> Outcome {
        let key = input.header().key();
        let Self {
            size,
            every,
            state,
            add,
            room,
            taken,
            keys,
        } = self;
        let known = keys.get(&key);
        let begins = known.is_none_or(|opened| opened.since == *every);
        let oldest = known.and_then(|opened| opened.windows.front());
        let closing = oldest.filter(|(_, open)| open.messages + 1 == *size);
        if let Err(rejection) =
            room.admit(usize::from(begins), closing.iter().map(|(_, open)| open))
        {
            return Outcome::Reject(rejection);
        }
        let opened = keys.entry(key).or_insert_with(|| Opened {
            windows: VecDeque::new(),
            since: 0,
        });
        if begins {
            opened.windows.push_back((*taken, room.open(state.clone())));
            opened.since = 0;
        }
        opened.since += 1;
        *taken += 1;
        for (_, open) in &mut opened.windows {
            open.add(room, |state| add(state, &input));
        }
        if opened
            .windows
            .front()
            .is_some_and(|(_, open)| open.messages == *size)
            && let Some(window) = opened.windows.pop_front()
        {
            emit(room, key, window, *taken, out);
        }
        if opened.windows.is_empty() {
            keys.remove(&key);
        }
        Outcome::Done
    }

    fn finish(&mut self, out: &mut Out<'_, Windowed<S>>, _: &mut Context<'_>) -> Progress {
        for _ in 0..AT_ONCE {
            let Some(mut entry) = self.keys.first_entry() else {
                return Progress::Finished;
            };
            let key = *entry.key();
            match entry.get_mut().windows.pop_front() {
                Some(window) => emit(&mut self.room, key, window, self.taken, out),
                None => {
                    entry.remove();
                }
            }
        }
        Progress::More
    }
}
