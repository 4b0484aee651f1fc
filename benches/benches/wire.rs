//! Batch frames: 1,000 records into bytes and back, with bodies of 64 bytes and 1 KiB.
//!
//! The records share one head, or each has a head of its own that the lane has met before. Beside a length and a
//! body, copied into the same buffer: the least that any framing can do.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use mcpbus_actors::{Key, Time};
use mcpbus_benches::clock::{Clock, criterion};
use mcpbus_transport::wire::{
    AckLevel, BatchDecoder, BatchEncoder, FrameReader, Head, ProducerId, Record,
};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

const RECORDS: usize = 1_000;
/// What a session asks of a frame.
const FRAME: usize = 64 * 1024;
const MESSAGE_MAX: u64 = 1 << 20;

fn records(heads: usize, size: usize) -> Vec<Record> {
    let heads: Vec<_> = (0..heads)
        .map(|number| {
            Arc::new(Head {
                producer: ProducerId { id: 1, epoch: 1 },
                subject: Arc::from(format!("bank.tx.{number}")),
                kind: 0,
                ack: AckLevel::Accepted,
                hops: 0,
            })
        })
        .collect();
    let body = Bytes::from(vec![7; size]);
    (0..RECORDS)
        .map(|number| Record {
            head: Arc::clone(&heads[number % heads.len()]),
            sequence: number as u64,
            key: Some(Key::from(number as u64)),
            deadline: None,
            extra: None,
            body: body.clone(),
        })
        .collect()
}

fn encode(encoder: &mut BatchEncoder, records: &[Record], out: &mut BytesMut) {
    let mut done = 0;
    while done < records.len() {
        let rest = records[done..].iter();
        done += encoder.encode(out, 1, done as u64 + 1, rest, FRAME, Time::ZERO);
    }
}

fn decode(
    decoder: &mut BatchDecoder,
    reader: &mut FrameReader,
    bytes: Bytes,
    records: &mut Vec<Record>,
) {
    reader.push(bytes);
    while let Some((_, payload)) = reader.next().expect("whole frames") {
        decoder
            .decode(payload, MESSAGE_MAX, Time::ZERO, records)
            .expect("a batch");
    }
}

fn frames(criterion: &mut Criterion<Clock>) {
    for size in [64, 1024] {
        let mut group = criterion.benchmark_group(format!("wire/{size}B"));
        group
            .throughput(Throughput::Elements(RECORDS as u64))
            .sample_size(20)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1));
        for (heads, name) in [(1, "one head"), (1000, "1,000 heads")] {
            let records = records(heads, size);
            group.bench_function(BenchmarkId::new("encode", name), |bencher| {
                let (mut encoder, mut out) = (BatchEncoder::new(), BytesMut::new());
                bencher.iter(|| {
                    out.clear();
                    encode(&mut encoder, &records, &mut out);
                    black_box(out.len())
                });
            });
            group.bench_function(BenchmarkId::new("decode", name), |bencher| {
                let (mut encoder, mut out) = (BatchEncoder::new(), BytesMut::new());
                let (mut decoder, mut reader) = (BatchDecoder::new(), FrameReader::new(2 << 20));
                let mut taken = Vec::with_capacity(RECORDS);
                encode(&mut encoder, &records, &mut out);
                decode(&mut decoder, &mut reader, out.split().freeze(), &mut taken);
                // The second time no frame defines a head, so its bytes can be read again and again.
                encode(&mut encoder, &records, &mut out);
                let again = out.freeze();
                bencher.iter(|| {
                    taken.clear();
                    decode(&mut decoder, &mut reader, again.clone(), &mut taken);
                    assert_eq!(black_box(&taken).len(), RECORDS);
                });
            });
        }
        plain(&mut group, size);
        group.finish();
    }
}

fn plain(group: &mut BenchmarkGroup<'_, Clock>, size: usize) {
    let bodies = vec![Bytes::from(vec![7; size]); RECORDS];
    let write = |out: &mut BytesMut| {
        for body in &bodies {
            out.put_u32_le(body.len() as u32);
            out.put_slice(body);
        }
    };
    group.bench_function(
        BenchmarkId::new("encode", "plain length and body"),
        |bencher| {
            let mut out = BytesMut::new();
            bencher.iter(|| {
                out.clear();
                write(&mut out);
                black_box(out.len())
            });
        },
    );
    group.bench_function(
        BenchmarkId::new("decode", "plain length and body"),
        |bencher| {
            let mut out = BytesMut::new();
            write(&mut out);
            let bytes = out.freeze();
            let mut taken: Vec<Bytes> = Vec::with_capacity(RECORDS);
            bencher.iter(|| {
                taken.clear();
                let mut rest = bytes.clone();
                while rest.remaining() >= 4 {
                    let length = rest.get_u32_le() as usize;
                    taken.push(rest.split_to(length));
                }
                assert_eq!(black_box(&taken).len(), RECORDS);
            });
        },
    );
}

criterion_group!(name = benches; config = criterion(); targets = frames);
criterion_main!(benches);
