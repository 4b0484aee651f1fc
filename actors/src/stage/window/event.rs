//! Windows of one length by event time.

use std::collections::BTreeMap;
use std::time::Duration;

use smallvec::SmallVec;

use super::Windowed;
use super::room::{AT_ONCE, Open, Room, late, limits, no_event_time};
use super::watermark::{Watermark, nanoseconds};
use crate::message::{Key, Message, Outcome, Time};
use crate::stage::{Aggregator, Context, Input, Out, Progress};

/// Windows of one length by event time, aligned to 1970. Made by [`tumbling`] and [`sliding`].
#[derive(Clone, Debug)]
pub struct EventWindows<S, F> {
    size: i64,
    every: i64,
    state: S,
    add: F,
    watermark: Watermark,
    room: Room,
    /// By end and key.
    open: BTreeMap<(i64, Option<Key>), Open<S>>,
}

/// Windows of this length that follow each other; each message is in one. Each is folded into a copy of `state`.
///
/// ```
/// use std::time::Duration;
/// use mcpbus_actors::stage::{Trial, window};
/// use mcpbus_actors::{Envelope, Outcome};
///
/// let minute = Duration::from_secs(60);
/// let sums = window::tumbling(minute, 0u64, |sum: &mut u64, n: &u64| *sum += n);
/// let mut trial = Trial::of_aggregator(sums);
/// for (second, number) in [(10, 1u64), (59, 2), (60, 5)] {
///     let mut envelope = Envelope::new(number);
///     envelope.header.set_event_time(Some(second * 1_000_000_000));
///     assert_eq!(trial.give_envelope(envelope), Outcome::Done);
/// }
/// // The message at second 60 completes the first minute.
/// let results = trial.outputs();
/// assert_eq!((results.len(), results[0].messages, results[0].value), (1, 2, 3));
/// ```
pub fn tumbling<S, F>(size: Duration, state: S, add: F) -> EventWindows<S, F> {
    sliding(size, size, state, add)
}

/// Windows of this length, one beginning every so often (at most `size`); each message is in all that overlap it:
/// `size / every`, rounded up, which is what it costs.
pub fn sliding<S, F>(size: Duration, every: Duration, state: S, add: F) -> EventWindows<S, F> {
    let size = nanoseconds(size);
    EventWindows {
        size,
        every: nanoseconds(every).min(size),
        state,
        add,
        watermark: Watermark::new(),
        room: Room::new(),
        open: BTreeMap::new(),
    }
}

impl<S, F> EventWindows<S, F> {
    /// How far behind the newest event time a message may be: so long windows are kept open beyond their end. Zero if nothing
    /// is said.
    #[must_use]
    pub fn lateness(mut self, lateness: Duration) -> Self {
        self.watermark.set_lateness(lateness);
        self
    }

    limits!();

    /// The ends of the windows that a message of this time is in and that are not complete.
    fn ends(&self, time: i64) -> SmallVec<[i64; 4]> {
        let mut ends = SmallVec::new();
        let mut start = time
            .div_euclid(self.every)
            .checked_mul(self.every)
            .unwrap_or(time);
        // One more than may be open is too many already.
        while start > time.saturating_sub(self.size) && ends.len() <= self.room.max_windows() {
            let end = start.saturating_add(self.size);
            if self.watermark.is_past(end) {
                break;
            }
            ends.push(end);
            match start.checked_sub(self.every) {
                Some(earlier) => start = earlier,
                None => break,
            }
        }
        ends
    }

    fn is_due(&self) -> bool {
        let first = self.open.first_key_value();
        first.is_some_and(|((end, _), _)| self.watermark.is_past(*end))
    }
}

impl<S: Message, F> EventWindows<S, F> {
    fn emit_first(&mut self, out: &mut Out<'_, Windowed<S>>) {
        if let Some(((end, key), open)) = self.open.pop_first() {
            self.room.close(&open);
            let result = Windowed {
                key,
                start: end.saturating_sub(self.size),
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

impl<I, S, F> Aggregator<I, Windowed<S>> for EventWindows<S, F>
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
        let Some(time) = input.header().event_time() else {
            return Outcome::Reject(no_event_time());
        };
        let ends = self.ends(time);
        if ends.is_empty() {
            return Outcome::Reject(late(self.watermark.reached().saturating_sub(time)));
        }
        // What it completes is emitted even if it cannot enter itself: else nothing would ever be complete again. Outputs
        // of a rejected message are taken back, so in that case a timer emits them.
        self.watermark.advance(time);
        let opens = ends
            .iter()
            .filter(|end| !self.open.contains_key(&(**end, key)));
        let watermark = &self.watermark;
        let closing = self.open.iter();
        let closing = closing.take_while(|((end, _), _)| watermark.is_past(*end));
        if let Err(rejection) = self
            .room
            .admit(opens.count(), closing.map(|(_, open)| open))
        {
            return Outcome::Reject(rejection);
        }
        self.emit_due(out);
        let Self {
            state,
            add,
            room,
            open,
            ..
        } = self;
        for end in ends {
            let window = open.entry((end, key));
            let window = window.or_insert_with(|| room.open(state.clone()));
            window.add(room, |state| add(state, &input));
        }
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
