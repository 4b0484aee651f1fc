//! Carries decisions out with actix: one actor per running topology.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::{Actor, Addr, ArbiterHandle, AsyncContext, Handler, Message as ActixMessage, System};

use super::{Decision, RestartPolicy, Supervision};
use crate::message::Time;

/// What a supervisor sees of a running topology, and what it may do to it. Nothing here may block.
pub(crate) trait Supervised: Send + Sync + 'static {
    fn now(&self) -> Time;
    fn policy(&self) -> RestartPolicy;
    fn stage_count(&self) -> usize;
    /// Stages that panicked since the last call, with whether they can be built anew.
    fn take_panicked(&self) -> Vec<(usize, bool)>;
    fn restart(&self, stage: usize);
    fn escalate(&self, stage: usize);
    /// Reports stages that do not come back, ends cycles that are quiet.
    fn look_around(&self);
    fn look_interval(&self) -> Duration;
    fn is_over(&self) -> bool;
}

struct Supervisor {
    run: Arc<dyn Supervised>,
    supervision: Supervision,
}

impl Supervisor {
    fn look(&mut self, context: &mut actix::Context<Self>) {
        use actix::ActorContext;
        for (stage, restartable) in self.run.take_panicked() {
            let now = self.run.now();
            let decision = if restartable {
                self.supervision.panicked(stage, now)
            } else {
                Decision::Escalate
            };
            match decision {
                Decision::Escalate => self.run.escalate(stage),
                Decision::RestartAt(time) => {
                    let pause = time.saturating_since(now);
                    if pause.is_zero() {
                        self.run.restart(stage);
                    } else {
                        context.run_later(pause, move |actor, _| actor.run.restart(stage));
                    }
                }
            }
        }
        if self.run.is_over() {
            context.stop();
        }
    }
}

impl Actor for Supervisor {
    type Context = actix::Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        // Something may have happened before the actor had an address.
        self.look(context);
        context.run_interval(self.run.look_interval(), |actor, context| {
            actor.run.look_around();
            actor.look(context);
        });
    }
}

struct Look;

impl ActixMessage for Look {
    type Result = ();
}

impl Handler<Look> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Look, context: &mut Self::Context) {
        self.look(context);
    }
}

/// Tells the supervisor that there is something to look at.
pub(crate) struct Nudge {
    address: Arc<OnceLock<Addr<Supervisor>>>,
}

impl Nudge {
    pub(crate) fn nudge(&self) {
        if let Some(address) = self.address.get() {
            // Full means that a look is due already, closed that the run is over: both are fine.
            let _ = address.try_send(Look);
        }
    }
}

/// The arbiter of the system that runs all supervisors of this process: its own thread, started at first need.
fn arbiter() -> Option<&'static ArbiterHandle> {
    static ARBITER: OnceLock<Option<ArbiterHandle>> = OnceLock::new();
    ARBITER
        .get_or_init(|| {
            let (sender, receiver) = std::sync::mpsc::sync_channel(1);
            std::thread::Builder::new()
                .name("mcpbus-supervisor".to_owned())
                .spawn(move || {
                    let system = System::new();
                    let arbiter = system.block_on(async { System::current().arbiter().clone() });
                    // The receiver waits for exactly this.
                    let _ = sender.send(arbiter);
                    if let Err(error) = system.run() {
                        tracing::error!(%error, "the supervisor system ended");
                    }
                })
                .ok()?;
            receiver.recv().ok()
        })
        .as_ref()
}

/// Starts the supervision of a run; `None` when the system's thread could not be started.
pub(crate) fn supervise(run: Arc<dyn Supervised>) -> Option<Nudge> {
    let address = Arc::new(OnceLock::new());
    let nudge = Nudge {
        address: Arc::clone(&address),
    };
    let supervision = Supervision::new(run.policy(), run.stage_count());
    let started = arbiter()?.spawn_fn(move || {
        // Set once, here.
        let _ = address.set(Supervisor { run, supervision }.start());
    });
    started.then_some(nudge)
}
