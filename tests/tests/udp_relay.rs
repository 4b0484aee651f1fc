//! The relay: what goes in comes out at the other side, impaired as told; cuts; several clients.
#![allow(clippy::unwrap_used)]

use mcpbus_tests::relay::{RelayImpairment, UdpRelay};
use mcpbus_transport::link::impairment::ImpairmentConfig;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A socket that waits for what comes at most this long.
fn socket(wait: Duration) -> UdpSocket {
    let socket = UdpSocket::bind(loopback()).unwrap();
    socket.set_read_timeout(Some(wait)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; 2000];
    let (length, from) = socket.recv_from(&mut buffer).ok()?;
    Some((buffer[..length].to_vec(), from))
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn each_client_has_its_own_way_there_and_back() {
    let server = socket(LONG);
    let delay = |millis| ImpairmentConfig {
        delay: Duration::from_millis(millis),
        ..ImpairmentConfig::default()
    };
    let impairment = RelayImpairment {
        to_server: delay(20),
        to_clients: delay(30),
        seed: 1,
    };
    let relay = UdpRelay::start(loopback(), server.local_addr().unwrap(), impairment).unwrap();
    let clients = [socket(LONG), socket(LONG)];
    for (number, client) in clients.iter().enumerate() {
        let began = Instant::now();
        client.send_to(&[number as u8], relay.address()).unwrap();
        let (asked, from) = receive(&server).unwrap();
        assert_eq!(asked, [number as u8]);
        server.send_to(&[asked[0] + 10], from).unwrap();
        let (answer, _) = receive(client).unwrap();
        assert_eq!(answer, [number as u8 + 10]);
        // The least that it can take: no machine is too slow for it.
        assert!(began.elapsed() >= Duration::from_millis(50));
    }
    let (there, back) = relay.counts();
    assert_eq!((there.passed, back.passed), (2, 2));
}

#[test]
fn it_loses_what_it_is_told_and_a_cut_lets_nothing_pass() {
    let server = socket(Duration::from_millis(20));
    let impairment = RelayImpairment {
        to_server: ImpairmentConfig {
            loss: 0.3,
            duplicate: 0.2,
            ..ImpairmentConfig::default()
        },
        ..RelayImpairment::default()
    };
    let relay = UdpRelay::start(loopback(), server.local_addr().unwrap(), impairment).unwrap();
    let client = socket(LONG);
    for number in 0..200_u8 {
        client.send_to(&[number], relay.address()).unwrap();
    }
    // As many as the relay says it let through.
    let deadline = Instant::now() + LONG;
    let mut arrived = 0;
    while relay.counts().0.offered < 200 || arrived < relay.counts().0.passed {
        assert!(
            Instant::now() < deadline,
            "{arrived} of {:?}",
            relay.counts()
        );
        arrived += u64::from(receive(&server).is_some());
    }
    let counts = relay.counts().0;
    assert!((30..90).contains(&counts.lost), "{counts:?}");
    assert!((10..60).contains(&counts.duplicated), "{counts:?}");
    relay.cut(Duration::from_secs(3600));
    client.send_to(&[1], relay.address()).unwrap();
    let other = socket(LONG);
    other.send_to(&[2], relay.address()).unwrap();
    // The relay has both when it has counted both.
    let deadline = Instant::now() + LONG;
    while relay.counts().0.cut < 2 {
        assert!(Instant::now() < deadline, "{:?}", relay.counts());
        std::thread::yield_now();
    }
    assert_eq!(relay.counts().0.passed, arrived);
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let impairment = RelayImpairment {
        to_server: ImpairmentConfig {
            loss: 2.0,
            ..ImpairmentConfig::default()
        },
        ..RelayImpairment::default()
    };
    let error = UdpRelay::start(loopback(), loopback(), impairment).unwrap_err();
    assert!(error.to_string().contains("loss"), "{error}");
}
