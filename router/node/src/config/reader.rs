//! Typed values out of the tree, with every mistake collected.
//!
//! A [`TableReader`] remembers which keys were asked for; [`TableReader::finish`] reports the ones that nobody
//! asked for. So the list of known keys cannot drift from the code that reads them.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::document::{Entry, Node, Table, Value};
use super::mistake::{Mistake, Place, Spotted};
use super::quantity::{format_duration, format_size, parse_duration, parse_size};

/// Where readers leave the mistakes they find.
pub type Mistakes = RefCell<Vec<Mistake>>;

/// Reads one table.
pub struct TableReader<'a> {
    table: &'a Table,
    place: Place,
    path: String,
    asked: RefCell<Vec<&'static str>>,
    mistakes: &'a Mistakes,
}

impl<'a> TableReader<'a> {
    /// A reader of `table`, whose keys are reported below `path` (empty for the root).
    pub fn new(
        table: &'a Table,
        place: Place,
        path: impl Into<String>,
        mistakes: &'a Mistakes,
    ) -> Self {
        Self {
            table,
            place,
            path: path.into(),
            asked: RefCell::default(),
            mistakes,
        }
    }

    /// Where the table itself stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The dotted path of `key` in this table.
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Where `key` is written, or the table when it is not.
    pub fn place_of(&self, key: &str) -> Place {
        self.table
            .get(key)
            .map_or_else(|| self.place.clone(), |entry| entry.node.place.clone())
    }

    /// Whether `key` is written, without counting it as read.
    pub fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    /// Reports a mistake about `key`.
    pub fn mistake(&self, key: &str, problem: impl Into<String>) {
        self.report(Mistake::new(self.place_of(key), self.path_of(key), problem));
    }

    /// Reports a mistake as it is.
    pub fn report(&self, mistake: Mistake) {
        self.mistakes.borrow_mut().push(mistake);
    }

    fn entry(&self, key: &'static str) -> Option<&'a Entry> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        self.table.get(key)
    }

    fn wrong_type(&self, key: &str, wanted: &str, node: &Node) {
        let found = match &node.value {
            Value::Loose(text) => format!("`{text}`"),
            other => other.type_name().to_owned(),
        };
        self.report(Mistake::new(
            node.place.clone(),
            self.path_of(key),
            format!("`{}` must be {wanted}, not {found}", self.path_of(key)),
        ));
    }

    /// A string.
    pub fn text(&self, key: &'static str) -> Option<Spotted<String>> {
        let entry = self.entry(key)?;
        match &entry.node.value {
            Value::Text(text) | Value::Loose(text) => {
                Some(Spotted::new(text.clone(), entry.node.place.clone()))
            }
            _ => {
                self.wrong_type(key, "a string", &entry.node);
                None
            }
        }
    }

    /// A string that must be there and not be empty.
    pub fn required_text(&self, key: &'static str) -> Option<Spotted<String>> {
        if !self.has(key) {
            let _known = self.entry(key);
            self.report(Mistake::new(
                self.place.clone(),
                self.path_of(key),
                format!("`{}` is missing", self.path_of(key)),
            ));
            return None;
        }
        let text = self.text(key)?;
        if text.value.is_empty() {
            self.mistake(key, format!("`{}` is empty", self.path_of(key)));
            return None;
        }
        Some(text)
    }

    /// One of a few words; anything else is reported with what was probably meant.
    pub fn one_of<T: Copy>(&self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(key)?;
        match words.iter().find(|(word, _)| *word == text.value) {
            Some((_, value)) => Some(*value),
            None => {
                self.report(
                    Mistake::new(
                        text.place,
                        self.path_of(key),
                        format!("`{}` is not a value of `{}`", text.value, self.path_of(key)),
                    )
                    .suggest(&text.value, words.iter().map(|(word, _)| *word)),
                );
                None
            }
        }
    }

    /// A boolean.
    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        let entry = self.entry(key)?;
        match &entry.node.value {
            Value::Boolean(value) => Some(*value),
            Value::Loose(text) if text == "true" => Some(true),
            Value::Loose(text) if text == "false" => Some(false),
            _ => {
                self.wrong_type(key, "true or false", &entry.node);
                None
            }
        }
    }

    /// A whole number within `bounds`.
    pub fn integer(&self, key: &'static str, bounds: RangeInclusive<u64>) -> Option<u64> {
        let entry = self.entry(key)?;
        let number = match &entry.node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Loose(text) => text.replace('_', "").parse().ok(),
            _ => {
                self.wrong_type(key, "a whole number", &entry.node);
                return None;
            }
        };
        match number {
            Some(number) if bounds.contains(&number) => Some(number),
            _ => {
                self.mistake(
                    key,
                    format!(
                        "`{}` must lie between {} and {}",
                        self.path_of(key),
                        bounds.start(),
                        bounds.end()
                    ),
                );
                None
            }
        }
    }

    /// A number within `bounds`, whole or not.
    pub fn number(&self, key: &'static str, bounds: RangeInclusive<f64>) -> Option<f64> {
        let entry = self.entry(key)?;
        let number = match &entry.node.value {
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            Value::Loose(text) => text.replace('_', "").parse().ok(),
            _ => {
                self.wrong_type(key, "a number", &entry.node);
                return None;
            }
        };
        // No number is within no bounds.
        let number = number.filter(|number| bounds.contains(number));
        if number.is_none() {
            self.mistake(
                key,
                format!(
                    "`{}` must lie between {} and {}",
                    self.path_of(key),
                    bounds.start(),
                    bounds.end()
                ),
            );
        }
        number
    }

    /// A duration within `bounds`.
    pub fn duration(
        &self,
        key: &'static str,
        bounds: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let text = self.text(key)?;
        match parse_duration(&text.value) {
            Ok(duration) if bounds.contains(&duration) => Some(duration),
            Ok(_) => {
                let (low, high) = (
                    format_duration(*bounds.start()),
                    format_duration(*bounds.end()),
                );
                self.mistake(
                    key,
                    format!("`{}` must lie between {low} and {high}", self.path_of(key)),
                );
                None
            }
            Err(problem) => {
                self.mistake(key, problem);
                None
            }
        }
    }

    /// A size in bytes within `bounds`: a whole number or a text such as `64KiB`.
    pub fn size(&self, key: &'static str, bounds: RangeInclusive<u64>) -> Option<u64> {
        let entry = self.entry(key)?;
        let parsed = match &entry.node.value {
            Value::Integer(number) => {
                u64::try_from(*number).map_err(|_| "a size cannot be negative".to_owned())
            }
            Value::Text(text) | Value::Loose(text) => parse_size(text),
            _ => {
                self.wrong_type(key, "a size such as \"64KiB\"", &entry.node);
                return None;
            }
        };
        match parsed {
            Ok(size) if bounds.contains(&size) => Some(size),
            Ok(_) => {
                let (low, high) = (format_size(*bounds.start()), format_size(*bounds.end()));
                self.mistake(
                    key,
                    format!("`{}` must lie between {low} and {high}", self.path_of(key)),
                );
                None
            }
            Err(problem) => {
                self.mistake(key, problem);
                None
            }
        }
    }

    /// A list of strings; a single string counts as a list of one.
    pub fn texts(&self, key: &'static str) -> Option<Vec<Spotted<String>>> {
        let entry = self.entry(key)?;
        match &entry.node.value {
            Value::Text(text) => Some(vec![Spotted::new(text.clone(), entry.node.place.clone())]),
            Value::Loose(text) => Some(
                text.split(',')
                    .map(|part| Spotted::new(part.trim().to_owned(), entry.node.place.clone()))
                    .collect(),
            ),
            Value::Array(items) => {
                let mut texts = Vec::with_capacity(items.len());
                for item in items {
                    match &item.value {
                        Value::Text(text) => {
                            texts.push(Spotted::new(text.clone(), item.place.clone()))
                        }
                        _ => self.wrong_type(key, "a list of strings", item),
                    }
                }
                Some(texts)
            }
            _ => {
                self.wrong_type(key, "a string or a list of strings", &entry.node);
                None
            }
        }
    }

    /// A list of whole numbers within `bounds`.
    pub fn integers(&self, key: &'static str, bounds: RangeInclusive<u64>) -> Option<Vec<u64>> {
        let entry = self.entry(key)?;
        let within = |number: Option<u64>| number.filter(|number| bounds.contains(number));
        let numbers: Option<Vec<u64>> = match &entry.node.value {
            Value::Array(items) => items
                .iter()
                .map(|item| match item.value {
                    Value::Integer(number) => within(u64::try_from(number).ok()),
                    _ => None,
                })
                .collect(),
            Value::Loose(text) => text
                .split(',')
                .map(|part| within(part.trim().parse().ok()))
                .collect(),
            _ => None,
        };
        if numbers.is_none() {
            let (path, low, high) = (self.path_of(key), bounds.start(), bounds.end());
            let problem = format!("`{path}` must be a list of whole numbers from {low} to {high}");
            self.mistake(key, problem);
        }
        numbers
    }

    /// A table of free keys with string values, in the order of the file; numbers and booleans are taken as text.
    pub fn text_map(&self, key: &'static str) -> Vec<(Spotted<String>, Spotted<String>)> {
        let Some(entry) = self.entry(key) else {
            return Vec::new();
        };
        let Value::Table(table) = &entry.node.value else {
            self.wrong_type(key, "a table", &entry.node);
            return Vec::new();
        };
        let mut pairs = Vec::with_capacity(table.entries.len());
        for inner in &table.entries {
            let text = match &inner.node.value {
                Value::Text(text) | Value::Loose(text) => text.clone(),
                Value::Integer(number) => number.to_string(),
                Value::Boolean(value) => value.to_string(),
                _ => {
                    self.wrong_type(key, "a table of strings", &inner.node);
                    continue;
                }
            };
            pairs.push((
                Spotted::new(inner.key.clone(), inner.key_place.clone()),
                Spotted::new(text, inner.node.place.clone()),
            ));
        }
        pairs
    }

    /// The table of this key.
    pub fn table(&self, key: &'static str) -> Option<TableReader<'a>> {
        let entry = self.entry(key)?;
        match &entry.node.value {
            Value::Table(table) => Some(TableReader::new(
                table,
                entry.key_place.clone(),
                self.path_of(key),
                self.mistakes,
            )),
            _ => {
                self.wrong_type(
                    key,
                    &format!("a table: write [{}]", self.path_of(key)),
                    &entry.node,
                );
                None
            }
        }
    }

    /// The tables of an array of tables, `[[key]]` or `key = [{ … }]`.
    pub fn tables(&self, key: &'static str) -> Vec<TableReader<'a>> {
        let Some(entry) = self.entry(key) else {
            return Vec::new();
        };
        let Value::Array(items) = &entry.node.value else {
            self.wrong_type(
                key,
                &format!("a list of tables: write [[{}]]", self.path_of(key)),
                &entry.node,
            );
            return Vec::new();
        };
        let mut readers = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match &item.value {
                Value::Table(table) => {
                    let path = format!("{}.{index}", self.path_of(key));
                    readers.push(TableReader::new(
                        table,
                        item.place.clone(),
                        path,
                        self.mistakes,
                    ));
                }
                _ => self.wrong_type(key, "a list of tables", item),
            }
        }
        readers
    }

    /// Marks keys as known without reading them: used when an earlier mistake hides what the table means.
    pub fn know(&self, keys: &[&'static str]) {
        self.asked.borrow_mut().extend_from_slice(keys);
    }

    /// Reports every key that was not asked for.
    pub fn finish(self) {
        let asked = self.asked.borrow();
        for entry in &self.table.entries {
            if !asked.contains(&entry.key.as_str()) {
                let whole = self.path_of(&entry.key);
                self.report(
                    Mistake::new(
                        entry.key_place.clone(),
                        whole.clone(),
                        format!("unknown key `{whole}`"),
                    )
                    .suggest(&entry.key, asked.iter().copied()),
                );
            }
        }
    }
}
