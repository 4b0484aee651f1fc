//! How the flows of a lane share it.

use super::*;
use crate::wire::frame::DATA_FRAME_MAX;
use crate::wire::large::decode_part;
use crate::wire::{BatchDecoder, FrameKind};

/// Flows with something to write all the time: size of their bodies, and weight. What each has written once `total`
/// bytes are.
fn written(flows: &[(usize, u8)], total: usize, budget: usize) -> Vec<usize> {
    let mut pair = Pair::new(SessionConfig {
        lanes: 1,
        ..SessionConfig::default()
    });
    pair.connect();
    pair.settle_all();
    let ids: Vec<u32> = flows
        .iter()
        .map(|_| open(&mut pair, u64::MAX / 2, u64::MAX / 2))
        .collect();
    for (id, (_, weight)) in ids.iter().zip(flows) {
        pair.dialer.set_weight(*id, *weight);
    }
    let head = head(AckLevel::None);
    let bodies: Vec<Bytes> = flows
        .iter()
        .map(|(size, _)| vec![0; *size].into())
        .collect();
    let mut sums = vec![0; flows.len()];
    let mut reader = FrameReader::new(DATA_FRAME_MAX);
    let mut decoder = BatchDecoder::new();
    let mut sequence = 0;
    while sums.iter().sum::<usize>() < total {
        for (id, body) in ids.iter().zip(&bodies) {
            // Two frames' worth and a message are always there to be written.
            let queued = |pair: &Pair| {
                let (pushed, ..) = pair.dialer.sent(*id);
                (pushed - pair.dialer.send_flows[id].written()) as usize
            };
            while queued(&pair) * (body.len() + 24) < 200_000 || queued(&pair) < 2 {
                sequence += 1;
                let next = Record {
                    body: body.clone(),
                    ..record(&head, sequence, 0)
                };
                pair.dialer.push(*id, next, 0).unwrap();
            }
        }
        pair.write(budget);
        reader.push(pair.to_acceptor[1].split().freeze());
        while let Some((kind, payload)) = reader.next().unwrap() {
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
                    let beginning = decoder.decode_beginning(payload, 1 << 20, pair.now, records);
                    beginning.unwrap().place.flow
                }
                _ => decode_part(payload).unwrap().place.flow,
            };
            sums[flow as usize] += length;
        }
    }
    sums
}

fn assert_shares(flows: &[(usize, u8)], budget: usize) {
    let sums = written(flows, 20 << 20, budget);
    let total: usize = sums.iter().sum();
    let weights: usize = flows.iter().map(|(_, weight)| usize::from(*weight)).sum();
    for ((size, weight), sum) in flows.iter().zip(&sums) {
        let due = total as f64 * f64::from(*weight) / weights as f64;
        let off = (*sum as f64 / due - 1.0).abs();
        assert!(
            off < 0.03,
            "{size} bytes at weight {weight}: {sum} of {total}, {:.1} % off ({flows:?})",
            100.0 * off
        );
    }
}

#[test]
fn flows_share_a_lane_by_bytes_whatever_their_messages_weigh() {
    for budget in [1, 4096, 128 * 1024] {
        assert_shares(&[(10, 1), (1000, 1), (60_000, 1), (1 << 20, 1)], budget);
    }
}

#[test]
fn flows_share_a_lane_by_their_weights() {
    for budget in [1, 128 * 1024] {
        assert_shares(&[(10, 4), (1000, 1), (60_000, 2), (1 << 20, 3)], budget);
        assert_shares(&[(1 << 20, 10), (100, 1)], budget);
        assert_shares(&[(100, 64), (50_000, 25), (1 << 20, 1)], budget);
    }
}

#[test]
fn a_flow_alone_fills_its_frames_whatever_its_weight() {
    let mut pair = Pair::new(SessionConfig {
        lanes: 1,
        ..SessionConfig::default()
    });
    pair.connect();
    pair.settle_all();
    let light = open(&mut pair, 10_000, 1 << 30);
    let heavy = open(&mut pair, 10_000, 1 << 30);
    pair.dialer.set_weight(heavy, 200);
    for sequence in 1..=100 {
        let next = record(&head(AckLevel::None), sequence, 1000);
        pair.dialer.push(light, next, 0).unwrap();
    }
    pair.write(1);
    let length = pair.to_acceptor[1].len();
    assert!(length > 60_000, "a frame of {length} bytes");
}
