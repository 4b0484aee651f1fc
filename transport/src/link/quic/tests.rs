//! Laws, and what is refused, over real sockets on the loopback address.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quinn::crypto::rustls::QuicClientConfig;
use tempfile::TempDir;

use super::*;
use crate::identity::{Credentials, KeyAlgorithm, LocalAuthority, Validity, tls};
use crate::link::contract::{
    CloseCode, CutCause, LaneId, LaneReader, LaneWriter, Link, LinkError, laws,
};

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn authority(place: &Path) -> LocalAuthority {
    LocalAuthority::open_or_create(place, SystemTime::now()).unwrap()
}

/// An authority and an endpoint named "far" that it vouches for.
fn far(config: QuicConfig) -> (TempDir, LocalAuthority, QuicEndpoint, SocketAddr) {
    let place = tempfile::tempdir().unwrap();
    let authority = authority(place.path());
    let credentials = authority.credentials("far", SystemTime::now()).unwrap();
    let endpoint = QuicEndpoint::bind(loopback(), &credentials, config).unwrap();
    let address = endpoint.local_address().unwrap();
    (place, authority, endpoint, address)
}

fn near(authority: &LocalAuthority) -> QuicEndpoint {
    let credentials = authority.credentials("near", SystemTime::now()).unwrap();
    QuicEndpoint::dialer(&credentials, QuicConfig::default()).unwrap()
}

/// Dials while the far end accepts, and expects the dial to fail.
async fn refused(near: &QuicEndpoint, far: &QuicEndpoint, address: SocketAddr) -> DialError {
    tokio::select! {
        link = far.accept() => panic!("accepted {link:?}"),
        dialed = near.dial(address, None) => dialed.unwrap_err(),
    }
}

/// Lets the far end go on until it has counted one refusal for the reason.
async fn counted(far: &QuicEndpoint, reason: RefusalReason) {
    let accept = async {
        loop {
            // The accept loop never yields a link here; each turn of the timer looks at the counter.
            let _ = tokio::time::timeout(Duration::from_millis(5), far.accept()).await;
            if far.refused(reason) == 1 {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), accept)
        .await
        .expect("the refusal is counted");
    let others: u64 = RefusalReason::ALL
        .into_iter()
        .filter(|other| *other != reason)
        .map(|other| far.refused(other))
        .sum();
    assert_eq!(others, 0, "no other reason is counted");
}

#[tokio::test]
async fn upholds_the_laws_of_links() {
    let (_place, authority, far, address) = far(QuicConfig::default());
    let near = near(&authority);
    laws::uphold(|| async {
        let (dialed, accepted) = tokio::join!(near.dial(address, None), far.accept());
        (dialed.unwrap(), accepted.unwrap())
    })
    .await;
}

#[tokio::test]
async fn upholds_the_laws_of_links_from_the_acceptor_too() {
    let (_place, authority, far, address) = far(QuicConfig::default());
    let near = near(&authority);
    laws::uphold(|| async {
        let (dialed, accepted) = tokio::join!(near.dial(address, Some("far")), far.accept());
        (accepted.unwrap(), dialed.unwrap())
    })
    .await;
}

#[tokio::test]
async fn each_end_knows_the_other_by_its_certificate() {
    let (_place, authority, far, address) = far(QuicConfig::default());
    let near = near(&authority);
    let (dialed, accepted) = tokio::join!(near.dial(address, Some("far")), far.accept());
    let (dialed, accepted) = (dialed.unwrap(), accepted.unwrap());
    assert_eq!(
        (dialed.peer().name.as_str(), accepted.peer().name.as_str()),
        ("far", "near")
    );
    assert!(
        dialed
            .round_trip_time()
            .is_some_and(|time| time < Duration::from_secs(1))
    );
    let futures_are_send = async move {
        let mut writer = dialed.open_lane(LaneId::CONTROL).await?;
        writer
            .write_chunks(&mut [bytes::Bytes::from_static(b"x")].into())
            .await?;
        let (_, mut reader) = accepted.accept_lane().await?;
        reader.read_chunk(1).await
    };
    assert_eq!(
        tokio::spawn(futures_are_send).await.unwrap(),
        Ok(Some(bytes::Bytes::from_static(b"x")))
    );
}

#[tokio::test]
async fn another_name_than_the_expected_is_refused_by_the_dialer() {
    let (_place, authority, far, address) = far(QuicConfig::default());
    let near = near(&authority);
    let error = tokio::select! {
        link = far.accept() => panic!("accepted {link:?}"),
        dialed = near.dial(address, Some("further")) => dialed.unwrap_err(),
    };
    assert!(matches!(error, DialError::PeerMismatch { .. }), "{error}");
    counted(&far, RefusalReason::RejectedByPeer).await;
}

#[tokio::test]
async fn a_peer_of_another_authority_is_refused_at_both_ends() {
    let (_place, _, far, address) = far(QuicConfig::default());
    let strange_place = tempfile::tempdir().unwrap();
    let strange = authority(strange_place.path());
    let near = near(&strange);
    let error = refused(&near, &far, address).await;
    assert_eq!(error, DialError::PeerUntrusted { address });
    assert!(error.to_string().contains("not trusted here"), "{error}");
    assert!(!error.is_temporary());
    counted(&far, RefusalReason::RejectedByPeer).await;
}

#[tokio::test]
async fn an_identity_of_another_authority_is_refused_by_the_acceptor() {
    let (_place, trusted, far, address) = far(QuicConfig::default());
    let strange_place = tempfile::tempdir().unwrap();
    let strange = authority(strange_place.path());
    let mut credentials = strange.credentials("near", SystemTime::now()).unwrap();
    credentials.trust = trusted.trust().unwrap();
    let near = QuicEndpoint::dialer(&credentials, QuicConfig::default()).unwrap();
    let error = refused(&near, &far, address).await;
    assert_eq!(error, DialError::UntrustedByPeer { address });
    counted(&far, RefusalReason::UntrustedCertificate).await;
}

fn expired(authority: &LocalAuthority, name: &str) -> Credentials {
    let day = Duration::from_secs(86_400);
    let now = SystemTime::now();
    let validity = Validity::between(now - 2 * day, now - day);
    let identity = authority
        .issue(name, KeyAlgorithm::EcdsaP256, validity)
        .unwrap();
    Credentials {
        identity,
        trust: authority.trust().unwrap(),
    }
}

#[tokio::test]
async fn an_expired_identity_is_refused_by_the_acceptor() {
    let (_place, authority, far, address) = far(QuicConfig::default());
    let near = QuicEndpoint::dialer(&expired(&authority, "near"), QuicConfig::default()).unwrap();
    let error = refused(&near, &far, address).await;
    assert_eq!(error, DialError::ExpiredForPeer { address });
    assert!(error.to_string().contains("expired"), "{error}");
    counted(&far, RefusalReason::ExpiredCertificate).await;
}

#[tokio::test]
async fn an_expired_peer_is_refused_by_the_dialer_until_it_is_renewed() {
    let (_place, authority, far, address) = far(QuicConfig::default());
    far.set_credentials(&expired(&authority, "far")).unwrap();
    let near = near(&authority);
    assert_eq!(
        refused(&near, &far, address).await,
        DialError::PeerExpired { address }
    );
    far.set_credentials(&authority.credentials("renewed", SystemTime::now()).unwrap())
        .unwrap();
    let (dialed, accepted) = tokio::join!(near.dial(address, Some("renewed")), far.accept());
    assert_eq!(
        (dialed.unwrap().peer().name.as_str(), accepted.is_ok()),
        ("renewed", true)
    );
}

/// A TLS client that behaves otherwise than ours: `change` may alter its configuration.
fn strange_client(
    authority: &LocalAuthority,
    change: impl FnOnce(&mut rustls::ClientConfig),
) -> (quinn::Endpoint, quinn::ClientConfig) {
    let credentials = authority.credentials("near", SystemTime::now()).unwrap();
    let mut config = tls::client_config(&credentials).unwrap();
    change(&mut config);
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
    (quinn::Endpoint::client(loopback()).unwrap(), config)
}

#[tokio::test]
async fn a_peer_without_a_certificate_is_refused() {
    let (_place, authority, far, address) = far(QuicConfig::default());
    struct None;
    impl rustls::client::ResolvesClientCert for None {
        fn resolve(
            &self,
            _: &[&[u8]],
            _: &[rustls::SignatureScheme],
        ) -> Option<Arc<rustls::sign::CertifiedKey>> {
            Option::None
        }
        fn has_certs(&self) -> bool {
            false
        }
    }
    impl std::fmt::Debug for None {
        fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("None")
        }
    }
    let (client, config) = strange_client(&authority, |config| {
        config.client_auth_cert_resolver = Arc::new(None)
    });
    let dial = async {
        let connection = client
            .connect_with(config, address, "node.mcpbus.internal")
            .unwrap()
            .await?;
        Err::<(), _>(connection.closed().await)
    };
    let error = tokio::select! {
        link = far.accept() => panic!("accepted {link:?}"),
        error = dial => error.unwrap_err(),
    };
    assert_eq!(
        DialError::of(address, Duration::ZERO, &error),
        DialError::CertificateRequired { address }
    );
    counted(&far, RefusalReason::NoCertificate).await;
}

#[tokio::test]
async fn another_protocol_is_refused() {
    let (_place, authority, far, address) = far(QuicConfig::default());
    let (client, config) = strange_client(&authority, |config| {
        config.alpn_protocols = vec![b"h3".to_vec()]
    });
    let error = tokio::select! {
        link = far.accept() => panic!("accepted {link:?}"),
        dialed = client.connect_with(config, address, "node.mcpbus.internal").unwrap() => dialed.unwrap_err(),
    };
    assert_eq!(
        DialError::of(address, Duration::ZERO, &error),
        DialError::OtherProtocol { address }
    );
    counted(&far, RefusalReason::ProtocolMismatch).await;
}

/// A verified client that then writes these first bytes, one stream each.
async fn misbehaving(first_bytes: &[u8]) -> (LinkError, quinn::ConnectionError) {
    let (_place, authority, far, address) = far(QuicConfig::default());
    let (client, config) = strange_client(&authority, |_| {});
    let dial = async {
        client
            .connect_with(config, address, "node.mcpbus.internal")
            .unwrap()
            .await
            .unwrap()
    };
    let (connection, link) = tokio::join!(dial, far.accept());
    let link = link.unwrap();
    for byte in first_bytes {
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(&[*byte]).await.unwrap();
        stream.finish().unwrap();
    }
    let problem = loop {
        match link.accept_lane().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    (problem, connection.closed().await)
}

#[tokio::test]
async fn unknown_and_repeated_lanes_end_the_link() {
    for (lanes, words) in [
        (&[9_u8][..], "lane 9"),
        (&[255], "lane 255"),
        (&[0, 3, 3], "lane 3 twice"),
    ] {
        let (here, there) = misbehaving(lanes).await;
        assert!(
            matches!(&here, LinkError::Violation { problem } if problem.contains(words)),
            "{here}"
        );
        let quinn::ConnectionError::ApplicationClosed(close) = there else {
            panic!("{there}")
        };
        assert_eq!(
            close.error_code.into_inner(),
            u64::from(CloseCode::PROTOCOL.0)
        );
        assert!(String::from_utf8_lossy(&close.reason).contains(words));
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let (_place, authority, _far, address) = far(QuicConfig::default());
    let credentials = authority.credentials("second", SystemTime::now()).unwrap();
    let error = QuicEndpoint::bind(address, &credentials, QuicConfig::default()).unwrap_err();
    assert!(
        matches!(error, BindError::AddressInUse { address: named } if named == address),
        "{error}"
    );
    assert!(
        error.to_string().contains(&address.to_string()) && error.to_string().contains("in use"),
        "{error}"
    );
    let foreign = SocketAddr::from(([192, 0, 2, 1], 0));
    let error = QuicEndpoint::bind(foreign, &credentials, QuicConfig::default()).unwrap_err();
    assert!(
        matches!(error, BindError::AddressNotAvailable { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn nobody_at_the_address_is_told_after_the_handshake_timeout() {
    let place = tempfile::tempdir().unwrap();
    let authority = authority(place.path());
    let credentials = authority.credentials("near", SystemTime::now()).unwrap();
    let config = QuicConfig {
        handshake_timeout: Duration::from_millis(50),
        ..QuicConfig::default()
    };
    let near = QuicEndpoint::dialer(&credentials, config).unwrap();
    // A bound socket that never answers.
    let silent = std::net::UdpSocket::bind(loopback()).unwrap();
    let address = silent.local_addr().unwrap();
    let error = near.dial(address, None).await.unwrap_err();
    assert!(
        matches!(error, DialError::NoAnswer { .. }) && error.is_temporary(),
        "{error}"
    );
    let error = near.dial(address, Some("no name")).await.unwrap_err();
    assert!(matches!(error, DialError::Invalid { .. }), "{error}");
}

#[tokio::test]
async fn a_dialer_that_falls_silent_delays_no_other_and_is_counted() {
    let config = QuicConfig {
        handshake_timeout: Duration::from_millis(300),
        ..QuicConfig::default()
    };
    let (_place, authority, far, address) = far(config);
    // A genuine first datagram, sent on by a socket that then never answers.
    let silent = tokio::net::UdpSocket::bind(loopback()).await.unwrap();
    let (client, config) = strange_client(&authority, |_| {});
    let half = client
        .connect_with(config, silent.local_addr().unwrap(), "node.mcpbus.internal")
        .unwrap();
    let mut datagram = [0; 2048];
    let length = silent.recv(&mut datagram).await.unwrap();
    silent.send_to(&datagram[..length], address).await.unwrap();
    let near = near(&authority);
    let (dialed, accepted) = tokio::join!(near.dial(address, None), far.accept());
    assert!(dialed.is_ok() && accepted.is_ok());
    counted(&far, RefusalReason::HandshakeTimeout).await;
    drop(half);
}

#[tokio::test]
async fn a_peer_that_vanishes_is_noticed_by_its_silence() {
    let config = QuicConfig {
        idle_timeout: Duration::from_millis(200),
        ..QuicConfig::default()
    };
    let (_place, authority, far, address) = far(config);
    let credentials = authority.credentials("near", SystemTime::now()).unwrap();
    // The dialer lives on a runtime of its own, which stops as a killed process does: without a word.
    let vanished = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let link = runtime.block_on(async {
            let near = QuicEndpoint::dialer(&credentials, QuicConfig::default()).unwrap();
            near.dial(address, None).await.unwrap()
        });
        std::mem::forget(link);
        runtime.shutdown_background();
    });
    let link = far.accept().await.unwrap();
    assert_eq!(
        link.closed().await,
        LinkError::Cut {
            cause: CutCause::Silence
        }
    );
    assert_eq!(
        link.accept_lane().await.err(),
        Some(LinkError::Cut {
            cause: CutCause::Silence
        })
    );
    vanished.join().unwrap();
}

#[tokio::test]
async fn an_endpoint_at_its_limit_says_so() {
    let config = QuicConfig {
        connections: 1,
        ..QuicConfig::default()
    };
    let (_place, authority, far, address) = far(config);
    let near = near(&authority);
    let (first, accepted) = tokio::join!(near.dial(address, None), far.accept());
    let (first, _accepted) = (first.unwrap(), accepted.unwrap());
    let error = refused(&near, &far, address).await;
    assert!(
        error == DialError::Busy { address } && error.is_temporary(),
        "{error}"
    );
    counted(&far, RefusalReason::ConnectionLimit).await;
    assert_eq!(first.peer().name, "far");
}

#[tokio::test]
async fn addresses_are_validated_under_load() {
    let config = QuicConfig {
        validate_addresses_from: 0,
        ..QuicConfig::default()
    };
    let (_place, authority, far, address) = far(config);
    let near = near(&authority);
    let (dialed, accepted) = tokio::join!(near.dial(address, None), far.accept());
    assert!(
        dialed.is_ok() && accepted.is_ok(),
        "a retry costs a round trip and no more"
    );
}

#[tokio::test]
async fn a_closed_endpoint_ends_its_links_and_accepts_no_more() {
    let (_place, authority, far, address) = far(QuicConfig::default());
    let near = near(&authority);
    let (dialed, accepted) = tokio::join!(near.dial(address, None), far.accept());
    let (dialed, _accepted) = (dialed.unwrap(), accepted.unwrap());
    far.close(CloseCode(20), "bye");
    assert_eq!(
        dialed.closed().await,
        LinkError::ClosedByPeer {
            code: CloseCode(20),
            reason: "bye".into()
        }
    );
    assert_eq!(far.accept().await.err(), Some(EndpointClosed));
    assert_eq!(
        near.accept().await.err(),
        Some(EndpointClosed),
        "an endpoint that only dials accepts nothing"
    );
    far.wait_idle().await;
}

#[test]
fn bounds_that_cannot_be_kept_are_refused() {
    let default = QuicConfig::default;
    assert_eq!(default().validate(), Ok(()));
    for (config, field) in [
        (
            QuicConfig {
                stream_window: 0,
                ..default()
            },
            "stream_window",
        ),
        (
            QuicConfig {
                receive_window: 20_000,
                ..default()
            },
            "receive_window",
        ),
        (
            QuicConfig {
                send_window: 0,
                ..default()
            },
            "send_window",
        ),
        (
            QuicConfig {
                idle_timeout: Duration::ZERO,
                ..default()
            },
            "idle_timeout",
        ),
        (
            QuicConfig {
                handshake_timeout: Duration::MAX,
                ..default()
            },
            "handshake_timeout",
        ),
        (
            QuicConfig {
                connections: 0,
                ..default()
            },
            "connections",
        ),
        (
            QuicConfig {
                largest_datagram: 100,
                ..default()
            },
            "largest_datagram",
        ),
    ] {
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}
