//! Sessions: windows that end after a gap.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use smallvec::SmallVec;

use super::Windowed;
use super::room::{AT_ONCE, Open, Room, late, limits, no_event_time};
use super::watermark::{Watermark, nanoseconds};
use crate::message::{Key, Message, Outcome, Time};
use crate::stage::{Aggregator, Context, Input, Out, Progress};

/// Windows that hold the messages of a key between two gaps. Made by [`session`].
#[derive(Clone, Debug)]
pub struct SessionWindows<S, F, G> {
    gap: i64,
    state: S,
    add: F,
    merge: G,
    watermark: Watermark,
    room: Room,
    /// By key and start: the end, and what is in it. Sessions of a key do not overlap.
    open: BTreeMap<(Option<Key>, i64), (i64, Open<S>)>,
    /// End, key and start of each.
    ends: BTreeSet<(i64, Option<Key>, i64)>,
}

/// Windows that hold the messages of a key until none comes for `gap`, by event time. A window begins with its first message
/// and ends `gap` after its last one. A message that comes between two windows and joins them has `merge` fold the
/// second, later one into the first.
///
/// ```
/// use std::time::Duration;
/// use mcpbus_actors::Envelope;
/// use mcpbus_actors::stage::{Trial, window};
///
/// let visits = window::session(
///     Duration::from_nanos(10),
///     0u64,
///     |clicks: &mut u64, _: &u64| *clicks += 1,
///     |clicks, more| *clicks += more,
/// );
/// let mut trial = Trial::of_aggregator(visits.lateness(Duration::from_nanos(100)));
/// for time in [0, 15, 8, 200] {
///     let mut envelope = Envelope::new(0u64);
///     envelope.header.set_event_time(Some(time));
///     trial.give_envelope(envelope);
/// }
/// let results = trial.outputs();
/// assert_eq!((results[0].start, results[0].end, results[0].value), (0, 25, 3));
/// ```
pub fn session<S, F, G>(gap: Duration, state: S, add: F, merge: G) -> SessionWindows<S, F, G>
where
    G: FnMut(&mut S, S),
{
    SessionWindows {
        gap: nanoseconds(gap),
        state,
        add,
        merge,
        watermark: Watermark::new(),
        room: Room::new(),
        open: BTreeMap::new(),
        ends: BTreeSet::new(),
    }
}

impl<S, F, G> SessionWindows<S, F, G> {
    /// How far behind the newest event time a message may be. Zero if nothing is said.
    #[must_use]
    pub fn lateness(mut self, lateness: Duration) -> Self {
        self.watermark.set_lateness(lateness);
        self
    }

    limits!();

    /// The sessions, by their starts, that a message of this time belongs to; the earliest first.
    fn joined(&self, key: Option<Key>, time: i64) -> SmallVec<[i64; 2]> {
        let before = time.saturating_add(self.gap);
        let sessions = self.open.range((key, i64::MIN)..(key, before)).rev();
        let near =
            sessions.take_while(|(_, (end, _))| *end > time && !self.watermark.is_past(*end));
        let mut starts: SmallVec<[i64; 2]> = near.map(|((_, start), _)| *start).collect();
        starts.reverse();
        starts
    }

    fn is_due(&self) -> bool {
        let first = self.ends.first();
        first.is_some_and(|(end, _, _)| self.watermark.is_past(*end))
    }

    fn take(&mut self, key: Option<Key>, start: i64) -> Option<(i64, Open<S>)> {
        let (end, open) = self.open.remove(&(key, start))?;
        self.ends.remove(&(end, key, start));
        Some((end, open))
    }
}

impl<S: Message, F, G> SessionWindows<S, F, G> {
    fn emit_first(&mut self, out: &mut Out<'_, Windowed<S>>) {
        let Some(&(_, key, start)) = self.ends.first() else {
            return;
        };
        if let Some((end, open)) = self.take(key, start) {
            self.room.close(&open);
            let result = Windowed {
                key,
                start,
                end,
                messages: open.messages,
                value: open.state,
            };
            result.emit(out, true);
        }
    }

    fn emit_due(&mut self, out: &mut Out<'_, Windowed<S>>) {
        while self.is_due() {
            self.emit_first(out);
        }
    }
}

impl<I, S, F, G> Aggregator<I, Windowed<S>> for SessionWindows<S, F, G>
where
    I: Message,
    S: Message + Clone,
    F: FnMut(&mut S, &I) + Send + 'static,
    G: FnMut(&mut S, S) + Send + 'static,
{
    fn add(
        &mut self,
        input: Input<'_, I>,
        out: &mut Out<'_, Windowed<S>>,
        _: &mut Context<'_>,
    ) -> Outcome {
        let key = input.header().key();
        let Some(time) = input.header().event_time() else {
            return Outcome::Reject(no_event_time());
        };
        let own_end = time.saturating_add(self.gap);
        let joined = self.joined(key, time);
        if joined.is_empty() && self.watermark.is_past(own_end) {
            return Outcome::Reject(late(self.watermark.reached().saturating_sub(time)));
        }
        // As in windows of one length: what it completes is emitted even if it cannot enter itself.
        self.watermark.advance(time);
        let watermark = &self.watermark;
        let due = self
            .ends
            .iter()
            .take_while(|(end, _, _)| watermark.is_past(*end));
        let closing = due.filter_map(|(_, key, start)| Some(&self.open.get(&(*key, *start))?.1));
        if let Err(rejection) = self.room.admit(usize::from(joined.is_empty()), closing) {
            return Outcome::Reject(rejection);
        }
        self.emit_due(out);
        let (mut start, mut end, mut window) = (time, own_end, None::<Open<S>>);
        for joins in joined {
            let Some((its_end, its)) = self.take(key, joins) else {
                continue;
            };
            start = start.min(joins);
            end = end.max(its_end);
            match &mut window {
                None => window = Some(its),
                Some(window) => window.merge(&mut self.room, its, &mut self.merge),
            }
        }
        let Self {
            state, add, room, ..
        } = self;
        let mut window = window.unwrap_or_else(|| room.open(state.clone()));
        window.add(room, |state| add(state, &input));
        self.open.insert((key, start), (end, window));
        self.ends.insert((end, key, start));
        Outcome::Done
    }

    fn next_timeout(&self) -> Option<Time> {
        self.is_due().then_some(Time::ZERO)
    }

    fn handle_timeout(&mut self, out: &mut Out<'_, Windowed<S>>, _: &mut Context<'_>) {
        self.emit_due(out);
    }

    fn finish(&mut self, out: &mut Out<'_, Windowed<S>>, _: &mut Context<'_>) -> Progress {
        for _ in 0..AT_ONCE {
            self.emit_first(out);
        }
        if self.open.is_empty() {
            Progress::Finished
        } else {
            Progress::More
        }
    }
}
