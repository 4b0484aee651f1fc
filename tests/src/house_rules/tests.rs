#![allow(clippy::unwrap_used)]

use super::rules::{
    DEBTS, RULES, bounds, circles, doors, floors, lengths, readers, sleeps, unchecked,
};
use super::source::{Source, sources};

fn planted(path: &str, text: &str) -> Vec<Source> {
    vec![Source::new(path, text)]
}

#[test]
fn the_sources_keep_the_rules() {
    let sources = sources().unwrap();
    assert!(
        sources.len() > 100,
        "only {} sources were found",
        sources.len()
    );
    let mut paid: Vec<_> = DEBTS.to_vec();
    let mut breaches = Vec::new();
    for (name, rule) in RULES {
        for breach in rule(&sources) {
            let owed = |debt: &(&str, &str)| debt.0 == *name && breach.place.starts_with(debt.1);
            if DEBTS.iter().any(owed) {
                paid.retain(|debt| !owed(debt));
            } else {
                breaches.push(format!("{}: {name}: {}", breach.place, breach.what));
            }
        }
    }
    assert!(
        breaches.is_empty(),
        "{} breaches:\n{}",
        breaches.len(),
        breaches.join("\n")
    );
    assert!(
        paid.is_empty(),
        "no longer broken, so strike it from the list: {paid:?}"
    );
}

#[test]
fn each_door_is_watched() {
    for line in [
        "use actix::Actor;",
        "let (sender, receiver) = crossbeam_channel::bounded(1);",
        "fn dial(endpoint: quinn::Endpoint) {}",
        "let bytes = bincode::encode_to_vec(1, config);",
        "use dashmap::DashMap;",
        "metrics::counter!(\"x\").increment(1);",
        "use rustls::ClientConfig;",
        "use redb::Database;",
    ] {
        assert_eq!(
            doors(&planted("router/src/routing/subject.rs", line)).len(),
            1,
            "{line}"
        );
    }
    assert!(
        doors(&planted(
            "router/src/routing/subject.rs",
            "// quinn::Endpoint would do"
        ))
        .is_empty()
    );
    assert!(
        doors(&planted(
            "router/src/routing/subject.rs",
            "let url = \"quinn::Endpoint\";"
        ))
        .is_empty()
    );
    assert!(
        doors(&planted(
            "transport/src/link/quic/endpoint.rs",
            "use quinn::Endpoint;"
        ))
        .is_empty()
    );
    assert!(doors(&planted("router/src/lib.rs", "use crate::metrics::Rate;")).is_empty());
    assert_eq!(
        doors(&planted(
            "router/src/lib.rs",
            "let bytes = ::bincode::encode(1);"
        ))
        .len(),
        1
    );
}

#[test]
fn a_module_of_ours_with_the_name_of_a_package_is_not_that_package() {
    let codec = |text: &str| doors(&planted("transport/src/codec/mod.rs", text)).len();
    assert_eq!(codec("mod bincode;\npub use bincode::BincodeCodec;"), 0);
    assert_eq!(
        codec("pub use bincode::BincodeCodec;"),
        1,
        "no such module is declared"
    );
    assert_eq!(
        codec("mod bincode;\npub use ::bincode::Encode;"),
        1,
        "this is the package"
    );
    assert_eq!(
        codec("mod bincode;\nmod tests {\n    use bincode::Encode;\n}"),
        1,
        "inside a module it is too"
    );
    assert_eq!(codec("mod json;\nuse bincode::Encode;"), 1);
}

#[test]
fn no_floor_knows_the_one_above() {
    assert_eq!(
        floors(&planted("actors/src/lib.rs", "use mcpbus_transport::wire;")).len(),
        1
    );
    assert_eq!(
        floors(&planted("actors/src/lib.rs", "use mcpbus::node::Node;")).len(),
        1
    );
    assert_eq!(
        floors(&planted(
            "transport/src/lib.rs",
            "use mcpbus::routing::Subject;"
        ))
        .len(),
        1
    );
    assert_eq!(
        floors(&planted("router/src/lib.rs", "use mcpbus_node::cli;")).len(),
        1
    );
    assert!(floors(&planted("router/src/lib.rs", "use mcpbus_transport::wire;")).is_empty());
}

#[test]
fn rooms_that_import_each_other_are_found() {
    let first = Source::new("router/src/node/core.rs", "use crate::client::Client;");
    let second = Source::new(
        "router/src/client/core.rs",
        "use crate::{policy::Hash, node::NodeCore};",
    );
    let breaches = circles(&[first.clone(), second]);
    assert_eq!(breaches.len(), 1);
    assert!(
        breaches[0].what.contains("client -> node -> client"),
        "{:?}",
        breaches[0]
    );
    assert!(circles(&[first]).is_empty());
    let tests = Source::new(
        "router/src/client/core.rs",
        "#[cfg(test)]\nmod tests {\n    use crate::node::NodeCore;\n}",
    );
    let back = Source::new("router/src/node/core.rs", "use crate::client::Client;");
    assert!(
        circles(&[tests, back]).is_empty(),
        "a test may look at another room"
    );
}

#[test]
fn a_reader_that_waits_for_more_than_its_lane_is_found() {
    let text = "async fn read_lane() {\n    reader.read_chunks(&mut chunks).await;\n    channel.send(chunk).await;\n}\n\
                async fn write_lane() {\n    wake.notified().await;\n}";
    let breaches = readers(&planted("transport/src/bridge/link.rs", text));
    assert_eq!(breaches.len(), 1);
    assert!(breaches[0].place.ends_with(":3"));
}

#[test]
fn queues_without_a_number_are_found() {
    for line in [
        "address.do_send(message);",
        "let (s, r) = tokio::sync::mpsc::unbounded_channel();",
        "unbounded::<u8>()",
    ] {
        assert_eq!(
            bounds(&planted("router/src/node/core.rs", line)).len(),
            1,
            "{line}"
        );
    }
    assert!(
        bounds(&planted(
            "router/src/node/core.rs",
            "// unbounded() would not do"
        ))
        .is_empty()
    );
}

#[test]
fn a_test_that_sleeps_is_found() {
    let unit = "fn run() { std::thread::sleep(a); }\n#[cfg(test)]\nmod tests {\n    fn a() { tokio::time::sleep(b).await; }\n}";
    let breaches = sleeps(&planted("router/src/node/core.rs", unit));
    assert_eq!(breaches.len(), 1);
    assert!(breaches[0].place.ends_with(":4"));
    assert_eq!(
        sleeps(&planted(
            "router/node/tests/cli.rs",
            "std::thread::sleep(a);"
        ))
        .len(),
        1
    );
    let polled = |path| sleeps(&planted(path, "std::thread::sleep(pause);")).len();
    assert_eq!(
        polled("router/node/tests/command_line/wait.rs"),
        0,
        "the one place that may pause"
    );
    assert_eq!(polled("router/node/tests/command_line/killed.rs"), 1);
}

#[test]
fn unsafe_code_in_other_files_is_found() {
    let found = |path| unchecked(&planted(path, "    unsafe { *pointer }")).len();
    assert_eq!(found("actors/src/channel/inbox.rs"), 1);
    assert_eq!(found("actors/src/message/buffer/mod.rs"), 0);
}

#[test]
fn a_long_file_is_found() {
    assert_eq!(
        lengths(&planted("actors/src/lib.rs", &"\n".repeat(601))).len(),
        1
    );
    assert!(lengths(&planted("actors/src/lib.rs", &"\n".repeat(600))).is_empty());
}

#[test]
fn mistakes_on_purpose_are_in_no_ordinary_build() {
    let root = super::source::root();
    let mut features = 0;
    for manifest in [
        "actors",
        "transport",
        "router",
        "router/node",
        "examples",
        "tests",
        "benches",
        ".",
    ] {
        let path = root.join(manifest).join("Cargo.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|line| line.contains("planted-faults")) {
            // Its own definition, and nothing that turns it on.
            assert!(line.starts_with("planted-faults = ["), "{manifest}: {line}");
            features += 1;
        }
    }
    assert_eq!(features, 3);
}
