//! The turn of a stage without inputs: produce, flush.

use std::task::Context;

use super::turn::{MAX_BATCH, Next, Turn, TurnEnvironment, flush, guarded};
use crate::channel::Waits;
use crate::message::Time;
use crate::stage::{Context as StageContext, Outputs, Progress, Source};

/// A source and its outputs.
pub(crate) struct SourceTurn<S: Source> {
    environment: TurnEnvironment,
    factory: Option<Box<dyn FnMut() -> S + Send>>,
    source: Option<S>,
    ports: S::Outputs,
    until: Option<Time>,
    ended: bool,
    emitted: u64,
}

impl<S: Source> SourceTurn<S> {
    pub(crate) fn new(
        environment: TurnEnvironment,
        source: Option<S>,
        factory: Option<Box<dyn FnMut() -> S + Send>>,
        ports: S::Outputs,
    ) -> Self {
        Self {
            environment,
            factory,
            source,
            ports,
            until: None,
            ended: false,
            emitted: 0,
        }
    }

    fn produce(&mut self, now: Time) -> Result<(), String> {
        let Self { source, ports, .. } = self;
        let mut settled = Vec::new();
        let mut until = None;
        let mut finished = false;
        let result = guarded(|| {
            let Some(source) = source else { return };
            // Ten batches of nothing are enough for one turn: commands must be heard.
            for _ in 0..10 * MAX_BATCH {
                if ports.is_full() {
                    return;
                }
                ports.mark();
                let mut context = StageContext::new(now, &mut settled);
                match source.produce(ports.view(None), &mut context) {
                    Progress::More => {}
                    Progress::Until(time) => {
                        until = Some(time);
                        return;
                    }
                    Progress::Finished => {
                        finished = true;
                        return;
                    }
                }
            }
        });
        self.until = until;
        self.ended |= finished;
        if result.is_err() {
            self.ports.rollback();
            self.source = None;
        }
        result
    }
}

impl<S: Source> Turn for SourceTurn<S> {
    fn turn(&mut self, now: Time, cx: &mut Context<'_>) -> Next {
        match flush(&mut self.ports, cx, &self.environment, &mut self.emitted) {
            Err(_) => {
                self.cancel();
                return Next::Cancelled;
            }
            Ok(false) => return Next::Wait { until: None },
            Ok(true) => {}
        }
        if self.ended {
            self.ports.each(&mut |outlet| {
                outlet.discard();
            });
            self.source = None;
            return Next::Finished;
        }
        if let Some(until) = self.until
            && until > now
        {
            return Next::Wait { until: Some(until) };
        }
        if self.source.is_none()
            && let Err(text) = self.rebuild()
        {
            return Next::Panicked(text);
        }
        match self.produce(now) {
            Ok(()) => Next::Again,
            Err(text) => Next::Panicked(text),
        }
    }

    fn rebuild(&mut self) -> Result<(), String> {
        match &mut self.factory {
            Some(factory) => {
                self.source = Some(guarded(factory)?);
                Ok(())
            }
            None => Err("this producer was given by value and cannot be built again".to_owned()),
        }
    }

    fn drain(&mut self) {
        self.ended = true;
        self.until = None;
    }

    fn finish_when_empty(&mut self) {}

    fn cancel(&mut self) {
        self.ports.each(&mut |outlet| {
            outlet.discard();
        });
        let source = self.source.take();
        let _ = guarded(move || drop(source));
        self.ended = true;
    }

    fn register<'a>(&'a self, waits: &mut Waits<'a>) {
        self.ports
            .each_filled_ref(&mut |outlet| outlet.register(waits));
    }

    fn totals(&self) -> (u64, u64) {
        (0, self.emitted)
    }
}
