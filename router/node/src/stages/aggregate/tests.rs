#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;
use crate::record::json::parse_object;
use crate::stages::event_time::TimeFormat;

fn stage(by: &[&str], operations: &[&str], window: Window) -> Aggregate {
    Aggregate::new(AggregateSpec {
        by: by.iter().map(|&field| field.to_owned()).collect(),
        operations: operations
            .iter()
            .map(|text| Operation::parse(text).unwrap())
            .collect(),
        window,
        max_groups: 100,
        max_bytes: 1 << 20,
    })
}

fn offer(
    stage: &mut Aggregate,
    json: &str,
    now: Time,
    out: &mut Vec<String>,
) -> Result<Taken, Refusal> {
    let mut records = Vec::new();
    let result = stage.take(
        &parse_object(json.as_bytes(), 1).unwrap(),
        now,
        &mut records,
    );
    out.extend(texts(records));
    result
}

fn texts(records: Vec<Record>) -> Vec<String> {
    records
        .iter()
        .map(|record| String::from_utf8(record.to_body().to_vec()).unwrap())
        .collect()
}

fn finish(stage: &mut Aggregate) -> Vec<String> {
    let mut records = Vec::new();
    stage.finish(&mut records);
    assert_eq!(stage.groups(), 0);
    texts(records)
}

#[test]
fn lines_of_any_kind_can_be_counted() {
    let mut stage = stage(&[], &["count"], Window::Count { records: 2 });
    let mut out = Vec::new();
    for line in ["no JSON", "", "{"] {
        let line = Record::from_line(line.as_bytes().to_vec().into(), 1);
        assert_eq!(
            stage.take(&line, Time::ZERO, &mut out).unwrap(),
            Taken::Consumed
        );
    }
    assert_eq!(texts(out), [r#"{"window":1,"count":2}"#]);
    assert_eq!(finish(&mut stage), [r#"{"window":2,"count":1}"#]);
}

#[test]
fn totals_per_account_are_exact_and_sorted() {
    let operations = [
        "count",
        "sum(amount) as total",
        "mean(amount)",
        "min(amount)",
        "max(amount)",
    ];
    let mut stage = stage(&["account"], &operations, Window::Whole);
    let mut out = Vec::new();
    for line in [
        r#"{"account":"10","amount":0.10}"#,
        r#"{"account":"9","amount":"0.20"}"#,
        r#"{"account":"10","amount":0.20}"#,
        r#"{"account":"10","amount":null}"#,
    ] {
        offer(&mut stage, line, Time::ZERO, &mut out).unwrap();
    }
    assert!(out.is_empty());
    assert_eq!(
        finish(&mut stage),
        [
            r#"{"account":"9","count":1,"total":0.20,"mean_amount":0.20,"min_amount":0.20,"max_amount":0.20}"#,
            r#"{"account":"10","count":3,"total":0.30,"mean_amount":0.15,"min_amount":0.10,"max_amount":0.20}"#,
        ]
    );
}

#[test]
fn windows_by_count() {
    let mut stage = stage(&[], &["count", "sum(n)"], Window::Count { records: 2 });
    let mut out = Vec::new();
    for n in 1..=5 {
        offer(&mut stage, &format!("{{\"n\":{n}}}"), Time::ZERO, &mut out).unwrap();
    }
    assert_eq!(
        out,
        [
            r#"{"window":1,"count":2,"sum_n":3}"#,
            r#"{"window":2,"count":2,"sum_n":7}"#
        ]
    );
    assert_eq!(finish(&mut stage), [r#"{"window":3,"count":1,"sum_n":5}"#]);
}

#[test]
fn windows_by_event_time_wait_for_late_records() {
    let window = Window::Event {
        field: "t".to_owned(),
        format: TimeFormat::UnixSeconds,
        size: Duration::from_secs(60),
        lateness: Duration::from_secs(30),
    };
    let mut stage = stage(&[], &["count"], window);
    let mut out = Vec::new();
    for second in [0, 59, 61, 40, 89] {
        offer(
            &mut stage,
            &format!("{{\"t\":{second}}}"),
            Time::ZERO,
            &mut out,
        )
        .unwrap();
        assert!(out.is_empty());
    }
    offer(&mut stage, "{\"t\":90}", Time::ZERO, &mut out).unwrap();
    assert_eq!(
        out,
        [
            r#"{"window_start":"1970-01-01T00:00:00Z","window_end":"1970-01-01T00:01:00Z","count":3}"#
        ]
    );
    let refusal = offer(&mut stage, "{\"t\":59}", Time::ZERO, &mut out).unwrap_err();
    assert_eq!(refusal.reason, RefusalReason::Rejected);
    assert_eq!(
        offer(&mut stage, "{\"t\":\"x\"}", Time::ZERO, &mut out)
            .unwrap_err()
            .reason,
        RefusalReason::Decode
    );
    assert_eq!(
        finish(&mut stage),
        [
            r#"{"window_start":"1970-01-01T00:01:00Z","window_end":"1970-01-01T00:02:00Z","count":3}"#
        ]
    );
}

#[test]
fn windows_by_arrival_end_by_the_clock() {
    let mut stage = stage(
        &[],
        &["count"],
        Window::Arrival {
            size: Duration::from_secs(1),
        },
    );
    let start = Time::ZERO + Duration::from_secs(100);
    let mut out = Vec::new();
    assert_eq!(stage.next_timeout(), None);
    offer(&mut stage, "{}", start, &mut out).unwrap();
    assert_eq!(
        stage.next_timeout(),
        Some(Time::ZERO + Duration::from_secs(101))
    );
    offer(
        &mut stage,
        "{}",
        start + Duration::from_millis(999),
        &mut out,
    )
    .unwrap();
    assert!(out.is_empty());
    let mut records = Vec::new();
    stage.handle_timeout(start + Duration::from_secs(1), &mut records);
    assert_eq!(texts(records), [r#"{"window":1,"count":2}"#]);
    assert_eq!(stage.next_timeout(), None);
    offer(
        &mut stage,
        "{}",
        start + Duration::from_millis(3500),
        &mut out,
    )
    .unwrap();
    assert_eq!(finish(&mut stage), [r#"{"window":4,"count":1}"#]);
}

#[test]
fn a_refused_record_changes_nothing() {
    let mut stage = stage(&["k"], &["count", "sum(n)"], Window::Whole);
    let mut out = Vec::new();
    offer(&mut stage, r#"{"k":1,"n":1}"#, Time::ZERO, &mut out).unwrap();
    let huge = "99999999999999999999999999999999999999";
    offer(
        &mut stage,
        &format!(r#"{{"k":2,"n":{huge}}}"#),
        Time::ZERO,
        &mut out,
    )
    .unwrap();
    for (line, reason) in [
        (r#"{"n":1}"#.to_owned(), RefusalReason::Decode),
        (r#"{"k":1}"#.to_owned(), RefusalReason::Decode),
        (r#"{"k":1,"n":"x"}"#.to_owned(), RefusalReason::Decode),
        (format!(r#"{{"k":2,"n":{huge}}}"#), RefusalReason::Quota),
    ] {
        assert_eq!(
            offer(&mut stage, &line, Time::ZERO, &mut out)
                .unwrap_err()
                .reason,
            reason,
            "{line}"
        );
    }
    assert_eq!(
        finish(&mut stage),
        [
            r#"{"k":1,"count":1,"sum_n":1}"#.to_owned(),
            format!(r#"{{"k":2,"count":1,"sum_n":{huge}}}"#)
        ]
    );
}

#[test]
fn groups_are_bounded() {
    let mut stage = stage(&["k"], &["count"], Window::Whole);
    let mut out = Vec::new();
    for k in 0..100 {
        offer(&mut stage, &format!("{{\"k\":{k}}}"), Time::ZERO, &mut out).unwrap();
    }
    let refusal = offer(&mut stage, r#"{"k":100}"#, Time::ZERO, &mut out).unwrap_err();
    assert_eq!(refusal.reason, RefusalReason::Quota);
    offer(&mut stage, r#"{"k":99}"#, Time::ZERO, &mut out).unwrap();
    assert_eq!(finish(&mut stage).len(), 100);
}

#[test]
fn bytes_are_bounded() {
    let mut stage = stage(&["k"], &["top(v, 2)"], Window::Whole);
    stage.spec.max_bytes = 4000;
    let mut out = Vec::new();
    let mut refused = 0;
    for v in 0..100 {
        if let Err(refusal) = offer(
            &mut stage,
            &format!("{{\"k\":1,\"v\":{v}}}"),
            Time::ZERO,
            &mut out,
        ) {
            assert_eq!(refusal.reason, RefusalReason::Quota);
            refused += 1;
        }
    }
    assert!((1..100).contains(&refused), "{refused}");
    assert!(stage.bytes <= 4000);
    finish(&mut stage);
    assert_eq!(stage.bytes, 0);
}

#[test]
fn groups_of_windows_that_are_over_make_room() {
    let window = Window::Event {
        field: "t".to_owned(),
        format: TimeFormat::UnixSeconds,
        size: Duration::from_secs(60),
        lateness: Duration::ZERO,
    };
    let mut stage = stage(&["k"], &["count"], window);
    let mut out = Vec::new();
    for k in 0..100 {
        let record = format!("{{\"k\":{k},\"t\":1}}");
        offer(&mut stage, &record, Time::ZERO, &mut out).unwrap();
    }
    let refusal = offer(&mut stage, r#"{"k":100,"t":2}"#, Time::ZERO, &mut out).unwrap_err();
    assert_eq!((refusal.reason, out.len()), (RefusalReason::Quota, 0));
    offer(&mut stage, r#"{"k":100,"t":61}"#, Time::ZERO, &mut out).unwrap();
    assert_eq!((out.len(), stage.groups()), (100, 1));
}
