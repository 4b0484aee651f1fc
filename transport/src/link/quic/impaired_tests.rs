//! Links over impaired datagrams: over real sockets, and under virtual time inside of the process.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::time::Instant;

use super::*;
use crate::identity::{Credentials, KeyAlgorithm, LocalAuthority, Validity};
use crate::link::contract::{CutCause, LaneId, LaneReader, LaneWriter, Link, LinkError, laws};
use crate::link::impairment::{BurstLoss, ImpairmentConfig, RateLimit};

const NEAR: SocketAddr = address(1);
const FAR: SocketAddr = address(2);

const fn address(number: u8) -> SocketAddr {
    SocketAddr::new(
        std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, number)),
        4000 + number as u16,
    )
}

/// Identities of "near" and "far" whose signatures all have one length.
fn both() -> (TempDir, Credentials, Credentials) {
    let place = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let authority = LocalAuthority::open_or_create(place.path(), now).unwrap();
    let issue = |name| Credentials {
        identity: authority
            .issue(name, KeyAlgorithm::Ed25519, Validity::identity_from(now))
            .unwrap(),
        trust: authority.trust().unwrap(),
    };
    let (near, far) = (issue("near"), issue("far"));
    (place, near, far)
}

fn rough() -> ImpairmentConfig {
    ImpairmentConfig {
        delay: Duration::from_millis(5),
        jitter: Duration::from_millis(3),
        loss: 0.05,
        bursts: Some(BurstLoss {
            begins: 0.002,
            ends: 0.2,
            loss: 1.0,
            longest: Duration::from_millis(50),
        }),
        reorder: 0.05,
        reorder_by: Duration::from_millis(5),
        duplicate: 0.02,
        corrupt: 0.02,
        rate: Some(RateLimit {
            bytes_per_second: 20_000_000,
            queue_bytes: 200_000,
        }),
    }
}

/// Two endpoints of a network with an impairment both ways.
fn ends(
    seed: u64,
    config: ImpairmentConfig,
    near: &Credentials,
    far: &Credentials,
) -> (MemoryNetwork, QuicEndpoint, QuicEndpoint) {
    let network = MemoryNetwork::new(seed);
    network.impair(NEAR, FAR, config.clone()).unwrap();
    network.impair(FAR, NEAR, config).unwrap();
    let bind = |address, credentials, seed| {
        let config = QuicConfig::default();
        QuicEndpoint::on_network(&network, address, credentials, config, seed).unwrap()
    };
    let (near, far) = (bind(NEAR, near, seed), bind(FAR, far, !seed));
    (network, near, far)
}

async fn link(near: &QuicEndpoint, far: &QuicEndpoint, to: SocketAddr) -> (QuicLink, QuicLink) {
    // Under loss a handshake may take longer than its timeout.
    loop {
        let accepted = async { far.accept().await.unwrap() };
        let dial = near.dial(to, Some("far"));
        tokio::select! {
            biased;
            both = async { tokio::join!(dial, accepted) } => {
                if let (Ok(dialed), accepted) = both {
                    return (dialed, accepted);
                }
            }
            () = tokio::time::sleep_until(Instant::now() + Duration::from_secs(6)) => {}
        }
    }
}

/// Writes so many bytes on a lane and reads them at the other end.
async fn transfer(near: &QuicLink, far: &QuicLink, length: usize) {
    let body: Vec<u8> = (0..length).map(|place| (place * 31 % 251) as u8).collect();
    let lane = LaneId::new(1).unwrap();
    let write = async {
        let mut writer = near.open_lane(lane).await.unwrap();
        let mut chunks = VecDeque::from([Bytes::from(body.clone())]);
        while !chunks.is_empty() {
            writer.write_chunks(&mut chunks).await.unwrap();
        }
        writer.finish();
        writer.finished().await.unwrap();
    };
    let read = async {
        let (_, mut reader) = far.accept_lane().await.unwrap();
        let mut read = Vec::new();
        while let Some(chunk) = reader.read_chunk(64 * 1024).await.unwrap() {
            read.extend_from_slice(&chunk);
        }
        read
    };
    let ((), read) = tokio::join!(write, read);
    assert!(read == body, "what was read differs from what was written");
}

#[tokio::test(start_paused = true)]
async fn upholds_the_laws_of_links_on_a_rough_network() {
    let (_place, near, far) = both();
    let (_network, near, far) = ends(1, rough(), &near, &far);
    laws::uphold(|| link(&near, &far, FAR)).await;
}

#[tokio::test(start_paused = true)]
async fn a_seed_is_a_run_and_time_is_virtual() {
    let (_place, near, far) = both();
    let mut traces = Vec::new();
    for seed in [5, 5, 6] {
        let began = Instant::now();
        let config = ImpairmentConfig {
            delay: Duration::from_millis(500),
            jitter: Duration::from_millis(200),
            ..rough()
        };
        let (network, near, far) = ends(seed, config, &near, &far);
        let (dialed, accepted) = link(&near, &far, FAR).await;
        transfer(&dialed, &accepted, 100_000).await;
        assert!(began.elapsed() > Duration::from_secs(2));
        traces.push((network.trace(), began.elapsed()));
    }
    assert_eq!(traces[0], traces[1]);
    assert_ne!(traces[0], traces[2]);
}

#[tokio::test(start_paused = true)]
async fn a_cut_shorter_than_the_idle_time_heals_and_a_longer_one_ends_the_link() {
    let (_place, near, far) = both();
    let (network, near, far) = ends(3, ImpairmentConfig::default(), &near, &far);
    let (dialed, accepted) = link(&near, &far, FAR).await;
    network.cut(NEAR, FAR, Duration::from_secs(4));
    let began = Instant::now();
    transfer(&dialed, &accepted, 10_000).await;
    assert!(began.elapsed() >= Duration::from_secs(4));
    network.cut(NEAR, FAR, Duration::from_secs(40));
    let silence = LinkError::Cut {
        cause: CutCause::Silence,
    };
    assert_eq!(dialed.closed().await, silence);
    assert!(network.counts(NEAR, FAR).cut > 0);
}

#[tokio::test(start_paused = true)]
async fn an_address_is_had_by_one_and_given_back() {
    let (_place, near, _) = both();
    let network = MemoryNetwork::new(1);
    let bind = || QuicEndpoint::on_network(&network, NEAR, &near, QuicConfig::default(), 1);
    let first = bind().unwrap();
    assert!(matches!(bind(), Err(BindError::AddressInUse { address }) if address == NEAR));
    first.close(crate::link::CloseCode::NORMAL, "");
    first.wait_idle().await;
    drop(first);
    // The endpoint's driver lets go of the socket in its next turn.
    tokio::task::yield_now().await;
    assert!(bind().is_ok());
}

#[tokio::test]
async fn real_sockets_lose_and_damage_as_they_are_told_and_links_mend_it() {
    let (_place, near, far) = both();
    let impairment = |seed| SocketImpairment {
        outgoing: rough(),
        incoming: ImpairmentConfig {
            loss: 0.02,
            ..ImpairmentConfig::default()
        },
        seed,
    };
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = QuicConfig::default;
    let far = QuicEndpoint::bind_impaired(loopback, &far, config(), impairment(1)).unwrap();
    let near = QuicEndpoint::dialer_impaired(&near, config(), impairment(2)).unwrap();
    let to = far.local_address().unwrap();
    let (dialed, accepted) = link(&near, &far, to).await;
    let length = 1_000_000;
    transfer(&dialed, &accepted, length).await;
    let (sent, received) = near.impairment_counts().unwrap();
    assert!(
        sent.offered as usize >= length / 1472,
        "each datagram of a segmented send counts by itself: {sent:?}"
    );
    assert!(
        sent.lost > 0 && sent.corrupted > 0 && sent.duplicated > 0,
        "{sent:?}"
    );
    assert!(received.offered > 0, "{received:?}");
    // A cut that is longer than the idle time would end the link; a short one heals.
    assert!(near.cut(Duration::from_secs(2)));
    transfer(&accepted, &dialed, 10_000).await;
    let (sent, received) = near.impairment_counts().unwrap();
    assert!(sent.cut + received.cut > 0, "{sent:?} {received:?}");
    let plain = QuicEndpoint::bind_impaired(
        loopback,
        &both().1,
        config(),
        SocketImpairment {
            outgoing: ImpairmentConfig {
                loss: 2.0,
                ..ImpairmentConfig::default()
            },
            ..SocketImpairment::default()
        },
    );
    assert!(matches!(plain, Err(BindError::Impairment(_))));
}
