//! Messages larger than a frame.

use super::super::receive::ReceiveFlow;
use super::*;
use crate::wire::frame::{DATA_FRAME_MAX, begin_frame, end_frame};
use crate::wire::large::{Place, decode_part, encode_part};
use crate::wire::{BatchDecoder, BatchEncoder, FrameKind};
use bytes::BufMut;

const LANE: usize = 1;

/// One data lane, frames of about 1,000 bytes.
fn narrow() -> Pair {
    let mut pair = Pair::new(SessionConfig {
        lanes: 1,
        frame_target: 1000,
        message_max: MESSAGE_MAX,
        ..SessionConfig::default()
    });
    pair.connect();
    pair.settle_all();
    pair
}

/// What stands on the dialer's data lane: kind and flow of each frame, and its length.
fn frames(pair: &Pair) -> Vec<(FrameKind, u32, usize)> {
    let mut reader = FrameReader::new(DATA_FRAME_MAX);
    let mut decoder = BatchDecoder::new();
    reader.push(pair.to_acceptor[LANE].clone().freeze());
    std::iter::from_fn(|| reader.next().unwrap())
        .map(|(kind, payload)| {
            let length = payload.len();
            let records = &mut Vec::new();
            let flow = match kind {
                FrameKind::Batch => {
                    decoder
                        .decode(payload, 1 << 20, pair.now, records)
                        .unwrap()
                        .flow
                }
                FrameKind::Large => {
                    let most = MESSAGE_MAX;
                    let beginning = decoder.decode_beginning(payload, most, pair.now, records);
                    beginning.unwrap().place.flow
                }
                _ => decode_part(payload).unwrap().place.flow,
            };
            (kind, flow, length)
        })
        .collect()
}

fn bodies(session: &mut Session) -> Vec<Bytes> {
    drain(session)
        .into_iter()
        .filter_map(|event| match event {
            Event::Records { records, .. } => Some(records),
            _ => None,
        })
        .flatten()
        .map(|record| record.body)
        .collect()
}

fn push(pair: &mut Pair, flow: u32, sequence: u64, size: usize) {
    let ack = AckLevel::Accepted;
    pair.dialer
        .push(flow, record(&head(ack), sequence, size), sequence)
        .unwrap();
}

#[test]
fn a_small_message_waits_for_a_frame_of_a_large_one_and_no_longer() {
    let mut pair = narrow();
    let large = open(&mut pair, 4, 1 << 20);
    let small = open(&mut pair, 4, 1 << 20);
    push(&mut pair, large, 1, 100_000);
    pair.write(1);
    push(&mut pair, small, 1, 10);
    pair.write(1 << 20);
    let frames = frames(&pair);
    assert!(frames.len() > 100, "{} frames", frames.len());
    let place = frames.iter().position(|(_, flow, _)| *flow == small);
    assert!(place.is_some_and(|place| place <= 3), "{place:?}");
    assert!(frames.iter().all(|(_, _, length)| *length <= 1100));
    pair.settle_all();
    let bodies = bodies(&mut pair.acceptor);
    assert_eq!(
        bodies.iter().map(Bytes::len).collect::<Vec<_>>(),
        [10, 100_000]
    );
    assert!(bodies[1].iter().all(|byte| *byte == 1));
    assert_eq!(releases(&mut pair.dialer).len(), 2);
}

#[test]
fn the_largest_message_there_may_be_arrives() {
    let mut pair = Pair::new(SessionConfig {
        message_max: u64::MAX,
        ..SessionConfig::default()
    });
    pair.connect();
    pair.settle_all();
    assert_eq!(pair.dialer.message_max(), MESSAGE_MAX);
    let flow = open(&mut pair, 4, MESSAGE_MAX + 128);
    push(&mut pair, flow, 1, MESSAGE_MAX as usize);
    while pair
        .dialer
        .wants_transmit(LaneId::new(1).unwrap(), pair.now)
    {
        pair.write(1 << 17);
        pair.deliver(LANE, usize::MAX).unwrap();
    }
    let bodies = bodies(&mut pair.acceptor);
    assert_eq!(
        bodies.iter().map(Bytes::len).collect::<Vec<_>>(),
        [MESSAGE_MAX as usize]
    );
}

#[test]
fn what_a_cut_left_of_a_large_message_is_dropped_and_it_comes_whole() {
    let mut pair = narrow();
    let flow = open(&mut pair, 8, 1 << 20);
    push(&mut pair, flow, 1, 10);
    push(&mut pair, flow, 2, 50_000);
    push(&mut pair, flow, 3, 20);
    for cut in [1, 3, 10] {
        pair.write(cut * 1000);
        pair.deliver(LANE, usize::MAX).unwrap();
        pair.cut();
        assert_eq!(pair.acceptor.receive_flows[&flow].place().1, 0);
        pair.connect();
        for _ in 0..2 {
            pair.now += Duration::from_millis(5);
            pair.write(1);
            pair.deliver(0, usize::MAX).unwrap();
        }
    }
    pair.settle_all();
    let sizes: Vec<usize> = bodies(&mut pair.acceptor).iter().map(Bytes::len).collect();
    assert_eq!(sizes, [10, 50_000, 20]);
}

#[test]
fn a_flow_given_up_inside_a_large_message_ends_after_what_was_written() {
    let mut pair = narrow();
    let flow = open(&mut pair, 8, 1 << 20);
    push(&mut pair, flow, 1, 10);
    push(&mut pair, flow, 2, 50_000);
    pair.write(5000);
    let data = pair.to_acceptor[LANE].split();
    let abandoned = pair.dialer.abandon_flow(flow);
    assert_eq!(abandoned.records[0].1.len(), 2, "neither was taken over");
    // The close overtakes the data, and what was written comes after it, in two pieces.
    pair.settle_all();
    let mut data = data.freeze();
    let rest = data.split_off(data.len() / 2);
    for (part, ended) in [(data, false), (rest, true)] {
        let lane = LaneId::new(1).unwrap();
        pair.acceptor.receive(lane, part, pair.now).unwrap();
        let events = drain(&mut pair.acceptor);
        let closed = events
            .iter()
            .any(|event| matches!(event, Event::Closed { .. }));
        assert_eq!(closed, ended);
    }
    pair.settle_all();
    assert!(pair.acceptor.is_live() && pair.dialer.is_live());
}

#[test]
fn a_peer_that_forgot_gets_a_large_message_from_its_beginning() {
    let mut pair = narrow();
    let flow = open(&mut pair, 8, 1 << 20);
    push(&mut pair, flow, 1, 50_000);
    pair.write(5000);
    pair.deliver(LANE, usize::MAX).unwrap();
    pair.cut();
    let config = pair.acceptor.config.clone();
    pair.acceptor = Session::new(config, local(2, 2), 1, 500);
    pair.connect();
    pair.settle_all();
    pair.acceptor.set_window(flow, 8, 1 << 20, pair.now);
    pair.settle_all();
    let sizes: Vec<usize> = bodies(&mut pair.acceptor).iter().map(Bytes::len).collect();
    assert_eq!(sizes, [50_000]);
}

#[test]
fn memory_follows_what_has_come_and_not_what_was_said() {
    let mut flow = ReceiveFlow::new(Bytes::new(), LaneId::new(1).unwrap());
    flow.set_window(1, 1 << 30);
    let first = record(&head(AckLevel::None), 1, 1000);
    flow.begin(1, first, MESSAGE_MAX).unwrap();
    assert!(flow.begun_capacity() <= 2000);
    let mut come = 1000;
    while come < 100_000 {
        assert!(flow.go_on(1, come, &[7; 1000]).unwrap().is_none());
        come += 1000;
        assert!(flow.begun_capacity() as u64 <= 2 * come);
    }
}

/// A frame of a large record: the length it claims, and its first piece.
fn beginning(flow: u32, sequence: u64, length: usize, piece: usize) -> Vec<u8> {
    let mut out = BytesMut::new();
    let record = record(&head(AckLevel::None), 1, length);
    let place = Place { flow, sequence };
    BatchEncoder::new().encode_beginning(&mut out, place, &record, piece, Time::ZERO);
    out.to_vec()
}

fn part(flow: u32, sequence: u64, offset: usize, piece: usize) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode_part(&mut out, Place { flow, sequence }, offset, &vec![1; piece]);
    out.to_vec()
}

fn batch(flow: u32, sequence: u64) -> Vec<u8> {
    let mut out = BytesMut::new();
    let record = record(&head(AckLevel::None), 1, 5);
    let records = std::iter::once(&record);
    BatchEncoder::new().encode(&mut out, flow, sequence, records, 1 << 16, Time::ZERO);
    out.to_vec()
}

#[test]
fn parts_that_do_not_fit_together_end_the_session() {
    let start = || beginning(0, 1, 1000, 100);
    let lying = {
        // It says that less comes than it brings.
        let mut out = BytesMut::new();
        let begin = begin_frame(&mut out, FrameKind::Large);
        out.put_u8(5);
        out.extend_from_slice(&batch(0, 1)[5..]);
        end_frame(&mut out, begin);
        out.to_vec()
    };
    let two = {
        let mut out = BytesMut::new();
        let records = [
            record(&head(AckLevel::None), 1, 5),
            record(&head(AckLevel::None), 2, 5),
        ];
        let mut batch = BytesMut::new();
        BatchEncoder::new().encode(&mut batch, 0, 1, records.iter(), 1 << 16, Time::ZERO);
        let begin = begin_frame(&mut out, FrameKind::Large);
        out.put_u8(100);
        out.extend_from_slice(&batch[5..]);
        end_frame(&mut out, begin);
        out.to_vec()
    };
    let too_long = (DATA_FRAME_MAX as u32 + 1).to_le_bytes().to_vec();
    let cases: [(&str, Vec<Vec<u8>>, &str); 14] = [
        ("no beginning", vec![part(0, 1, 0, 10)], "has not begun"),
        (
            "two beginnings",
            vec![start(), start()],
            "before the last one ended",
        ),
        ("overlap", vec![start(), part(0, 1, 99, 10)], "overlaps"),
        (
            "a repeated part",
            vec![start(), part(0, 1, 100, 10), part(0, 1, 100, 10)],
            "overlaps",
        ),
        ("a gap", vec![start(), part(0, 1, 101, 10)], "gap"),
        (
            "beyond the length",
            vec![start(), part(0, 1, 100, 901)],
            "beyond the length",
        ),
        (
            "of another message",
            vec![start(), part(0, 2, 100, 10)],
            "message 2 came where 1",
        ),
        (
            "another message inside",
            vec![start(), batch(0, 1)],
            "in the middle",
        ),
        ("an empty part", vec![start(), part(0, 1, 100, 0)], "piece"),
        ("no length left", vec![lying], "first piece"),
        ("two records", vec![two], "first piece"),
        (
            "more than was granted",
            vec![beginning(0, 1, 20_000, 100)],
            "more was sent",
        ),
        (
            "larger than a message may be",
            vec![beginning(0, 1, 40_000, 100)],
            "the limit is 30000",
        ),
        ("a frame beyond the limit", vec![too_long], "frame length"),
    ];
    for (what, frames, words) in cases {
        let mut pair = Pair::new(SessionConfig {
            lanes: 1,
            message_max: 30_000,
            ..SessionConfig::default()
        });
        pair.connect();
        pair.settle_all();
        assert_eq!(open(&mut pair, 4, 10_000), 0);
        let lane = LaneId::new(1).unwrap();
        let mut refused = Ok(());
        for frame in frames {
            assert_eq!(refused, Ok(()), "{what}: refused too early");
            refused = pair.acceptor.receive(lane, frame.into(), pair.now);
        }
        let error = refused.map_err(|error| error.to_string());
        assert!(
            error.as_ref().is_err_and(|error| error.contains(words)),
            "{what}: {error:?}"
        );
    }
}
