//! Batches of 64-byte records into frames and back.

use bytes::{Bytes, BytesMut};
use mcpbus_actors::{Key, Time};
use mcpbus_transport::wire::{
    AckLevel, BatchDecoder, BatchEncoder, FrameReader, Head, ProducerId, Record,
};
use std::sync::Arc;

use crate::MESSAGES;

/// About what a full frame holds.
const BATCH: u64 = 512;

fn records() -> Vec<Record> {
    let head = Arc::new(Head {
        producer: ProducerId { id: 1, epoch: 1 },
        subject: Arc::from("bank.tx"),
        kind: 0,
        ack: AckLevel::Accepted,
        hops: 0,
    });
    let body = Bytes::from_static(&[7; 64]);
    let record = |sequence| Record {
        head: head.clone(),
        sequence,
        key: Some(Key::from(sequence)),
        deadline: None,
        extra: None,
        body: body.clone(),
    };
    (1..=BATCH).map(record).collect()
}

fn encode_to(encoder: &mut BatchEncoder, records: &[Record], first: u64, out: &mut BytesMut) {
    let all = records.iter();
    let count = encoder.encode(out, 1, first, all, usize::MAX, Time::ZERO);
    assert_eq!(count as u64, BATCH);
}

/// Into frames.
#[must_use]
pub fn encode() -> u64 {
    let (records, mut encoder, mut out) = (records(), BatchEncoder::new(), BytesMut::new());
    let mut bytes = 0;
    for batch in 0..MESSAGES / BATCH {
        encode_to(&mut encoder, &records, 1 + batch * BATCH, &mut out);
        bytes += out.len() as u64;
        out.clear();
    }
    bytes
}

/// Out of one frame, again and again.
#[must_use]
pub fn decode() -> u64 {
    let (records, mut encoder, mut out) = (records(), BatchEncoder::new(), BytesMut::new());
    let mut decoder = BatchDecoder::new();
    let mut frame = |first, decoder: &mut BatchDecoder| {
        encode_to(&mut encoder, &records, first, &mut out);
        let mut reader = FrameReader::new(1 << 18);
        reader.push(out.split().freeze());
        let (_, payload) = reader.next().expect("a frame").expect("a whole frame");
        let mut decoded = Vec::new();
        let taken = decoder.decode(payload.clone(), 1 << 20, Time::ZERO, &mut decoded);
        taken.expect("what was encoded");
        payload
    };
    // The first one tells the head, the second one names it.
    frame(1, &mut decoder);
    let payload = frame(1 + BATCH, &mut decoder);
    let (mut decoded, mut count) = (Vec::new(), 0);
    for _ in 0..MESSAGES / BATCH {
        let taken = decoder.decode(payload.clone(), 1 << 20, Time::ZERO, &mut decoded);
        taken.expect("what was encoded");
        count += decoded.len() as u64;
        decoded.clear();
    }
    count
}
