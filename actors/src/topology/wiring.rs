//! Making the ends of edges when a topology starts, and what remains open between its parts.

use std::any::{Any, TypeId};
use std::fmt;

use super::builder::Topology;
use super::plan::{End, Plan};
use crate::channel::{
    Capacity, EdgeSender, Inlet, Overflow, PollSender, Probe, Sender, TURN_BYTES, ThreadInbox,
    ThreadSender, inbox,
};
use crate::message::{Kind, Message};
use crate::stage::{self, Connect, Outlet, Port};
use crate::telemetry::{AcceptedCounter, EdgeTelemetry};

/// Declares the outputs of a stage while it is added.
pub(super) struct Declare<'a> {
    topology: &'a mut Topology,
    stage: usize,
}

impl<'a> Declare<'a> {
    pub(super) fn new(topology: &'a mut Topology, stage: usize) -> Self {
        Self { topology, stage }
    }
}

impl stage::Declare for Declare<'_> {
    fn output<T: Message>(&mut self) -> Port<T> {
        let edge = self.topology.add_edge::<T>(End::Stage(self.stage));
        self.topology.stages[self.stage].plan.outputs.push(edge);
        Port::new(self.topology.id, edge)
    }
}

/// Which way messages pass a boundary, seen from the part that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// They come in; the end is a `Sender`.
    In,
    /// They go out; the end is a `Receiver`.
    Out,
}

/// An edge with one end outside of the part that was started: an open port, or an edge to a stage that runs elsewhere.
pub struct Boundary {
    /// The edge's name, equal in all parts.
    pub edge: String,
    /// Which way messages pass.
    pub direction: Direction,
    /// Whether it is an open port; otherwise its other end is a stage of another part.
    pub open: bool,
    /// What it carries.
    pub kind: Kind,
    /// The type that it carries.
    pub type_id: TypeId,
    /// Its bound.
    pub capacity: Capacity,
    /// What it does when full.
    pub overflow: Overflow,
    /// The end to use: a `Receiver<M>` where messages go out, a `Sender<M>` where they come in.
    pub end: Box<dyn Any + Send>,
}

impl fmt::Debug for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Boundary")
            .field("edge", &self.edge)
            .field("direction", &self.direction)
            .field("open", &self.open)
            .field("kind", &self.kind.name)
            .finish_non_exhaustive()
    }
}

/// How an edge takes part in the ledger of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// Both ends are here, or it is an open port.
    Whole,
    /// The sending end is here: it counts what was accepted, the other part what was delivered.
    Sending,
    /// The receiving end is here.
    Receiving,
}

/// The ends of edges while a part is being put together.
pub(super) struct Wiring<'a> {
    plan: &'a Plan,
    included: &'a [bool],
    on_thread: &'a [bool],
    senders: Vec<Option<Box<dyn Any + Send>>>,
    pub(super) probes: Vec<Option<(Probe, Share)>>,
    pub(super) boundaries: Vec<Boundary>,
    stage: usize,
    next_output: usize,
}

impl<'a> Wiring<'a> {
    pub(super) fn new(plan: &'a Plan, included: &'a [bool], on_thread: &'a [bool]) -> Self {
        Self {
            plan,
            included,
            on_thread,
            senders: plan.edges.iter().map(|_| None).collect(),
            probes: vec![None; plan.edges.len()],
            boundaries: Vec::new(),
            stage: 0,
            next_output: 0,
        }
    }

    /// The stage whose ends are made next.
    pub(super) fn begin(&mut self, stage: usize) {
        self.stage = stage;
        self.next_output = 0;
    }

    pub(super) fn stage_index(&self) -> usize {
        self.stage
    }

    fn is_here(&self, end: &End) -> bool {
        matches!(end, End::Stage(stage) if self.included[*stage])
    }

    /// The inbox of the present stage, with its edges in the order of the plan.
    pub(super) fn inlet<M: Message>(&mut self) -> (Inlet<M>, Vec<EdgeTelemetry>) {
        let plan = self.plan;
        let inputs = &plan.stages[self.stage].inputs;
        let telemetry = inputs
            .iter()
            .map(|edge| EdgeTelemetry::new(&plan.name, &plan.edges[*edge].name))
            .collect();
        // A thread edge needs a stage's thread at both ends, and a policy that never takes back what was sent.
        let threads = self.on_thread[self.stage]
            && inputs.iter().all(|edge| {
                let edge = &plan.edges[*edge];
                let from_thread = matches!(&edge.from, End::Stage(from)
                    if self.included[*from] && self.on_thread[*from]
                        && plan.stages[*from].role != super::plan::Role::BlockingProducer);
                from_thread && matches!(edge.overflow, Overflow::Wait)
            });
        if threads {
            let mut inbox = ThreadInbox::<M>::new();
            for &index in inputs {
                let (id, sender) = inbox.add_edge(plan.edges[index].capacity);
                self.probes[index] = Some((inbox.probe(id), Share::Whole));
                self.senders[index] = Some(Box::new(sender));
            }
            return (Inlet::Thread(inbox), telemetry);
        }
        let receiver = inbox::<M>();
        for &index in inputs {
            let edge = &plan.edges[index];
            let (_, sender) = receiver.add_edge(edge.capacity, edge.overflow);
            let share = match &edge.from {
                End::Stage(from) if !self.included[*from] => Share::Receiving,
                _ => Share::Whole,
            };
            self.probes[index] = Some((sender.probe(), share));
            self.senders[index] = Some(Box::new(sender));
        }
        (Inlet::Channel(receiver), telemetry)
    }

    /// As [`Connect::outlet`], for a producer that sends by itself.
    pub(super) fn sender<T: Message>(&mut self) -> (Sender<T>, AcceptedCounter) {
        let index = self.plan.stages[self.stage].outputs[self.next_output];
        self.next_output += 1;
        let accepted = AcceptedCounter::new(&self.plan.name, &self.plan.edges[index].name);
        let sender = match self.senders[index]
            .take()
            .map(|end| end.downcast::<Sender<T>>())
        {
            Some(Ok(sender)) => *sender,
            Some(Err(_)) => {
                unreachable!("ports are typed, and blocking producers have no thread edges")
            }
            None => self.outgoing::<T>(index),
        };
        (sender, accepted)
    }

    /// An edge whose receiving end is given out.
    fn outgoing<T: Message>(&mut self, index: usize) -> Sender<T> {
        let edge = &self.plan.edges[index];
        let receiver = inbox::<T>();
        let (_, sender) = receiver.add_edge(edge.capacity, edge.overflow);
        let open = matches!(edge.to, End::Open(_));
        self.probes[index] = Some((
            sender.probe(),
            if open { Share::Whole } else { Share::Sending },
        ));
        self.boundaries
            .push(self.boundary(index, Direction::Out, open, Box::new(receiver)));
        sender
    }

    fn boundary(
        &self,
        index: usize,
        direction: Direction,
        open: bool,
        end: Box<dyn Any + Send>,
    ) -> Boundary {
        let edge = &self.plan.edges[index];
        Boundary {
            edge: edge.name.clone(),
            direction,
            open,
            kind: edge.kind,
            type_id: edge.type_id,
            capacity: edge.capacity,
            overflow: edge.overflow,
            end,
        }
    }

    /// What is still in hand leads in from outside.
    pub(super) fn close(&mut self) {
        for index in 0..self.plan.edges.len() {
            if let Some(end) = self.senders[index].take() {
                let edge = &self.plan.edges[index];
                debug_assert!(
                    !self.is_here(&edge.from),
                    "edges inside of a part are connected at both ends"
                );
                let open = matches!(edge.from, End::Open(_));
                let boundary = self.boundary(index, Direction::In, open, end);
                self.boundaries.push(boundary);
            }
        }
    }
}

impl Connect for Wiring<'_> {
    fn has_more_outputs(&self) -> bool {
        self.next_output < self.plan.stages[self.stage].outputs.len()
    }

    fn outlet<T: Message>(&mut self) -> Outlet<T> {
        let index = self.plan.stages[self.stage].outputs[self.next_output];
        self.next_output += 1;
        let edge = &self.plan.edges[index];
        let sender = match self.senders[index].take() {
            Some(end) => match end.downcast::<Sender<T>>() {
                Ok(sender) => EdgeSender::Channel(PollSender::new(*sender)),
                Err(end) => match end.downcast::<ThreadSender<T>>() {
                    Ok(sender) => EdgeSender::Thread(*sender),
                    Err(_) => {
                        unreachable!("ports are typed, so both ends of an edge have one type")
                    }
                },
            },
            None => EdgeSender::Channel(PollSender::new(self.outgoing::<T>(index))),
        };
        let producer = u32::try_from(self.stage)
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        let accepted = AcceptedCounter::new(&self.plan.name, &edge.name);
        // A batch of outputs is sent when it is heavy, however much the edge may hold.
        let most = edge.capacity.max_bytes().min(TURN_BYTES);
        Outlet::connected(producer, sender, most, accepted)
    }
}
