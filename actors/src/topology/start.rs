//! Starting a topology, whole or in part.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, OnceLock};

use super::builder::Topology;
use super::check::{self, CheckError, Cycle};
use super::part::Runnable;
use super::plan::{End, Placement, Plan};
use super::report::Report;
use super::running::{RunError, Running};
use super::settings::Settings;
use super::shared::{EdgeEntry, Shared};
use super::wiring::{Boundary, Wiring};
use crate::channel::latest;
use crate::runtime::{
    BlockingRun, Control, Driver, DriverEvents, Group, TurnEnvironment, run_on_thread, task,
};
use crate::stage::DeadLetters;
use crate::supervisor::{Supervised, supervise};

/// Why a topology did not start. Nothing of it runs.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// Something is wrong with it.
    Check(CheckError),
    /// Tasks need a tokio runtime: start it inside one, or choose another placement.
    NoRuntime,
    /// The system did not give a thread or a runtime.
    System(io::Error),
    /// It started, but ended with an error. Only from `run` and `run_blocking`.
    Run(RunError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check(error) => write!(f, "the topology was not started: {error}"),
            Self::NoRuntime => f.write_str(
                "the topology was not started: its stages are tasks, and there is no tokio runtime here; start it \
                 inside one, use `run_blocking`, or place it on threads",
            ),
            Self::System(error) => write!(f, "the topology was not started: no thread to run on: {error}"),
            Self::Run(error) => error.fmt(f),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Check(error) => Some(error),
            Self::System(error) => Some(error),
            Self::Run(error) => Some(error),
            Self::NoRuntime => None,
        }
    }
}

impl From<CheckError> for StartError {
    fn from(error: CheckError) -> Self {
        Self::Check(error)
    }
}

impl From<RunError> for StartError {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

impl Topology {
    /// Starts all stages. Open ports are taken from the handle.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub fn start(self) -> Result<Running, StartError> {
        let (mut running, boundaries) = self.start_part(|_| true)?;
        running.open = boundaries;
        Ok(running)
    }

    /// Starts, and waits until everything has been handled.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn run(self) -> Result<Report, StartError> {
        Ok(self.start()?.wait().await?)
    }

    /// Starts, and waits on this thread, which may block. Tasks get a runtime of their own if there is none here.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn run_blocking(self) -> Result<Report, StartError> {
        if self.settings.placement == Placement::Tasks
            && tokio::runtime::Handle::try_current().is_err()
        {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_time()
                .build()
                .map_err(StartError::System)?;
            let mut running = {
                let _inside = runtime.enter();
                self.start()?
            };
            return Ok(running.wait_blocking()?);
        }
        Ok(self.start()?.wait_blocking()?)
    }

    /// Starts the stages that `include` names, and gives out every edge that leads to others and every open port of
    /// theirs: where messages go out its end is a `Receiver<M>`, where they come in a `Sender<M>`. A stage is included
    /// by exactly one part; then the ledgers of the parts merge to the ledger of the whole. What waits at an outgoing boundary
    /// is held by the part that sends it, also after its stages are over: read the ledger when it has been carried away.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub fn start_part(
        self,
        include: impl Fn(&str) -> bool,
    ) -> Result<(Running, Vec<Boundary>), StartError> {
        let plan = self.check()?;
        let included: Vec<bool> = plan
            .stages
            .iter()
            .map(|stage| include(&stage.name))
            .collect();
        let Self {
            stages, settings, ..
        } = self;
        let on_thread: Vec<bool> = plan
            .stages
            .iter()
            .map(|stage| stage.on_thread || settings.placement == Placement::Threads)
            .collect();
        let tasks = (0..plan.stages.len()).any(|stage| included[stage] && !on_thread[stage]);
        let handle = match (settings.placement, tasks) {
            (Placement::Tasks, true) => {
                Some(tokio::runtime::Handle::try_current().map_err(|_| StartError::NoRuntime)?)
            }
            _ => None,
        };

        let dead_letters = DeadLetters::new(settings.dead_letters, settings.hook.clone());
        let mut wiring = Wiring::new(&plan, &included, &on_thread);
        let mut parts: Vec<_> = stages.into_iter().map(|draft| draft.part).collect();
        for (stage, part) in parts
            .iter_mut()
            .enumerate()
            .filter(|(stage, _)| included[*stage])
        {
            wiring.begin(stage);
            part.open(&mut wiring);
        }
        let mut runnables = Vec::new();
        let mut controls = Vec::new();
        // Stages of this part get numbers of their own, from 0.
        let mut number = vec![usize::MAX; plan.stages.len()];
        let groups = plan.groups_of(|stage| included[stage]);
        for (stage, part) in parts
            .into_iter()
            .enumerate()
            .filter(|(stage, _)| included[*stage])
        {
            let name: Arc<str> = Arc::from(plan.stages[stage].name.as_str());
            let control = Control::new(Arc::clone(&name));
            let environment = TurnEnvironment {
                stage: name,
                dead_letters: dead_letters.clone(),
                max_deliver: settings.max_deliver,
            };
            wiring.begin(stage);
            let runnable = part.connect(&mut wiring, environment, &control);
            number[stage] = controls.len();
            runnables.push((runnable, on_thread[stage]));
            controls.push(control);
        }
        wiring.close();
        let Wiring {
            probes, boundaries, ..
        } = wiring;
        let (edges, cycles) = edges_of(&plan, probes, &number);

        let (over, over_reader) = latest(controls.is_empty());
        let started = settings.clock.now();
        let shared = Arc::new(Shared {
            name: plan.name.clone(),
            remaining: AtomicUsize::new(controls.len()),
            controls,
            edges,
            cycles,
            closers: Mutex::default(),
            clock: Arc::clone(&settings.clock),
            started,
            policy: settings.policy,
            stuck_after: settings.stuck_after,
            dead_letters,
            over,
            escalated: Mutex::new(None),
            panicked: Mutex::default(),
            nudge: OnceLock::new(),
            last_report: Mutex::new((started, Vec::new())),
            quiet: Mutex::default(),
            reported_stuck: Mutex::default(),
        });
        let running = Running {
            shared: Arc::clone(&shared),
            over: over_reader,
            open: Vec::new(),
        };
        let Some(nudge) = supervise(Arc::clone(&shared) as Arc<dyn Supervised>) else {
            return Err(StartError::System(io::Error::other(
                "the supervisor's thread could not be started",
            )));
        };
        // The slot is new, so it is empty.
        let _ = shared.nudge.set(nudge);
        let groups = groups.iter().map(|group| {
            let stages = group.iter().map(|stage| number[*stage]);
            stages.collect::<Vec<_>>()
        });
        launch(&shared, runnables, groups.collect(), &settings, handle)?;
        Ok((running, boundaries))
    }
}

/// The edges of this part for the ledger, and its cycles, both in the part's own numbers.
fn edges_of(
    plan: &Plan,
    probes: Vec<Option<(crate::channel::Probe, super::wiring::Share)>>,
    number: &[usize],
) -> (Vec<EdgeEntry>, Vec<Cycle>) {
    let mut position = vec![usize::MAX; plan.edges.len()];
    let mut edges = Vec::new();
    for (index, probe) in probes.into_iter().enumerate() {
        if let Some((probe, share)) = probe {
            position[index] = edges.len();
            let edge = &plan.edges[index];
            edges.push(EdgeEntry {
                name: edge.name.clone(),
                probe,
                share,
                open_input: matches!(edge.from, End::Open(_)),
            });
        }
    }
    let mut cycles = check::cycles(plan);
    // A cycle that is spread over parts cannot be seen to be quiet from one of them.
    cycles.retain(|cycle| {
        cycle
            .stages
            .iter()
            .all(|stage| number[*stage] != usize::MAX)
    });
    for cycle in &mut cycles {
        for stage in &mut cycle.stages {
            *stage = number[*stage];
        }
        for edge in cycle.inside.iter_mut().chain(&mut cycle.entering) {
            *edge = position[*edge];
        }
    }
    (edges, cycles)
}

/// Puts each stage where it runs.
fn launch(
    shared: &Arc<Shared>,
    runnables: Vec<(Runnable, bool)>,
    groups: Vec<Vec<usize>>,
    settings: &Settings,
    handle: Option<tokio::runtime::Handle>,
) -> Result<(), StartError> {
    let events = || Arc::clone(shared) as Arc<dyn DriverEvents>;
    let mut threads: Vec<(String, Box<dyn FnOnce() + Send>)> = Vec::new();
    let mut drivers: Vec<Option<Driver>> = Vec::new();
    for (index, (runnable, on_thread)) in runnables.into_iter().enumerate() {
        let control = Arc::clone(&shared.controls[index]);
        let name = format!("mcpbus-{}", control.name);
        drivers.push(None);
        match runnable {
            Runnable::Blocking { run, close } => {
                shared
                    .closers
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .push((index, Arc::clone(&close)));
                let run = BlockingRun {
                    index,
                    run,
                    close,
                    control,
                    events: events(),
                };
                threads.push((name, Box::new(move || run.run())));
            }
            Runnable::Turns(turn) => {
                let driver =
                    Driver::new(index, turn, control, Arc::clone(&settings.clock), events());
                if on_thread {
                    let group = Group::from(vec![driver]);
                    threads.push((name, Box::new(move || run_on_thread(group))));
                } else {
                    drivers[index] = Some(driver);
                }
            }
        }
    }
    let mut together = Vec::new();
    for group in groups {
        let members = group.into_iter().filter_map(|index| drivers[index].take());
        let members: Vec<Driver> = members.collect();
        if !members.is_empty() {
            together.push(Group::from(members));
        }
    }
    match handle {
        Some(handle) => {
            for group in together {
                handle.spawn(task(group));
            }
        }
        None if together.is_empty() => {}
        None => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .map_err(StartError::System)?;
            threads.push((
                format!("mcpbus-{}", shared.name),
                Box::new(move || {
                    let tasks: Vec<_> = together
                        .into_iter()
                        .map(|group| runtime.spawn(task(group)))
                        .collect();
                    runtime.block_on(async {
                        for task in tasks {
                            // A driver catches panics of its stage; one of its own has been counted by its drop.
                            let _ = task.await;
                        }
                    });
                }),
            ));
        }
    }
    for (name, run) in threads {
        // Drivers that are not started are dropped, which counts what they hold; the caller's handle stops the others.
        std::thread::Builder::new()
            .name(name)
            .spawn(run)
            .map_err(StartError::System)?;
    }
    Ok(())
}
