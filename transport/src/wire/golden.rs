//! Every kind of frame as bytes, in files beside this one: `golden/KIND.txt`. A change of a file is a change of the wire.
//!
//! With `MCPBUS_GOLDEN=write` in the environment the test writes the files instead of comparing with them.
#![allow(clippy::unwrap_used)]

use super::labels::Labels;
use super::large::{Place, decode_part, encode_part};
use super::record::{Extra, Failure, ReplyAddress};
use super::*;
use bytes::{Bytes, BytesMut};
use mcpbus_actors::{Key, Time};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Name of the file, what the frames are, and the frames.
type Golden = (&'static str, Vec<(&'static str, Control)>);

fn flows() -> Vec<FlowAck> {
    vec![
        FlowAck {
            flow: 1,
            received: 300,
            settled: 290,
            grant_messages: 400,
            grant_bytes: 70_000,
        },
        FlowAck {
            flow: 4095,
            ..FlowAck::default()
        },
    ]
}

fn control() -> Vec<Golden> {
    let hello = Hello {
        versions: (1, 1),
        role: Role::Client,
        id: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
        epoch: 7,
        name: "edge".into(),
        session: 5,
        incarnation: 0,
        link: 1,
        lanes: 4,
        message_max: 1 << 20,
        flows_max: 4096,
    };
    let resumed = Hello {
        role: Role::Node,
        incarnation: 99,
        link: 2,
        ..hello.clone()
    };
    let (link, flow) = (2, 1);
    let all = [
        Failure::NoRoute,
        Failure::Rejected,
        Failure::Expired,
        Failure::MaxDeliver,
        Failure::HopLimit,
        Failure::Decode,
        Failure::Access,
        Failure::Quota,
        Failure::Corrupt,
        Failure::Panic,
        Failure::NoSpool,
        Failure::PeerDied,
        Failure::Cancelled,
        Failure::Shed,
        Failure::SpoolFull,
        Failure::Limited { retry_after: 1500 },
    ];
    vec![
        (
            "hello",
            vec![
                ("a client asks for a new session", Control::Hello(hello)),
                (
                    "a node goes on with incarnation 99",
                    Control::Hello(resumed),
                ),
            ],
        ),
        (
            "resume",
            vec![(
                "the only and last one",
                Control::Resume {
                    link,
                    flows: flows(),
                    signals: 3,
                    failures: 4,
                    last: true,
                },
            )],
        ),
        (
            "open",
            vec![(
                "a flow of messages to be routed",
                Control::Open {
                    flow,
                    definition: Bytes::from_static(&[1]),
                },
            )],
        ),
        (
            "close",
            vec![
                (
                    "after record 300",
                    Control::Close {
                        flow,
                        last: 300,
                        begun: 0,
                    },
                ),
                (
                    "after 65,536 bytes of the body of record 301",
                    Control::Close {
                        flow,
                        last: 300,
                        begun: 65_536,
                    },
                ),
            ],
        ),
        (
            "ack",
            vec![(
                "of two flows",
                Control::Ack {
                    link,
                    signals: 3,
                    failures: 4,
                    flows: flows(),
                },
            )],
        ),
        (
            "failed",
            vec![(
                "each failure once",
                Control::Failed {
                    sequence: 1,
                    flow,
                    messages: (200..).zip(all).collect(),
                },
            )],
        ),
        (
            "pending",
            vec![(
                "ten messages wait",
                Control::Pending {
                    link,
                    flow,
                    messages: 10,
                    bytes: 2000,
                    next: 200,
                },
            )],
        ),
        (
            "signal",
            vec![(
                "an opaque payload",
                Control::Signal {
                    sequence: 9,
                    payload: Bytes::from_static(b"what"),
                },
            )],
        ),
        (
            "ping",
            vec![(
                "",
                Control::Ping {
                    nonce: 0x0102_0304_0506_0708,
                },
            )],
        ),
        (
            "pong",
            vec![(
                "",
                Control::Pong {
                    nonce: 0x0102_0304_0506_0708,
                },
            )],
        ),
        (
            "goodbye",
            vec![(
                "for a limit",
                Control::Goodbye {
                    code: GoodbyeCode::Limit,
                    reason: "full".into(),
                },
            )],
        ),
        (
            "revoke",
            vec![(
                "down to message 310, byte 60,000",
                Control::Revoke {
                    link,
                    flow,
                    messages: 310,
                    bytes: 60_000,
                },
            )],
        ),
        (
            "revoked",
            vec![(
                "it had gone to message 320 already",
                Control::Revoked {
                    link,
                    flow,
                    messages: 320,
                    bytes: 60_000,
                },
            )],
        ),
    ]
}

fn records() -> Vec<Record> {
    let head = |subject: &str, kind| {
        Arc::new(Head {
            producer: ProducerId { id: 0xab, epoch: 7 },
            subject: Arc::from(subject),
            kind,
            ack: AckLevel::Processed,
            hops: 1,
        })
    };
    let (first, second) = (head("a.b", 0), head("c", 0x1122_3344_5566_7788));
    let record = |head: &Arc<Head>, sequence, body: &'static [u8]| Record {
        head: head.clone(),
        sequence,
        key: None,
        deadline: None,
        extra: None,
        body: Bytes::from_static(body),
    };
    let deadline = Some(Time::ZERO + Duration::from_millis(250));
    let extra = Extra {
        event_time: Some(-5),
        attempt: 2,
        priority: 9,
        trace: Some((1, 2, 1)),
        reply: Some(ReplyAddress {
            node: 3,
            session: 4,
            correlation: 5,
        }),
        repeat: true,
        labels: Labels::new([("version", "v2"), ("canary", "")]).unwrap(),
    };
    vec![
        record(&first, 41, b"one"),
        Record {
            key: Some(Key::from(6)),
            deadline,
            ..record(&first, 42, b"two")
        },
        Record {
            key: Some(Key::from(6)),
            deadline,
            ..record(&second, 1, b"three")
        },
        Record {
            extra: Some(Box::new(extra)),
            ..record(&second, 9, b"")
        },
    ]
}

fn place(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/wire/golden");
    folder.join(format!("{name}.txt"))
}

/// One frame as lines: what it is, its fields, its bytes.
fn lines(out: &mut String, what: &str, fields: &str, bytes: &[u8]) {
    if !what.is_empty() {
        writeln!(out, "# {what}").unwrap();
    }
    for line in fields.lines() {
        writeln!(out, "#   {line}").unwrap();
    }
    for row in bytes.chunks(16) {
        let row: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(out, "{}", row.join(" ")).unwrap();
    }
    out.push('\n');
}

/// The bytes that stand in a file, one buffer for each frame.
fn read(text: &str) -> Vec<Vec<u8>> {
    let frames = text.split("\n\n").map(|frame| {
        let rows = frame.lines().filter(|line| !line.starts_with('#'));
        rows.flat_map(str::split_whitespace)
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect::<Vec<u8>>()
    });
    frames.filter(|frame| !frame.is_empty()).collect()
}

fn compare(name: &str, text: &str) {
    let place = place(name);
    if std::env::var("MCPBUS_GOLDEN").is_ok_and(|what| what == "write") {
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(&place, text).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&place).unwrap_or_default();
    assert_eq!(
        golden, text,
        "the wire is not what golden/{name}.txt says; if that is meant, run this test with MCPBUS_GOLDEN=write"
    );
}

fn frame_of(bytes: &[u8]) -> (FrameKind, Bytes) {
    let mut reader = FrameReader::new(1 << 18);
    reader.push(Bytes::copy_from_slice(bytes));
    reader.next().unwrap().unwrap()
}

#[test]
fn control_frames_are_what_the_files_say() {
    for (name, frames) in control() {
        let mut text = String::new();
        for (what, frame) in &frames {
            let mut out = BytesMut::new();
            frame.encode(&mut out);
            lines(&mut text, what, &format!("{frame:#?}"), &out);
        }
        compare(name, &text);
        let golden = std::fs::read_to_string(place(name)).unwrap();
        let back: Vec<Control> = read(&golden)
            .iter()
            .map(|bytes| frame_of(bytes))
            .map(|(kind, payload)| Control::decode(kind, payload).unwrap())
            .collect();
        let frames: Vec<Control> = frames.into_iter().map(|(_, frame)| frame).collect();
        assert_eq!(back, frames, "{name}");
    }
}

#[test]
fn data_frames_are_what_the_files_say() {
    let records = records();
    let mut encoder = BatchEncoder::new();
    let mut text = String::new();
    let whats = ["the heads of both are new", "the heads of both are known"];
    for (first, what) in [1, 5].into_iter().zip(whats) {
        let mut out = BytesMut::new();
        encoder.encode(&mut out, 3, first, records.iter(), 1 << 16, Time::ZERO);
        let fields = format!("flow 3, first sequence {first}\n{records:#?}");
        lines(&mut text, what, &fields, &out);
    }
    compare("batch", &text);
    let golden = read(&std::fs::read_to_string(place("batch")).unwrap());
    let mut decoder = BatchDecoder::new();
    for (frame, first) in golden.iter().zip([1, 5]) {
        let (kind, payload) = frame_of(frame);
        let mut back = Vec::new();
        let header = decoder
            .decode(payload, 1 << 20, Time::ZERO, &mut back)
            .unwrap();
        assert_eq!(
            (kind, header.flow, header.first),
            (FrameKind::Batch, 3, first)
        );
        assert_eq!(back, records);
    }

    let large = Record {
        body: Bytes::from_static(b"0123456789abcdefghij"),
        ..records[0].clone()
    };
    let place_of = Place {
        flow: 3,
        sequence: 9,
    };
    let mut out = BytesMut::new();
    BatchEncoder::new().encode_beginning(&mut out, place_of, &large, 8, Time::ZERO);
    let mut text = String::new();
    let what = "the beginning of a record of 20 bytes, with the first 8";
    lines(&mut text, what, &format!("{place_of:?}\n{large:#?}"), &out);
    compare("large", &text);
    let mut part = BytesMut::new();
    encode_part(&mut part, place_of, 8, &large.body[8..]);
    let mut text = String::new();
    let what = "the other 12 bytes of the same record";
    lines(&mut text, what, &format!("{place_of:?}, offset 8"), &part);
    compare("part", &text);
    let (_, payload) = frame_of(&read(&std::fs::read_to_string(place("large")).unwrap())[0]);
    let beginning = BatchDecoder::new()
        .decode_beginning(payload, 1 << 20, Time::ZERO, &mut Vec::new())
        .unwrap();
    assert_eq!((beginning.place, beginning.length), (place_of, 20));
    let (_, payload) = frame_of(&read(&std::fs::read_to_string(place("part")).unwrap())[0]);
    let part = decode_part(payload).unwrap();
    assert_eq!((part.place, part.offset), (place_of, 8));
    assert_eq!([beginning.record.body, part.piece].concat(), large.body);
}

#[test]
fn every_kind_has_its_file() {
    let files = (0..=u8::MAX)
        .filter_map(|kind| FrameKind::from_u8(kind).ok())
        .filter(|kind| *kind != FrameKind::Newer)
        .map(|kind| format!("{kind:?}").to_lowercase());
    for name in files {
        assert!(place(&name).exists(), "golden/{name}.txt is missing");
    }
}
