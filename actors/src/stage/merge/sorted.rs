//! Sorted inputs into one sorted output.

use std::marker::PhantomData;
use std::time::Duration;

use super::{Choice, Front, Merger};
use crate::message::{Envelope, Header, Message, Reason, Rejection, Time};
use crate::stage::Out;

/// By what messages are sorted. A closure `FnMut(&M) -> K` is one, for any `K` that has an order.
pub trait Rank<M>: Send + 'static {
    /// What is compared.
    type Value: Ord + Send + 'static;

    /// The place of this message; `None`: it has none and cannot be merged.
    fn rank(&mut self, message: &M, header: &Header) -> Option<Self::Value>;
}

impl<M, K, F> Rank<M> for F
where
    K: Ord + Send + 'static,
    F: FnMut(&M) -> K + Send + 'static,
{
    type Value = K;

    fn rank(&mut self, message: &M, _: &Header) -> Option<K> {
        Some(self(message))
    }
}

/// Sorted by the event time of the header. Made by [`by_event_time`].
#[derive(Clone, Copy, Debug, Default)]
pub struct EventTime;

impl<M: Message> Rank<M> for EventTime {
    type Value = i64;

    fn rank(&mut self, _: &M, header: &Header) -> Option<i64> {
        header.event_time()
    }
}

/// How sorted inputs are merged. Made by [`sorted_by`] and [`by_event_time`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct SortedMerge<R> {
    pub(crate) rank: R,
    pub(crate) patience: Option<Duration>,
}

/// Merges inputs that are sorted by what this closure gives.
pub fn sorted_by<R>(rank: R) -> SortedMerge<R> {
    SortedMerge {
        rank,
        patience: None,
    }
}

/// Merges inputs that are sorted by the event time of their headers. A message without one is rejected.
pub fn by_event_time() -> SortedMerge<EventTime> {
    sorted_by(EventTime)
}

impl<R> SortedMerge<R> {
    /// How long others wait for an input that has nothing; without a patience, until it has something or ends.
    ///
    /// An input for which somebody has waited so long is idle: it is not waited for again until it has given a message. What
    /// it then gives too late, because a later one has passed meanwhile, is rejected.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }
}

/// The merge of sorted inputs.
pub(crate) struct SortedMerger<M, R: Rank<M>> {
    rank: R,
    patience: Option<Duration>,
    inputs: Vec<Input<R::Value>>,
    /// The place of the last message that passed.
    last: Option<R::Value>,
    message: PhantomData<fn(M)>,
}

/// One input.
struct Input<K> {
    front: Option<K>,
    /// Since when somebody waits, or waited in vain, for this input.
    awaited: Option<Time>,
}

impl<M, R: Rank<M>> SortedMerger<M, R> {
    pub(crate) fn new(merge: SortedMerge<R>, inputs: usize) -> Self {
        let input = || Input {
            front: None,
            awaited: None,
        };
        Self {
            rank: merge.rank,
            patience: merge.patience,
            inputs: (0..inputs).map(|_| input()).collect(),
            last: None,
            message: PhantomData,
        }
    }

    /// The input whose front comes first; of equal ones the first input.
    fn least(&self) -> Option<usize> {
        let fronts = self.inputs.iter().enumerate();
        let fronts = fronts.filter_map(|(index, input)| Some((input.front.as_ref()?, index)));
        fronts.min().map(|(_, index)| index)
    }
}

impl<M: Message, R: Rank<M>> Merger for SortedMerger<M, R> {
    type Input = M;
    type Output = M;
    const DROPS_EXPIRED: bool = true;

    fn arrived(&mut self, input: usize, header: &Header, message: &M) -> Result<(), Rejection> {
        let Some(rank) = self.rank.rank(message, header) else {
            let text = "has nothing to be sorted by, for example no event time";
            return Err(Rejection::new(Reason::Rejected, text));
        };
        // Its input gives again, in order or not.
        self.inputs[input].awaited = None;
        if self.last.as_ref().is_some_and(|last| rank < *last) {
            let text = "out of order: one that comes after it has already passed";
            return Err(Rejection::new(Reason::Rejected, text));
        }
        self.inputs[input].front = Some(rank);
        Ok(())
    }

    fn choose(&mut self, inputs: &[Front], now: Time) -> Choice {
        let Some(least) = self.least() else {
            return Choice::Wait(None);
        };
        let (mut waits, mut until) = (false, None::<Time>);
        for (input, front) in self.inputs.iter_mut().zip(inputs) {
            if *front != Front::Empty {
                continue;
            }
            let since = *input.awaited.get_or_insert(now);
            let Some(patience) = self.patience else {
                return Choice::Wait(None);
            };
            let end = since + patience;
            if now < end {
                waits = true;
                until = Some(until.map_or(end, |until| until.max(end)));
            }
        }
        if waits {
            Choice::Wait(until)
        } else {
            Choice::Take(least)
        }
    }

    fn gone(&mut self, input: usize) {
        self.inputs[input].front = None;
    }

    fn pass(&mut self, input: usize, envelope: Envelope<M>, out: &mut Out<'_, M>) {
        self.last = self.inputs[input].front.take();
        out.pass(envelope);
    }
}

#[cfg(test)]
mod tests;
