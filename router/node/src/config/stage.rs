//! `[[stage]]`: a built-in stage with its input, its output and the bounds of the edges that it feeds.

use std::path::PathBuf;
use std::time::Duration;

use mcpbus::routing::Pattern;

use super::limits::Limits;
use super::mistake::{Mistake, Place, Spotted};
use super::node_file::verify_name;
use super::reader::TableReader;
use super::stage_kinds;
use crate::exec::ExecSpec;
use crate::payments::GeneratorSpec;
use crate::stages::aggregate::AggregateSpec;
use crate::stages::filter::FilterSpec;
use crate::stages::lines::LinesSpec;
use crate::stages::parse::ParseSpec;
use crate::stages::project::ProjectSpec;
use crate::stages::write::WriteSpec;
use crate::template::{Field, Template};

/// One `[[stage]]`.
#[derive(Clone, Debug)]
pub struct Stage {
    /// `name`: unique in the file.
    pub name: Spotted<String>,
    /// `kind` and its own keys.
    pub kind: StageKind,
    /// Where its messages come from; none for producers.
    pub input: Option<Input>,
    /// Where its messages go; none for sinks.
    pub output: Option<Output>,
    /// The bounds of each edge that it feeds.
    pub edge: EdgeBounds,
    /// Where the stage stands in the file.
    pub place: Place,
}

/// What a stage does.
#[derive(Clone, Debug)]
pub enum StageKind {
    /// Producer: lines of a file or of standard input.
    Lines(LinesSpec),
    /// Producer: transactions like a bank's, from a seed.
    Generator(GeneratorSpec),
    /// Processor: a line becomes fields.
    Parse(ParseSpec),
    /// Processor: passes what fulfils conditions.
    Filter(FilterSpec),
    /// Processor: sets, renames and keeps fields.
    Project(ProjectSpec),
    /// Processor: a child process answers a line for each line.
    Exec(ExecSpec),
    /// Aggregator: computes over groups and windows.
    Aggregate(AggregateSpec),
    /// Sink: lines to standard output or a file.
    Write(WriteSpec),
    /// Sink: counts and forgets.
    Discard,
}

/// The words of `kind`, in the order of the documentation.
pub const KINDS: [&str; 9] = [
    "lines",
    "generator",
    "parse",
    "filter",
    "project",
    "exec",
    "aggregate",
    "write",
    "discard",
];

impl StageKind {
    /// The word in the file.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Lines(_) => "lines",
            Self::Generator(_) => "generator",
            Self::Parse(_) => "parse",
            Self::Filter(_) => "filter",
            Self::Project(_) => "project",
            Self::Exec(_) => "exec",
            Self::Aggregate(_) => "aggregate",
            Self::Write(_) => "write",
            Self::Discard => "discard",
        }
    }

    /// Whether it makes messages itself.
    pub fn is_producer(&self) -> bool {
        matches!(self, Self::Lines(_) | Self::Generator(_))
    }

    /// Whether messages end in it.
    pub fn is_sink(&self) -> bool {
        matches!(self, Self::Write(_) | Self::Discard)
    }
}

/// Where a stage's messages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// `in`: edges of this file.
    Edges(Vec<Spotted<String>>),
    /// `subscribe`: a subject pattern of the bus.
    Subscribe {
        /// The pattern.
        pattern: Spotted<String>,
        /// `group`: members share the work; without it every subscriber gets a copy.
        group: Option<Spotted<String>>,
    },
}

/// Where a stage's messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// `out`: an edge of this file.
    Edge(Spotted<String>),
    /// `publish`: a subject of the bus.
    Publish {
        /// The subject, with placeholders for fields.
        subject: Spotted<Template>,
        /// `key`: what order and stickiness go by; none is one key for all.
        key: Option<Spotted<Template>>,
        /// `ack`: what the stage waits for. `accepted` by default.
        ack: Ack,
        /// `wait_for_subscribers`: nothing is published before so many are there. 0 by default.
        wait_for_subscribers: u64,
    },
}

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ack {
    /// Nothing is acknowledged: at most once.
    None,
    /// The next owner has it, in memory.
    #[default]
    Accepted,
    /// It is on disk.
    Stored,
    /// It was processed.
    Processed,
}

/// The words of `ack`.
pub const ACKS: [(&str, Ack); 4] = [
    ("none", Ack::None),
    ("accepted", Ack::Accepted),
    ("stored", Ack::Stored),
    ("processed", Ack::Processed),
];

impl Ack {
    /// The word in the file and on the command line.
    pub fn word(self) -> &'static str {
        ACKS.iter()
            .find(|(_, ack)| *ack == self)
            .map_or("", |(word, _)| word)
    }
}

/// What happens to a message for which an edge has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The stage before it waits.
    #[default]
    Wait,
    /// The newest message is dropped and counted.
    DropNewest,
    /// The oldest message is dropped and counted.
    DropOldest,
}

/// The words of `overflow`.
pub const OVERFLOWS: [(&str, Overflow); 3] = [
    ("wait", Overflow::Wait),
    ("drop-newest", Overflow::DropNewest),
    ("drop-oldest", Overflow::DropOldest),
];

impl Overflow {
    /// The word in the file.
    pub fn word(self) -> &'static str {
        OVERFLOWS
            .iter()
            .find(|(_, overflow)| *overflow == self)
            .map_or("", |(word, _)| word)
    }
}

/// The bounds of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeBounds {
    /// `capacity`: messages held at most; `limits.edge_messages` by default.
    pub messages: u64,
    /// `capacity_bytes`: bytes held at most; `limits.edge_bytes` by default.
    pub bytes: u64,
    /// `overflow`. `wait` by default.
    pub overflow: Overflow,
}

impl Stage {
    pub(super) fn read(reader: TableReader<'_>, limits: &Limits) -> Option<Self> {
        let name = reader.required_text("name");
        if let Some(Err(problem)) = name.as_ref().map(|name| verify_name(&name.value)) {
            reader.mistake("name", problem);
        }
        let place = reader.place().clone();
        let edge = EdgeBounds {
            messages: reader
                .integer("capacity", 1..=1 << 24)
                .unwrap_or(limits.edge_messages),
            bytes: reader
                .size("capacity_bytes", 1..=64 << 30)
                .unwrap_or(limits.edge_bytes),
            overflow: reader.one_of("overflow", &OVERFLOWS).unwrap_or_default(),
        };
        let input = read_input(&reader);
        let output = read_output(&reader);
        let kind_text = reader.required_text("kind")?;
        let Some(kind) = stage_kinds::read(&reader, &kind_text.value, limits) else {
            if !KINDS.contains(&kind_text.value.as_str()) {
                reader.report(
                    Mistake::new(
                        kind_text.place,
                        reader.path_of("kind"),
                        format!("`{}` is not a kind of stage", kind_text.value),
                    )
                    .suggest(&kind_text.value, KINDS),
                );
                // The other keys depend on the kind: reporting them too would only hide the one mistake.
            } else {
                reader.finish();
            }
            return None;
        };
        let word = kind.word();
        if kind.is_producer() && input.is_some() {
            let key = if reader.has("in") { "in" } else { "subscribe" };
            reader.mistake(
                key,
                format!("a stage of kind `{word}` makes its messages itself and has no input"),
            );
        } else if !kind.is_producer()
            && input.is_none()
            && !reader.has("in")
            && !reader.has("subscribe")
        {
            reader.mistake(
                "in",
                "the stage has no input: give `in = \"EDGE\"` or `subscribe = \"SUBJECT\"`"
                    .to_string(),
            );
        }
        if kind.is_sink() && output.is_some() {
            let key = if reader.has("out") { "out" } else { "publish" };
            reader.mistake(
                key,
                format!("messages end in a stage of kind `{word}`: it has no output"),
            );
        } else if !kind.is_sink()
            && output.is_none()
            && !reader.has("out")
            && !reader.has("publish")
        {
            reader.mistake(
                "out",
                "the stage has no output: give `out = \"EDGE\"` or `publish = \"SUBJECT\"`",
            );
        }
        reader.finish();
        Some(Self {
            name: name?,
            kind,
            input,
            output,
            edge,
            place,
        })
    }

    /// The path of a stage of kind `lines` is replaced, for `--input`.
    pub fn replace_lines_path(&mut self, path: PathBuf) {
        if let StageKind::Lines(spec) = &mut self.kind {
            spec.path = path;
        }
    }
}

fn read_input(reader: &TableReader<'_>) -> Option<Input> {
    let edges = reader.texts("in");
    let pattern = reader.text("subscribe");
    let group = reader.text("group");
    if let Some(Err(problem)) = group.as_ref().map(|group| verify_name(&group.value)) {
        reader.mistake("group", problem);
    }
    for edge in edges.iter().flatten() {
        if let Err(problem) = verify_name(&edge.value) {
            reader.report(Mistake::new(
                edge.place.clone(),
                reader.path_of("in"),
                problem,
            ));
        }
    }
    if edges.as_ref().is_some_and(Vec::is_empty) {
        reader.mistake("in", "names no edge");
    }
    match (edges, pattern) {
        (Some(_), Some(_)) => {
            reader.mistake(
                "subscribe",
                "a stage has either `in` or `subscribe`, not both",
            );
            None
        }
        (Some(edges), None) => {
            if group.is_some() {
                reader.mistake("group", "`group` belongs to `subscribe`");
            }
            Some(Input::Edges(edges))
        }
        (None, Some(pattern)) => {
            if let Err(problem) = verify_pattern(&pattern.value) {
                reader.mistake("subscribe", problem);
            }
            Some(Input::Subscribe { pattern, group })
        }
        (None, None) => {
            if group.is_some() {
                reader.mistake("group", "`group` belongs to `subscribe`");
            }
            None
        }
    }
}

fn read_output(reader: &TableReader<'_>) -> Option<Output> {
    let edge = reader.text("out");
    let subject = template(reader, "publish");
    let key = template(reader, "key");
    let ack = reader.one_of("ack", &ACKS);
    let wait_for_subscribers = reader.integer("wait_for_subscribers", 0..=1_000_000);
    if !reader.has("publish") {
        for key in ["key", "ack", "wait_for_subscribers"] {
            if reader.has(key) {
                reader.mistake(key, format!("`{key}` belongs to `publish`"));
            }
        }
    }
    if let Some(Err(problem)) = edge.as_ref().map(|edge| verify_name(&edge.value)) {
        reader.mistake("out", problem);
    }
    if reader.has("out") && reader.has("publish") {
        reader.mistake("publish", "a stage has either `out` or `publish`, not both");
        return None;
    }
    if let Some(subject) = subject {
        let filled = subject
            .value
            .render_subject(|_: &Field, out: &mut Vec<u8>| {
                out.push(b'x');
                true
            });
        if let Err(error) = filled {
            reader.mistake(
                "publish",
                format!("`{}` is not a subject: {error}", subject.value),
            );
        }
        return Some(Output::Publish {
            subject,
            key,
            ack: ack.unwrap_or_default(),
            wait_for_subscribers: wait_for_subscribers.unwrap_or(0),
        });
    }
    edge.map(Output::Edge)
}

/// A template value; a text that is none is reported.
pub(super) fn template(reader: &TableReader<'_>, key: &'static str) -> Option<Spotted<Template>> {
    let text = reader.text(key)?;
    match Template::parse(&text.value) {
        Ok(template) => Some(Spotted::new(template, text.place)),
        Err(error) => {
            reader.mistake(key, error.to_string());
            None
        }
    }
}

/// Checks a subject pattern: tokens between dots, `*` for one token, `>` at the end for the rest.
///
/// # Errors
/// What is wrong with it and where, as one clause.
pub fn verify_pattern(pattern: &str) -> Result<(), String> {
    match Pattern::new(pattern) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("`{pattern}` is not a subject pattern: {error}")),
    }
}

/// The default time that `exec` waits for an answer.
pub(super) const EXEC_TIMEOUT: Duration = Duration::from_secs(10);
