//! `aggregate`: counts, sums, means, extremes and most frequent values per group and window.
//!
//! * [`operation`] reads `sum(amount) as total` and keeps one group's state;
//! * [`window`] says which window a record belongs to and which are complete;
//! * this file joins them: groups per window, emitted in order of window and group.
//!
//! Invariants: sums are exact; the number of groups over all open windows never exceeds
//! `max_groups`, nor their bytes `max_bytes`; a refused
//! record has changed no group, but one refused as `quota` has completed the windows that its time completes: otherwise
//! nothing would ever make room.

pub mod operation;
pub mod window;

use mcpbus_actors::Time;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use super::contract::{RecordStage, Refusal, RefusalReason, Taken};
use super::event_time::format_milliseconds;
use crate::record::{Record, Schema, Value};
use operation::{InputValue, Operation, State};
use window::{Admission, Window, Windows};

/// What `aggregate` is told.
#[derive(Clone, Debug)]
pub struct AggregateSpec {
    /// The fields whose values form a group; none means one group.
    pub by: Vec<String>,
    /// What is computed per group.
    pub operations: Vec<Operation>,
    /// The window.
    pub window: Window,
    /// Groups over all open windows, at most; a record that would open one more is refused as `quota`.
    pub max_groups: usize,
    /// Bytes that groups over all open windows occupy, at most, about; a record that would need more is refused as
    /// `quota`.
    pub max_bytes: usize,
}

#[derive(Debug)]
struct Group {
    key: Vec<Value>,
    states: Vec<State>,
    bytes: usize,
}

/// Bytes of a group beside its key and states: the entry of the map, and the vectors.
const GROUP_BYTES: usize = size_of::<Group>() + 64;

fn states_bytes(spec: &AggregateSpec) -> usize {
    spec.operations.len() * size_of::<State>() + spec.by.len() * size_of::<Value>()
}

type Groups = std::collections::HashMap<Box<[u8]>, Group>;

/// The stage.
#[derive(Debug)]
pub struct Aggregate {
    spec: AggregateSpec,
    windows: Windows,
    open: BTreeMap<i64, Groups>,
    groups: usize,
    bytes: usize,
    schema: Arc<Schema>,
    hasher: RandomState,
    number: u64,
    /// Whether anything is read of a record: to count lines, they need not be anything but lines.
    needs_fields: bool,
}

impl Aggregate {
    /// Builds the stage.
    pub fn new(spec: AggregateSpec) -> Self {
        let window_fields: &[&str] = match spec.window {
            Window::Whole => &[],
            Window::Count { .. } | Window::Arrival { .. } => &["window"],
            Window::Event { .. } => &["window_start", "window_end"],
        };
        let names = window_fields
            .iter()
            .copied()
            .chain(spec.by.iter().map(String::as_str))
            .chain(spec.operations.iter().map(Operation::name));
        let needs_fields = !spec.by.is_empty()
            || matches!(spec.window, Window::Event { .. })
            || spec.operations.iter().any(Operation::needs_field);
        Self {
            needs_fields,
            schema: Schema::new(names),
            windows: Windows::new(spec.window.clone()),
            spec,
            open: BTreeMap::new(),
            groups: 0,
            bytes: 0,
            hasher: RandomState::new(),
            number: 0,
        }
    }

    /// Groups held now, over all open windows.
    pub fn groups(&self) -> usize {
        self.groups
    }

    fn emit_until(&mut self, complete: i64, out: &mut Vec<Record>) {
        // Windows that start before `complete` are done.
        let rest = self.open.split_off(&complete);
        for (start, groups) in std::mem::replace(&mut self.open, rest) {
            self.emit_window(start, groups, out);
        }
    }

    fn emit_window(&mut self, start: i64, groups: Groups, out: &mut Vec<Record>) {
        self.groups -= groups.len();
        self.bytes -= groups.values().map(|group| group.bytes).sum::<usize>();
        let mut groups: Vec<Group> = groups.into_values().collect();
        groups.sort_by(|a, b| {
            let pairs = a.key.iter().zip(&b.key);
            pairs
                .map(|(x, y)| x.compare(y))
                .find(|order| order.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        for group in groups {
            let mut values = Vec::with_capacity(self.schema.len());
            match self.spec.window {
                Window::Whole => {}
                Window::Count { .. } | Window::Arrival { .. } => {
                    values.push(Value::integer(start + 1))
                }
                Window::Event { size, .. } => {
                    values.push(Value::text(format_milliseconds(start)));
                    values.push(Value::text(format_milliseconds(
                        start.saturating_add(window::milliseconds(size)),
                    )));
                }
            }
            values.extend(group.key);
            values.extend(group.states.into_iter().map(State::result));
            self.number += 1;
            out.push(Record::from_values(
                Arc::clone(&self.schema),
                values,
                self.number,
            ));
        }
    }

    fn group_key(&self, record: &Record) -> Result<(Box<[u8]>, Vec<Value>), String> {
        let mut bytes = Vec::new();
        let mut values = Vec::with_capacity(self.spec.by.len());
        for field in &self.spec.by {
            let value = record
                .get(field)
                .ok_or_else(|| format!("has no field `{field}`"))?;
            let text = value.as_text();
            // The length before each value keeps `a`,`bc` and `ab`,`c` apart.
            bytes.extend_from_slice(&text.len().to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
            values.push(value.clone());
        }
        Ok((bytes.into_boxed_slice(), values))
    }

    fn add(&mut self, record: &Record, start: i64) -> Result<(), (RefusalReason, String)> {
        let decode = |detail: String| (RefusalReason::Decode, detail);
        // Everything that can fail is read before anything is changed.
        let (key, values) = self.group_key(record).map_err(decode)?;
        let mut inputs = Vec::with_capacity(self.spec.operations.len());
        for operation in &self.spec.operations {
            inputs.push(operation.input(record).map_err(decode)?);
        }
        let groups = self.open.entry(start).or_default();
        if let Some(group) = groups.get(&key)
            && group
                .states
                .iter()
                .zip(&inputs)
                .any(|(state, input)| !state.admits(input))
        {
            return Err((
                RefusalReason::Quota,
                "would make a sum larger than an exact number holds".to_owned(),
            ));
        }
        // The key is kept twice, as bytes and as values.
        let fresh = if groups.contains_key(&key) {
            0
        } else {
            GROUP_BYTES + 2 * key.len() + states_bytes(&self.spec)
        };
        let growth = fresh + inputs.iter().map(InputValue::most_growth).sum::<usize>();
        let refusal = if fresh > 0 && self.groups == self.spec.max_groups {
            Some(format!(
                "would open more than {} groups",
                self.spec.max_groups
            ))
        } else if self.bytes + growth > self.spec.max_bytes {
            Some(format!(
                "would need more than {} bytes for groups",
                self.spec.max_bytes
            ))
        } else {
            None
        };
        if let Some(detail) = refusal {
            if groups.is_empty() {
                self.open.remove(&start);
            }
            return Err((RefusalReason::Quota, detail));
        }
        let hasher = &self.hasher;
        let group = groups.entry(key).or_insert_with(|| {
            self.groups += 1;
            Group {
                key: values,
                states: self.spec.operations.iter().map(Operation::start).collect(),
                bytes: 0,
            }
        });
        let mut grown = fresh;
        for (state, input) in group.states.iter_mut().zip(inputs) {
            grown += state.add(input, |text| hasher.hash_one(text));
        }
        group.bytes += grown;
        self.bytes += grown;
        Ok(())
    }
}

impl RecordStage for Aggregate {
    fn take(
        &mut self,
        record: &Record,
        now: Time,
        out: &mut Vec<Record>,
    ) -> Result<Taken, Refusal> {
        let record = if self.needs_fields {
            record.with_fields().map_err(Refusal::decode)?
        } else {
            Cow::Borrowed(record)
        };
        if let Some(complete) = self.windows.complete_by_clock(now) {
            self.emit_until(complete, out);
        }
        let start = match self.windows.admit(&record, now) {
            Admission::Window(start) => start,
            Admission::Unreadable(detail) => return Err(Refusal::decode(detail)),
            Admission::Late(detail) => {
                return Err(Refusal::new(RefusalReason::Rejected, detail));
            }
        };
        let mut added = self.add(&record, start);
        if let Err((RefusalReason::Quota, _)) = added
            && let Some(complete) = self.windows.observed(&record)
        {
            // Windows that its time completes make room.
            self.emit_until(complete, out);
            added = self.add(&record, start);
        }
        if let Err((reason, detail)) = added {
            return Err(Refusal::new(reason, detail));
        }
        if let Some(complete) = self.windows.counted(&record, now) {
            self.emit_until(complete, out);
        }
        Ok(Taken::Consumed)
    }

    fn next_timeout(&self) -> Option<Time> {
        if self.open.is_empty() {
            None
        } else {
            self.windows.next_timeout()
        }
    }

    fn handle_timeout(&mut self, now: Time, out: &mut Vec<Record>) {
        if let Some(complete) = self.windows.complete_by_clock(now) {
            self.emit_until(complete, out);
        }
    }

    fn finish(&mut self, out: &mut Vec<Record>) {
        for (start, groups) in std::mem::take(&mut self.open) {
            self.emit_window(start, groups, out);
        }
    }
}

#[cfg(test)]
mod tests;
