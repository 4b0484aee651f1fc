#![allow(clippy::unwrap_used)]

use super::*;
use crate::link::LaneId;
use crate::wire::{
    AckLevel, Control, Failure, FrameReader, GoodbyeCode, Head, Hello, ProducerId, Record, Role,
};
use bytes::{Bytes, BytesMut};
use mcpbus_actors::Time;
use std::sync::Arc;
use std::time::Duration;

mod large;
mod links;
mod random;
mod revoke;
mod schedule;

/// A mistake that a session can be told to make, so that a test shows that it would be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It acts on frames of earlier links.
    NoLinkCheck,
}

fn local(id: u128, epoch: u64) -> Local {
    Local {
        role: Role::Node,
        id,
        epoch,
        name: format!("node-{id}"),
    }
}

fn head(ack: AckLevel) -> Arc<Head> {
    Arc::new(Head {
        producer: ProducerId { id: 1, epoch: 1 },
        subject: Arc::from("a.b"),
        kind: 0,
        ack,
        hops: 0,
    })
}

fn record(head: &Arc<Head>, sequence: u64, size: usize) -> Record {
    Record {
        head: head.clone(),
        sequence,
        key: None,
        deadline: None,
        extra: None,
        body: Bytes::from(vec![sequence as u8; size]),
    }
}

/// A dialer and an acceptor with byte pipes between them, under a virtual clock.
struct Pair {
    dialer: Session,
    acceptor: Session,
    to_acceptor: Vec<BytesMut>,
    to_dialer: Vec<BytesMut>,
    greeting: Option<FrameReader>,
    incarnations: u64,
    now: Time,
}

impl Pair {
    fn new(config: SessionConfig) -> Self {
        let lanes = usize::from(config.lanes) + 1;
        Self {
            dialer: Session::new(config.clone(), local(1, 1), 1, 0),
            acceptor: Session::new(config, local(2, 1), 1, 100),
            to_acceptor: vec![BytesMut::new(); lanes],
            to_dialer: vec![BytesMut::new(); lanes],
            greeting: None,
            incarnations: 100,
            now: Time::ZERO + Duration::from_secs(1),
        }
    }

    fn connect(&mut self) {
        self.dialer.link_up(self.now);
        self.greeting = Some(FrameReader::new(1 << 18));
    }

    fn cut(&mut self) {
        self.dialer.link_down();
        self.acceptor.link_down();
        self.greeting = None;
        self.to_acceptor
            .iter_mut()
            .chain(&mut self.to_dialer)
            .for_each(BytesMut::clear);
    }

    fn write(&mut self, budget: usize) {
        for lane in 0..self.to_acceptor.len() {
            let id = LaneId::new(lane as u8).unwrap();
            self.dialer
                .transmit(id, budget, self.now, &mut self.to_acceptor[lane]);
            self.acceptor
                .transmit(id, budget, self.now, &mut self.to_dialer[lane]);
        }
    }

    fn deliver(&mut self, lane: usize, most: usize) -> Result<(), ProtocolError> {
        let id = LaneId::new(lane as u8).unwrap();
        if self.acceptor.state() == SessionState::Down && self.greeting.is_some() {
            // The node reads the first frame to find the session by it.
            if let Some(reader) = &mut self.greeting {
                reader.push(self.to_acceptor[0].split().freeze());
                if let Some((kind, payload)) = reader.next().unwrap() {
                    let Control::Hello(hello) = Control::decode(kind, payload).unwrap() else {
                        panic!()
                    };
                    self.incarnations += 1;
                    self.acceptor.accept(hello, self.incarnations, self.now)?;
                    self.greeting = None;
                }
            }
        } else if lane == 0 || self.acceptor.is_live() {
            let size = most.min(self.to_acceptor[lane].len());
            let chunk = self.to_acceptor[lane].split_to(size).freeze();
            self.acceptor.receive(id, chunk, self.now)?;
        }
        if lane > 0 && !self.dialer.is_live() {
            return Ok(());
        }
        let size = most.min(self.to_dialer[lane].len());
        let chunk = self.to_dialer[lane].split_to(size).freeze();
        self.dialer.receive(id, chunk, self.now)
    }

    fn settle_all(&mut self) {
        for _ in 0..20 {
            self.now += Duration::from_millis(5);
            self.write(1 << 16);
            for lane in 0..self.to_acceptor.len() {
                self.deliver(lane, usize::MAX).unwrap();
            }
        }
    }
}

fn drain(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

fn releases(session: &mut Session) -> Vec<Release> {
    std::iter::from_fn(|| session.poll_release()).collect()
}

fn open(pair: &mut Pair, messages: u64, bytes: u64) -> u32 {
    let flow = pair.dialer.open_flow(Bytes::from_static(b"flow")).unwrap();
    pair.settle_all();
    pair.acceptor.set_window(flow, messages, bytes, pair.now);
    pair.settle_all();
    flow
}

fn live() -> Pair {
    let mut pair = Pair::new(SessionConfig::default());
    pair.connect();
    pair.settle_all();
    assert!(pair.dialer.is_live() && pair.acceptor.is_live());
    pair
}

#[test]
fn nothing_is_sent_without_credit_and_the_record_comes_back() {
    let mut pair = live();
    let flow = pair.dialer.open_flow(Bytes::new()).unwrap();
    pair.settle_all();
    let refused = pair
        .dialer
        .push(flow, record(&head(AckLevel::None), 1, 10), 1);
    assert!(matches!(refused, Err(PushError::NoCredit(record)) if record.sequence == 1));
    pair.acceptor.set_window(flow, 2, 10_000, pair.now);
    pair.settle_all();
    for sequence in 1..=2 {
        pair.dialer
            .push(flow, record(&head(AckLevel::None), sequence, 10), sequence)
            .unwrap();
    }
    assert!(
        pair.dialer
            .push(flow, record(&head(AckLevel::None), 3, 10), 3)
            .is_err()
    );
    pair.settle_all();
    assert_eq!(pair.acceptor.held(flow).0, 2);
    assert!(
        !pair.dialer.admits(flow, 138),
        "credit returns with the settlement, not with the arrival"
    );
    pair.acceptor.done(flow, 1, pair.now);
    pair.settle_all();
    assert!(pair.dialer.admits(flow, 138));
}

#[test]
fn bytes_are_bounded_as_well_as_messages() {
    let mut pair = live();
    let flow = open(&mut pair, 1000, 400);
    pair.dialer
        .push(flow, record(&head(AckLevel::None), 1, 200), 1)
        .unwrap();
    assert!(
        pair.dialer
            .push(flow, record(&head(AckLevel::None), 2, 0), 2)
            .is_err(),
        "328 + 128 exceed 400"
    );
}

#[test]
fn a_peer_that_exceeds_its_grant_is_refused() {
    let mut pair = live();
    let flow = open(&mut pair, 1, 10_000);
    pair.dialer
        .push(flow, record(&head(AckLevel::None), 1, 1), 1)
        .unwrap();
    let mut forged = BytesMut::new();
    let two = [
        record(&head(AckLevel::None), 1, 1),
        record(&head(AckLevel::None), 2, 1),
    ];
    crate::wire::BatchEncoder::new().encode(&mut forged, flow, 1, two.iter(), 1 << 16, pair.now);
    let refused = pair
        .acceptor
        .receive(LaneId::new(1).unwrap(), forged.freeze(), pair.now);
    assert_eq!(refused, Err(ProtocolError::CreditExceeded { flow }));
    // The first of them was granted; its owner will not see it, so nothing here may wait for it.
    assert_eq!(pair.acceptor.unfinished(flow), 0);
    assert_eq!(pair.acceptor.held(flow), (0, 0));
    let events = drain(&mut pair.acceptor);
    let taken = |event: &Event| matches!(event, Event::Records { .. });
    assert!(!events.iter().any(taken), "{events:?}");
}

#[test]
fn what_comes_behind_a_breach_is_not_read() {
    let mut pair = live();
    let lane = LaneId::new(1).unwrap();
    // The first of these three frames is no data frame; the others came with it or are under way already.
    let frames = Bytes::from_static(&[1, 0, 0, 0, 99, 1, 0, 0, 0, 99, 1, 0, 0, 0, 99]);
    let mut receive = |bytes| pair.acceptor.receive(lane, bytes, pair.now);
    assert!(receive(frames.clone()).is_err());
    assert_eq!(receive(frames), Ok(()));
    pair.acceptor.leave(GoodbyeCode::Protocol, "broken");
    assert_eq!(
        pair.acceptor
            .receive(LaneId::CONTROL, Bytes::from_static(&[9]), pair.now),
        Ok(())
    );
}

#[test]
fn accepted_is_released_on_arrival_and_processed_on_settlement() {
    let mut pair = live();
    let flow = open(&mut pair, 10, 10_000);
    pair.dialer
        .push(flow, record(&head(AckLevel::Accepted), 1, 1), 11)
        .unwrap();
    pair.dialer
        .push(flow, record(&head(AckLevel::Processed), 2, 1), 12)
        .unwrap();
    pair.dialer
        .push(flow, record(&head(AckLevel::Accepted), 3, 1), 13)
        .unwrap();
    pair.settle_all();
    let tokens: Vec<_> = releases(&mut pair.dialer)
        .iter()
        .map(|release| release.token)
        .collect();
    assert_eq!(tokens, [11, 13]);
    for sequence in 1..=3 {
        assert!(pair.acceptor.done(flow, sequence, pair.now));
    }
    pair.settle_all();
    assert_eq!(
        releases(&mut pair.dialer),
        [Release {
            flow,
            token: 12,
            result: Ok(())
        }]
    );
    assert!(pair.dialer.is_settled());
}

#[test]
fn what_is_settled_is_told_at_once_where_a_publisher_waits_for_it() {
    for (level, at_once) in [
        (AckLevel::None, false),
        (AckLevel::Accepted, false),
        (AckLevel::Stored, true),
        (AckLevel::Processed, true),
    ] {
        let mut pair = live();
        let flow = open(&mut pair, 10, 10_000);
        for number in 1..=2 {
            let record = record(&head(level), number, 1);
            pair.dialer.push(flow, record, number).unwrap();
        }
        pair.settle_all();
        // Nothing is settled in order yet, so there is nothing to tell.
        pair.acceptor.done(flow, 2, pair.now);
        assert!(!pair.acceptor.wants_transmit(LaneId::CONTROL, pair.now));
        pair.acceptor.done(flow, 1, pair.now);
        let told = pair.acceptor.wants_transmit(LaneId::CONTROL, pair.now);
        assert_eq!(told, at_once, "{level}");
        pair.write(1 << 16);
        (0..5).for_each(|lane| pair.deliver(lane, usize::MAX).unwrap());
        let settled = pair.dialer.sent(flow).2;
        assert_eq!(settled, if at_once { 2 } else { 0 }, "{level}");
    }
}

#[test]
fn a_record_that_is_given_up_is_dropped_and_never_released() {
    let mut pair = live();
    let flow = open(&mut pair, 10, 10_000);
    for number in 1..=3 {
        let record = record(&head(AckLevel::Processed), number, 1);
        pair.dialer.push(flow, record, number).unwrap();
    }
    assert!(!pair.dialer.give_up(flow, 2, 2), "it is not received yet");
    pair.settle_all();
    assert!(!pair.dialer.give_up(flow, 9, 9), "there is none");
    assert!(!pair.dialer.give_up(flow, 2, 3), "it is another one");
    assert!(pair.dialer.give_up(flow, 2, 2));
    assert!(!pair.dialer.give_up(flow, 2, 2), "it is gone");
    assert_eq!(pair.dialer.retained(flow), 2);
    pair.cut();
    pair.connect();
    pair.settle_all();
    (1..=3).for_each(|sequence| {
        pair.acceptor.done(flow, sequence, pair.now);
    });
    pair.settle_all();
    let mut released = Vec::new();
    while let Some(release) = pair.dialer.poll_release() {
        assert_eq!(release.result, Ok(()));
        released.push(release.token);
    }
    assert_eq!(released, [1, 3]);
    assert!(pair.dialer.is_settled());
}

#[test]
fn a_failure_comes_before_the_ack_that_covers_it_and_survives_a_cut() {
    let mut pair = live();
    let flow = open(&mut pair, 10, 10_000);
    pair.dialer
        .push(flow, record(&head(AckLevel::Accepted), 1, 1), 11)
        .unwrap();
    pair.write(1 << 16);
    (0..5).for_each(|lane| pair.deliver(lane, usize::MAX).unwrap());
    pair.acceptor.fail(flow, 1, Failure::NoRoute, pair.now);
    pair.acceptor.done(flow, 1, pair.now);
    pair.now += Duration::from_millis(10);
    pair.write(1 << 16);
    pair.cut();
    assert!(releases(&mut pair.dialer).is_empty());
    pair.connect();
    pair.settle_all();
    assert_eq!(
        releases(&mut pair.dialer),
        [Release {
            flow,
            token: 11,
            result: Err(Failure::NoRoute)
        }]
    );
}

#[test]
fn a_peer_that_died_costs_what_it_held_and_no_more() {
    let mut pair = live();
    let flow = open(&mut pair, 10, 10_000);
    for sequence in 1..=6 {
        let ack = if sequence == 2 {
            AckLevel::Processed
        } else {
            AckLevel::Accepted
        };
        pair.dialer
            .push(flow, record(&head(ack), sequence, 1), sequence)
            .unwrap();
    }
    pair.settle_all();
    pair.acceptor.done(flow, 1, pair.now);
    pair.settle_all();
    // 1 was passed on, 2 is still owned by the dialer, 3 to 6 were held by the peer.
    for sequence in 7..=8 {
        pair.dialer
            .push(
                flow,
                record(&head(AckLevel::Accepted), sequence, 1),
                sequence,
            )
            .unwrap();
    }
    pair.cut();
    pair.acceptor = Session::new(SessionConfig::default(), local(2, 2), 1, 500);
    pair.connect();
    pair.settle_all();
    let events = drain(&mut pair.dialer);
    let reset = events.iter().find_map(|event| match event {
        Event::Reset { died, lost, .. } => Some((*died, lost.clone())),
        _ => None,
    });
    assert_eq!(reset, Some((true, vec![(flow, 4)])));
    pair.acceptor.set_window(flow, 10, 10_000, pair.now);
    pair.settle_all();
    let sequences: Vec<u64> = drain(&mut pair.acceptor)
        .into_iter()
        .filter_map(|event| match event {
            Event::Records { records, .. } => Some(records),
            _ => None,
        })
        .flatten()
        .map(|record| record.sequence)
        .collect();
    assert_eq!(sequences, [2, 7, 8]);
}

#[test]
fn what_may_not_come_twice_is_not_sent_again_to_another_life() {
    let mut pair = live();
    let flow = open(&mut pair, 10, 10_000);
    pair.dialer
        .push(flow, record(&head(AckLevel::None), 1, 1), 1)
        .unwrap();
    pair.dialer
        .push(flow, record(&head(AckLevel::Accepted), 2, 1), 2)
        .unwrap();
    pair.write(1 << 16);
    pair.cut();
    pair.acceptor = Session::new(SessionConfig::default(), local(2, 2), 1, 500);
    pair.connect();
    pair.settle_all();
    assert_eq!(
        releases(&mut pair.dialer),
        [Release {
            flow,
            token: 1,
            result: Err(Failure::PeerDied)
        }]
    );
}

#[test]
fn a_silent_peer_is_noticed() {
    let mut pair = live();
    drain(&mut pair.dialer);
    for _ in 0..40 {
        pair.now = pair.dialer.next_timeout().unwrap_or(pair.now);
        pair.dialer.handle_timeout(pair.now);
        let mut out = BytesMut::new();
        pair.dialer
            .transmit(LaneId::CONTROL, 1 << 16, pair.now, &mut out);
    }
    assert!(
        drain(&mut pair.dialer)
            .iter()
            .any(|event| matches!(event, Event::Silent))
    );
}

#[test]
fn goodbye_reaches_the_peer() {
    let mut pair = live();
    pair.dialer.leave(GoodbyeCode::Done, "finished");
    pair.settle_all();
    assert!(drain(&mut pair.acceptor).iter().any(
        |event| matches!(event, Event::Goodbye { code: GoodbyeCode::Done, reason } if reason == "finished")
    ));
}

#[test]
fn a_flow_closed_with_records_on_the_way_ends_after_them() {
    let mut pair = live();
    let flow = open(&mut pair, 10, 10_000);
    pair.dialer
        .push(flow, record(&head(AckLevel::None), 1, 1), 1)
        .unwrap();
    let mut data = BytesMut::new();
    pair.dialer
        .transmit(LaneId::new(1).unwrap(), 1 << 16, pair.now, &mut data);
    pair.dialer.abandon_flow(flow);
    pair.settle_all();
    assert!(
        !drain(&mut pair.acceptor)
            .iter()
            .any(|event| matches!(event, Event::Closed { .. }))
    );
    pair.acceptor
        .receive(LaneId::new(1).unwrap(), data.freeze(), pair.now)
        .unwrap();
    let events = drain(&mut pair.acceptor);
    assert!(matches!(
        events[..],
        [Event::Records { .. }, Event::Closed { .. }]
    ));
}

#[test]
fn versions_without_overlap_are_refused_with_both_named() {
    let mut acceptor = Session::new(SessionConfig::default(), local(2, 1), 1, 100);
    let hello = Hello {
        versions: (9, 9),
        role: Role::Client,
        id: 1,
        epoch: 1,
        name: String::new(),
        session: 1,
        incarnation: 0,
        link: 1,
        lanes: 4,
        message_max: 1,
        flows_max: 1,
    };
    let refused = acceptor.accept(hello, 1, Time::ZERO).unwrap_err();
    assert!(refused.to_string().contains("versions 9 to 9"), "{refused}");
}
