//! The builder: each method adds a stage and gives the ports of its outputs.

use std::any::TypeId;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use super::check::CheckError;
use super::part::{BlockingPart, Part, SourcePart, StagePart};
use super::plan::{End, Role, StagePlan};
use super::port::{Feedback, IntoPorts, Ports};
use super::settings::Settings;
use super::wiring::Declare;
use crate::channel::{Capacity, Overflow};
use crate::message::{Header, Kind, Message};
use crate::runtime::Emitter;
use crate::stage::{
    Aggregator, AggregatorStage, BroadcastStage, Consumer, ConsumerStage, Fold, Outlet, Outputs,
    Port, Processor, ProcessorStage, Producer, ProducerSource, Router, RouterStage, Source, Stage,
    fold, from_iterator,
};

pub(super) struct EdgeDraft {
    pub(super) name: Option<String>,
    pub(super) from: End,
    pub(super) to: End,
    pub(super) capacity: Option<Capacity>,
    pub(super) overflow: Overflow,
    pub(super) kind: Kind,
    pub(super) type_id: TypeId,
    pub(super) message_bytes: usize,
    pub(super) feedback: Option<String>,
    pub(super) removed: bool,
    /// Its port asks that both ends share a task.
    pub(super) fused: bool,
}

pub(super) struct StageDraft {
    pub(super) plan: StagePlan,
    pub(super) part: Box<dyn Part>,
}

/// A topology being built.
///
/// ```
/// use mcpbus_actors::topology::{Placement, Topology};
/// use mcpbus_actors::stage::Out;
///
/// let mut t = Topology::new("hello");
/// let numbers = t.produce_iter("numbers", 1..=10u64);
/// let [even, odd] = t.route("parity", numbers, |n: &u64| (n % 2) as usize);
/// let double = t.process("double", even, |n: &u64, out: &mut Out<'_, u64>| out.emit(n * 2));
/// let triple = t.process("triple", odd, |n: &u64, out: &mut Out<'_, u64>| out.emit(n * 3));
/// let sum = t.aggregate("sum", [double, triple], 0u64, |sum, n: &u64| *sum += n);
/// t.consume("print", sum, |sum: &u64| assert_eq!(*sum, 60 + 75));
/// t.placement(Placement::OneThread);
/// let report = t.run_blocking()?;
/// assert_eq!(report.ledger.residual(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a topology does nothing until it is started"]
pub struct Topology {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) stages: Vec<StageDraft>,
    pub(super) edges: Vec<EdgeDraft>,
    pub(super) settings: Settings,
    pub(super) faults: Vec<CheckError>,
}

impl Topology {
    /// An empty topology.
    pub fn new(name: impl Into<String>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            name: name.into(),
            stages: Vec::new(),
            edges: Vec::new(),
            settings: Settings::default(),
            faults: Vec::new(),
        }
    }

    // ---- producers

    /// Adds a producer. Given by value it cannot be built again: when it panics the topology stops with an error.
    pub fn produce<O: Message>(&mut self, name: &str, producer: impl Producer<O>) -> Port<O> {
        self.add_source(
            name,
            Role::Producer,
            SourcePart::once(ProducerSource(producer, PhantomData)),
        )
    }

    /// Adds a producer that `factory` builds, at the start and again after a panic.
    pub fn produce_with<O, P, F>(&mut self, name: &str, mut factory: F) -> Port<O>
    where
        O: Message,
        P: Producer<O>,
        F: FnMut() -> P + Send + 'static,
    {
        self.add_source(
            name,
            Role::Producer,
            SourcePart::built(move || ProducerSource(factory(), PhantomData)),
        )
    }

    /// Adds a producer that gives the items of an iterator which has them ready: it is asked for several hundred before they
    /// are sent. One that waits for its items belongs into [`Topology::produce_blocking`].
    pub fn produce_iter<O, I>(&mut self, name: &str, items: I) -> Port<O>
    where
        O: Message,
        I: IntoIterator<Item = O>,
        I::IntoIter: Send + 'static,
    {
        self.produce(name, from_iterator(items))
    }

    /// Adds a producer that may block, on a thread of its own in every placement: for files, standard input, foreign
    /// queues. It should return when the emitter says [`Stopped`](crate::runtime::Stopped); draining does not wait for
    /// one that blocks elsewhere.
    pub fn produce_blocking<O, F>(&mut self, name: &str, producer: F) -> Port<O>
    where
        O: Message,
        F: FnOnce(Emitter<O>) + Send + 'static,
    {
        self.add_source(name, Role::BlockingProducer, BlockingPart::new(producer))
    }

    /// Adds a source written against the contract.
    pub fn source<S: Source>(
        &mut self,
        name: &str,
        ways: usize,
        factory: impl FnMut() -> S + Send + 'static,
    ) -> <S::Outputs as Outputs>::Ports {
        let stage = self.add_stage(
            name,
            Role::Producer,
            Vec::new(),
            Box::new(SourcePart::built(factory)),
        );
        S::Outputs::declare(&mut Declare::new(self, stage), ways)
    }

    // ---- stages

    /// Adds a processor: a closure over `&I` and the output, or any [`Processor`]. A clone of it takes its place after a
    /// panic.
    pub fn process<I, O, P>(&mut self, name: &str, from: impl IntoPorts<I>, processor: P) -> Port<O>
    where
        I: Message,
        O: Message,
        P: Processor<I, O> + Clone,
    {
        self.process_with(name, from, move || processor.clone())
    }

    /// Adds a processor that `factory` builds, at the start and again after a panic.
    pub fn process_with<I, O, P, F>(
        &mut self,
        name: &str,
        from: impl IntoPorts<I>,
        mut factory: F,
    ) -> Port<O>
    where
        I: Message,
        O: Message,
        P: Processor<I, O>,
        F: FnMut() -> P + Send + 'static,
    {
        self.add(name, Role::Processor, from, 1, move || {
            ProcessorStage(factory(), PhantomData)
        })
    }

    /// Adds a router with `N` ways (from the pattern it is assigned to): a closure over `&I` that gives the way's number,
    /// [`by_key`](crate::stage::by_key), [`round_robin`](crate::stage::round_robin), or any [`Router`].
    pub fn route<I, R, const N: usize>(
        &mut self,
        name: &str,
        from: impl IntoPorts<I>,
        router: R,
    ) -> [Port<I>; N]
    where
        I: Message,
        R: Router<I> + Clone,
    {
        let first = self.edges.len();
        let _ = self.route_to(name, from, N, router);
        // The ways were declared one after another, just now.
        std::array::from_fn(|way| Port::new(self.id, first + way))
    }

    /// As [`Topology::route`], with a number of ways known only at run time.
    pub fn route_to<I, R>(
        &mut self,
        name: &str,
        from: impl IntoPorts<I>,
        ways: usize,
        router: R,
    ) -> Vec<Port<I>>
    where
        I: Message,
        R: Router<I> + Clone,
    {
        self.add(name, Role::Router, from, ways, move || {
            RouterStage(router.clone(), PhantomData)
        })
    }

    /// Adds a stage that copies each message to `N` ways (from the pattern it is assigned to). Use an `Arc` body where a
    /// clone is dear.
    pub fn broadcast<I, const N: usize>(
        &mut self,
        name: &str,
        from: impl IntoPorts<I>,
    ) -> [Port<I>; N]
    where
        I: Message + Clone,
    {
        let first = self.edges.len();
        let _ = self.broadcast_to(name, from, N);
        std::array::from_fn(|way| Port::new(self.id, first + way))
    }

    /// As [`Topology::broadcast`], with a number of ways known only at run time.
    pub fn broadcast_to<I: Message + Clone>(
        &mut self,
        name: &str,
        from: impl IntoPorts<I>,
        ways: usize,
    ) -> Vec<Port<I>> {
        self.add(name, Role::Broadcast, from, ways, || {
            BroadcastStage(PhantomData::<fn(I)>)
        })
    }

    /// Adds an aggregator that folds everything into `state` and emits it at the end.
    pub fn aggregate<I, S, F>(
        &mut self,
        name: &str,
        from: impl IntoPorts<I>,
        state: S,
        add: F,
    ) -> Port<S>
    where
        I: Message,
        S: Message + Clone,
        F: FnMut(&mut S, &I) + Clone + Send + 'static,
    {
        self.add(name, Role::Aggregator, from, 1, move || {
            AggregatorStage::<Fold<S, F>, I, S>(fold(state.clone(), add.clone()), PhantomData)
        })
    }

    /// Adds an aggregator that `factory` builds, at the start and again after a panic.
    pub fn aggregate_with<I, O, A, F>(
        &mut self,
        name: &str,
        from: impl IntoPorts<I>,
        mut factory: F,
    ) -> Port<O>
    where
        I: Message,
        O: Message,
        A: Aggregator<I, O>,
        F: FnMut() -> A + Send + 'static,
    {
        self.add(name, Role::Aggregator, from, 1, move || {
            AggregatorStage(factory(), PhantomData)
        })
    }

    /// Adds a consumer: a closure over `&I`, or any [`Consumer`]. A clone of it takes its place after a panic.
    pub fn consume<I, C>(&mut self, name: &str, from: impl IntoPorts<I>, consumer: C)
    where
        I: Message,
        C: Consumer<I> + Clone,
    {
        self.consume_with(name, from, move || consumer.clone());
    }

    /// Adds a consumer that `factory` builds, at the start and again after a panic.
    pub fn consume_with<I, C, F>(&mut self, name: &str, from: impl IntoPorts<I>, mut factory: F)
    where
        I: Message,
        C: Consumer<I>,
        F: FnMut() -> C + Send + 'static,
    {
        self.add(name, Role::Consumer, from, 1, move || {
            ConsumerStage(factory(), PhantomData)
        });
    }

    /// Adds a stage written against the contract. `ways` is the number of ways where its outputs are
    /// [`Ways`](crate::stage::Ways), and ignored otherwise.
    pub fn stage<S: Stage>(
        &mut self,
        name: &str,
        from: impl IntoPorts<S::Input>,
        ways: usize,
        factory: impl FnMut() -> S + Send + 'static,
    ) -> <S::Outputs as Outputs>::Ports {
        self.add(name, Role::Stage, from, ways, factory)
    }

    // ---- ports

    /// Several outputs of one type as one input. Each keeps its own edge, bound and order.
    pub fn merge<I: Message>(&self, ports: impl IntoIterator<Item = Port<I>>) -> Ports<I> {
        Ports(ports.into_iter().collect())
    }

    /// An open input: messages come from outside of the topology.
    pub fn input<M: Message>(&mut self, name: &str) -> Port<M> {
        let edge = self.add_edge::<M>(End::Open(name.to_owned()));
        self.edges[edge].name = Some(name.to_owned());
        Port::new(self.id, edge)
    }

    /// An open output: messages are taken by someone outside of the topology.
    pub fn output<M: Message>(&mut self, name: &str, port: Port<M>) {
        if let Some(edge) = self.connect(name, port, End::Open(name.to_owned())) {
            self.edges[edge].name = Some(name.to_owned());
        }
    }

    /// Begins a loop: the port can be used before its source exists. Close it with [`Topology::close_loop`].
    pub fn feedback<M: Message>(&mut self, name: &str) -> (Feedback<M>, Port<M>) {
        let edge = self.add_edge::<M>(End::Loose);
        self.edges[edge].feedback = Some(name.to_owned());
        (
            Feedback {
                topology: self.id,
                edge,
                message: PhantomData,
            },
            Port::new(self.id, edge),
        )
    }

    /// Closes a loop: what comes from `port` goes to where the loop began.
    pub fn close_loop<M: Message>(&mut self, feedback: Feedback<M>, port: Port<M>) {
        if feedback.topology != self.id || port.topology != self.id {
            self.faults.push(CheckError::ForeignPort {
                stage: "feedback".to_owned(),
            });
            return;
        }
        let source = &mut self.edges[port.edge];
        source.removed = true;
        let from = source.from.clone();
        if let End::Stage(stage) = from {
            for output in self.stages[stage]
                .plan
                .outputs
                .iter_mut()
                .filter(|output| **output == port.edge)
            {
                *output = feedback.edge;
            }
        }
        let edge = &mut self.edges[feedback.edge];
        edge.fused |= port.fused;
        edge.from = from;
        edge.capacity = port.capacity.or(edge.capacity);
        edge.overflow = port.overflow.unwrap_or(edge.overflow);
    }

    // ---- inside

    fn add_source<O: Message>(
        &mut self,
        name: &str,
        role: Role,
        part: impl Part + 'static,
    ) -> Port<O> {
        let stage = self.add_stage(name, role, Vec::new(), Box::new(part));
        Outlet::<O>::declare(&mut Declare::new(self, stage), 1)
    }

    pub(super) fn add<S: Stage>(
        &mut self,
        name: &str,
        role: Role,
        from: impl IntoPorts<S::Input>,
        ways: usize,
        factory: impl FnMut() -> S + Send + 'static,
    ) -> <S::Outputs as Outputs>::Ports {
        let inputs = self.connect_all(name, from.into_ports());
        let part = Box::new(StagePart::new(factory));
        let stage = self.add_stage(name, role, inputs, part);
        S::Outputs::declare(&mut Declare::new(self, stage), ways)
    }

    /// Connects ports with the stage that is added next.
    pub(super) fn connect_all<M: Message>(
        &mut self,
        name: &str,
        ports: Vec<Port<M>>,
    ) -> Vec<usize> {
        let stage = End::Stage(self.stages.len());
        let ports = ports.into_iter();
        ports
            .filter_map(|port| self.connect(name, port, stage.clone()))
            .collect()
    }

    pub(super) fn add_stage(
        &mut self,
        name: &str,
        role: Role,
        inputs: Vec<usize>,
        part: Box<dyn Part>,
    ) -> usize {
        let plan = StagePlan {
            name: name.to_owned(),
            role,
            inputs,
            outputs: Vec::new(),
            on_thread: role == Role::BlockingProducer,
        };
        self.stages.push(StageDraft { plan, part });
        self.stages.len() - 1
    }

    pub(super) fn add_edge<M: Message>(&mut self, from: End) -> usize {
        self.edges.push(EdgeDraft {
            name: None,
            from,
            to: End::Loose,
            capacity: None,
            overflow: Overflow::Wait,
            kind: M::KIND,
            type_id: TypeId::of::<M>(),
            message_bytes: Header::WEIGHT + size_of::<M>(),
            feedback: None,
            removed: false,
            fused: false,
        });
        self.edges.len() - 1
    }

    fn connect<M: Message>(&mut self, stage: &str, port: Port<M>, to: End) -> Option<usize> {
        if port.topology != self.id {
            self.faults.push(CheckError::ForeignPort {
                stage: stage.to_owned(),
            });
            return None;
        }
        let edge = &mut self.edges[port.edge];
        edge.to = to;
        edge.capacity = port.capacity.or(edge.capacity);
        edge.overflow = port.overflow.unwrap_or(edge.overflow);
        edge.name = port.name.or(edge.name.take());
        edge.fused |= port.fused;
        Some(port.edge)
    }
}
