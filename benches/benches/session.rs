//! Two sessions back to back: push, transmit, receive, settle, ack. What the protocol costs without a network.
//!
//! Beside a length and a body in a buffer that is cut again: what is left when nothing is promised.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mcpbus_actors::{Key, Time};
use mcpbus_benches::clock::{Clock, criterion};
use mcpbus_transport::link::LaneId;
use mcpbus_transport::session::{Event, Local, Session, SessionConfig};
use mcpbus_transport::wire::{AckLevel, Control, FrameReader, Head, ProducerId, Record, Role};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

/// Messages pushed before the acceptor gets its turn: a quarter of the window.
const ROUND: u64 = 4096;
const WINDOW: u64 = 4 * ROUND;
/// What a link's writer asks of a session at once.
const WRITE: usize = 128 * 1024;
/// About what a datagram carries of a stream on an Ethernet.
const DATAGRAM: usize = 1400;

/// A dialer that sends on one flow to an acceptor that settles at once.
struct Pair {
    dialer: Session,
    acceptor: Session,
    flow: u32,
    lane: LaneId,
    buffer: BytesMut,
    sequence: u64,
    now: Time,
}

impl Pair {
    fn new() -> Self {
        let config = SessionConfig::default();
        let local = |id| Local {
            role: Role::Node,
            id,
            epoch: 1,
            name: format!("node-{id}"),
        };
        let mut pair = Self {
            dialer: Session::new(config.clone(), local(1), 1, 0),
            acceptor: Session::new(config, local(2), 1, 2),
            flow: 0,
            lane: LaneId::CONTROL,
            buffer: BytesMut::new(),
            sequence: 0,
            now: Time::ZERO + Duration::from_secs(1),
        };
        pair.connect();
        pair.flow = pair.dialer.open_flow(Bytes::new()).expect("a flow");
        pair.exchange_control();
        pair.acceptor
            .set_window(pair.flow, WINDOW, 2 * WINDOW * 1152, pair.now);
        pair.exchange_control();
        // The session pins a flow to lane 1 + flow mod lanes.
        let lanes = pair.dialer.lanes();
        let number = 1 + (pair.flow % u32::from(lanes)) as u8;
        pair.lane = LaneId::new(number).expect("a lane");
        assert_eq!(pair.dialer.room(pair.flow).0, WINDOW);
        pair
    }

    fn connect(&mut self) {
        self.dialer.link_up(self.now);
        let mut greeting = BytesMut::new();
        self.dialer
            .transmit(LaneId::CONTROL, WRITE, self.now, &mut greeting);
        let mut reader = FrameReader::new(1 << 18);
        reader.push(greeting.freeze());
        let (kind, payload) = reader.next().expect("a frame").expect("a whole frame");
        let Ok(Control::Hello(hello)) = Control::decode(kind, payload) else {
            panic!("a session begins with hello")
        };
        self.acceptor
            .accept(hello, 3, self.now)
            .expect("the dialer is welcome");
        self.exchange_control();
        assert!(self.dialer.is_live() && self.acceptor.is_live());
    }

    /// Lets both ends say on the control lane what they have to say, until they have not.
    fn exchange_control(&mut self) {
        // Acks may ride along with others for a while; that is over now.
        self.now += Duration::from_millis(5);
        loop {
            let answered = hand_over(&mut self.acceptor, &mut self.dialer, self.now);
            let said = hand_over(&mut self.dialer, &mut self.acceptor, self.now);
            if !answered && !said {
                return;
            }
        }
    }

    /// Moves `ROUND` messages from push to release, in chunks of at most `chunk` bytes.
    fn round(&mut self, head: &Arc<Head>, body: &Bytes, chunk: usize) {
        for _ in 0..ROUND {
            self.sequence += 1;
            let record = Record {
                head: Arc::clone(head),
                sequence: self.sequence,
                key: Some(Key::from(self.sequence)),
                deadline: None,
                extra: None,
                body: body.clone(),
            };
            self.dialer
                .push(self.flow, record, self.sequence)
                .expect("credit for a round");
        }
        while self
            .dialer
            .transmit(self.lane, WRITE, self.now, &mut self.buffer)
        {
            let mut bytes = self.buffer.split().freeze();
            while bytes.has_remaining() {
                let next = bytes.split_to(chunk.min(bytes.len()));
                self.acceptor
                    .receive(self.lane, next, self.now)
                    .expect("data frames");
            }
            self.settle();
        }
        self.exchange_control();
        while let Some(event) = self.dialer.poll_event() {
            black_box(event);
        }
        let mut released = 0;
        while let Some(release) = self.dialer.poll_release() {
            released += u64::from(black_box(release).result.is_ok());
        }
        assert_eq!(released, ROUND, "every message must be released");
    }

    fn settle(&mut self) {
        while let Some(event) = self.acceptor.poll_event() {
            if let Event::Records {
                flow,
                first,
                records,
            } = event
            {
                for sequence in first..first + records.len() as u64 {
                    self.acceptor.done(flow, sequence, self.now);
                }
                self.acceptor.recycle(records);
            }
        }
    }
}

/// Carries what one end has to say on the control lane to the other; whether it had anything to say.
fn hand_over(from: &mut Session, to: &mut Session, now: Time) -> bool {
    let mut bytes = BytesMut::new();
    if !from.transmit(LaneId::CONTROL, WRITE, now, &mut bytes) {
        return false;
    }
    to.receive(LaneId::CONTROL, bytes.freeze(), now)
        .expect("control frames");
    true
}

fn back_to_back(criterion: &mut Criterion<Clock>) {
    for size in [64, 1024] {
        let body = Bytes::from(vec![7; size]);
        let mut group = criterion.benchmark_group(format!("session/{size}B"));
        group
            .throughput(Throughput::Elements(ROUND))
            .sample_size(20)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2));
        for (ack, chunk, name) in [
            (AckLevel::None, usize::MAX, "ack none, whole writes"),
            (AckLevel::None, DATAGRAM, "ack none, datagrams"),
            (AckLevel::Accepted, DATAGRAM, "ack accepted, datagrams"),
        ] {
            let head = Arc::new(Head {
                producer: ProducerId { id: 1, epoch: 1 },
                subject: Arc::from("bank.tx"),
                kind: 0,
                ack,
                hops: 0,
            });
            group.bench_function(BenchmarkId::new("mcpbus", name), |bencher| {
                let mut pair = Pair::new();
                bencher.iter(|| pair.round(&head, &body, chunk));
            });
        }
        group.bench_function("plain length and body, whole writes", |bencher| {
            let mut out = BytesMut::new();
            bencher.iter(|| {
                let mut taken = 0;
                let mut left = ROUND;
                while left > 0 {
                    while left > 0 && out.len() < WRITE {
                        out.put_u32_le(body.len() as u32);
                        out.put_slice(&body);
                        left -= 1;
                    }
                    let mut bytes = out.split().freeze();
                    while bytes.has_remaining() {
                        let length = bytes.get_u32_le() as usize;
                        black_box(bytes.split_to(length));
                        taken += 1;
                    }
                }
                assert_eq!(taken, ROUND);
            });
        });
        group.finish();
    }
}

criterion_group!(name = benches; config = criterion(); targets = back_to_back);
criterion_main!(benches);
