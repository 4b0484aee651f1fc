//! One of several branches for each value.

use std::borrow::Borrow;
use std::marker::PhantomData;

use super::{Emit, Step, Steps};
use crate::message::{Reason, Rejection};
use crate::stage::Route;

/// The step under [`split`](fn@split).
#[derive(Clone, Debug)]
pub struct Split<F, B, T> {
    choose: F,
    branches: B,
    value: PhantomData<fn(&T)>,
}

/// Gives each value to one of several branches, and emits what they emit. The closure answers what a
/// [`Router`](crate::stage::Router) may: a number, `false` or `true`, or a [`Route`]. Branches are an array, a vector or a tuple
/// of steps, all with the same output.
pub fn split<T, R, F, B>(choose: F, branches: B) -> Steps<Split<F, B, T>>
where
    F: FnMut(&T) -> R,
{
    Steps::new(Split {
        choose,
        branches,
        value: PhantomData,
    })
}

impl<I, T, R, F, B> Step<I> for Split<F, B, T>
where
    I: Borrow<T>,
    T: 'static,
    R: Into<Route>,
    F: FnMut(&T) -> R + Send + 'static,
    B: Branches<I>,
{
    type Output = B::Output;

    #[inline(always)]
    fn step(&mut self, input: I, out: &mut impl Emit<B::Output>) -> Result<(), Rejection> {
        match (self.choose)(input.borrow()).into() {
            Route::To(way) => self.branches.step(way, input, out),
            Route::Reject(rejection) => Err(rejection),
        }
    }

    fn finish(&mut self, out: &mut impl Emit<B::Output>) -> Result<(), Rejection> {
        self.branches.finish(out)
    }
}

/// Steps of which each value takes one.
pub trait Branches<I>: Send + 'static {
    /// What all of them emit.
    type Output;

    /// Gives a value to the branch with this number.
    ///
    /// # Errors
    /// `no_route` if there is none; or the branch's own, as in [`Step::step`].
    fn step(
        &mut self,
        way: usize,
        input: I,
        out: &mut impl Emit<Self::Output>,
    ) -> Result<(), Rejection>;

    /// Finishes all of them, in their order.
    ///
    /// # Errors
    /// As [`Step::finish`].
    fn finish(&mut self, out: &mut impl Emit<Self::Output>) -> Result<(), Rejection>;
}

#[cold]
fn no_way(way: usize, ways: usize) -> Rejection {
    let text = format!("branch {way} was chosen, but there are only {ways}");
    Rejection::new(Reason::NoRoute, text)
}

fn step_one<I, S: Step<I>>(
    branches: &mut [S],
    way: usize,
    input: I,
    out: &mut impl Emit<S::Output>,
) -> Result<(), Rejection> {
    let ways = branches.len();
    match branches.get_mut(way) {
        Some(branch) => branch.step(input, out),
        None => Err(no_way(way, ways)),
    }
}

fn finish_each<I, S: Step<I>>(
    branches: &mut [S],
    out: &mut impl Emit<S::Output>,
) -> Result<(), Rejection> {
    branches
        .iter_mut()
        .try_for_each(|branch| branch.finish(out))
}

impl<I, S: Step<I>, const N: usize> Branches<I> for [S; N] {
    type Output = S::Output;

    #[inline(always)]
    fn step(
        &mut self,
        way: usize,
        input: I,
        out: &mut impl Emit<S::Output>,
    ) -> Result<(), Rejection> {
        step_one(self, way, input, out)
    }

    fn finish(&mut self, out: &mut impl Emit<S::Output>) -> Result<(), Rejection> {
        finish_each(self, out)
    }
}

impl<I, S: Step<I>> Branches<I> for Vec<S> {
    type Output = S::Output;

    #[inline(always)]
    fn step(
        &mut self,
        way: usize,
        input: I,
        out: &mut impl Emit<S::Output>,
    ) -> Result<(), Rejection> {
        step_one(self, way, input, out)
    }

    fn finish(&mut self, out: &mut impl Emit<S::Output>) -> Result<(), Rejection> {
        finish_each(self, out)
    }
}

macro_rules! tuple_branches {
    ($($ways:literal: $first:ident 0 $(, $name:ident $index:tt)+;)+) => {$(
        impl<I, O, $first, $($name),+> Branches<I> for ($first, $($name),+)
        where
            $first: Step<I, Output = O>,
            $($name: Step<I, Output = O>,)+
        {
            type Output = O;

            #[inline(always)]
            fn step(&mut self, way: usize, input: I, out: &mut impl Emit<O>) -> Result<(), Rejection> {
                match way {
                    0 => self.0.step(input, out),
                    $($index => self.$index.step(input, out),)+
                    way => Err(no_way(way, $ways)),
                }
            }

            fn finish(&mut self, out: &mut impl Emit<O>) -> Result<(), Rejection> {
                self.0.finish(out)?;
                $(self.$index.finish(out)?;)+
                Ok(())
            }
        }
    )+};
}
tuple_branches! {
    2: A 0, B 1;
    3: A 0, B 1, C 2;
    4: A 0, B 1, C 2, D 3;
    5: A 0, B 1, C 2, D 3, E 4;
    6: A 0, B 1, C 2, D 3, E 4, F 5;
}
