//! Peers with a good certificate that break the protocol, and peers without one: the link ends with a reason, the node
//! and everybody else go on.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{BufMut as _, Bytes, BytesMut};
use mcpbus::AckLevel;
use mcpbus::client::{Client, ClientConfig, Publication, SubscribeOptions};
use mcpbus::identity::{Credentials, KeyAlgorithm, LocalAuthority, Validity};
use mcpbus::node::{Node, NodeBuilder};
use mcpbus_actors::Time;
use mcpbus_transport::link::quic::{DialError, QuicConfig, QuicEndpoint, QuicLaneReader, QuicLink};
use mcpbus_transport::link::{LaneId, LaneReader as _, LaneWriter as _, Link as _};
use mcpbus_transport::wire::control::CONTROL_FRAME_MAX;
use mcpbus_transport::wire::frame::{begin_frame, end_frame};
use mcpbus_transport::wire::{
    BatchEncoder, Control, FlowAck, FrameKind, FrameReader, GoodbyeCode, Head, Hello, ProducerId,
    Record, Role,
};

const WAIT: Duration = Duration::from_secs(8);
const DATA: u8 = 1;

struct Bench {
    _folder: tempfile::TempDir,
    authority: LocalAuthority,
    node: Node,
    subscription: mcpbus::client::Subscription,
    good: Client,
}

impl Bench {
    /// A node with a client that publishes to itself.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = LocalAuthority::open_or_create(folder.path(), SystemTime::now()).unwrap();
        let credentials = |name| authority.credentials(name, SystemTime::now()).unwrap();
        let node = NodeBuilder::named("node")
            .credentials(credentials("node"))
            .listen("127.0.0.1:0".parse().unwrap())
            .start()
            .await
            .unwrap();
        let address = node.address().unwrap().to_string();
        let identity = credentials("good");
        let good = Client::connect(&address, &identity, ClientConfig::default());
        let good = good.await.unwrap();
        let mut subscription = good
            .subscribe("good.*", SubscribeOptions::default())
            .unwrap();
        subscription.ready(WAIT).await.unwrap();
        Self {
            _folder: folder,
            authority,
            node,
            subscription,
            good,
        }
    }

    fn address(&self) -> SocketAddr {
        self.node.address().unwrap()
    }

    fn credentials(&self, name: &str) -> Credentials {
        self.authority.credentials(name, SystemTime::now()).unwrap()
    }

    /// A message still travels, over the session that was there before.
    async fn still_serves(&mut self) {
        let publisher = self.good.publisher(AckLevel::Accepted);
        let receipt = publisher.publish_with_receipt(Publication::new("good.x", "yes"));
        let receipt = tokio::time::timeout(WAIT, receipt).await.unwrap().unwrap();
        assert_eq!(tokio::time::timeout(WAIT, receipt).await.unwrap(), Ok(()));
        let next = tokio::time::timeout(WAIT, self.subscription.next());
        assert_eq!(&next.await.unwrap().unwrap().body()[..], b"yes");
        assert_eq!(
            self.good.stats().reconnects,
            0,
            "the session was never lost"
        );
    }

    async fn dial(&self) -> (QuicEndpoint, QuicLink) {
        let credentials = self.credentials("hostile");
        let endpoint = QuicEndpoint::dialer(&credentials, QuicConfig::default()).unwrap();
        let link = endpoint.dial(self.address(), None).await.unwrap();
        (endpoint, link)
    }

    /// Writes these bytes on these lanes in turn, and returns what the node said until it ended the link. After bytes
    /// that are a whole hello it waits for the node's, as a peer that keeps the protocol does.
    async fn hostile(&self, lanes: &[(u8, Vec<u8>)]) -> Vec<Control> {
        let (_endpoint, link) = self.dial().await;
        let mut ear = Ear::new(&link);
        let mut writers = Vec::new();
        for (lane, bytes) in lanes {
            let known = writers.iter().position(|(known, _)| known == lane);
            let at = match known {
                Some(at) => at,
                None => {
                    let id = LaneId::new(*lane).unwrap();
                    writers.push((*lane, link.open_lane(id).await.unwrap()));
                    writers.len() - 1
                }
            };
            let mut chunks = VecDeque::from([Bytes::copy_from_slice(bytes)]);
            // The node may have ended the link at the first bytes already.
            while !chunks.is_empty() && writers[at].1.write_chunks(&mut chunks).await.is_ok() {}
            if *bytes == control(&[Control::Hello(hello())]) {
                ear.hear(|frame| matches!(frame, Control::Hello(_))).await;
            }
        }
        ear.hear(|_| false).await;
        ear.said
    }
}

/// Hears what the node says on its control lane.
struct Ear<'a> {
    link: &'a QuicLink,
    lane: Option<QuicLaneReader>,
    frames: FrameReader,
    said: Vec<Control>,
}

impl<'a> Ear<'a> {
    fn new(link: &'a QuicLink) -> Self {
        Self {
            link,
            lane: None,
            frames: FrameReader::new(CONTROL_FRAME_MAX),
            said: Vec::new(),
        }
    }

    /// Until a frame is the one that is waited for, or the link ends.
    async fn hear(&mut self, wanted: impl Fn(&Control) -> bool) {
        loop {
            let Some(lane) = &mut self.lane else {
                match self.link.accept_lane().await {
                    Ok((id, lane)) if id.is_control() => self.lane = Some(lane),
                    Ok(_) => {}
                    Err(_) => return,
                }
                continue;
            };
            let Ok(Some(chunk)) = lane.read_chunk(1 << 16).await else {
                self.link.closed().await;
                return;
            };
            self.frames.push(chunk);
            let mut found = false;
            while let Some((kind, payload)) = self.frames.next().unwrap() {
                let frame = Control::decode(kind, payload).unwrap();
                found |= wanted(&frame);
                self.said.push(frame);
            }
            if found {
                return;
            }
        }
    }
}

fn hello() -> Hello {
    Hello {
        versions: (1, 1),
        role: Role::Client,
        id: 77,
        epoch: 1,
        name: String::from("hostile"),
        session: 1,
        incarnation: 0,
        link: 1,
        lanes: 4,
        message_max: 1 << 20,
        flows_max: 16,
    }
}

fn control(frames: &[Control]) -> Vec<u8> {
    let mut out = BytesMut::new();
    frames.iter().for_each(|frame| frame.encode(&mut out));
    out.to_vec()
}

/// A frame with any payload.
fn raw(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    let start = begin_frame(&mut out, FrameKind::Ping);
    out[start + 4] = kind;
    out.put_slice(payload);
    end_frame(&mut out, start);
    out.to_vec()
}

/// A hello, and then these bytes.
fn greeted(then: &[u8]) -> Vec<(u8, Vec<u8>)> {
    vec![(0, control(&[Control::Hello(hello())])), (0, then.to_vec())]
}

/// A hello, these bytes on the control lane, and others on a data lane.
fn with_data(then: &[u8], data: Vec<u8>) -> Vec<(u8, Vec<u8>)> {
    let mut lanes = greeted(then);
    lanes.push((DATA, data));
    lanes
}

fn publish_flow() -> Control {
    Control::Open {
        flow: 3,
        definition: Bytes::from_static(&[1]),
    }
}

fn batch(flow: u32, first: u64, count: usize) -> Vec<u8> {
    let head = Arc::new(Head {
        producer: ProducerId { id: 1, epoch: 1 },
        subject: Arc::from("good.x"),
        kind: 0,
        ack: AckLevel::Accepted,
        hops: 0,
    });
    let records: Vec<Record> = (0..count as u64)
        .map(|sequence| Record {
            head: head.clone(),
            sequence,
            key: None,
            deadline: None,
            extra: None,
            body: Bytes::from_static(b"hostile"),
        })
        .collect();
    let mut out = BytesMut::new();
    let now = Time::ZERO;
    BatchEncoder::new().encode(&mut out, flow, first, records.iter(), 1 << 20, now);
    out.to_vec()
}

/// The beginning of a message of 60,000 bytes: more than a flow is granted when it is opened.
fn large(flow: u32) -> Vec<u8> {
    let batch = batch(flow, 1, 1);
    raw(
        FrameKind::Large as u8,
        &[&[0xe0, 0xd4, 3], &batch[5..]].concat(),
    )
}

fn goodbye(said: &[Control]) -> (GoodbyeCode, String) {
    match said.last() {
        Some(Control::Goodbye { code, reason }) => (*code, reason.clone()),
        _ => panic!("no goodbye in {said:?}"),
    }
}

#[tokio::test]
async fn who_breaks_the_protocol_is_told_why_and_cut_off() {
    let mut bench = Bench::new().await;
    let ack = |flow| FlowAck {
        flow,
        received: 5,
        settled: 5,
        grant_messages: 5,
        grant_bytes: 5,
    };
    let open = control(&[publish_flow()]);
    // This one is pinned to the lane that data comes on here.
    let open_here = control(&[Control::Open {
        flow: 4,
        definition: Bytes::from_static(&[1]),
    }]);
    let signal = Control::Signal {
        sequence: 1,
        payload: Bytes::from_static(b"\xfe??"),
    };
    let flow = Control::Open {
        flow: 3,
        definition: Bytes::from_static(b"\xfe"),
    };
    let acks = |flows| Control::Ack {
        link: 1,
        signals: 99,
        failures: 0,
        flows,
    };
    let ping = control(&[Control::Ping { nonce: 1 }]);
    let batch_kind = FrameKind::Batch as u8;
    let ping_kind = FrameKind::Ping as u8;
    let cut_signal = raw(FrameKind::Signal as u8, &[1, 0xff, 0xff, 0x03, 1]);
    // Name, bytes by lane, what the reason for the end of the link says.
    type Case<'a> = (&'a str, Vec<(u8, Vec<u8>)>, &'a str);
    let cases: Vec<Case<'_>> = vec![
        ("no hello", vec![(0, ping.clone())], "not a hello"),
        (
            "data before the hello",
            vec![(0, batch(3, 1, 1))],
            "frame kind",
        ),
        (
            "another protocol",
            vec![(0, b"GET / HTTP/1.1\r\n\r\n".to_vec())],
            "frame",
        ),
        ("a length of zero", vec![(0, vec![0, 0, 0, 0, 0])], "frame"),
        ("an oversize length", vec![(0, vec![0xff; 64])], "frame"),
        ("an oversize length later", greeted(&[0xff; 64]), "frame"),
        ("an unknown kind", greeted(&raw(99, b"?")), "frame kind"),
        (
            "a frame cut inside a field",
            greeted(&raw(ping_kind, b"abc")),
            "malformed",
        ),
        (
            "bytes behind the last field",
            greeted(&raw(ping_kind, &[0; 9])),
            "malformed",
        ),
        (
            "a length beyond the frame",
            greeted(&cut_signal),
            "malformed",
        ),
        (
            "a second hello",
            greeted(&control(&[Control::Hello(Hello {
                epoch: 2,
                ..hello()
            })])),
            "hello",
        ),
        (
            "a signal that means nothing",
            greeted(&control(&[signal])),
            "",
        ),
        ("a flow that means nothing", greeted(&control(&[flow])), ""),
        (
            "a flow opened twice",
            greeted(&[&open[..], &open].concat()),
            "flow 3",
        ),
        (
            "acks of nothing",
            greeted(&control(&[acks(vec![ack(9)])])),
            "",
        ),
        ("data of no flow", with_data(&[], batch(9, 1, 1)), "flow 9"),
        (
            "data without credit",
            with_data(&open, batch(3, 1, 1)),
            "flow 3",
        ),
        ("control on a data lane", with_data(&[], ping), "unexpected"),
        (
            "rubbish on a data lane",
            with_data(&[], raw(batch_kind, &[0xff; 40])),
            "malformed",
        ),
        (
            "a part of a message that never began",
            with_data(&open_here, raw(FrameKind::Part as u8, &[4, 1, 0, 1])),
            "flow 4",
        ),
        (
            "a large message without credit",
            with_data(&open_here, large(4)),
            "flow 4",
        ),
        (
            "a frame longer than data frames are",
            with_data(&open, vec![0, 0, 0x10, 0, 32]),
            "frame length",
        ),
        (
            "positions for a link that does not exist",
            greeted(&control(&[Control::Revoke {
                link: 9,
                flow: 0,
                messages: 0,
                bytes: 0,
            }])),
            "link",
        ),
        (
            "an empty batch",
            with_data(&open, raw(batch_kind, &[0, 3, 1, 0, 0])),
            "",
        ),
    ];
    let count = cases.len() as u64;
    let mut wrong = Vec::new();
    for (what, lanes, words) in cases {
        let said = tokio::time::timeout(WAIT, bench.hostile(&lanes)).await;
        match said.as_deref().map(|said| said.last()) {
            Ok(Some(Control::Goodbye {
                code: GoodbyeCode::Protocol,
                reason,
            })) if !reason.is_empty() && reason.contains(words) => {}
            Ok(said) => wrong.push(format!("{what}: {said:?}")),
            Err(_) => wrong.push(format!("{what}: the link was not ended")),
        }
        bench.still_serves().await;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let ledger = bench.node.ledger().await.unwrap();
    // What the good client published, and nothing of the others.
    assert_eq!((ledger.residual(), ledger.accepted), (0, count));
}

#[tokio::test]
async fn a_peer_of_another_version_is_told_which() {
    let mut bench = Bench::new().await;
    let other = Hello {
        versions: (200, 201),
        ..hello()
    };
    let said = bench
        .hostile(&[(0, control(&[Control::Hello(other)]))])
        .await;
    let (code, reason) = goodbye(&said);
    assert_eq!(code, GoodbyeCode::Version, "{reason}");
    assert!(reason.contains("200"), "{reason}");
    bench.still_serves().await;
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_let_go() {
    let mut bench = Bench::new().await;
    let silent = bench.dial().await;
    let half = bench.dial().await;
    let mut lane = half.1.open_lane(LaneId::CONTROL).await.unwrap();
    // The beginning of a hello, and then nothing.
    let mut chunks = VecDeque::from([Bytes::from_static(&[60, 0, 0])]);
    lane.write_chunks(&mut chunks).await.unwrap();
    bench.still_serves().await;
    for (_endpoint, link) in [&silent, &half] {
        assert!(tokio::time::timeout(WAIT, link.closed()).await.is_ok());
    }
    bench.still_serves().await;
}

#[tokio::test]
async fn a_control_lane_that_is_abandoned_ends_the_link_only() {
    let mut bench = Bench::new().await;
    let (_endpoint, link) = bench.dial().await;
    let mut lane = link.open_lane(LaneId::CONTROL).await.unwrap();
    let mut chunks = VecDeque::from([
        Bytes::from(control(&[Control::Hello(hello())])),
        Bytes::from_static(&[10, 0, 0, 0, 9]),
    ]);
    while !chunks.is_empty() {
        lane.write_chunks(&mut chunks).await.unwrap();
    }
    drop(lane);
    assert!(tokio::time::timeout(WAIT, link.closed()).await.is_ok());
    bench.still_serves().await;
}

#[tokio::test]
async fn random_bytes_from_a_good_certificate_end_every_time() {
    let mut bench = Bench::new().await;
    let seed = std::env::var("MCPBUS_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1_u64);
    let mut state = seed;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    for round in 0..40 {
        // Whole frames of real kinds with random payloads, on both kinds of lanes, until the node has enough.
        let mut frames = |kinds: &[u8]| -> Vec<u8> {
            let mut bytes = Vec::new();
            for _ in 0..60 {
                let kind = kinds[random() as usize % kinds.len()];
                let length = random() as usize % 40;
                let payload: Vec<u8> = (0..length).map(|_| (random() & 0x83) as u8).collect();
                bytes.extend(raw(kind, &payload));
            }
            bytes
        };
        let on_control = frames(&[2, 3, 4, 5, 6, 7, 8]);
        let on_data = frames(&[FrameKind::Batch as u8]);
        let lanes = with_data(&on_control, on_data);
        let said = tokio::time::timeout(WAIT, bench.hostile(&lanes)).await;
        assert!(
            said.is_ok(),
            "round {round} of seed {seed}: the link was not ended"
        );
    }
    bench.still_serves().await;
}

#[tokio::test]
async fn certificates_that_do_not_count_are_named_at_the_dial() {
    let mut bench = Bench::new().await;
    let dial = async |credentials: Credentials| {
        let endpoint = QuicEndpoint::dialer(&credentials, QuicConfig::default()).unwrap();
        endpoint.dial(bench.address(), None).await.map(|_| ())
    };
    let trust = bench.credentials("x").trust;
    let day = Duration::from_secs(86_400);
    let past = SystemTime::now() - 3 * day;
    let issue = |validity| {
        let identity = bench
            .authority
            .issue("late", KeyAlgorithm::default(), validity);
        Credentials {
            identity: identity.unwrap(),
            trust: trust.clone(),
        }
    };
    let expired: DialError = dial(issue(Validity::between(past, past + day)))
        .await
        .unwrap_err();
    assert!(expired.to_string().contains("expired"), "{expired}");
    assert!(!expired.is_temporary());
    let early = SystemTime::now() + day;
    let early = dial(issue(Validity::between(early, early + day)))
        .await
        .unwrap_err();
    assert!(early.to_string().contains("does not count yet"), "{early}");

    let folder = tempfile::tempdir().unwrap();
    let other = LocalAuthority::open_or_create(folder.path(), SystemTime::now()).unwrap();
    let stranger = Credentials {
        identity: other
            .credentials("stranger", SystemTime::now())
            .unwrap()
            .identity,
        trust: trust.clone(),
    };
    let stranger = dial(stranger).await.unwrap_err();
    assert!(
        stranger
            .to_string()
            .contains("does not trust the authority"),
        "{stranger}"
    );
    bench.still_serves().await;
}

#[tokio::test]
async fn what_follows_the_hello_at_once_is_read_too() {
    let mut bench = Bench::new().await;
    let both = [control(&[Control::Hello(hello())]), raw(99, b"?")].concat();
    let said = tokio::time::timeout(WAIT, bench.hostile(&[(0, both)])).await;
    let (code, reason) = goodbye(&said.unwrap());
    assert_eq!(code, GoodbyeCode::Protocol, "{reason}");
    bench.still_serves().await;
}
