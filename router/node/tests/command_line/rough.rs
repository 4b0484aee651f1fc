//! Processes whose datagrams are lost, delayed, doubled, damaged and cut off on their way.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use mcpbus_tests::relay::{RelayImpairment, UdpRelay};
use mcpbus_transport::link::impairment::ImpairmentConfig;

use crate::support::{FILE_OF_A_ROUTER, Running, node, subscriber, to_node};

/// 5 % loss, 50 +- 20 ms, 1 % duplicates, 0.1 % corruption.
fn rough() -> ImpairmentConfig {
    ImpairmentConfig {
        delay: Duration::from_millis(50),
        jitter: Duration::from_millis(20),
        loss: 0.05,
        duplicate: 0.01,
        corrupt: 0.001,
        reorder: 0.01,
        reorder_by: Duration::from_millis(20),
        ..ImpairmentConfig::default()
    }
}

const LINES: usize = 3_000;

/// Lines that differ everywhere, so that a damaged or exchanged body shows.
fn lines() -> Vec<u8> {
    (0..LINES)
        .flat_map(|number| {
            let filling = (number * 7_919 % 100_003).to_string().repeat(12);
            format!("{number} {filling}\n").into_bytes()
        })
        .collect()
}

#[test]
fn what_is_accepted_arrives_whole_and_in_order_over_a_rough_network_with_cuts() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (node, address) = node(folder, FILE_OF_A_ROUTER);
    let impairment = RelayImpairment {
        to_server: rough(),
        to_clients: rough(),
        seed: 4,
    };
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let relay = UdpRelay::start(listen, address.parse().unwrap(), impairment).unwrap();
    let through = relay.address().to_string();
    let count = LINES.to_string();
    let sub = subscriber(folder, &through, &["--subject", "r.*", "--count", &count]);
    let arguments = [
        "--subject",
        "r.x",
        "--ack",
        "accepted",
        "--wait-for-subscribers",
        "1",
    ];
    let (publisher, mut input) =
        Running::start_with_input(to_node(folder, "pub", &through, &arguments));
    let writer = std::thread::spawn(move || input.write_all(&lines()).unwrap());
    for (lines, time) in [(LINES / 4, 300), (LINES / 2, 1_500)] {
        sub.out().wait_lines(lines);
        relay.cut(Duration::from_millis(time));
    }
    writer.join().unwrap();
    let publisher = publisher.ended();
    assert_eq!(publisher.code, Some(0), "{}", publisher.errors);
    let sub = sub.ended();
    assert_eq!(sub.code, Some(0), "{}", sub.errors);
    assert!(sub.out == lines(), "what arrived is not what was published");
    let (there, back) = relay.counts();
    for counts in [there, back] {
        assert!(
            counts.lost > 0 && counts.duplicated > 0 && counts.cut > 0,
            "{there:?} {back:?}"
        );
    }
    let node = node.stopped();
    assert_eq!(node.code, Some(0), "{}", node.errors);
    let numbers = ["residual", "held", "lost", "delivered"].map(|word| node.number(word));
    assert_eq!(numbers, [0, 0, 0, LINES as i64], "{}", node.errors);
    assert!(!node.errors.contains("panicked"), "{}", node.errors);
}
