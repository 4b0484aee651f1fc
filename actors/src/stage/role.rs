//! The roles that users write, and how each becomes a stage.

use super::{Context, Input, Out, Progress};
use crate::message::{Header, IntoOutcome, Message, Outcome, Reason, Rejection, Time};

/// Makes messages. A closure `FnMut(&mut Out<'_, O>) -> Progress` is a producer too; see also [`from_iterator`].
pub trait Producer<O: Message>: Send + 'static {
    /// Emits the next few messages. It is called again at once, later, or never, as it answers.
    fn produce(&mut self, out: &mut Out<'_, O>, cx: &mut Context<'_>) -> Progress;
}

impl<O, F> Producer<O> for F
where
    O: Message,
    F: FnMut(&mut Out<'_, O>) -> Progress + Send + 'static,
{
    fn produce(&mut self, out: &mut Out<'_, O>, _: &mut Context<'_>) -> Progress {
        self(out)
    }
}

/// A producer that gives the items of an iterator. Made by [`from_iterator`].
#[derive(Clone, Debug)]
pub struct FromIterator<I>(I);

/// A producer that gives the items of an iterator.
pub fn from_iterator<I: IntoIterator>(items: I) -> FromIterator<I::IntoIter> {
    FromIterator(items.into_iter())
}

impl<O: Message, I: Iterator<Item = O> + Send + 'static> Producer<O> for FromIterator<I> {
    fn produce(&mut self, out: &mut Out<'_, O>, _: &mut Context<'_>) -> Progress {
        // A few at a time, so that a turn's batch is not exceeded by much.
        if out.emit_from(&mut self.0, 64) {
            Progress::More
        } else {
            Progress::Finished
        }
    }
}

/// Turns inputs into outputs, one to any number.
///
/// A closure `FnMut(&I, &mut Out<'_, O>)` is a processor too; it may return nothing, a `Result` or an
/// [`Outcome`]. Wrap a closure that wants the value itself in [`owned`].
pub trait Processor<I: Message, O: Message>: Send + 'static {
    /// Handles one message.
    fn process(
        &mut self,
        input: Input<'_, I>,
        out: &mut Out<'_, O>,
        cx: &mut Context<'_>,
    ) -> Outcome;

    /// When [`Processor::handle_timeout`] wants to be called next.
    fn next_timeout(&self) -> Option<Time> {
        None
    }

    /// The time asked for has come.
    fn handle_timeout(&mut self, out: &mut Out<'_, O>, cx: &mut Context<'_>) {
        let _ = (out, cx);
    }

    /// Nothing will come any more: emit what is left. Called again as long as it answers [`Progress::More`].
    fn finish(&mut self, out: &mut Out<'_, O>, cx: &mut Context<'_>) -> Progress {
        let _ = (out, cx);
        Progress::Finished
    }
}

impl<I, O, F, R> Processor<I, O> for F
where
    I: Message,
    O: Message,
    R: IntoOutcome,
    F: FnMut(&I, &mut Out<'_, O>) -> R + Send + 'static,
{
    fn process(
        &mut self,
        input: Input<'_, I>,
        out: &mut Out<'_, O>,
        _: &mut Context<'_>,
    ) -> Outcome {
        self(&input, out).into_outcome()
    }
}

/// A closure that takes the value itself. Made by [`owned`].
#[derive(Clone, Debug)]
pub struct Owned<F>(pub(super) F);

/// Lets a closure that takes the value be a processor or a consumer: no clone is needed, but when it panics the dead
/// letter has no body, and it cannot ask for another attempt.
pub fn owned<F>(closure: F) -> Owned<F> {
    Owned(closure)
}

impl<I, O, F, R> Processor<I, O> for Owned<F>
where
    I: Message,
    O: Message,
    R: IntoOutcome,
    F: FnMut(I, &mut Out<'_, O>) -> R + Send + 'static,
{
    fn process(
        &mut self,
        input: Input<'_, I>,
        out: &mut Out<'_, O>,
        _: &mut Context<'_>,
    ) -> Outcome {
        (self.0)(input.take(), out).into_outcome()
    }
}

/// Takes messages and gives none: the end of a topology. A closure `FnMut(&I)` is a consumer too.
pub trait Consumer<I: Message>: Send + 'static {
    /// Handles one message.
    fn consume(&mut self, input: Input<'_, I>, cx: &mut Context<'_>) -> Outcome;

    /// When [`Consumer::handle_timeout`] wants to be called next.
    fn next_timeout(&self) -> Option<Time> {
        None
    }

    /// The time asked for has come.
    fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// Nothing will come any more.
    fn finish(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }
}

impl<I, F, R> Consumer<I> for F
where
    I: Message,
    R: IntoOutcome,
    F: FnMut(&I) -> R + Send + 'static,
{
    fn consume(&mut self, input: Input<'_, I>, _: &mut Context<'_>) -> Outcome {
        self(&input).into_outcome()
    }
}

impl<I, F, R> Consumer<I> for Owned<F>
where
    I: Message,
    R: IntoOutcome,
    F: FnMut(I) -> R + Send + 'static,
{
    fn consume(&mut self, input: Input<'_, I>, _: &mut Context<'_>) -> Outcome {
        (self.0)(input.take()).into_outcome()
    }
}

/// Where a router sends one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// To this way.
    To(usize),
    /// Nowhere: it becomes a dead letter.
    Reject(Rejection),
}

impl From<usize> for Route {
    fn from(way: usize) -> Self {
        Self::To(way)
    }
}

impl From<Option<usize>> for Route {
    fn from(way: Option<usize>) -> Self {
        way.map_or_else(|| Self::Reject(Reason::NoRoute.into()), Self::To)
    }
}

impl From<bool> for Route {
    /// `false` is way 0, `true` is way 1.
    fn from(way: bool) -> Self {
        Self::To(usize::from(way))
    }
}

/// Chooses a way for each message and passes it on as it is. A closure `FnMut(&I) -> usize` is a router too.
pub trait Router<I: Message>: Send + 'static {
    /// The way for this message; there are `ways` of them.
    fn route(&mut self, message: &I, header: &Header, ways: usize) -> Route;
}

impl<I, F, R> Router<I> for F
where
    I: Message,
    R: Into<Route>,
    F: FnMut(&I) -> R + Send + 'static,
{
    fn route(&mut self, message: &I, _: &Header, _: usize) -> Route {
        self(message).into()
    }
}

/// Routes by key, so that one key always takes one way. Made by [`by_key`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ByKey;

/// Routes by the header's key, so that one key always takes one way; messages without key take way 0.
#[must_use]
pub fn by_key() -> ByKey {
    ByKey
}

impl<I: Message> Router<I> for ByKey {
    fn route(&mut self, _: &I, header: &Header, ways: usize) -> Route {
        let key = header.key().map_or(0, |key| key.value());
        // Multiplying spreads keys that are small numbers; the high half of the product is the way.
        let spread = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let way = (u128::from(spread) * ways as u128) >> 64;
        Route::To(usize::try_from(way).unwrap_or(0))
    }
}

/// Routes to each way in turn. Made by [`round_robin`].
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobin {
    next: usize,
}

/// Routes to each way in turn; order per key is not kept.
#[must_use]
pub fn round_robin() -> RoundRobin {
    RoundRobin::default()
}

impl<I: Message> Router<I> for RoundRobin {
    fn route(&mut self, _: &I, _: &Header, ways: usize) -> Route {
        let way = self.next;
        self.next = if way + 1 < ways { way + 1 } else { 0 };
        Route::To(way)
    }
}

/// Joins many inputs into few outputs, emitted when a window ends or at the end. See [`fold`] for the simplest one.
pub trait Aggregator<I: Message, O: Message>: Send + 'static {
    /// Whether [`Aggregator::add`] emits at the very end or never; see [`Stage::EMITS_LAST`](super::Stage::EMITS_LAST).
    const EMITS_LAST: bool = false;

    /// Adds one message. To have it count as delivered only when the result is accepted, take a lease and defer.
    fn add(&mut self, input: Input<'_, I>, out: &mut Out<'_, O>, cx: &mut Context<'_>) -> Outcome;

    /// When [`Aggregator::handle_timeout`] wants to be called next: the end of the open window.
    fn next_timeout(&self) -> Option<Time> {
        None
    }

    /// The time asked for has come.
    fn handle_timeout(&mut self, out: &mut Out<'_, O>, cx: &mut Context<'_>) {
        let _ = (out, cx);
    }

    /// Nothing will come any more: emit what is left. Called again as long as it answers [`Progress::More`].
    fn finish(&mut self, out: &mut Out<'_, O>, cx: &mut Context<'_>) -> Progress;
}

/// An aggregator that folds everything into one value. Made by [`fold`].
#[derive(Clone, Debug)]
pub struct Fold<S, F> {
    state: Option<S>,
    add: F,
}

/// Folds everything into `state` and emits it at the end.
pub fn fold<S, F>(state: S, add: F) -> Fold<S, F> {
    Fold {
        state: Some(state),
        add,
    }
}

impl<I, S, F> Aggregator<I, S> for Fold<S, F>
where
    I: Message,
    S: Message,
    F: FnMut(&mut S, &I) + Send + 'static,
{
    const EMITS_LAST: bool = true;

    fn add(&mut self, input: Input<'_, I>, _: &mut Out<'_, S>, _: &mut Context<'_>) -> Outcome {
        if let Some(state) = &mut self.state {
            (self.add)(state, &input);
        }
        Outcome::Done
    }

    fn finish(&mut self, out: &mut Out<'_, S>, _: &mut Context<'_>) -> Progress {
        if let Some(state) = self.state.take() {
            out.emit(state);
        }
        Progress::Finished
    }
}
