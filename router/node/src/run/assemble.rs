//! The stages of a file as a topology.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use mcpbus::routing::Subject;
use mcpbus_actors::channel::{Capacity, Overflow};
use mcpbus_actors::stage::{DeadLetterLimits, Input as StageInput, Out, Processor};
use mcpbus_actors::topology::{Port, Topology};
use mcpbus_actors::{Key, Kind, Message, Outcome};

use super::adapters::{Adapted, Discard, Generate, read_lines, refused};
use super::events::Events;
use super::exec_stage::{ExecHandle, ExecStage};
use super::write_stage::Write;
use crate::config::stage::{EdgeBounds, Overflow as FileOverflow};
use crate::config::{Ack, Input, NodeFile, Output, Stage, StageKind, verify};
use crate::exec::{ExecError, KillSwitch};
use crate::record::Record;
use crate::stages::Refusal;
use crate::stages::aggregate::Aggregate;
use crate::stages::filter::Filter;
use crate::stages::lines::{LineSource, LinesError};
use crate::stages::parse::Parse;
use crate::stages::project::Project;
use crate::stages::write::{LineSink, WriteError};
use crate::template::Template;

/// A message on its way to the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub subject: Subject,
    /// What order is kept for.
    pub key: Option<Key>,
    /// The body.
    pub body: Bytes,
}

impl Message for Outgoing {
    const KIND: Kind = Kind::new("mcpbus.outgoing", 1, "subject, key, body");

    fn weight(&self) -> usize {
        size_of::<Self>() + self.subject.as_str().len() + self.body.len()
    }

    fn key(&self) -> Option<Key> {
        self.key
    }
}

/// An open input: a subscription feeds it with records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromBus {
    /// The port's name.
    pub port: String,
    /// The subject pattern.
    pub pattern: String,
    /// The group.
    pub group: Option<String>,
    /// Messages the edge holds.
    pub messages: u64,
}

/// An open output: a publisher takes its [`Outgoing`] messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToBus {
    /// The port's name.
    pub port: String,
    /// What is waited for.
    pub ack: Ack,
    /// Subscribers to wait for before the first message.
    pub wait_for_subscribers: u64,
}

/// A topology with what it needs of the bus.
pub struct Assembly {
    /// The topology; not started.
    pub topology: Topology,
    /// Its open inputs.
    pub inputs: Vec<FromBus>,
    /// Its open outputs.
    pub outputs: Vec<ToBus>,
    /// Kills the children of `exec` stages.
    pub children: Vec<KillSwitch>,
}

/// A stage could not be set up. Nothing was started.
#[derive(Debug)]
pub struct AssembleError {
    /// The stage.
    pub stage: String,
    /// Why.
    pub cause: AssembleCause,
}

/// Why a stage could not be set up; the person who wrote the file recovers.
#[derive(Debug)]
pub enum AssembleCause {
    /// Its input cannot be opened.
    Lines(LinesError),
    /// Its output cannot be opened.
    Write(WriteError),
    /// Its child cannot be started.
    Exec(ExecError),
    /// Its inputs do not exist; a file that was verified gives none such.
    Inputs,
}

impl fmt::Display for AssembleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stage {}: ", self.stage)?;
        match &self.cause {
            AssembleCause::Lines(error) => error.fmt(f),
            AssembleCause::Write(error) => error.fmt(f),
            AssembleCause::Exec(error) => error.fmt(f),
            AssembleCause::Inputs => write!(f, "its inputs are not fed by any stage before it"),
        }
    }
}

impl std::error::Error for AssembleError {}

/// Makes a topology of the stages. Files are opened and children started here, so that what cannot work shows before
/// anything moves.
///
/// # Errors
/// [`AssembleError`]; what was opened is closed again.
pub fn assemble(file: &NodeFile, events: &Events) -> Result<Assembly, AssembleError> {
    let mut topology = Topology::new(file.name.clone());
    topology.dead_letter_limits(DeadLetterLimits {
        messages: usize::try_from(file.limits.dead_letters).unwrap_or(usize::MAX),
        bytes: usize::try_from(file.limits.dead_letter_bytes).unwrap_or(usize::MAX),
    });
    let assembly = Assembly {
        topology,
        inputs: Vec::new(),
        outputs: Vec::new(),
        children: Vec::new(),
    };
    let mut builder = Builder {
        file,
        events,
        assembly,
        ports: HashMap::new(),
    };
    for at in in_order(file) {
        builder.add(at)?;
    }
    Ok(builder.assembly)
}

/// The stages so that each comes after those that feed it.
fn in_order(file: &NodeFile) -> Vec<usize> {
    let edges = verify::edges(&file.stages);
    let mut ordered: Vec<usize> = Vec::with_capacity(file.stages.len());
    while ordered.len() < file.stages.len() {
        let before = ordered.len();
        for at in 0..file.stages.len() {
            let ready = edges
                .iter()
                .filter(|edge| edge.to == at)
                .all(|edge| ordered.contains(&edge.from));
            if ready && !ordered.contains(&at) {
                ordered.push(at);
            }
        }
        if ordered.len() == before {
            break;
        }
    }
    ordered
}

struct Builder<'a> {
    file: &'a NodeFile,
    events: &'a Events,
    assembly: Assembly,
    /// Outputs that wait for their reader, by feeding stage and reading stage.
    ports: HashMap<(usize, usize), Port<Record>>,
}

impl Builder<'_> {
    fn add(&mut self, at: usize) -> Result<(), AssembleError> {
        let stage = &self.file.stages[at];
        let name = stage.name.value.as_str();
        let failed = |cause| AssembleError {
            stage: name.to_owned(),
            cause,
        };
        let output = match &stage.kind {
            StageKind::Lines(spec) => {
                let source = LineSource::open(spec.clone())
                    .map_err(|error| failed(AssembleCause::Lines(error)))?;
                let (name, events) = (name.to_owned(), self.events.clone());
                let read = move |emitter| read_lines(&name, source, &emitter, &events);
                self.assembly
                    .topology
                    .produce_blocking(&stage.name.value, read)
            }
            StageKind::Generator(spec) => self.assembly.topology.produce(name, Generate::new(spec)),
            StageKind::Parse(spec) => {
                let spec = spec.clone();
                self.process(at, move || Adapted::new(Parse::new(spec.clone())))?
            }
            StageKind::Filter(spec) => {
                let spec = spec.clone();
                self.process(at, move || Adapted::new(Filter::new(spec.clone())))?
            }
            StageKind::Project(spec) => {
                let spec = spec.clone();
                self.process(at, move || Adapted::new(Project::new(spec.clone())))?
            }
            StageKind::Exec(spec) => {
                let first = ExecHandle::start(name, spec.clone())
                    .map_err(|error| failed(AssembleCause::Exec(error)))?;
                self.assembly.children.push(first.kill_switch());
                let (events, spec, stage_name) =
                    (self.events.clone(), spec.clone(), name.to_owned());
                let mut first = Some(first);
                let port = self.process(at, move || match first.take() {
                    Some(exec) => ExecStage::new(exec),
                    None => ExecStage::restart(&stage_name, spec.clone(), &events),
                })?;
                self.assembly.topology.on_thread(name);
                port
            }
            StageKind::Aggregate(spec) => {
                let from = self.inputs(at)?;
                let spec = spec.clone();
                let build = move || Adapted::new(Aggregate::new(spec.clone()));
                self.assembly.topology.aggregate_with(name, from, build)
            }
            StageKind::Write(spec) => {
                let sink =
                    LineSink::open(spec).map_err(|error| failed(AssembleCause::Write(error)))?;
                let from = self.inputs(at)?;
                let (events, stage_name) = (self.events.clone(), name.to_owned());
                let mut first = Some(sink);
                self.assembly
                    .topology
                    .consume_with(name, from, move || match first.take() {
                        Some(sink) => Write::new(&stage_name, sink, events.clone()),
                        None => Write::broken(&stage_name, events.clone()),
                    });
                self.assembly.topology.on_thread(name);
                return Ok(());
            }
            StageKind::Discard => {
                let from = self.inputs(at)?;
                self.assembly.topology.consume_with(name, from, || Discard);
                return Ok(());
            }
        };
        self.connect(at, stage, output);
        Ok(())
    }

    fn process<P, F>(&mut self, at: usize, factory: F) -> Result<Port<Record>, AssembleError>
    where
        P: Processor<Record, Record>,
        F: FnMut() -> P + Send + 'static,
    {
        let from = self.inputs(at)?;
        Ok(self
            .assembly
            .topology
            .process_with(&self.file.stages[at].name.value, from, factory))
    }

    fn inputs(&mut self, at: usize) -> Result<Vec<Port<Record>>, AssembleError> {
        let stage = &self.file.stages[at];
        let limits = &self.file.limits;
        let ports: Vec<Port<Record>> = match &stage.input {
            Some(Input::Subscribe { pattern, group }) => {
                let port = format!("subscription of {}", stage.name.value);
                self.assembly.inputs.push(FromBus {
                    port: port.clone(),
                    pattern: pattern.value.clone(),
                    group: group.as_ref().map(|group| group.value.clone()),
                    messages: limits.edge_messages,
                });
                let bounds = capacity(limits.edge_messages, limits.edge_bytes);
                vec![self.assembly.topology.input(&port).capacity(bounds)]
            }
            _ => {
                let feeders: Vec<usize> = verify::edges(&self.file.stages)
                    .iter()
                    .filter(|edge| edge.to == at)
                    .map(|edge| edge.from)
                    .collect();
                feeders
                    .iter()
                    .filter_map(|from| self.ports.remove(&(*from, at)))
                    .collect()
            }
        };
        if ports.is_empty() {
            return Err(AssembleError {
                stage: stage.name.value.clone(),
                cause: AssembleCause::Inputs,
            });
        }
        Ok(ports)
    }

    fn connect(&mut self, at: usize, stage: &Stage, output: Port<Record>) {
        let name = &stage.name.value;
        let bounds = stage.edge;
        match &stage.output {
            Some(Output::Publish {
                subject,
                key,
                ack,
                wait_for_subscribers,
            }) => {
                let publish = Publish {
                    subject: subject.value.clone(),
                    key: key.as_ref().map(|key| key.value.clone()),
                    needs_fields: subject
                        .value
                        .fields()
                        .chain(key.iter().flat_map(|key| key.value.fields()))
                        .next()
                        .is_some(),
                };
                let stage = format!("{name}.publish");
                let render = move || publish.clone();
                let limits = &self.file.limits;
                let room = capacity(limits.edge_messages, limits.edge_bytes);
                let port =
                    self.assembly
                        .topology
                        .process_with(&stage, bounded(output, bounds), render);
                let port_name = format!("publication of {name}");
                self.assembly
                    .topology
                    .output(&port_name, port.capacity(room));
                self.assembly.outputs.push(ToBus {
                    port: port_name,
                    ack: *ack,
                    wait_for_subscribers: *wait_for_subscribers,
                });
            }
            _ => {
                let readers: Vec<usize> = verify::edges(&self.file.stages)
                    .iter()
                    .filter(|edge| edge.from == at)
                    .map(|edge| edge.to)
                    .collect();
                if let [reader] = readers.as_slice() {
                    self.ports.insert((at, *reader), bounded(output, bounds));
                    return;
                }
                let copy = format!("{name}.copy");
                let ways = self.assembly.topology.broadcast_to(
                    &copy,
                    bounded(output, bounds),
                    readers.len(),
                );
                for (reader, way) in readers.into_iter().zip(ways) {
                    self.ports.insert((at, reader), bounded(way, bounds));
                }
            }
        }
    }
}

fn capacity(messages: u64, bytes: u64) -> Capacity {
    let narrow = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Capacity::messages(narrow(messages)).bytes(narrow(bytes))
}

fn bounded(port: Port<Record>, bounds: EdgeBounds) -> Port<Record> {
    let overflow = match bounds.overflow {
        FileOverflow::Wait => Overflow::Wait,
        FileOverflow::DropNewest => Overflow::DropNewest,
        FileOverflow::DropOldest => Overflow::DropOldest,
    };
    port.capacity(capacity(bounds.messages, bounds.bytes))
        .overflow(overflow)
}

/// Gives a record its subject, key and body.
#[derive(Clone, Debug)]
struct Publish {
    subject: Template,
    key: Option<Template>,
    needs_fields: bool,
}

impl Publish {
    fn render(&self, record: &Record) -> Result<Outgoing, Refusal> {
        let fields = if self.needs_fields {
            record.with_fields().map_err(Refusal::decode)?
        } else {
            std::borrow::Cow::Borrowed(record)
        };
        let subject = self
            .subject
            .render_subject(|field, out| fields.append_field(field, out))
            .map_err(Refusal::decode)?;
        let key = match &self.key {
            None => None,
            Some(template) => {
                let mut bytes = Vec::new();
                template
                    .render(&mut bytes, |field, out| fields.append_field(field, out))
                    .map_err(Refusal::decode)?;
                Some(Key::from_bytes(&bytes))
            }
        };
        Ok(Outgoing {
            subject,
            key,
            body: record.to_body(),
        })
    }
}

impl Processor<Record, Outgoing> for Publish {
    fn process(
        &mut self,
        input: StageInput<'_, Record>,
        out: &mut Out<'_, Outgoing>,
        _: &mut mcpbus_actors::stage::Context<'_>,
    ) -> Outcome {
        match self.render(&input) {
            Ok(outgoing) => {
                out.emit(outgoing);
                Outcome::Done
            }
            Err(refusal) => refused(refusal),
        }
    }
}
