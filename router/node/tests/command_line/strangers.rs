//! Peers that may not connect, bytes that mean nothing, mistakes in files.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, SystemTime};

use mcpbus::identity::{Credentials, KeyAlgorithm, Validity};

use crate::support::{
    FILE_OF_A_ROUTER, errors, mcpbus, node, start_node, subscriber, to_node, with_input,
};

fn cert(folder: &Path, arguments: &[&str]) {
    let output = mcpbus(folder).arg("cert").args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
}

/// That a message still travels by the node.
fn still_serves(folder: &Path, address: &str) {
    let sub = subscriber(folder, address, &["--subject", "alive.*", "--count", "1"]);
    let output = with_input(
        to_node(folder, "pub", address, &["--subject", "alive.x"]),
        b"yes\n",
    );
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert_eq!(sub.ended().out, b"yes\n");
}

#[test]
fn identities_issued_on_one_machine_serve_on_another() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let authority = folder.join("machines");
    let authority = authority.to_str().unwrap();
    cert(folder, &["init", authority]);
    cert(folder, &["issue", authority, "edge"]);
    cert(folder, &["issue", authority, "reader"]);
    let file = format!("{FILE_OF_A_ROUTER}[tls]\nidentity = \"{authority}/edge\"\n");
    // Nothing may come from the state folder of the user.
    let nothing = folder.join("nothing");
    let (node, address) = node(folder, &file);
    let reader = format!("{authority}/reader");
    let trust = format!("{authority}/edge/trust.pem");
    let identity = ["--identity", reader.as_str(), "--trust", trust.as_str()];
    let sub = subscriber(
        &nothing,
        &address,
        &[&identity[..], &["--subject", "a", "--count", "1"]].concat(),
    );
    let publisher = to_node(
        &nothing,
        "pub",
        &address,
        &[&identity[..], &["--subject", "a"]].concat(),
    );
    let output = with_input(publisher, b"x\n");
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert_eq!(sub.ended().out, b"x\n");
    assert!(!nothing.exists(), "the state folder was touched");
    // The local authority of the user is another one: refused, and the node goes on.
    let refused = with_input(
        to_node(folder, "pub", &address, &["--subject", "a"]),
        b"x\n",
    );
    assert_eq!(refused.status.code(), Some(69), "{}", errors(&refused));
    let said = errors(&refused);
    assert!(
        said.contains("certificate") && !said.contains("within"),
        "nothing would change by trying on: {said}"
    );
    let node = node.stopped();
    assert_eq!(
        (node.code, node.number("accepted")),
        (Some(0), 1),
        "{}",
        node.errors
    );
}

#[test]
fn an_expired_certificate_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (_node, address) = node(folder, FILE_OF_A_ROUTER);
    let state = mcpbus::identity::StateDirectory::at(folder);
    let authority = state.local_authority(SystemTime::now()).unwrap();
    let day = Duration::from_secs(86_400);
    let past = SystemTime::now() - 3 * day;
    let old = authority
        .issue(
            "old",
            KeyAlgorithm::default(),
            Validity::between(past, past + day),
        )
        .unwrap();
    let credentials = Credentials {
        identity: old,
        trust: authority.trust().unwrap(),
    };
    let saved = folder.join("old");
    credentials.save(&saved).unwrap();
    let publisher = to_node(
        folder,
        "pub",
        &address,
        &["--subject", "a", "--identity", saved.to_str().unwrap()],
    );
    let output = with_input(publisher, b"x\n");
    assert_eq!(output.status.code(), Some(69), "{}", errors(&output));
    assert!(errors(&output).contains("expired"), "{}", errors(&output));
    still_serves(folder, &address);
}

#[test]
fn an_identity_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let publisher = to_node(
        folder.path(),
        "pub",
        "127.0.0.1:9",
        &["--subject", "a", "--identity", missing.to_str().unwrap()],
    );
    let output = with_input(publisher, b"x\n");
    assert_eq!(output.status.code(), Some(77), "{}", errors(&output));
    assert!(
        errors(&output).contains(missing.to_str().unwrap()),
        "{}",
        errors(&output)
    );
}

#[test]
fn bytes_that_mean_nothing_do_not_disturb_a_node() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (node, address) = node(folder, FILE_OF_A_ROUTER);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for length in (0..1_472).step_by(7) {
        let mut packet: Vec<u8> = (0..length)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        // Every other one claims to be the first packet of a QUIC connection.
        if let [first, a, b, c, d, ..] = &mut packet[..]
            && length % 2 == 0
        {
            *first = 0xc3;
            (*a, *b, *c, *d) = (0, 0, 0, 1);
        }
        socket.send_to(&packet, &address).unwrap();
    }
    still_serves(folder, &address);
    let node = node.stopped();
    assert_eq!(node.code, Some(0), "{}", node.errors);
    assert!(!node.errors.contains("panicked"), "{}", node.errors);
}

#[test]
fn a_mistake_in_a_file_is_named_and_nothing_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let out = folder.join("out.txt");
    let file = format!(
        "[node]\nname = \"edge\"\n[listen]\nquic = \"127.0.0.1:0\"\n[[stage]]\nname = \"g\"\nkind = \"generator\"\n\
         count = 1\nout = \"p\"\n[[stage]]\nname = \"w\"\nkind = \"write\"\nin = \"p\"\n  paht = \"{}\"\n",
        out.display()
    );
    let ended = start_node(folder, &file, &[]).ended();
    assert_eq!(ended.code, Some(2), "{}", ended.errors);
    for words in ["edge.toml:14:3: ", "paht", "did you mean `path`?"] {
        assert!(ended.errors.contains(words), "{words} in {}", ended.errors);
    }
    assert!(!ended.errors.contains("ready"), "{}", ended.errors);
    assert!(!out.exists() && ended.out.is_empty(), "nothing was started");
}

#[test]
fn limits_beyond_the_budget_are_refused_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("{FILE_OF_A_ROUTER}[limits]\nbudget = \"64MiB\"\n");
    let ended = start_node(folder.path(), &file, &[]).ended();
    assert_eq!(ended.code, Some(2), "{}", ended.errors);
    assert!(ended.errors.contains("limits.budget"), "{}", ended.errors);
    assert!(!ended.errors.contains("ready"), "{}", ended.errors);
}

#[test]
fn other_files_of_the_state_folder_are_not_for_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let file = folder.path().join("router.toml");
    fs::write(&file, FILE_OF_A_ROUTER).unwrap();
    let mut command = mcpbus(&state);
    command.arg("run").arg(&file);
    let node = crate::support::Running::start(command);
    node.wait_for("listens on");
    let mut open = vec![state];
    let mut files = 0;
    while let Some(path) = open.pop() {
        let metadata = fs::metadata(&path).unwrap();
        let mode = metadata.permissions().mode() & 0o777;
        if metadata.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            open.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path.extension().is_none_or(|extension| extension != "pem")
            || path.to_str().unwrap().contains("key")
        {
            assert_eq!(mode, 0o600, "{}", path.display());
            files += 1;
        }
    }
    assert!(files >= 1, "there is a private key");
}
