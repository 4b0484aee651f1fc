//! Two sessions under steps and cuts at random.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, Debug)]
enum Step {
    Push {
        flow: usize,
        size: usize,
    },
    Write {
        budget: usize,
    },
    Deliver {
        lane: usize,
        most: usize,
    },
    Done {
        flow: usize,
    },
    Revoke {
        flow: usize,
        messages: u64,
        bytes: u64,
    },
    Widen {
        flow: usize,
    },
    Tick,
    Cut,
    Signal,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..3_usize, prop_oneof![0..300_usize, 0..3800_usize])
            .prop_map(|(flow, size)| Step::Push { flow, size }),
        6 => (1..3000_usize).prop_map(|budget| Step::Write { budget }),
        8 => (0..3_usize, 1..2000_usize).prop_map(|(lane, most)| Step::Deliver { lane, most }),
        6 => (0..3_usize).prop_map(|flow| Step::Done { flow }),
        2 => (0..3_usize, 0..8_u64, 0..4000_u64)
            .prop_map(|(flow, messages, bytes)| Step::Revoke { flow, messages, bytes }),
        2 => (0..3_usize).prop_map(|flow| Step::Widen { flow }),
        4 => Just(Step::Tick),
        1 => Just(Step::Cut),
        1 => Just(Step::Signal),
    ]
}

/// What the receiving owner has seen and still holds.
#[derive(Default)]
struct Owner {
    seen: BTreeMap<u32, u64>,
    held: BTreeMap<u32, VecDeque<u64>>,
    signals: u64,
}

impl Owner {
    fn take(&mut self, session: &mut Session, now: Time) {
        for event in drain(session) {
            match event {
                Event::Opened { flow, .. } => session.set_window(flow, 8, 4000, now),
                Event::Records {
                    flow,
                    first,
                    records,
                } => {
                    for (index, record) in records.iter().enumerate() {
                        let seen = self.seen.entry(flow).or_default();
                        *seen += 1;
                        assert_eq!(
                            record.sequence, *seen,
                            "flow {flow} lost, doubled or reordered a record"
                        );
                        assert_eq!(first + index as u64, *seen);
                        self.held.entry(flow).or_default().push_back(*seen);
                    }
                    let (messages, bytes) = session.held(flow);
                    assert!(
                        messages <= 8 && bytes <= 4000,
                        "held {messages} messages, {bytes} bytes"
                    );
                }
                Event::Signal { payload } => {
                    self.signals += 1;
                    assert_eq!(payload[..], self.signals.to_le_bytes());
                }
                Event::Reset { .. } => panic!("nobody forgot anything"),
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_doubled_or_reordered_under_cuts(steps in proptest::collection::vec(step(), 1..250)) {
        let config = SessionConfig { lanes: 2, frame_target: 600, ..SessionConfig::default() };
        let mut pair = Pair::new(config);
        pair.connect();
        let flows: Vec<u32> = (0..3).map(|_| pair.dialer.open_flow(Bytes::new()).unwrap()).collect();
        let heads = [head(AckLevel::None), head(AckLevel::Accepted), head(AckLevel::Processed)];
        let mut owner = Owner::default();
        let mut pushed = [0_u64; 3];
        let mut released = 0;
        let mut signals = 0_u64;
        for step in steps {
            match step {
                Step::Push { flow, size } => {
                    let next = record(&heads[flow], pushed[flow] + 1, size);
                    if pair.dialer.push(flows[flow], next, 0).is_ok() {
                        pushed[flow] += 1;
                    }
                }
                Step::Write { budget } => pair.write(budget),
                Step::Deliver { lane, most } => pair.deliver(lane, most).unwrap(),
                Step::Done { flow } => {
                    if let Some(sequence) = owner.held.get_mut(&flows[flow]).and_then(VecDeque::pop_front) {
                        pair.acceptor.done(flows[flow], sequence, pair.now);
                    }
                }
                Step::Revoke { flow, messages, bytes } => {
                    pair.acceptor.revoke(flows[flow], messages, bytes);
                }
                Step::Widen { flow } => pair.acceptor.set_window(flows[flow], 8, 4000, pair.now),
                Step::Tick => pair.now += Duration::from_millis(3),
                Step::Cut => {
                    pair.cut();
                    pair.connect();
                }
                Step::Signal => {
                    signals += 1;
                    pair.dialer.signal(Bytes::copy_from_slice(&signals.to_le_bytes())).unwrap();
                }
            }
            owner.take(&mut pair.acceptor, pair.now);
            released += releases(&mut pair.dialer).len() as u64;
            revoke::assert_counted(&pair, (8, 4000));
        }
        // Everything that was taken arrives in bounded time once the receiver settles what it holds.
        for _ in 0..40 {
            flows.iter().for_each(|flow| pair.acceptor.set_window(*flow, 8, 4000, pair.now));
            pair.settle_all();
            owner.take(&mut pair.acceptor, pair.now);
            for (flow, held) in &mut owner.held {
                for sequence in held.drain(..) {
                    pair.acceptor.done(*flow, sequence, pair.now);
                }
            }
            released += releases(&mut pair.dialer).len() as u64;
        }
        for (index, flow) in flows.iter().enumerate() {
            prop_assert_eq!(owner.seen.get(flow).copied().unwrap_or(0), pushed[index]);
        }
        prop_assert_eq!(released, pushed.iter().sum::<u64>());
        prop_assert_eq!(owner.signals, signals);
        prop_assert!(pair.dialer.is_settled());
    }
}
