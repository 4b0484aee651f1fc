//! The keys of each kind of stage.

use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;

use super::limits::Limits;
use super::mistake::{Mistake, Spotted};
use super::reader::TableReader;
use super::stage::{EXEC_TIMEOUT, StageKind, template};
use crate::exec::ExecSpec;
use crate::payments::GeneratorSpec;
use crate::stages::aggregate::AggregateSpec;
use crate::stages::aggregate::operation::{OPERATIONS, Operation, OperationError};
use crate::stages::aggregate::window::Window;
use crate::stages::condition::Condition;
use crate::stages::delimited::Delimited;
use crate::stages::event_time::TimeFormat;
use crate::stages::filter::FilterSpec;
use crate::stages::lines::LinesSpec;
use crate::stages::parse::{FIELD_TYPES, Format, ParseSpec};
use crate::stages::project::{Choose, ProjectSpec};
use crate::stages::write::{LineFormat, WriteSpec};
use crate::template::Template;

const DAY: Duration = Duration::from_secs(86_400);

/// Reads the keys of `kind`; none when the kind is unknown or a key that it cannot do without is wrong.
pub(super) fn read(reader: &TableReader<'_>, kind: &str, limits: &Limits) -> Option<StageKind> {
    match kind {
        "lines" => lines(reader, limits).map(StageKind::Lines),
        "generator" => Some(StageKind::Generator(generator(reader))),
        "parse" => parse(reader).map(StageKind::Parse),
        "filter" => Some(StageKind::Filter(filter(reader))),
        "project" => Some(StageKind::Project(project(reader))),
        "exec" => exec(reader, limits).map(StageKind::Exec),
        "aggregate" => Some(StageKind::Aggregate(aggregate(reader))),
        "write" => Some(StageKind::Write(write(reader))),
        "discard" => Some(StageKind::Discard),
        _ => None,
    }
}

fn lines(reader: &TableReader<'_>, limits: &Limits) -> Option<LinesSpec> {
    let path = reader.required_text("path");
    let header = reader.boolean("header").unwrap_or(false);
    let follow = reader.boolean("follow").unwrap_or(false);
    let max_line = reader
        .size("max_line", 1..=limits.message)
        .unwrap_or(limits.message);
    Some(LinesSpec {
        path: PathBuf::from(path?.value),
        header,
        follow,
        max_line: usize::try_from(max_line).unwrap_or(usize::MAX),
    })
}

fn generator(reader: &TableReader<'_>) -> GeneratorSpec {
    let defaults = GeneratorSpec::default();
    GeneratorSpec {
        count: reader
            .integer("count", 0..=u64::MAX >> 1)
            .unwrap_or(defaults.count),
        rate: reader
            .integer("rate", 0..=1_000_000_000)
            .unwrap_or(defaults.rate),
        seed: reader
            .integer("seed", 0..=i64::MAX.unsigned_abs())
            .unwrap_or(defaults.seed),
        accounts: reader
            .integer("accounts", 1..=10_000_000)
            .and_then(|accounts| u32::try_from(accounts).ok())
            .unwrap_or(defaults.accounts),
    }
}

fn parse(reader: &TableReader<'_>) -> Option<ParseSpec> {
    let words = [("delimited", 0), ("json", 1), ("regex", 2)];
    if !reader.has("format") {
        reader.mistake(
            "format",
            format!(
                "`{}` is missing: delimited, json or regex",
                reader.path_of("format")
            ),
        );
    }
    let format = reader.one_of("format", &words);
    let types = reader
        .text_map("types")
        .into_iter()
        .filter_map(|(field, word)| {
            match FIELD_TYPES.iter().find(|(known, _)| *known == word.value) {
                Some((_, kind)) => Some((field, *kind)),
                None => {
                    let problem = format!("`{}` is not a type", word.value);
                    let mistake = Mistake::new(word.place, reader.path_of("types"), problem);
                    reader.report(
                        mistake.suggest(&word.value, FIELD_TYPES.iter().map(|(known, _)| *known)),
                    );
                    None
                }
            }
        })
        .collect::<Vec<_>>();
    let (format, fields) = match format {
        Some(0) => delimited(reader)?,
        Some(1) => (Format::Json, None),
        Some(_) => {
            let text = reader.required_text("pattern")?;
            match Regex::new(&text.value) {
                Ok(regex) => {
                    let names: Vec<String> =
                        regex.capture_names().flatten().map(str::to_owned).collect();
                    if names.is_empty() {
                        reader.mistake(
                            "pattern",
                            "has no named group: write (?P<name>…) around each field",
                        );
                    }
                    (Format::Regex(regex), Some(names))
                }
                Err(error) => {
                    let first = error
                        .to_string()
                        .lines()
                        .last()
                        .unwrap_or_default()
                        .trim()
                        .to_owned();
                    reader.mistake("pattern", format!("is not a regular expression: {first}"));
                    return None;
                }
            }
        }
        None => {
            reader.know(&["delimiter", "quote", "columns", "pattern"]);
            return None;
        }
    };
    if let Some(fields) = fields {
        for (field, _) in &types {
            if !fields.contains(&field.value) {
                let problem = format!("`types` names `{}`, which is no field", field.value);
                let mistake = Mistake::new(field.place.clone(), reader.path_of("types"), problem);
                reader.report(mistake.suggest(&field.value, fields.iter().map(String::as_str)));
            }
        }
    }
    let types = types
        .into_iter()
        .map(|(field, kind)| (field.value, kind))
        .collect();
    Some(ParseSpec { format, types })
}

fn delimited(reader: &TableReader<'_>) -> Option<(Format, Option<Vec<String>>)> {
    let byte = |key: &'static str, default: &str| {
        let text = reader
            .text(key)
            .map_or_else(|| default.to_owned(), |text| text.value);
        match text.as_bytes() {
            [] if key == "quote" => Some(None),
            [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Some(Some(*byte)),
            _ => {
                reader.mistake(
                    key,
                    format!("`{key}` must be one ASCII character, not `{text}`"),
                );
                None
            }
        }
    };
    let delimiter = byte("delimiter", ",");
    let quote = byte("quote", "\"");
    let columns = reader.texts("columns");
    if !reader.has("columns") {
        reader.mistake(
            "columns",
            format!(
                "`{}` is missing: the names of the fields",
                reader.path_of("columns")
            ),
        );
    }
    let columns: Vec<Spotted<String>> = columns?;
    if columns.is_empty() {
        reader.mistake("columns", "names no field");
    }
    for (index, column) in columns.iter().enumerate() {
        if columns[..index]
            .iter()
            .any(|earlier| earlier.value == column.value)
        {
            let problem = format!("`{}` names two fields", column.value);
            reader.report(Mistake::new(
                column.place.clone(),
                reader.path_of("columns"),
                problem,
            ));
        }
    }
    let columns: Vec<String> = columns.into_iter().map(|column| column.value).collect();
    let split = Delimited {
        delimiter: delimiter??,
        quote: quote?,
    };
    Some((
        Format::Delimited {
            split,
            columns: columns.clone(),
        },
        Some(columns),
    ))
}

fn conditions(reader: &TableReader<'_>, key: &'static str) -> Vec<Condition> {
    let texts = reader.texts(key).unwrap_or_default();
    texts
        .into_iter()
        .filter_map(|text| match Condition::parse(&text.value) {
            Ok(condition) => Some(condition),
            Err(error) => {
                reader.report(Mistake::new(
                    text.place,
                    reader.path_of(key),
                    error.to_string(),
                ));
                None
            }
        })
        .collect()
}

fn filter(reader: &TableReader<'_>) -> FilterSpec {
    let spec = FilterSpec {
        all: conditions(reader, "all"),
        any: conditions(reader, "any"),
    };
    if !reader.has("all") && !reader.has("any") {
        reader.mistake("all", "a filter has conditions: give `all` or `any`");
    }
    spec
}

fn project(reader: &TableReader<'_>) -> ProjectSpec {
    let set = reader
        .text_map("set")
        .into_iter()
        .filter_map(|(field, text)| match Template::parse(&text.value) {
            Ok(template) => Some((field.value, template)),
            Err(error) => {
                reader.report(Mistake::new(
                    text.place,
                    reader.path_of("set"),
                    error.to_string(),
                ));
                None
            }
        })
        .collect();
    let choose = reader
        .tables("choose")
        .into_iter()
        .filter_map(read_choose)
        .collect();
    let rename = reader
        .text_map("rename")
        .into_iter()
        .map(|(old, new)| (old.value, new.value))
        .collect();
    let names = |key| {
        reader
            .texts(key)
            .unwrap_or_default()
            .into_iter()
            .map(|text| text.value)
            .collect::<Vec<_>>()
    };
    let spec = ProjectSpec {
        set,
        choose,
        rename,
        keep: names("keep"),
        drop: names("drop"),
    };
    if reader.has("keep") && reader.has("drop") {
        reader.mistake("drop", "a projection has either `keep` or `drop`, not both");
    }
    if !["set", "choose", "rename", "keep", "drop"]
        .iter()
        .any(|key| reader.has(key))
    {
        reader.mistake(
            "set",
            "a projection changes something: give `set`, `choose`, `rename`, `keep` or `drop`",
        );
    }
    spec
}

fn read_choose(reader: TableReader<'_>) -> Option<Choose> {
    let field = reader.required_text("field");
    let when = conditions(&reader, "when");
    if !reader.has("when") {
        reader.mistake(
            "when",
            format!(
                "`{}` is missing: a list of conditions",
                reader.path_of("when")
            ),
        );
    }
    if !reader.has("then") {
        reader.mistake("then", format!("`{}` is missing", reader.path_of("then")));
    }
    let then = template(&reader, "then");
    let otherwise = template(&reader, "otherwise");
    reader.finish();
    Some(Choose {
        field: field?.value,
        when,
        then: then?.value,
        otherwise: otherwise.map(|template| template.value),
    })
}

fn exec(reader: &TableReader<'_>, limits: &Limits) -> Option<ExecSpec> {
    if !reader.has("command") {
        reader.mistake(
            "command",
            format!(
                "`{}` is missing: a list of program and arguments",
                reader.path_of("command")
            ),
        );
    }
    let command: Vec<String> = reader
        .texts("command")
        .unwrap_or_default()
        .into_iter()
        .map(|text| text.value)
        .collect();
    let spec = ExecSpec {
        window: reader
            .integer("window", 1..=1024)
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(1),
        timeout: reader
            .duration("timeout", Duration::from_millis(1)..=DAY)
            .unwrap_or(EXEC_TIMEOUT),
        max_deliver: reader
            .integer("max_deliver", 1..=100)
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(5),
        max_answer: usize::try_from(limits.message).unwrap_or(usize::MAX),
        command,
    };
    if reader.has("command") && spec.command.first().is_none_or(String::is_empty) {
        reader.mistake("command", "names no program");
    }
    Some(spec)
}

fn aggregate(reader: &TableReader<'_>) -> AggregateSpec {
    let by = reader
        .texts("by")
        .unwrap_or_default()
        .into_iter()
        .map(|text| text.value)
        .collect();
    if !reader.has("ops") {
        reader.mistake(
            "ops",
            format!(
                "`{}` is missing, for example [\"count\", \"sum(amount)\"]",
                reader.path_of("ops")
            ),
        );
    }
    let mut operations: Vec<Operation> = Vec::new();
    for text in reader.texts("ops").unwrap_or_default() {
        let report =
            |problem: String| Mistake::new(text.place.clone(), reader.path_of("ops"), problem);
        match Operation::parse(&text.value) {
            Ok(operation)
                if operations
                    .iter()
                    .any(|known| known.name() == operation.name()) =>
            {
                reader.report(
                    report(format!(
                        "two operations give the field `{}`",
                        operation.name()
                    ))
                    .hint("rename one with `as NAME`"),
                );
            }
            Ok(operation) => operations.push(operation),
            Err(OperationError::Unknown { name }) => {
                let mistake = report(OperationError::Unknown { name: name.clone() }.to_string());
                reader.report(mistake.suggest(&name, OPERATIONS));
            }
            Err(error) => reader.report(report(error.to_string())),
        }
    }
    if reader.texts("ops").is_some_and(|texts| texts.is_empty()) {
        reader.mistake("ops", "names no operation");
    }
    let window = reader.table("window").map_or(Some(Window::Whole), window);
    AggregateSpec {
        by,
        operations,
        window: window.unwrap_or(Window::Whole),
        max_groups: reader
            .integer("max_groups", 1..=10_000_000)
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(100_000),
        max_bytes: reader
            .size("max_bytes", 64 << 10..=64 << 30)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(64 << 20),
    }
}

fn window(reader: TableReader<'_>) -> Option<Window> {
    let long = Duration::from_millis(1)..=DAY * 366;
    let count = reader.integer("count", 1..=u64::MAX >> 1);
    let size = reader.duration("every", long.clone());
    let field = reader.text("time");
    let format = reader.text("format");
    let lateness = reader.duration("lateness", Duration::ZERO..=DAY);
    let window = match (count, size, &field) {
        (Some(records), None, None) => Some(Window::Count { records }),
        (None, Some(size), None) => Some(Window::Arrival { size }),
        (None, Some(size), Some(field)) => {
            let text = format
                .as_ref()
                .map_or("rfc3339", |format| format.value.as_str());
            let format = match TimeFormat::parse(text) {
                Ok(Some(format)) => format,
                Ok(None) => {
                    reader.mistake("format", format!("`{text}` is not a time format; use rfc3339, unix, unix-ms or a pattern with %"));
                    TimeFormat::Rfc3339
                }
                Err(error) => {
                    reader.mistake("format", error.to_string());
                    TimeFormat::Rfc3339
                }
            };
            let lateness = lateness.unwrap_or(Duration::ZERO);
            Some(Window::Event {
                field: field.value.clone(),
                format,
                size,
                lateness,
            })
        }
        _ if ["count", "every"].iter().any(|key| reader.has(key))
            && !(reader.has("count") && reader.has("every")) =>
        {
            if reader.has("count") && reader.has("time") {
                reader.mistake("time", "`time` belongs to `every`");
            }
            None
        }
        _ => {
            reader.mistake(
                "every",
                "a window has either `count = N` or `every = \"DURATION\"`",
            );
            None
        }
    };
    if field.is_none() {
        for key in ["format", "lateness"] {
            if reader.has(key) {
                reader.mistake(key, format!("`{key}` belongs to `time`"));
            }
        }
    }
    reader.finish();
    window
}

fn write(reader: &TableReader<'_>) -> WriteSpec {
    let path = reader
        .text("path")
        .map_or_else(|| PathBuf::from("-"), |text| PathBuf::from(text.value));
    let append = reader.boolean("append").unwrap_or(false);
    let body = reader.one_of(
        "format",
        &[
            ("body", LineFormatWord::Body),
            ("json", LineFormatWord::Json),
        ],
    );
    let template = template(reader, "template");
    if reader.has("format") && reader.has("template") {
        reader.mistake(
            "template",
            "a line has either a `format` or a `template`, not both",
        );
    }
    let format = match (template, body) {
        (Some(template), _) => LineFormat::Template(template.value),
        (None, Some(LineFormatWord::Json)) => LineFormat::Json,
        (None, _) => LineFormat::Body,
    };
    WriteSpec {
        path,
        append,
        format,
    }
}

#[derive(Clone, Copy)]
enum LineFormatWord {
    Body,
    Json,
}
