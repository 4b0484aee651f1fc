//! A topology as data: what `check` looks at, what pictures show, what a placement decides about.

use std::any::TypeId;
use std::fmt::{self, Write as _};

use crate::channel::{Capacity, Overflow};
use crate::message::Kind;

/// Where stages run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Placement {
    /// All on one thread that is theirs.
    OneThread,
    /// Each a task of the tokio runtime that starts the topology.
    #[default]
    Tasks,
    /// Each on a thread of its own, where it may block.
    Threads,
}

/// What a stage is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Makes messages.
    Producer,
    /// Makes messages on a thread where it may block.
    BlockingProducer,
    /// Turns inputs into outputs.
    Processor,
    /// Chooses a way.
    Router,
    /// Copies to all ways.
    Broadcast,
    /// Joins many into few.
    Aggregator,
    /// Joins sorted inputs into one sorted output.
    Merge,
    /// Takes messages, gives none.
    Consumer,
    /// A stage written against the contract itself.
    Stage,
}

impl Role {
    /// The stable name in reports and pictures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::BlockingProducer => "blocking producer",
            Self::Processor => "processor",
            Self::Router => "router",
            Self::Broadcast => "broadcast",
            Self::Aggregator => "aggregator",
            Self::Merge => "merge",
            Self::Consumer => "consumer",
            Self::Stage => "stage",
        }
    }

    pub(crate) const fn is_source(self) -> bool {
        matches!(self, Self::Producer | Self::BlockingProducer)
    }
}

/// One stage of a plan.
#[derive(Clone, Debug)]
pub struct StagePlan {
    /// Its name, unique in the topology.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Indices of the edges that lead to it.
    pub inputs: Vec<usize>,
    /// Indices of the edges that lead from it, in the order of its outputs.
    pub outputs: Vec<usize>,
    /// Whether it was put on a thread of its own.
    pub on_thread: bool,
}

/// An end of an edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Not connected: a loose end.
    Loose,
    /// A stage, by its index.
    Stage(usize),
    /// An open port, by its name.
    Open(String),
}

/// One edge of a plan.
#[derive(Clone, Debug)]
pub struct EdgePlan {
    /// Its name, unique in the topology.
    pub name: String,
    /// Where it comes from.
    pub from: End,
    /// Where it leads to.
    pub to: End,
    /// Its bound.
    pub capacity: Capacity,
    /// What it does when full.
    pub overflow: Overflow,
    /// What it carries.
    pub kind: Kind,
    /// The type that it carries.
    pub type_id: TypeId,
    /// Bytes of one message, header and body, without what the body owns.
    pub message_bytes: usize,
    /// Whether it closes a loop.
    pub feedback: bool,
    /// Whether the stages at its ends share a task.
    pub fused: bool,
}

/// A topology as data.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Where its stages run, unless one is put elsewhere.
    pub placement: Placement,
    /// Its stages, in the order in which they were added.
    pub stages: Vec<StagePlan>,
    /// Its edges, in the order in which their outputs were made.
    pub edges: Vec<EdgePlan>,
    /// Bytes that its dead letters may hold.
    pub dead_letter_bytes: usize,
}

impl Plan {
    /// The stage of this name.
    #[must_use]
    pub fn stage(&self, name: &str) -> Option<&StagePlan> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// The name of an end, for pictures.
    #[must_use]
    pub fn end_name<'a>(&'a self, end: &'a End) -> &'a str {
        match end {
            End::Loose => "(loose)",
            End::Stage(stage) => self.stages.get(*stage).map_or("?", |stage| &stage.name),
            End::Open(name) => name,
        }
    }

    /// A flow chart for Mermaid.
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        for (index, stage) in self.stages.iter().enumerate() {
            let name = stage.name.replace('"', "#quot;");
            let (open, close) = match stage.role {
                Role::Router | Role::Broadcast => ("{\"", "\"}"),
                Role::Producer | Role::BlockingProducer => ("([\"", "\"])"),
                Role::Aggregator => ("[[\"", "\"]]"),
                _ => ("[\"", "\"]"),
            };
            let _ = writeln!(text, "  s{index}{open}{name}{close}");
        }
        for (index, edge) in self.edges.iter().enumerate() {
            let mut end = |end: &End, side: &str| match end {
                End::Stage(stage) => format!("s{stage}"),
                other => {
                    let name = self.end_name(other).replace('"', "#quot;");
                    let _ = writeln!(text, "  {side}{index}((\"{name}\"))");
                    format!("{side}{index}")
                }
            };
            let (from, to) = (end(&edge.from, "i"), end(&edge.to, "o"));
            let label = format!("{}, {}", edge.kind.name, edge.capacity.max_messages())
                .replace('"', "#quot;");
            // A thick arrow: nobody is woken across it.
            let arrow = if edge.fused { "==>" } else { "-->" };
            let _ = writeln!(text, "  {from} {arrow}|\"{label}\"| {to}");
        }
        text
    }

    /// A graph for Graphviz.
    #[must_use]
    pub fn to_dot(&self) -> String {
        let mut text = format!("digraph {} {{\n  rankdir=LR;\n", quoted(&self.name));
        for stage in &self.stages {
            let shape = match stage.role {
                Role::Router | Role::Broadcast => "diamond",
                Role::Producer | Role::BlockingProducer => "oval",
                _ => "box",
            };
            let _ = writeln!(text, "  {} [shape={shape}];", quoted(&stage.name));
        }
        for edge in &self.edges {
            let _ = writeln!(
                text,
                "  {} -> {} [label={}{}];",
                quoted(self.end_name(&edge.from)),
                quoted(self.end_name(&edge.to)),
                quoted(&format!(
                    "{}, {}",
                    edge.kind.name,
                    edge.capacity.max_messages()
                )),
                if edge.fused { ", style=bold" } else { "" }
            );
        }
        text.push_str("}\n");
        text
    }

    /// One JSON object: name, placement, stages, edges, memory_bound_bytes.
    #[must_use]
    pub fn to_json(&self) -> String {
        let list = |items: Vec<String>| items.join(",");
        let stages = self
            .stages
            .iter()
            .map(|stage| {
                format!(
                    "{{\"name\":{},\"role\":{}}}",
                    quoted(&stage.name),
                    quoted(stage.role.name())
                )
            })
            .collect();
        let edges = self
            .edges
            .iter()
            .map(|edge| {
                format!(
                    "{{\"name\":{},\"from\":{},\"to\":{},\"kind\":{},\"messages\":{},\"bytes\":{},\"overflow\":{},\"fused\":{}}}",
                    quoted(&edge.name),
                    quoted(self.end_name(&edge.from)),
                    quoted(self.end_name(&edge.to)),
                    quoted(edge.kind.name),
                    edge.capacity.max_messages(),
                    edge.capacity.max_bytes(),
                    quoted(edge.overflow.name()),
                    edge.fused
                )
            })
            .collect();
        format!(
            "{{\"name\":{},\"placement\":{},\"stages\":[{}],\"edges\":[{}],\"memory_bound_bytes\":{}}}",
            quoted(&self.name),
            quoted(match self.placement {
                Placement::OneThread => "one-thread",
                Placement::Tasks => "tasks",
                Placement::Threads => "threads",
            }),
            list(stages),
            list(edges),
            self.memory_bound()
        )
    }
}

/// A JSON string; valid for Graphviz too.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            control if u32::from(control) < 0x20 => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

impl fmt::Display for Plan {
    /// A picture in text: each stage with the edges that lead from it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "topology {}", self.name)?;
        let edge = |f: &mut fmt::Formatter<'_>, edge: &EdgePlan| {
            write!(
                f,
                "  -> {}  [{}, at most {}",
                self.end_name(&edge.to),
                edge.kind.name,
                edge.capacity
            )?;
            if edge.overflow != Overflow::Wait {
                write!(f, ", {}", edge.overflow)?;
            }
            let fused = if edge.fused { ", fused" } else { "" };
            let loop_end = if edge.feedback { ", closes a loop" } else { "" };
            writeln!(f, "{fused}{loop_end}]")
        };
        for open in self
            .edges
            .iter()
            .filter(|edge| matches!(edge.from, End::Open(_)))
        {
            writeln!(f, "{} (open input)", self.end_name(&open.from))?;
            edge(f, open)?;
        }
        for stage in &self.stages {
            let place = if stage.on_thread { ", own thread" } else { "" };
            writeln!(f, "{} ({}{place})", stage.name, stage.role.name())?;
            for index in &stage.outputs {
                if let Some(output) = self.edges.get(*index) {
                    edge(f, output)?;
                }
            }
        }
        writeln!(f, "memory bound: {} bytes", self.memory_bound())
    }
}
