//! Wires the roles: a mailbox for commands, the newest state for everyone who looks.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::{Controller, Model, Presenter, View};
use crate::channel::{
    Capacity, LatestReader, LatestWriter, Receiver, SendError, Sender, channel, latest,
};
use crate::message::Batch;

/// The most commands a model carries out before it publishes its state.
const MAX_BATCH: usize = 64;

/// Why a role could not be started.
#[derive(Debug)]
pub enum TriadError {
    /// Tasks need a tokio runtime; start it inside one, or on threads.
    NoRuntime,
    /// The system gave no thread.
    System(io::Error),
}

impl fmt::Display for TriadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRuntime => f.write_str(
                "there is no tokio runtime here; start the triad inside one or on threads",
            ),
            Self::System(error) => write!(f, "no thread to run on: {error}"),
        }
    }
}

impl Error for TriadError {}

/// A running model with its presenter. Clones share both; the model ends when all clones and controllers are gone and
/// every command has been carried out, the views when they have shown its last state.
pub struct Triad<M: Model, P: Presenter<M::State>> {
    commands: Sender<M::Command>,
    states: LatestReader<M::State>,
    presenter: Arc<P>,
    threads: bool,
}

impl<M: Model, P: Presenter<M::State>> Triad<M, P> {
    /// Starts the model as a task. Its mailbox holds at most `capacity`.
    ///
    /// # Errors
    /// [`TriadError::NoRuntime`] outside of a tokio runtime.
    pub fn on_tasks(model: M, presenter: P, capacity: Capacity) -> Result<Self, TriadError> {
        let handle = tokio::runtime::Handle::try_current().map_err(|_| TriadError::NoRuntime)?;
        let (triad, commands, writer) = Self::new(&model, presenter, capacity, false);
        handle.spawn(run_as_task(model, commands, writer));
        Ok(triad)
    }

    /// Starts the model on a thread of its own, where it may block.
    ///
    /// # Errors
    /// [`TriadError::System`].
    pub fn on_threads(model: M, presenter: P, capacity: Capacity) -> Result<Self, TriadError> {
        let (triad, commands, writer) = Self::new(&model, presenter, capacity, true);
        spawn("mcpbus-model", move || {
            run_on_thread(model, commands, writer)
        })?;
        Ok(triad)
    }

    fn new(
        model: &M,
        presenter: P,
        capacity: Capacity,
        threads: bool,
    ) -> (Self, Receiver<M::Command>, LatestWriter<M::State>) {
        let (sender, receiver) = channel(capacity);
        let (writer, reader) = latest(model.state());
        let triad = Self {
            commands: sender,
            states: reader,
            presenter: Arc::new(presenter),
            threads,
        };
        (triad, receiver, writer)
    }

    /// What is to be shown now: the newest state, presented at once, whatever the model is doing.
    #[must_use]
    pub fn present(&self) -> P::ViewModel {
        self.presenter.present(&self.state())
    }

    /// The newest state.
    #[must_use]
    pub fn state(&self) -> M::State {
        self.states.clone().get()
    }

    /// The states as they come, for whoever wants to wait for one.
    #[must_use]
    pub fn states(&self) -> LatestReader<M::State> {
        self.states.clone()
    }

    /// Where commands go: bounded, so a model that does not keep up holds its controllers back.
    #[must_use]
    pub fn commands(&self) -> Sender<M::Command> {
        self.commands.clone()
    }

    /// Lets a controller handle one event; waits while the mailbox is full.
    ///
    /// # Errors
    /// [`SendError`], with the first command that was not sent: the model is gone.
    pub async fn control<C>(
        &self,
        controller: &mut C,
        event: C::Event,
    ) -> Result<(), SendError<M::Command>>
    where
        C: Controller<Command = M::Command>,
    {
        for command in controller.control(event) {
            self.commands.send(command).await?;
        }
        Ok(())
    }

    /// As [`Triad::control`], on a thread that may block.
    ///
    /// # Errors
    /// As [`Triad::control`].
    pub fn blocking_control<C>(
        &self,
        controller: &mut C,
        event: C::Event,
    ) -> Result<(), SendError<M::Command>>
    where
        C: Controller<Command = M::Command>,
    {
        for command in controller.control(event) {
            self.commands.blocking_send(command)?;
        }
        Ok(())
    }

    /// Attaches a view: it shows the present state, then the newest whenever it is ready for another, at last the last.
    /// It runs beside the model: as a task, or on a thread of its own.
    ///
    /// # Errors
    /// [`TriadError`].
    pub fn attach(&self, mut view: impl View<P::ViewModel>) -> Result<(), TriadError> {
        let mut states = self.states.clone();
        let presenter = Arc::clone(&self.presenter);
        if self.threads {
            return spawn("mcpbus-view", move || {
                view.render(presenter.present(&states.get()));
                while let Ok(state) = states.blocking_changed() {
                    view.render(presenter.present(&state));
                }
            });
        }
        let handle = tokio::runtime::Handle::try_current().map_err(|_| TriadError::NoRuntime)?;
        handle.spawn(async move {
            view.render(presenter.present(&states.get()));
            while let Ok(state) = states.changed().await {
                view.render(presenter.present(&state));
            }
        });
        Ok(())
    }
}

impl<M: Model, P: Presenter<M::State>> Clone for Triad<M, P> {
    fn clone(&self) -> Self {
        Self {
            commands: self.commands.clone(),
            states: self.states.clone(),
            presenter: Arc::clone(&self.presenter),
            threads: self.threads,
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), TriadError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map(drop)
        .map_err(TriadError::System)
}

async fn run_as_task<M: Model>(
    mut model: M,
    mut commands: Receiver<M::Command>,
    states: LatestWriter<M::State>,
) {
    let mut batch = Batch::new();
    while commands.recv_batch(&mut batch, MAX_BATCH).await.is_some() {
        apply(&mut model, &mut batch, &states);
    }
}

fn run_on_thread<M: Model>(
    mut model: M,
    mut commands: Receiver<M::Command>,
    states: LatestWriter<M::State>,
) {
    let mut batch = Batch::new();
    while commands
        .blocking_recv_batch(&mut batch, MAX_BATCH)
        .is_some()
    {
        apply(&mut model, &mut batch, &states);
    }
}

fn apply<M: Model>(model: &mut M, batch: &mut Batch<M::Command>, states: &LatestWriter<M::State>) {
    for envelope in batch.drain() {
        model.apply(envelope.body);
    }
    states.set(model.state());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc;

    use super::*;

    struct Counter {
        value: u64,
        gate: Option<mpsc::Receiver<()>>,
    }

    impl Model for Counter {
        type Command = u64;
        type State = u64;
        fn apply(&mut self, command: u64) {
            if let Some(gate) = &self.gate {
                // Stalls until the test lets it go on.
                let _ = gate.recv();
            }
            self.value += command;
        }
        fn state(&self) -> u64 {
            self.value
        }
    }

    struct Keys;

    impl Controller for Keys {
        type Event = char;
        type Command = u64;
        fn control(&mut self, event: char) -> Vec<u64> {
            event.to_digit(10).map(u64::from).into_iter().collect()
        }
    }

    #[test]
    fn a_model_that_stalls_leaves_the_presenter_answering() {
        let (open, gate) = mpsc::channel();
        let model = Counter {
            value: 41,
            gate: Some(gate),
        };
        let triad = Triad::on_threads(
            model,
            |state: &u64| format!("{state}"),
            Capacity::messages(2),
        )
        .unwrap();
        triad.blocking_control(&mut Keys, '1').unwrap();
        assert_eq!(triad.present(), "41");
        open.send(()).unwrap();
        assert_eq!(triad.states().blocking_changed().unwrap(), 42);
        assert_eq!(triad.present(), "42");
    }

    #[test]
    fn a_slow_view_gets_newer_states_only_and_the_last() {
        let triad = Triad::on_threads(
            Counter {
                value: 0,
                gate: None,
            },
            |state: &u64| *state,
            Capacity::messages(4),
        )
        .unwrap();
        let (shown, seen) = mpsc::sync_channel(0);
        // The channel has no room, so the view is as slow as the test.
        triad
            .attach(move |value: u64| {
                let _ = shown.send(value);
            })
            .unwrap();
        let commands = triad.commands();
        for _ in 0..100 {
            commands.blocking_send(1).unwrap();
        }
        drop((commands, triad));
        let seen: Vec<u64> = seen.iter().collect();
        assert!(seen.is_sorted(), "{seen:?}");
        assert_eq!(seen.last(), Some(&100));
    }

    #[tokio::test]
    async fn events_become_commands_on_tasks_too() {
        let triad = Triad::on_tasks(
            Counter {
                value: 0,
                gate: None,
            },
            |state: &u64| state * 10,
            Capacity::messages(4),
        )
        .unwrap();
        let mut states = triad.states();
        triad.control(&mut Keys, 'x').await.unwrap();
        triad.control(&mut Keys, '7').await.unwrap();
        assert_eq!(states.changed().await.unwrap(), 7);
        assert_eq!(triad.present(), 70);
    }
}
