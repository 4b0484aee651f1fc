//! What is computed per group: `count`, `sum(field)`, `mean(field)`, `min(field)`, `max(field)`, `top(field, k)`.

use std::fmt;

use crate::record::{Decimal, Record, Value, json};

/// Distinct values that `top` follows, per wanted value and at least: with fewer distinct values it is exact.
const TOP_FOLLOWED_PER_VALUE: usize = 32;
const TOP_FOLLOWED_LEAST: usize = 1024;
/// The largest k of `top(field, k)`.
pub const TOP_LARGEST: usize = 1000;

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    kind: Kind,
    name: String,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Count,
    Sum(String),
    Mean(String),
    Min(String),
    Max(String),
    Top(String, usize),
}

/// Why a text is no operation. The person who wrote it recovers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationError {
    /// The name is unknown.
    Unknown {
        /// The name.
        name: String,
    },
    /// The argument is missing or there are too many.
    Arguments {
        /// The form that it should have.
        form: &'static str,
    },
}

/// The names of the operations.
pub const OPERATIONS: [&str; 6] = ["count", "sum", "mean", "min", "max", "top"];

impl fmt::Display for OperationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name } => write!(f, "`{name}` is not an operation"),
            Self::Arguments { form } => write!(f, "the operation has the form {form}"),
        }
    }
}

impl std::error::Error for OperationError {}

impl Operation {
    /// Parses `name`, `name(field)` or `top(field, k)`, with `as NAME` for the output field if wanted. Without it the
    /// field is called `count`, `sum_amount` and so on.
    ///
    /// # Errors
    /// [`OperationError`].
    pub fn parse(text: &str) -> Result<Self, OperationError> {
        let (call, alias) = match text.rsplit_once(" as ") {
            Some((call, alias)) => (call.trim(), Some(alias.trim())),
            None => (text.trim(), None),
        };
        let (name, arguments) = match call.split_once('(') {
            Some((name, rest)) => {
                let inner = rest.strip_suffix(')').ok_or(OperationError::Arguments {
                    form: "name(field)",
                })?;
                (
                    name.trim(),
                    inner.split(',').map(str::trim).collect::<Vec<_>>(),
                )
            }
            None => (call, Vec::new()),
        };
        let one = |form| match arguments.as_slice() {
            [field] if !field.is_empty() => Ok((*field).to_owned()),
            _ => Err(OperationError::Arguments { form }),
        };
        let kind = match name {
            "count" if arguments.iter().all(|argument| argument.is_empty()) => Kind::Count,
            "count" => return Err(OperationError::Arguments { form: "count" }),
            "sum" => Kind::Sum(one("sum(field)")?),
            "mean" => Kind::Mean(one("mean(field)")?),
            "min" => Kind::Min(one("min(field)")?),
            "max" => Kind::Max(one("max(field)")?),
            "top" => match arguments.as_slice() {
                [field, k] if !field.is_empty() => match k.parse() {
                    Ok(k) if (1..=TOP_LARGEST).contains(&k) => Kind::Top((*field).to_owned(), k),
                    _ => {
                        return Err(OperationError::Arguments {
                            form: "top(field, k) with k from 1 to 1000",
                        });
                    }
                },
                _ => {
                    return Err(OperationError::Arguments {
                        form: "top(field, k)",
                    });
                }
            },
            _ => {
                return Err(OperationError::Unknown {
                    name: name.to_owned(),
                });
            }
        };
        let default = match &kind {
            Kind::Count => "count".to_owned(),
            Kind::Sum(field)
            | Kind::Mean(field)
            | Kind::Min(field)
            | Kind::Max(field)
            | Kind::Top(field, _) => {
                format!("{name}_{field}")
            }
        };
        let name = alias
            .filter(|alias| !alias.is_empty())
            .map_or(default, str::to_owned);
        Ok(Self {
            kind,
            name,
            text: text.trim().to_owned(),
        })
    }

    /// Whether it reads a field of the record.
    pub fn needs_field(&self) -> bool {
        self.kind != Kind::Count
    }

    /// The name of the output field.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn start(&self) -> State {
        match &self.kind {
            Kind::Count => State::Count(0),
            Kind::Sum(_) => State::Sum(Decimal::ZERO),
            Kind::Mean(_) => State::Mean(Decimal::ZERO, 0),
            Kind::Min(_) => State::Min(None),
            Kind::Max(_) => State::Max(None),
            Kind::Top(_, k) => State::Top(Box::new(Top::new(*k))),
        }
    }

    /// What the operation needs of a record. A null takes no part in sum, mean, min and max.
    pub(super) fn input(&self, record: &Record) -> Result<InputValue, String> {
        let get = |field: &String| {
            record
                .get(field)
                .ok_or_else(|| format!("has no field `{field}`"))
        };
        Ok(match &self.kind {
            Kind::Count => InputValue::Nothing,
            Kind::Sum(field) | Kind::Mean(field) | Kind::Min(field) | Kind::Max(field) => {
                let value = get(field)?;
                if *value == Value::Null {
                    return Ok(InputValue::Nothing);
                }
                let number = value.as_number();
                InputValue::Number(number.ok_or_else(|| {
                    format!("has `{}` in `{field}`, which is no number", value.as_text())
                })?)
            }
            Kind::Top(field, _) => {
                let text = get(field)?.as_text();
                InputValue::Text(beginning(&text).into())
            }
        })
    }
}

/// Bytes of a followed value beside its text: its entry, its place in the heap and in the index.
const FOLLOWED_BYTES: usize = size_of::<Followed>() + 96;
/// Bytes of a followed value's text that count; longer texts are cut.
const FOLLOWED_TEXT: usize = 256;

/// The text, cut where it is too long to be followed.
fn beginning(text: &str) -> &str {
    let mut end = text.len().min(FOLLOWED_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[derive(Debug)]
pub(super) enum InputValue {
    Nothing,
    Number(Decimal),
    Text(Box<str>),
}

impl InputValue {
    /// Bytes that adding it can need at most.
    pub(super) fn most_growth(&self) -> usize {
        match self {
            Self::Text(text) => text.len() + FOLLOWED_BYTES,
            Self::Nothing | Self::Number(_) => 0,
        }
    }
}

/// One group's state of one operation.
#[derive(Debug)]
pub(super) enum State {
    Count(u64),
    Sum(Decimal),
    Mean(Decimal, u64),
    Min(Option<Decimal>),
    Max(Option<Decimal>),
    Top(Box<Top>),
}

impl State {
    /// Whether adding the input stays within range.
    pub(super) fn admits(&self, input: &InputValue) -> bool {
        match (self, input) {
            (State::Sum(sum) | State::Mean(sum, _), InputValue::Number(number)) => {
                sum.checked_add(*number).is_ok()
            }
            _ => true,
        }
    }

    /// Adds the input; returns the bytes by which the state has grown.
    pub(super) fn add(&mut self, input: InputValue, hash: impl Fn(&str) -> u64) -> usize {
        match (self, input) {
            (State::Count(count), _) => *count += 1,
            (State::Sum(sum), InputValue::Number(number)) => {
                if let Ok(more) = sum.checked_add(number) {
                    *sum = more;
                }
            }
            (State::Mean(sum, count), InputValue::Number(number)) => {
                if let Ok(more) = sum.checked_add(number) {
                    *sum = more;
                    *count += 1;
                }
            }
            (State::Min(least), InputValue::Number(number)) => {
                *least = Some(least.map_or(number, |known| known.min(number)));
            }
            (State::Max(most), InputValue::Number(number)) => {
                *most = Some(most.map_or(number, |known| known.max(number)));
            }
            (State::Top(top), InputValue::Text(text)) => {
                let hash = hash(&text);
                return top.add(text, hash);
            }
            _ => {}
        }
        0
    }

    pub(super) fn result(self) -> Value {
        match self {
            State::Count(count) => Value::integer(count),
            State::Sum(sum) => Value::Number(sum),
            State::Mean(sum, count) => sum.divided_by(count).map_or(Value::Null, Value::Number),
            State::Min(number) | State::Max(number) => number.map_or(Value::Null, Value::Number),
            State::Top(top) => top.result(),
        }
    }
}

/// Most frequent values by the Space-Saving method: with more distinct values than it follows, the rarest one gives
/// its place to the newcomer, which inherits its count. Counts are then upper bounds.
#[derive(Debug)]
pub(super) struct Top {
    wanted: usize,
    capacity: usize,
    followed: Vec<Followed>,
    by_hash: std::collections::HashMap<u64, Vec<u32>>,
    /// Positions ordered as a binary heap by count, least first, so that the rarest is found at once.
    heap: Vec<u32>,
}

#[derive(Debug)]
struct Followed {
    text: Box<str>,
    hash: u64,
    count: u64,
    heap_position: usize,
}

impl Top {
    fn new(wanted: usize) -> Self {
        let capacity = (wanted * TOP_FOLLOWED_PER_VALUE).max(TOP_FOLLOWED_LEAST);
        Self {
            wanted,
            capacity,
            followed: Vec::new(),
            by_hash: std::collections::HashMap::new(),
            heap: Vec::new(),
        }
    }

    fn add(&mut self, text: Box<str>, hash: u64) -> usize {
        let known = self.by_hash.get(&hash).and_then(|places| {
            places
                .iter()
                .copied()
                .find(|at| self.followed[*at as usize].text == text)
        });
        if let Some(at) = known {
            self.followed[at as usize].count += 1;
            self.sink(self.followed[at as usize].heap_position);
            0
        } else if self.followed.len() < self.capacity {
            let at = self.followed.len() as u32;
            let grown = FOLLOWED_BYTES + text.len();
            self.by_hash.entry(hash).or_default().push(at);
            self.followed.push(Followed {
                text,
                hash,
                count: 1,
                heap_position: self.heap.len(),
            });
            self.heap.push(at);
            self.rise(self.heap.len() - 1);
            grown
        } else {
            let at = self.heap[0];
            let rarest = &mut self.followed[at as usize];
            if let Some(places) = self.by_hash.get_mut(&rarest.hash) {
                places.retain(|place| *place != at);
                if places.is_empty() {
                    self.by_hash.remove(&rarest.hash);
                }
            }
            let grown = text.len().saturating_sub(rarest.text.len());
            rarest.text = text;
            rarest.hash = hash;
            rarest.count += 1;
            self.by_hash.entry(hash).or_default().push(at);
            self.sink(0);
            grown
        }
    }

    fn count_at(&self, position: usize) -> u64 {
        self.followed[self.heap[position] as usize].count
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        for position in [a, b] {
            let at = self.heap[position] as usize;
            self.followed[at].heap_position = position;
        }
    }

    fn sink(&mut self, mut position: usize) {
        loop {
            let (left, right) = (2 * position + 1, 2 * position + 2);
            let mut least = position;
            for child in [left, right] {
                if child < self.heap.len() && self.count_at(child) < self.count_at(least) {
                    least = child;
                }
            }
            if least == position {
                return;
            }
            self.swap(position, least);
            position = least;
        }
    }

    fn rise(&mut self, mut position: usize) {
        while position > 0 {
            let parent = (position - 1) / 2;
            if self.count_at(parent) <= self.count_at(position) {
                return;
            }
            self.swap(parent, position);
            position = parent;
        }
    }

    /// A JSON array of `{"value": …, "count": …}`, most frequent first, equal counts by value.
    fn result(self) -> Value {
        let mut followed = self.followed;
        followed.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.text.cmp(&b.text)));
        let mut out = vec![b'['];
        for (index, one) in followed.iter().take(self.wanted).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"value\":");
            json::write_text(&one.text, &mut out);
            out.extend_from_slice(format!(",\"count\":{}}}", one.count).as_bytes());
        }
        out.push(b']');
        Value::Nested(String::from_utf8_lossy(&out).into_owned().into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms() {
        let name = |text: &str| Operation::parse(text).map(|operation| operation.name().to_owned());
        assert_eq!(name("count").unwrap(), "count");
        assert_eq!(name("sum(amount)").unwrap(), "sum_amount");
        assert_eq!(name(" top( path , 5 ) as paths").unwrap(), "paths");
        assert!(matches!(
            name("average(x)"),
            Err(OperationError::Unknown { .. })
        ));
        for text in [
            "sum",
            "sum()",
            "sum(a,b)",
            "top(a)",
            "top(a,0)",
            "top(a,1001)",
            "sum(a",
            "count(a)",
        ] {
            assert!(
                matches!(name(text), Err(OperationError::Arguments { .. })),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn top_is_exact_while_it_follows_all(texts in proptest::collection::vec("[a-e]{1,2}", 0..200)) {
            let mut top = Top::new(3);
            let mut counts = std::collections::BTreeMap::new();
            for text in &texts {
                // A weak hash on purpose: values that share one must stay apart.
                top.add(text.as_str().into(), u64::from(text.as_bytes()[0]));
                *counts.entry(text.clone()).or_insert(0u64) += 1;
            }
            let mut wanted: Vec<_> = counts.into_iter().collect();
            wanted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            let wanted: Vec<_> = wanted.into_iter().take(3)
                .map(|(value, count)| format!("{{\"value\":\"{value}\",\"count\":{count}}}")).collect();
            let wanted = format!("[{}]", wanted.join(","));
            let result = top.result();
            prop_assert_eq!(&*result.as_text(), &wanted);
        }

        #[test]
        fn top_never_misses_a_value_more_frequent_than_its_bound(noise in 0u32..4000) {
            let mut top = Top::new(1);
            for n in 0..noise {
                top.add(format!("n{n}").into(), u64::from(n) + 10);
                top.add("often".into(), 1);
            }
            top.add("often".into(), 1);
            prop_assert!(top.heap.len() <= TOP_FOLLOWED_LEAST);
            prop_assert!(top.result().as_text().contains("often"));
        }
    }
}
