//! Processes whose datagrams are lost, delayed, doubled, damaged and cut off on their way.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use mcpbus_tests::relay::{RelayImpairment, UdpRelay};
use mcpbus_transport::link::impairment::ImpairmentConfig;

use crate::support::{FILE_OF_A_ROUTER, Running, node, subscriber, to_node};

/// 5 % loss, 50 +- 20 ms, 1 % duplicates, 0.1 % corruption; more of that where few datagrams are sent, so that there is some.
fn rough(count: usize) -> ImpairmentConfig {
    ImpairmentConfig {
        delay: Duration::from_millis(50),
        jitter: Duration::from_millis(20),
        loss: 0.05,
        duplicate: 0.01,
        corrupt: if count > 50_000 { 0.001 } else { 0.03 },
        reorder: 0.01,
        reorder_by: Duration::from_millis(20),
        ..ImpairmentConfig::default()
    }
}

/// Lines after which the way may be cut, and for how many milliseconds, again and again. A node forgets a subscriber that
/// is not back 5 s after it was missed, and under this loss a handshake alone can take that long: what is published until
/// it is back is then refused or shed. So no cut is long enough for a peer to be missed.
const STEP: usize = 750;
const CUTS: [u64; 8] = [300, 800, 0, 0, 0, 100, 0, 500];

/// How many lines: `MCPBUS_ROUGH_LINES`, or a dozen seconds' worth.
fn count() -> usize {
    let given = std::env::var("MCPBUS_ROUGH_LINES").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(3_000)
}

/// Lines that differ everywhere, so that a damaged or exchanged body shows.
fn lines(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|number| {
            let filling = (number * 7_919 % 100_003).to_string().repeat(12);
            format!("{number} {filling}\n").into_bytes()
        })
        .collect()
}

#[test]
fn what_is_accepted_arrives_whole_and_in_order_over_a_rough_network_with_cuts() {
    let count = count();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (node, address) = node(folder, FILE_OF_A_ROUTER);
    let impairment = RelayImpairment {
        to_server: rough(count),
        to_clients: rough(count),
        seed: 4,
    };
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let relay = UdpRelay::start(listen, address.parse().unwrap(), impairment).unwrap();
    let through = relay.address().to_string();
    let text = count.to_string();
    let sub = subscriber(folder, &through, &["--subject", "r.*", "--count", &text]);
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
    let writer = std::thread::spawn(move || input.write_all(&lines(count)).unwrap());
    let steps = (STEP..count).step_by(STEP);
    for (arrived, cut) in steps.zip(CUTS.into_iter().cycle()) {
        sub.out().wait_lines(arrived);
        if cut > 0 {
            relay.cut(Duration::from_millis(cut));
        }
    }
    writer.join().unwrap();
    let publisher = publisher.ended();
    assert_eq!(publisher.code, Some(0), "{}", publisher.errors);
    let sub = sub.ended();
    assert_eq!(sub.code, Some(0), "{}", sub.errors);
    assert!(
        sub.out == lines(count),
        "what arrived is not what was published"
    );
    let (there, back) = relay.counts();
    println!("{count} lines\nto the node {there:?}\nto its clients {back:?}");
    for count in [
        there.lost + back.lost,
        there.duplicated + back.duplicated,
        there.corrupted + back.corrupted,
        there.cut + back.cut,
    ] {
        assert!(count > 0, "{there:?} {back:?}");
    }
    let node = node.stopped();
    assert_eq!(node.code, Some(0), "{}", node.errors);
    let numbers = ["residual", "held", "lost", "delivered"].map(|word| node.number(word));
    assert_eq!(numbers, [0, 0, 0, count as i64], "{}", node.errors);
    assert!(!node.errors.contains("panicked"), "{}", node.errors);
}
