//! Everything into one value.

use super::{Emit, Step, Steps};
use crate::message::Rejection;

/// The step under [`fold`](fn@fold).
#[derive(Clone, Debug)]
pub struct FoldStep<S, F> {
    state: Option<S>,
    add: F,
}

/// Folds everything into `state`, and emits it at the end.
pub fn fold<S, F>(state: S, add: F) -> Steps<FoldStep<S, F>> {
    Steps::new(FoldStep {
        state: Some(state),
        add,
    })
}

impl<I, S, F> Step<I> for FoldStep<S, F>
where
    S: Send + 'static,
    F: FnMut(&mut S, I) + Send + 'static,
{
    type Output = S;

    #[inline(always)]
    fn step(&mut self, input: I, _: &mut impl Emit<S>) -> Result<(), Rejection> {
        if let Some(state) = &mut self.state {
            (self.add)(state, input);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut impl Emit<S>) -> Result<(), Rejection> {
        self.state.take().map_or(Ok(()), |state| out.emit(state))
    }
}
