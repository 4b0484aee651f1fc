#![allow(clippy::unwrap_used)]

use super::record::{Extra, ReplyAddress};
use super::*;
use bytes::{Bytes, BytesMut};
use mcpbus_actors::{Key, Time};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

fn head(subject: &str, producer: u128) -> Arc<Head> {
    Arc::new(Head {
        producer: ProducerId {
            id: producer,
            epoch: 7,
        },
        subject: Arc::from(subject),
        kind: 0,
        ack: AckLevel::Accepted,
        hops: 1,
    })
}

fn frames(bytes: Bytes) -> Vec<(FrameKind, Bytes)> {
    let mut reader = FrameReader::new(1 << 20);
    reader.push(bytes);
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

#[derive(Clone, Debug)]
struct Plan {
    head: usize,
    jump: bool,
    key: Option<u64>,
    deadline: Option<u64>,
    extra: bool,
    body: Vec<u8>,
}

fn plan() -> impl Strategy<Value = Plan> {
    (
        0..4_usize,
        any::<bool>(),
        proptest::option::of(0..3_u64),
        proptest::option::of(1..3_u64),
        proptest::bool::weighted(0.2),
        proptest::collection::vec(any::<u8>(), 0..80),
    )
        .prop_map(|(head, jump, key, deadline, extra, body)| Plan {
            head,
            jump,
            key,
            deadline,
            extra,
            body,
        })
}

fn records(plans: &[Plan], heads: &[Arc<Head>]) -> Vec<Record> {
    let mut next = [1_u64; 4];
    plans
        .iter()
        .map(|plan| {
            if plan.jump {
                next[plan.head] += 5;
            }
            let sequence = next[plan.head];
            next[plan.head] += 1;
            Record {
                head: heads[plan.head].clone(),
                sequence,
                key: plan.key.map(Key::from),
                deadline: plan
                    .deadline
                    .map(|seconds| Time::ZERO + Duration::from_secs(seconds)),
                extra: plan.extra.then(|| {
                    Box::new(Extra {
                        event_time: Some(-5),
                        attempt: 300,
                        priority: 9,
                        trace: Some((1, 2, 1)),
                        reply: Some(ReplyAddress {
                            node: 3,
                            session: 4,
                            correlation: 5,
                        }),
                        repeat: true,
                        labels: Labels::new([("version", "v2")]).unwrap(),
                    })
                }),
                body: Bytes::from(plan.body.clone()),
            }
        })
        .collect()
}

proptest! {
    #[test]
    fn records_come_out_as_they_went_in(
        batches in proptest::collection::vec(proptest::collection::vec(plan(), 1..40), 1..6),
        budget in 1..4096_usize,
        chunk in 1..700_usize,
    ) {
        let heads: Vec<_> = (0..4).map(|index| head(&format!("a.{index}"), index as u128 % 2)).collect();
        let mut encoder = BatchEncoder::new();
        let mut decoder = BatchDecoder::new();
        let mut out = BytesMut::new();
        let mut sent = Vec::new();
        for plans in &batches {
            let records = records(plans, &heads);
            let mut rest = &records[..];
            while !rest.is_empty() {
                let count = encoder.encode(&mut out, 3, sent.len() as u64 + 1, rest.iter(), budget, Time::ZERO);
                prop_assert!(count >= 1);
                sent.extend_from_slice(&rest[..count]);
                rest = &rest[count..];
            }
        }
        let mut reader = FrameReader::new(1 << 20);
        let mut received: Vec<Record> = Vec::new();
        let bytes = out.freeze();
        for start in (0..bytes.len()).step_by(chunk) {
            reader.push(bytes.slice(start..(start + chunk).min(bytes.len())));
            while let Some((kind, payload)) = reader.next().unwrap() {
                prop_assert_eq!(kind, FrameKind::Batch);
                let first = received.len() as u64 + 1;
                let header = decoder.decode(payload, 4096, Time::ZERO, &mut received).unwrap();
                prop_assert_eq!(header.first, first);
                prop_assert_eq!(header.flow, 3);
            }
        }
        prop_assert_eq!(received, sent);
    }

    #[test]
    fn damaged_frames_are_refused_without_a_panic(
        plans in proptest::collection::vec(plan(), 1..20),
        position in any::<prop::sample::Index>(),
        bit in 0..8_u8,
        cut in any::<prop::sample::Index>(),
    ) {
        let heads: Vec<_> = (0..4).map(|index| head("a.b", index)).collect();
        let mut out = BytesMut::new();
        BatchEncoder::new().encode(&mut out, 0, 1, records(&plans, &heads).iter(), 1 << 20, Time::ZERO);
        let mut flipped = out.clone();
        let index = position.index(flipped.len());
        flipped[index] ^= 1 << bit;
        let mut reader = FrameReader::new(1 << 16);
        reader.push(flipped.freeze());
        while let Ok(Some((_, payload))) = reader.next() {
            let _ = BatchDecoder::new().decode(payload, 4096, Time::ZERO, &mut Vec::new());
        }
        let (_, payload) = frames(out.freeze()).remove(0);
        let end = cut.index(payload.len());
        prop_assert!(BatchDecoder::new().decode(payload.slice(..end), 4096, Time::ZERO, &mut Vec::new()).is_err());
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), kind in 0..40_u8) {
        let mut reader = FrameReader::new(512);
        reader.push(Bytes::from(bytes.clone()));
        while let Ok(Some(_)) = reader.next() {}
        if let Ok(kind) = FrameKind::from_u8(kind) {
            let _ = Control::decode(kind, Bytes::from(bytes.clone()));
        }
        let _ = BatchDecoder::new().decode(Bytes::from(bytes), 4096, Time::ZERO, &mut Vec::new());
    }
}

#[test]
fn control_frames_come_out_as_they_went_in() {
    let flow = FlowAck {
        flow: 9,
        received: 100,
        settled: 40,
        grant_messages: 4196,
        grant_bytes: 1 << 40,
    };
    let all = [
        Control::Hello(Hello {
            versions: (1, 1),
            role: Role::Node,
            id: u128::MAX,
            epoch: 3,
            name: "edge".into(),
            session: 4,
            incarnation: 5,
            link: 6,
            lanes: 4,
            message_max: 1 << 20,
            flows_max: 256,
        }),
        Control::Resume {
            link: 3,
            flows: vec![flow],
            signals: 2,
            failures: 1,
            last: true,
        },
        Control::Open {
            flow: 1,
            definition: Bytes::from_static(b"what"),
        },
        Control::Close {
            flow: 1,
            last: 77,
            begun: 5,
        },
        Control::Ack {
            link: 300,
            signals: 1,
            failures: 2,
            flows: vec![flow, FlowAck::default()],
        },
        Control::Failed {
            sequence: 1,
            flow: 2,
            messages: vec![(3, Failure::NoRoute), (4, Failure::Expired)],
        },
        Control::Pending {
            link: 3,
            flow: 1,
            messages: 2,
            bytes: 3,
            next: 4,
        },
        Control::Signal {
            sequence: 8,
            payload: Bytes::from_static(b"subscribe"),
        },
        Control::Revoke {
            link: 3,
            flow: 1,
            messages: 70,
            bytes: 1 << 33,
        },
        Control::Revoked {
            link: 3,
            flow: 1,
            messages: 71,
            bytes: 1 << 34,
        },
        Control::Ping { nonce: 1 },
        Control::Pong { nonce: 2 },
        Control::Goodbye {
            code: GoodbyeCode::Limit,
            reason: "full".into(),
        },
    ];
    let mut out = BytesMut::new();
    all.iter().for_each(|frame| frame.encode(&mut out));
    let back: Vec<_> = frames(out.freeze())
        .into_iter()
        .map(|(kind, payload)| Control::decode(kind, payload).unwrap())
        .collect();
    assert_eq!(back, all);
}

#[test]
fn a_length_is_checked_before_anything_is_allocated() {
    let mut reader = FrameReader::new(1000);
    reader.push(Bytes::copy_from_slice(&u32::MAX.to_le_bytes()));
    assert!(matches!(
        reader.next(),
        Err(WireError::TooLarge {
            field: "frame length",
            ..
        })
    ));
    let mut reader = FrameReader::new(1000);
    reader.push(Bytes::from_static(&[1]));
    assert_eq!(reader.next(), Ok(None));
    reader.push(Bytes::from_static(&[5, 0, 0]));
    assert!(
        reader.next().is_err(),
        "1281 bytes exceed the limit of 1000"
    );
}

#[test]
fn a_message_of_a_known_head_costs_two_bytes_beside_its_body() {
    let head = head("bank.tx.1787", 1);
    let record = |sequence| Record {
        head: head.clone(),
        sequence,
        key: Some(Key::from(4)),
        deadline: Some(Time::ZERO + Duration::from_secs(1)),
        extra: None,
        body: Bytes::from_static(&[0; 64]),
    };
    let records: Vec<_> = (0..1000).map(record).collect();
    let mut out = BytesMut::new();
    let count = BatchEncoder::new().encode(&mut out, 1, 1, records.iter(), 1 << 20, Time::ZERO);
    assert_eq!(count, 1000);
    assert!(out.len() <= 1000 * 66 + 100, "{} bytes", out.len());
}

#[test]
fn the_table_of_heads_stays_bounded_on_both_ends() {
    let mut encoder = BatchEncoder::new();
    let mut decoder = BatchDecoder::new();
    for index in 0..3 * batch::HEADS_MAX as u64 {
        let record = Record {
            head: head(&format!("a.{index}"), 1),
            sequence: index,
            key: None,
            deadline: None,
            extra: None,
            body: Bytes::new(),
        };
        let mut out = BytesMut::new();
        encoder.encode(
            &mut out,
            1,
            index + 1,
            std::iter::once(&record),
            1000,
            Time::ZERO,
        );
        let (_, payload) = frames(out.freeze()).remove(0);
        let mut back = Vec::new();
        decoder.decode(payload, 100, Time::ZERO, &mut back).unwrap();
        assert_eq!(back, [record]);
    }
}
