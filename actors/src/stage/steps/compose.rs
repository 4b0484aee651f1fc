//! One step after the other, and the whole as a processor.

use super::{Emit, Step};
use crate::message::{IntoOutcome, Message, Outcome, Rejection};
use crate::stage::{Context, Input, Out, Owned, Processor, Progress};

/// Steps composed into one: a [`Step`], and a [`Processor`] for a topology.
///
/// The first step gets a reference to a message, so that a dead letter is whole. In [`owned`](crate::stage::owned) it gets
/// the message itself: no clone is needed, but a dead letter of these steps has no body.
#[derive(Clone, Debug)]
pub struct Steps<S>(S);

impl<S> Steps<S> {
    /// A step of one's own, to be composed with others.
    pub fn new(step: S) -> Self {
        Self(step)
    }

    /// Gives what these steps emit to `next`.
    ///
    /// ```
    /// use mcpbus_actors::Outcome;
    /// use mcpbus_actors::stage::Trial;
    /// use mcpbus_actors::stage::steps::{filter, map};
    ///
    /// let mut trial = Trial::of_processor(map(|n: &u64| n + 1).then(filter(|n: &u64| n % 2 == 0)));
    /// (1..5).for_each(|n| assert_eq!(trial.give(n), Outcome::Done));
    /// assert_eq!(trial.outputs(), [2, 4]);
    /// ```
    pub fn then<N>(self, next: Steps<N>) -> Steps<Then<S, N>> {
        Steps(Then {
            first: self.0,
            second: next.0,
        })
    }
}

impl<I, S: Step<I>> Step<I> for Steps<S> {
    type Output = S::Output;

    #[inline(always)]
    fn step(&mut self, input: I, out: &mut impl Emit<S::Output>) -> Result<(), Rejection> {
        self.0.step(input, out)
    }

    fn finish(&mut self, out: &mut impl Emit<S::Output>) -> Result<(), Rejection> {
        self.0.finish(out)
    }
}

/// Two steps, one after the other. Made by [`Steps::then`].
#[derive(Clone, Debug)]
pub struct Then<A, B> {
    first: A,
    second: B,
}

impl<I, A, B> Step<I> for Then<A, B>
where
    A: Step<I>,
    B: Step<A::Output>,
{
    type Output = B::Output;

    #[inline(always)]
    fn step(&mut self, input: I, out: &mut impl Emit<B::Output>) -> Result<(), Rejection> {
        let Self { first, second } = self;
        first.step(input, &mut Into { step: second, out })
    }

    fn finish(&mut self, out: &mut impl Emit<B::Output>) -> Result<(), Rejection> {
        let Self { first, second } = self;
        first.finish(&mut Into { step: second, out })?;
        second.finish(out)
    }
}

/// Emits into a step.
struct Into<'a, S, E> {
    step: &'a mut S,
    out: &'a mut E,
}

impl<T, S: Step<T>, E: Emit<S::Output>> Emit<T> for Into<'_, S, E> {
    #[inline(always)]
    fn emit(&mut self, value: T) -> Result<(), Rejection> {
        self.step.step(value, self.out)
    }
}

/// Emits into the output of a stage.
struct IntoOut<'a, 'b, O: Message> {
    out: &'a mut Out<'b, O>,
}

impl<O: Message> Emit<O> for IntoOut<'_, '_, O> {
    #[inline(always)]
    fn emit(&mut self, value: O) -> Result<(), Rejection> {
        self.out.emit(value);
        Ok(())
    }
}

fn into<'a, 'b, O: Message>(out: &'a mut Out<'b, O>) -> IntoOut<'a, 'b, O> {
    IntoOut { out }
}

// The handlers are built into the loop of their stage, which is what steps are for.

impl<I, O, S> Processor<I, O> for Steps<S>
where
    I: Message,
    O: Message,
    S: for<'a> Step<&'a I, Output = O>,
{
    #[inline(always)]
    fn process(
        &mut self,
        input: Input<'_, I>,
        out: &mut Out<'_, O>,
        _: &mut Context<'_>,
    ) -> Outcome {
        self.0.step(&*input, &mut into(out)).into_outcome()
    }

    fn finish(&mut self, out: &mut Out<'_, O>, _: &mut Context<'_>) -> Progress {
        finished(self.0.finish(&mut into(out)))
    }
}

impl<I, O, S> Processor<I, O> for Owned<Steps<S>>
where
    I: Message,
    O: Message,
    S: Step<I, Output = O>,
{
    #[inline(always)]
    fn process(
        &mut self,
        input: Input<'_, I>,
        out: &mut Out<'_, O>,
        _: &mut Context<'_>,
    ) -> Outcome {
        let Self(Steps(steps)) = self;
        steps.step(input.take(), &mut into(out)).into_outcome()
    }

    fn finish(&mut self, out: &mut Out<'_, O>, _: &mut Context<'_>) -> Progress {
        let Self(Steps(steps)) = self;
        finished(steps.finish(&mut into(out)))
    }
}

fn finished(result: Result<(), Rejection>) -> Progress {
    if let Err(rejection) = result {
        panic!("what was left at the end was rejected: {rejection}");
    }
    Progress::Finished
}
