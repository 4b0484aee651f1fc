//! Worker pools: several workers for one stage.

use std::marker::PhantomData;

use super::builder::Topology;
use super::plan::Role;
use super::port::IntoPorts;
use crate::channel::Capacity;
use crate::message::Message;
use crate::stage::{
    DispatchStage, OrderedWorkerStage, Outputs, Port, Processor, RouterStage, Sequence, Stage,
    WorkerStage, by_key,
};

/// In which order the outputs of a pool come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PoolOrder {
    /// As workers are done. Each message goes to the first worker that has room, so none is idle while there is work.
    #[default]
    Unordered,
    /// As their inputs came. Each message goes to the first worker that has room; what is done before its turn waits in the
    /// edge behind its worker, which goes on until that is full.
    Ordered,
    /// As their inputs came, for each key. A key always has the same worker, so other keys of that worker wait while it is
    /// busy; messages without a key have the first worker.
    ByKey,
}

/// The workers of a pool: how many, in which order their outputs come, how much waits for each.
///
/// ```
/// use mcpbus_actors::stage::Out;
/// use mcpbus_actors::topology::{Topology, Workers};
///
/// let mut t = Topology::new("lookup");
/// let names = t.produce_iter("names", ["a", "b", "c"].map(str::to_owned));
/// let found = t.pool("lookup", names, Workers::new(4), |name: &String, out: &mut Out<'_, u64>| {
///     // Here a worker may block: a request, a file, a long computation.
///     out.emit(name.len() as u64);
/// });
/// let sum = t.aggregate("sum", found, 0u64, |sum, n: &u64| *sum += n);
/// t.consume("print", sum, |sum: &u64| assert_eq!(*sum, 3));
/// assert_eq!(t.run_blocking()?.ledger.residual(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Workers {
    count: usize,
    order: PoolOrder,
    queue: usize,
    ahead: Option<usize>,
    threads: bool,
}

impl Workers {
    /// So many workers (at least 1), each on a thread of its own, their outputs as they are done.
    pub const fn new(count: usize) -> Self {
        Self {
            count: if count == 0 { 1 } else { count },
            order: PoolOrder::Unordered,
            queue: 1,
            ahead: None,
            threads: true,
        }
    }

    /// The order of outputs; [`PoolOrder::Unordered`] if nothing is said.
    pub const fn order(mut self, order: PoolOrder) -> Self {
        self.order = order;
        self
    }

    /// How many messages wait for each worker beside the one it works on (at least 1); 1 if nothing is said. What waits for
    /// one worker is not given to another, so a pool with short queues shares its work better, and one with long ones hands
    /// it out more cheaply.
    pub const fn queue(mut self, messages: usize) -> Self {
        self.queue = if messages == 0 { 1 } else { messages };
        self
    }

    /// How many outputs of each worker may wait (at least 1), in an ordered pool for those before them; as many as other
    /// edges hold if nothing is said.
    pub const fn ahead(mut self, messages: usize) -> Self {
        self.ahead = Some(messages);
        self
    }

    /// The order that was asked for.
    #[must_use]
    pub const fn order_of_outputs(&self) -> PoolOrder {
        self.order
    }

    /// Workers run where the topology's placement says, and not on threads of their own: for work that computes and never
    /// blocks.
    pub const fn without_threads(mut self) -> Self {
        self.threads = false;
        self
    }
}

impl Topology {
    /// Adds a processor with several workers, each a clone of `processor`; another clone takes its place after a panic.
    ///
    /// In plans and reports it is one stage that hands out, `name.dispatch`, the workers `name.1`, `name.2` and so on, and one
    /// that puts their outputs together, `name`. In an ordered pool messages get a new identity when they are handed out: their
    /// sequence is their number in the pool. A message that fails, expires or panics at a worker ends there, as at any
    /// stage, and the other workers go on.
    pub fn pool<I, O, P>(
        &mut self,
        name: &str,
        from: impl IntoPorts<I>,
        workers: Workers,
        processor: P,
    ) -> Port<O>
    where
        I: Message,
        O: Message,
        P: Processor<I, O> + Clone,
    {
        self.pool_with(name, from, workers, move |_| processor.clone())
    }

    /// As [`Topology::pool`], with processors that `factory` builds, at the start and again after a panic; it is told the
    /// worker's number, from 0.
    pub fn pool_with<I, O, P, F>(
        &mut self,
        name: &str,
        from: impl IntoPorts<I>,
        workers: Workers,
        factory: F,
    ) -> Port<O>
    where
        I: Message,
        O: Message,
        P: Processor<I, O>,
        F: FnMut(usize) -> P + Clone + Send + 'static,
    {
        let dispatch = format!("{name}.dispatch");
        let ordered = workers.order == PoolOrder::Ordered;
        let ways = match workers.order {
            PoolOrder::Unordered | PoolOrder::Ordered => {
                let stage = move || DispatchStage::new(ordered);
                self.add(&dispatch, Role::Router, from, workers.count, stage)
            }
            PoolOrder::ByKey => self.route_to(&dispatch, from, workers.count, by_key()),
        };
        if ordered {
            let done = self.workers(name, ways, workers, factory, OrderedWorkerStage::new);
            return self.add_merge(name, done, Sequence::new(workers.count));
        }
        let done = self.workers(name, ways, workers, factory, WorkerStage::new);
        self.join(name, done)
    }

    /// The workers, and the ports of what they give.
    fn workers<I, T, P, F, S>(
        &mut self,
        name: &str,
        ways: Vec<Port<I>>,
        workers: Workers,
        factory: F,
        stage: fn(P) -> S,
    ) -> Vec<Port<T>>
    where
        I: Message,
        T: Message,
        P: 'static,
        F: FnMut(usize) -> P + Clone + Send + 'static,
        S: Stage<Input = I>,
        S::Outputs: Outputs<Ports = Port<T>>,
    {
        let mut done = Vec::with_capacity(ways.len());
        for (number, way) in ways.into_iter().enumerate() {
            let worker = format!("{name}.{}", number + 1);
            let way = way.capacity(Capacity::messages(workers.queue));
            let mut factory = factory.clone();
            let mut port = self.add(&worker, Role::Processor, way, 1, move || {
                stage(factory(number))
            });
            if let Some(ahead) = workers.ahead {
                port = port.capacity(Capacity::messages(ahead));
            }
            done.push(port);
            if workers.threads {
                self.on_thread(&worker);
            }
        }
        done
    }

    /// Several outputs as one, as they come.
    fn join<O: Message>(&mut self, name: &str, ports: Vec<Port<O>>) -> Port<O> {
        let first = self.edges.len();
        let _ = self.add(name, Role::Router, ports, 1, || {
            RouterStage(|_: &O| 0_usize, PhantomData)
        });
        Port::new(self.id, first)
    }
}
