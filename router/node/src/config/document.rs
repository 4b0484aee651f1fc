//! The tree of a node file: every key and value with the place it was written at, and the layers over it.

use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::mistake::{ConfigError, Mistake, Place, Source};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where the value stands.
    pub place: Place,
    /// The value.
    pub value: Value,
}

/// A value of the tree.
#[derive(Clone, Debug)]
pub enum Value {
    /// A TOML string.
    Text(String),
    /// A TOML integer.
    Integer(i64),
    /// A TOML float.
    Float(f64),
    /// A TOML boolean.
    Boolean(bool),
    /// A date or time, which no key takes.
    DateTime,
    /// An array.
    Array(Vec<Node>),
    /// A table.
    Table(Table),
    /// The text of an override: read as whatever type the key asks for.
    Loose(String),
}

impl Value {
    /// The type's name in messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Boolean(_) => "a boolean",
            Value::DateTime => "a date or time",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
            Value::Loose(_) => "a text",
        }
    }
}

/// One `key = value` of a table.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_place: Place,
    /// The value.
    pub node: Node,
}

/// A table, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The entries.
    pub entries: Vec<Entry>,
}

impl Table {
    /// The entry of this key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

/// A value from outside the file, with the path of the key that it replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    path: Vec<String>,
    text: String,
    place: Place,
    // Environment variables are upper case and cannot hold `-`, so their path elements compare loosely.
    loose_names: bool,
}

impl Override {
    /// Reads the text of a `--set key=value` flag; the key is a dotted path, for example `stage.lines.path`.
    ///
    /// # Errors
    /// A [`Mistake`] when there is no `=`, or an element of the path is empty.
    pub fn from_flag(flag: &str) -> Result<Self, Mistake> {
        let place = Place::Flag(flag.to_owned());
        let Some((path, text)) = flag.split_once('=') else {
            return Err(Mistake::new(place, flag, "has no `=`")
                .hint("write --set key=value, for example node.name=edge"));
        };
        let elements: Vec<String> = path
            .split('.')
            .map(|element| element.trim().to_owned())
            .collect();
        if elements.iter().any(String::is_empty) {
            return Err(Mistake::new(place, path, "has an empty key")
                .hint("write a dotted path, for example stage.lines.path=FILE"));
        }
        Ok(Self {
            path: elements,
            text: text.to_owned(),
            place,
            loose_names: false,
        })
    }
}

/// The variables that name a key: `MCPBUS_` and the path with `__` between its elements, in upper case.
///
/// `MCPBUS_NODE__NAME=edge` is `node.name`; `MCPBUS_STAGE__LINES__PATH` is `path` of the stage `lines`. Variables
/// without `__` (such as `MCPBUS_STATE`) have other meanings and are passed over.
pub fn environment_overrides(
    variables: impl IntoIterator<Item = (String, String)>,
) -> Vec<Override> {
    let mut found: Vec<Override> = variables
        .into_iter()
        .filter_map(|(name, text)| {
            let path = name.strip_prefix("MCPBUS_")?;
            path.contains("__").then(|| Override {
                path: path.split("__").map(str::to_lowercase).collect(),
                text,
                place: Place::Environment(name.clone()),
                loose_names: true,
            })
        })
        .collect();
    // The environment has no order of its own; sorted, two runs report the same mistake first.
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// A parsed file with its layers.
#[derive(Debug)]
pub struct Document {
    source: Arc<Source>,
    root: Table,
}

impl Document {
    /// Parses TOML.
    ///
    /// # Errors
    /// [`ConfigError`] with line and column of what is not TOML.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let source = Arc::new(Source {
            name: name.to_owned(),
            text: text.to_owned(),
        });
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        if !errors.is_empty() {
            let mistakes = errors
                .iter()
                .map(|error| {
                    let place = error.span().map_or(Place::Whole, |span| source.place(span));
                    Mistake::new(
                        place,
                        "",
                        format!("is not valid TOML: {}", error.message().trim()),
                    )
                })
                .collect();
            return Err(ConfigError::new(source, mistakes));
        }
        let root = convert_table(&source, table.get_ref());
        Ok(Self { source, root })
    }

    /// The text it was read from.
    pub fn source(&self) -> Arc<Source> {
        Arc::clone(&self.source)
    }

    /// The root table.
    pub fn root(&self) -> &Table {
        &self.root
    }

    /// Lays one value over the tree; a path that cannot exist is reported.
    ///
    /// The second element of a path into an array of tables is the `name` of the entry or its 0-based index.
    pub fn overlay(&mut self, given: &Override, mistakes: &mut Vec<Mistake>) {
        if let Err(mistake) = set(&mut self.root, &given.path, given, &mut Vec::new()) {
            mistakes.push(mistake);
        }
    }
}

fn same_name(written: &str, asked: &str, loose: bool) -> bool {
    written == asked || (loose && written.to_lowercase().replace('-', "_") == asked)
}

fn set(
    table: &mut Table,
    path: &[String],
    given: &Override,
    walked: &mut Vec<String>,
) -> Result<(), Mistake> {
    let Some((first, rest)) = path.split_first() else {
        return Ok(());
    };
    walked.push(first.clone());
    let position = table
        .entries
        .iter()
        .position(|entry| same_name(&entry.key, first, given.loose_names));
    if rest.is_empty() {
        let node = Node {
            place: given.place.clone(),
            value: Value::Loose(given.text.clone()),
        };
        match position {
            Some(at) => table.entries[at].node = node,
            // A key that is new here is checked by the reader like any other.
            None => {
                table.entries.push(Entry {
                    key: first.clone(),
                    key_place: given.place.clone(),
                    node,
                });
            }
        }
        return Ok(());
    }
    let at = position.unwrap_or_else(|| {
        let node = Node {
            place: given.place.clone(),
            value: Value::Table(Table::default()),
        };
        table.entries.push(Entry {
            key: first.clone(),
            key_place: given.place.clone(),
            node,
        });
        table.entries.len() - 1
    });
    match &mut table.entries[at].node.value {
        Value::Table(inner) => set(inner, rest, given, walked),
        Value::Array(items) => set_in_array(items, rest, given, walked),
        other => Err(Mistake::new(
            given.place.clone(),
            walked.join("."),
            format!(
                "`{}` is {}, it has no keys inside",
                walked.join("."),
                other.type_name()
            ),
        )),
    }
}

fn set_in_array(
    items: &mut [Node],
    path: &[String],
    given: &Override,
    walked: &mut Vec<String>,
) -> Result<(), Mistake> {
    let Some((asked, rest)) = path.split_first() else {
        return Ok(());
    };
    let names: Vec<String> = items
        .iter()
        .map(|item| match &item.value {
            Value::Table(table) => match table.get("name").map(|entry| &entry.node.value) {
                Some(Value::Text(name) | Value::Loose(name)) => name.clone(),
                _ => String::new(),
            },
            _ => String::new(),
        })
        .collect();
    let by_name = names
        .iter()
        .position(|name| same_name(name, asked, given.loose_names));
    let at = by_name.or_else(|| {
        asked
            .parse::<usize>()
            .ok()
            .filter(|index| *index < items.len())
    });
    let list = walked.join(".");
    let Some(at) = at else {
        return Err(Mistake::new(
            given.place.clone(),
            list.clone(),
            format!("there is no `{asked}` in [[{list}]]"),
        )
        .suggest(
            asked,
            names
                .iter()
                .map(String::as_str)
                .filter(|name| !name.is_empty()),
        ));
    };
    walked.push(asked.clone());
    match &mut items[at].value {
        Value::Table(table) if !rest.is_empty() => set(table, rest, given, walked),
        _ => Err(Mistake::new(
            given.place.clone(),
            walked.join("."),
            "names a whole entry, not a key of it",
        )
        .hint(format!("write {}.KEY=value", walked.join(".")))),
    }
}

fn convert_table(source: &Source, table: &DeTable<'_>) -> Table {
    let mut entries: Vec<(usize, Entry)> = table
        .iter()
        .map(|(key, value)| {
            let entry = Entry {
                key: key.get_ref().to_string(),
                key_place: source.place(key.span()),
                node: convert(source, value.span(), value.get_ref()),
            };
            (key.span().start, entry)
        })
        .collect();
    // The parser hands tables out sorted by key; people expect messages in the order of the file.
    entries.sort_by_key(|(start, _)| *start);
    Table {
        entries: entries.into_iter().map(|(_, entry)| entry).collect(),
    }
}

fn convert(source: &Source, span: std::ops::Range<usize>, value: &DeValue<'_>) -> Node {
    let place = source.place(span);
    let value = match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(integer) => {
            match i64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Float(integer.as_str().parse().unwrap_or(f64::INFINITY)),
            }
        }
        DeValue::Float(float) => Value::Float(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Datetime(_) => Value::DateTime,
        DeValue::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| convert(source, item.span(), item.get_ref()))
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(convert_table(source, table)),
    };
    Node { place, value }
}
