//! The built-in stages over the real files, where they are present.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::PathBuf;

use mcpbus_actors::Time;

use super::aggregate::operation::Operation;
use super::aggregate::window::Window;
use super::aggregate::{Aggregate, AggregateSpec};
use super::delimited::Delimited;
use super::event_time::TimeFormat;
use super::lines::{Line, LineSource, LinesSpec};
use super::parse::{FieldType, Format, Parse, ParseSpec};
use super::{RecordStage, RefusalReason};
use crate::payments::payment::{COLUMNS, Payment};
use crate::record::{Record, Value};

/// The file below `MCPBUS_TEST_DATA`, or below `shared/data` next to any folder above this package.
fn data(name: &str) -> Option<PathBuf> {
    let given = std::env::var_os("MCPBUS_TEST_DATA").map(PathBuf::from);
    let above = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/data"));
    let found = given
        .into_iter()
        .chain(above)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        println!("skipped: {name} is not here; MCPBUS_TEST_DATA names the folder of the real data");
    }
    found
}

fn records(path: PathBuf, header: bool) -> Vec<Record> {
    let spec = LinesSpec {
        path,
        header,
        follow: false,
        max_line: 1 << 20,
    };
    let mut source = LineSource::open(spec).unwrap();
    let mut records = Vec::new();
    while let Some(line) = source.next_line(|| false).unwrap() {
        let Line::Whole { bytes, number } = line else {
            panic!("no line is long")
        };
        records.push(Record::from_line(bytes, number));
    }
    records
}

#[test]
fn the_bank_file() {
    let Some(path) = data("bank/trans.asc") else {
        return;
    };
    let mut parse = Parse::new(ParseSpec {
        format: Format::Delimited {
            split: Delimited {
                delimiter: b';',
                quote: Some(b'"'),
            },
            columns: COLUMNS.map(str::to_owned).to_vec(),
        },
        types: vec![("amount".to_owned(), FieldType::Decimal)],
    });
    let mut totals = Aggregate::new(AggregateSpec {
        by: vec!["account_id".to_owned()],
        operations: ["count", "sum(amount)"]
            .map(|text| Operation::parse(text).unwrap())
            .to_vec(),
        window: Window::Whole,
        max_groups: 2000,
        max_bytes: 16 << 20,
    });
    let (mut good, mut refusals, mut typed) = (0, Vec::new(), HashMap::<u32, i64>::new());
    let (mut parsed, mut none) = (Vec::new(), Vec::new());
    for record in records(path, true) {
        let line = record.line().unwrap().clone();
        match parse.take(&record, Time::ZERO, &mut parsed) {
            Ok(_) => good += 1,
            Err(refusal) => refusals.push((record.number(), refusal)),
        }
        if let Ok(payment) = Payment::parse(&line, 0, 0) {
            *typed.entry(payment.account).or_default() += payment.amount;
        }
        for record in parsed.drain(..) {
            totals.take(&record, Time::ZERO, &mut none).unwrap();
        }
    }
    assert_eq!(good, 49_102);
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].1.reason, RefusalReason::Decode);
    assert_eq!(refusals[0].0, 49_104);
    let mut results = Vec::new();
    totals.finish(&mut results);
    assert_eq!(results.len(), 1229);
    let mut sum = 0;
    for result in &results {
        let account: u32 = result.get("account_id").unwrap().as_text().parse().unwrap();
        let amount = result
            .get("sum_amount")
            .unwrap()
            .as_number()
            .unwrap()
            .to_units(2)
            .unwrap();
        assert_eq!(
            i128::from(typed[&account]),
            amount,
            "both ways of reading agree"
        );
        sum += amount;
    }
    assert_eq!(sum, 31_548_644_980);
    assert_eq!(typed.len(), 1229);
}

const COMBINED: &str = r#"(?P<client>\S+) \S+ \S+ \[(?P<time>[^\]]+)\] "(?P<method>\S+) (?P<path>\S+)[^"]*" (?P<status>\d{3}) (?P<bytes>\d+|-) "(?P<referrer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)""#;

#[test]
fn the_access_log() {
    let Some(path) = data("weblog/access.log") else {
        return;
    };
    let mut parse = Parse::new(ParseSpec {
        format: Format::Regex(regex::Regex::new(COMBINED).unwrap()),
        types: Vec::new(),
    });
    let mut per_minute = Aggregate::new(AggregateSpec {
        by: Vec::new(),
        operations: ["count", "top(path, 3)"]
            .map(|text| Operation::parse(text).unwrap())
            .to_vec(),
        window: Window::Event {
            field: "time".to_owned(),
            format: TimeFormat::Pattern("%d/%b/%Y:%H:%M:%S %z".to_owned()),
            size: std::time::Duration::from_secs(60),
            lateness: std::time::Duration::from_secs(60),
        },
        max_groups: 1000,
        max_bytes: 64 << 20,
    });
    let (mut parsed, mut results, mut refused) = (Vec::new(), Vec::new(), 0);
    for record in records(path, false) {
        if parse.take(&record, Time::ZERO, &mut parsed).is_err() {
            refused += 1;
        }
        for record in parsed.drain(..) {
            per_minute.take(&record, Time::ZERO, &mut results).unwrap();
        }
    }
    per_minute.finish(&mut results);
    // One line of the file is cut short.
    assert_eq!(refused, 1);
    let counts = results
        .iter()
        .map(|result| result.get("count").and_then(Value::as_number));
    let total: i128 = counts
        .map(|count| count.unwrap().to_integer().unwrap())
        .sum();
    assert_eq!(total, 9_999);
    let starts: Vec<_> = results
        .iter()
        .map(|result| result.get("window_start").unwrap().as_text().into_owned())
        .collect();
    assert!(starts.is_sorted(), "windows come in order");
}
