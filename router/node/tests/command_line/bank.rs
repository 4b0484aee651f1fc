//! The bank case on the real file.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use crate::support::{Ended, Running, address, data, errors, example, mcpbus, subscriber};

/// What the file holds, as it is documented with it.
const ROWS: i64 = 49_102;
const ACCOUNTS: usize = 1_229;
const HUNDREDTHS: i64 = 31_548_644_980;

fn run(folder: &Path, file: &str, arguments: &[&str]) -> Running {
    let mut command = mcpbus(folder);
    command.arg("run").arg(example(file)).args(arguments);
    Running::start(command)
}

/// `123.45` or `123` in hundredths.
fn hundredths(text: &str) -> i64 {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let part = format!("{part:0<2}");
    whole.parse::<i64>().unwrap() * 100 + part.parse::<i64>().unwrap()
}

/// A group of the route 80/20 for an account, by the formula in the documentation of the hash policy.
fn version_of(account: &str) -> &'static str {
    let key = xxh3_64(account.as_bytes());
    let cost = |name: &str| {
        let mut bytes = key.to_le_bytes().to_vec();
        bytes.extend_from_slice(&xxh3_64(name.as_bytes()).to_le_bytes());
        let n = xxh3_64(&bytes) | 1;
        let z = u64::from(n.leading_zeros());
        let m = n << z;
        let (i, r) = ((m >> 53) & 1023, (m >> 21) & 0xffff_ffff);
        let log = |i: u64| ((1.0 + i as f64 / 1024.0).log2() * 4_294_967_296.0).floor() as u64;
        u128::from(((z + 1) << 32) - log(i) - (((log(i + 1) - log(i)) * r) >> 32))
    };
    // cost / weight, as fractions over the same denominator.
    if cost("risk-v1") * 20 <= cost("risk-v2") * 80 {
        "v1"
    } else {
        "v2"
    }
}

/// The numbers of the transactions of each account, in the order in which they stand.
fn transactions<'a>(
    lines: impl Iterator<Item = (&'a str, &'a str)>,
) -> HashMap<String, Vec<String>> {
    let mut order: HashMap<String, Vec<String>> = HashMap::new();
    for (account, transaction) in lines {
        let of_account = order.entry(account.to_owned()).or_default();
        of_account.push(transaction.to_owned());
    }
    order
}

fn no_panic(ended: &Ended) {
    assert!(!ended.errors.contains("panicked"), "{}", ended.errors);
}

#[test]
fn three_processes_count_the_real_file_and_keep_the_order_of_each_account() {
    let Some(file) = data("bank/trans.asc") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let router = run(
        folder,
        "bank/router.toml",
        &["--set", "listen.quic=127.0.0.1:0"],
    );
    let node = address(&router);
    let link = format!("link.0.to={node}");
    let risk = run(folder, "bank/risk.toml", &["--set", &link]);
    // Outside the route's groups: gets its own copy of everything, and sees the order.
    let witness = subscriber(
        folder,
        &node,
        &["--subject", "bank.tx.*", "--count", "49102"],
    );
    risk.wait_for("ready");
    let ingest = run(
        folder,
        "bank/ingest.toml",
        &[
            "--set",
            &link,
            "--set",
            "stage.parse.wait_for_subscribers=3",
            "--input",
            file.to_str().unwrap(),
        ],
    );
    let ingest = ingest.ended();
    no_panic(&ingest);
    assert_eq!(ingest.code, Some(0), "{}", ingest.errors);
    assert_eq!(ingest.number("published"), ROWS, "{}", ingest.errors);
    assert_eq!(ingest.number("acknowledged"), ROWS);
    assert!(ingest.errors.contains("decode"), "{}", ingest.errors);
    let witness = witness.ended();
    assert_eq!(witness.code, Some(0), "{}", witness.errors);

    let risk = risk.stopped();
    no_panic(&risk);
    assert_eq!(risk.code, Some(0), "{}", risk.errors);
    let (mut accounts, mut count, mut sum) = (BTreeMap::new(), 0, 0);
    for line in String::from_utf8(risk.out).unwrap().lines() {
        let row: HashMap<String, Box<serde_json::value::RawValue>> =
            serde_json::from_str(line).unwrap();
        let text = |field: &str| row[field].get().trim_matches('"').to_owned();
        count += text("count").parse::<i64>().unwrap();
        sum += hundredths(&text("total"));
        let (account, version) = (text("account_id"), text("version"));
        assert_eq!(version, version_of(&account), "account {account}");
        assert_eq!(accounts.insert(account, version), None, "one version each");
    }
    assert_eq!((accounts.len(), count, sum), (ACCOUNTS, ROWS, HUNDREDTHS));

    let file = fs::read_to_string(file).unwrap();
    let mut rows: Vec<&str> = file.lines().skip(1).collect();
    rows.pop();
    let of_file = transactions(rows.iter().map(|row| {
        let mut fields = row.split(';');
        let transaction = fields.next().unwrap();
        (fields.next().unwrap(), transaction)
    }));
    let seen: Vec<serde_json::Value> = witness
        .out
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let seen: Vec<(String, String)> = seen
        .iter()
        .map(|record| {
            let account = record["account_id"].as_str().map(str::to_owned);
            (account.unwrap(), record["trans_id"].to_string())
        })
        .collect();
    assert_eq!(seen.len() as i64, ROWS);
    let of_witness = transactions(
        seen.iter()
            .map(|(account, id)| (account.as_str(), id.as_str())),
    );
    assert!(of_file == of_witness, "the order of an account has changed");

    let router = router.stopped();
    no_panic(&router);
    assert_eq!(
        (router.code, router.number("residual")),
        (Some(0), 0),
        "{}",
        router.errors
    );
    // A copy for the route's groups and one for the witness.
    assert_eq!(router.number("delivered"), 2 * ROWS, "{}", router.errors);
}

fn demo(arguments: &[&str]) -> serde_json::Value {
    let folder = tempfile::tempdir().unwrap();
    let output = mcpbus(folder.path())
        .args(["demo", "--format", "json"])
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_demo_counts_the_real_file() {
    let Some(file) = data("bank/trans.asc") else {
        return;
    };
    let object = demo(&["--input", file.to_str().unwrap()]);
    let ledger = &object["ledger"];
    assert_eq!(ledger["delivered"], ROWS, "{object}");
    assert_eq!(
        (&ledger["dead"], &ledger["residual"]),
        (&1.into(), &0.into()),
        "{object}"
    );
    assert_eq!(object["amount_total"], HUNDREDTHS);
    assert_eq!(object["accounts"], ACCOUNTS);
    assert_eq!(object["out_of_order"], 0);
    let file = fs::read_to_string(file).unwrap();
    let mut rows: Vec<&str> = file.lines().skip(1).collect();
    rows.pop();
    let mut shares: BTreeMap<&str, u64> = BTreeMap::new();
    for row in rows {
        *shares
            .entry(version_of(row.split(';').nth(1).unwrap()))
            .or_default() += 1;
    }
    assert_eq!(object["routes"]["risk-v1"], shares["v1"], "{object}");
    assert_eq!(object["routes"]["risk-v2"], shares["v2"], "{object}");
}

#[test]
fn the_demo_without_stickiness_splits_exactly() {
    let object = demo(&["--messages", "10003", "--no-sticky"]);
    let first = object["routes"]["risk-v1"].as_i64().unwrap();
    assert!((8_001..=8_003).contains(&first), "{object}");
    assert_eq!(object["ledger"]["delivered"], 10_003);
    assert_eq!(object["ledger"]["residual"], 0);
}
