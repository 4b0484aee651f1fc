//! Steps from value to values.

use std::borrow::Borrow;
use std::marker::PhantomData;

use super::{Emit, Step, Steps};
use crate::message::Rejection;

macro_rules! closure_step {
    ($(#[$documentation:meta])* $function:ident, $name:ident) => {
        #[doc = concat!("The step under [`", stringify!($function), "`].")]
        #[derive(Clone, Debug)]
        pub struct $name<F>(F);

        $(#[$documentation])*
        pub fn $function<F>(closure: F) -> Steps<$name<F>> {
            Steps::new($name(closure))
        }
    };
}

closure_step! {
    /// Emits what the closure makes of each value.
    map, Map
}
closure_step! {
    /// Emits what the closure makes of a value, unless that is `None`.
    filter_map, FilterMap
}
closure_step! {
    /// Emits all that the closure makes of each value.
    flat_map, FlatMap
}
closure_step! {
    /// Emits what the closure makes of a value, or rejects the message that caused it.
    try_map, TryMap
}

impl<I, O, F> Step<I> for Map<F>
where
    F: FnMut(I) -> O + Send + 'static,
{
    type Output = O;

    #[inline(always)]
    fn step(&mut self, input: I, out: &mut impl Emit<O>) -> Result<(), Rejection> {
        out.emit((self.0)(input))
    }
}

/// The step under [`filter`].
#[derive(Clone, Debug)]
pub struct Filter<F, T>(F, PhantomData<fn(&T)>);

/// Emits the values for which the closure says `true`.
pub fn filter<T, F: FnMut(&T) -> bool>(closure: F) -> Steps<Filter<F, T>> {
    Steps::new(Filter(closure, PhantomData))
}

impl<I, T, F> Step<I> for Filter<F, T>
where
    I: Borrow<T>,
    T: 'static,
    F: FnMut(&T) -> bool + Send + 'static,
{
    type Output = I;

    #[inline(always)]
    fn step(&mut self, input: I, out: &mut impl Emit<I>) -> Result<(), Rejection> {
        if (self.0)(input.borrow()) {
            out.emit(input)
        } else {
            Ok(())
        }
    }
}

impl<I, O, F> Step<I> for FilterMap<F>
where
    F: FnMut(I) -> Option<O> + Send + 'static,
{
    type Output = O;

    #[inline(always)]
    fn step(&mut self, input: I, out: &mut impl Emit<O>) -> Result<(), Rejection> {
        (self.0)(input).map_or(Ok(()), |value| out.emit(value))
    }
}

impl<I, O, F> Step<I> for FlatMap<F>
where
    O: IntoIterator,
    F: FnMut(I) -> O + Send + 'static,
{
    type Output = O::Item;

    #[inline(always)]
    fn step(&mut self, input: I, out: &mut impl Emit<O::Item>) -> Result<(), Rejection> {
        let mut values = (self.0)(input).into_iter();
        values.try_for_each(|value| out.emit(value))
    }
}

impl<I, O, E, F> Step<I> for TryMap<F>
where
    E: Into<Rejection>,
    F: FnMut(I) -> Result<O, E> + Send + 'static,
{
    type Output = O;

    #[inline(always)]
    fn step(&mut self, input: I, out: &mut impl Emit<O>) -> Result<(), Rejection> {
        out.emit((self.0)(input).map_err(Into::into)?)
    }
}
