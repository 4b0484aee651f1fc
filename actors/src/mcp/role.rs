//! The four roles. Closures are presenters and views too.

use crate::message::Message;

/// Owns the state. Its handler may take its time: nobody who only looks waits for it.
pub trait Model: Send + 'static {
    /// What changes it.
    type Command: Message;
    /// What others see of it.
    type State: Clone + Send + Sync + 'static;

    /// Carries a command out.
    fn apply(&mut self, command: Self::Command);

    /// The state now. Called once per batch of commands.
    fn state(&self) -> Self::State;
}

/// Turns events into commands.
pub trait Controller: Send + 'static {
    /// What happens outside.
    type Event;
    /// What the model is told.
    type Command: Message;

    /// The commands for this event, in order; none if it means nothing.
    fn control(&mut self, event: Self::Event) -> Vec<Self::Command>;
}

/// Turns a state into what is to be shown. It decides nothing and keeps nothing that the model should know.
pub trait Presenter<S>: Send + Sync + 'static {
    /// What is to be shown.
    type ViewModel: Send + 'static;

    /// What to show of this state.
    fn present(&self, state: &S) -> Self::ViewModel;
}

impl<S, V, F> Presenter<S> for F
where
    V: Send + 'static,
    F: Fn(&S) -> V + Send + Sync + 'static,
{
    type ViewModel = V;
    fn present(&self, state: &S) -> V {
        self(state)
    }
}

/// Shows what the presenter made. It may be slow.
pub trait View<V>: Send + 'static {
    /// Shows this.
    fn render(&mut self, view_model: V);
}

impl<V, F: FnMut(V) + Send + 'static> View<V> for F {
    fn render(&mut self, view_model: V) {
        self(view_model);
    }
}
