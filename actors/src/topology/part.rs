//! Stages with their types, behind one face: what the builder keeps until the start.

use std::sync::Arc;

use super::shared::Closer;
use super::wiring::Wiring;
use crate::channel::Inlet;
use crate::message::Message;
use crate::runtime::{Control, Emitter, MergeTurn, SourceTurn, StageTurn, Turn, TurnEnvironment};
use crate::stage::{Merger, Outlet, Outputs, Source, Stage};
use crate::telemetry::EdgeTelemetry;

/// A stage that is ready to run.
pub(super) enum Runnable {
    /// Driven turn by turn.
    Turns(Box<dyn Turn>),
    /// Runs by itself on a thread.
    Blocking {
        run: Box<dyn FnOnce() + Send>,
        close: Closer,
    },
}

/// A stage of the builder. First all parts open their inboxes, then all connect their outputs.
pub(super) trait Part: Send {
    fn open(&mut self, wiring: &mut Wiring<'_>);
    fn connect(
        self: Box<Self>,
        wiring: &mut Wiring<'_>,
        environment: TurnEnvironment,
        control: &Arc<Control>,
    ) -> Runnable;
}

pub(super) struct StagePart<S: Stage> {
    factory: Box<dyn FnMut() -> S + Send>,
    inlet: Option<(Inlet<S::Input>, Vec<EdgeTelemetry>)>,
}

impl<S: Stage> StagePart<S> {
    pub(super) fn new(factory: impl FnMut() -> S + Send + 'static) -> Self {
        Self {
            factory: Box::new(factory),
            inlet: None,
        }
    }
}

impl<S: Stage> Part for StagePart<S> {
    fn open(&mut self, wiring: &mut Wiring<'_>) {
        self.inlet = Some(wiring.inlet());
    }

    fn connect(
        mut self: Box<Self>,
        wiring: &mut Wiring<'_>,
        environment: TurnEnvironment,
        _: &Arc<Control>,
    ) -> Runnable {
        let (inlet, telemetry) = match self.inlet.take() {
            Some(inlet) => inlet,
            None => wiring.inlet(),
        };
        let ports = S::Outputs::connect(wiring);
        Runnable::Turns(Box::new(StageTurn::new(
            environment,
            self.factory,
            inlet,
            ports,
            telemetry,
        )))
    }
}

pub(super) struct MergePart<S: Merger> {
    merger: S,
    inlet: Option<(Inlet<S::Input>, Vec<EdgeTelemetry>)>,
}

impl<S: Merger> MergePart<S> {
    pub(super) fn new(merger: S) -> Self {
        Self {
            merger,
            inlet: None,
        }
    }
}

impl<S: Merger> Part for MergePart<S> {
    fn open(&mut self, wiring: &mut Wiring<'_>) {
        self.inlet = Some(wiring.inlet());
    }

    fn connect(
        mut self: Box<Self>,
        wiring: &mut Wiring<'_>,
        environment: TurnEnvironment,
        _: &Arc<Control>,
    ) -> Runnable {
        let (inlet, telemetry) = match self.inlet.take() {
            Some(inlet) => inlet,
            None => wiring.inlet(),
        };
        let port = Outlet::connect(wiring);
        let merger = self.merger;
        Runnable::Turns(Box::new(MergeTurn::new(
            environment,
            merger,
            inlet,
            port,
            telemetry,
        )))
    }
}

pub(super) struct SourcePart<S: Source> {
    first: Option<S>,
    factory: Option<Box<dyn FnMut() -> S + Send>>,
}

impl<S: Source> SourcePart<S> {
    /// A source that exists already and cannot be built again.
    pub(super) fn once(source: S) -> Self {
        Self {
            first: Some(source),
            factory: None,
        }
    }

    pub(super) fn built(factory: impl FnMut() -> S + Send + 'static) -> Self {
        Self {
            first: None,
            factory: Some(Box::new(factory)),
        }
    }
}

impl<S: Source> Part for SourcePart<S> {
    fn open(&mut self, _: &mut Wiring<'_>) {}

    fn connect(
        self: Box<Self>,
        wiring: &mut Wiring<'_>,
        environment: TurnEnvironment,
        control: &Arc<Control>,
    ) -> Runnable {
        if self.factory.is_none() {
            control.set_unrestartable();
        }
        let ports = S::Outputs::connect(wiring);
        Runnable::Turns(Box::new(SourceTurn::new(
            environment,
            self.first,
            self.factory,
            ports,
        )))
    }
}

pub(super) struct BlockingPart<O: Message> {
    run: Box<dyn FnOnce(Emitter<O>) + Send>,
}

impl<O: Message> BlockingPart<O> {
    pub(super) fn new(run: impl FnOnce(Emitter<O>) + Send + 'static) -> Self {
        Self { run: Box::new(run) }
    }
}

impl<O: Message> Part for BlockingPart<O> {
    fn open(&mut self, _: &mut Wiring<'_>) {}

    fn connect(
        self: Box<Self>,
        wiring: &mut Wiring<'_>,
        _: TurnEnvironment,
        control: &Arc<Control>,
    ) -> Runnable {
        control.set_unrestartable();
        let producer = u32::try_from(wiring.stage_index())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        let (sender, accepted) = wiring.sender::<O>();
        let (emitter, link) = Emitter::new(sender, accepted, producer, Arc::clone(control));
        let run = self.run;
        Runnable::Blocking {
            run: Box::new(move || run(emitter)),
            close: Arc::new(move || link.close()),
        }
    }
}
