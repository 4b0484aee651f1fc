//! A publisher's session, a router node, a subscriber's session, with bytes handed from one to the next in datagrams.
//!
//! What the protocol and the routing of a node take, without sockets, cryptography and threads.

use bytes::{Bytes, BytesMut};
use mcpbus::node::{NodeConfig, NodeCore};
use mcpbus::protocol::{Definition, Signal};
use mcpbus_actors::Time;
use mcpbus_transport::bridge::{LinkHandle, Owner};
use mcpbus_transport::link::LaneId;
use mcpbus_transport::session::{Event, Local, Session, SessionConfig};
use mcpbus_transport::wire::{AckLevel, Head, ProducerId, Record, Role};
use std::sync::Arc;
use std::time::Duration;

use crate::MESSAGES;

/// About what a datagram carries of a stream on an Ethernet.
const DATAGRAM: usize = 1400;
/// What a link's writer asks of a session at once.
const WRITE: usize = 128 * 1024;
/// Messages that the subscriber may hold.
const WINDOW: (u64, u64) = (4096, 4 << 20);
const BODY: [u8; 64] = [7; 64];

/// A client's end of a link: its session, without what a client does around it.
struct End {
    session: Session,
    link: LinkHandle,
}

struct Bus {
    node: NodeCore,
    publisher: End,
    subscriber: End,
    received: u64,
    now: Time,
}

impl Bus {
    /// With one subscription to everything under `bench`, or with two that form a group.
    fn new(group: Option<&str>) -> Self {
        let now = Time::ZERO + Duration::from_secs(1);
        let mut node = NodeCore::new(NodeConfig::new("router", 1, 1));
        let mut end = |number: u64| {
            let local = Local {
                role: Role::Client,
                id: u128::from(number),
                epoch: 1,
                name: format!("client-{number}"),
            };
            let mut session = Session::new(SessionConfig::default(), local, number, 0);
            let link = LinkHandle(number);
            node.link_accepted(link, &format!("client-{number}"), now);
            session.link_up(now);
            End { session, link }
        };
        let (publisher, subscriber) = (end(1), end(2));
        let mut bus = Self {
            node,
            publisher,
            subscriber,
            received: 0,
            now,
        };
        bus.exchange();
        for subscription in 1..=1 + u32::from(group.is_some()) {
            let subscribe = Signal::Subscribe {
                subscription,
                pattern: String::from("bench.>"),
                group: group.map(String::from),
                durable: None,
            };
            let told = bus.subscriber.session.signal(subscribe.encode());
            told.expect("few signals");
        }
        bus.exchange();
        bus
    }

    /// Carries everything that anybody has to say, until nobody has.
    fn exchange(&mut self) {
        loop {
            // Acks may ride along with others for a while; that is over now.
            self.now += Duration::from_millis(5);
            self.node.handle_timeout(self.now);
            let mut moved = carry(&mut self.publisher, &mut self.node, self.now);
            moved |= carry(&mut self.subscriber, &mut self.node, self.now);
            self.receive();
            while self.publisher.session.poll_event().is_some() {}
            while self.publisher.session.poll_releases().is_some() {}
            if !moved {
                return;
            }
        }
    }

    fn receive(&mut self) {
        let session = &mut self.subscriber.session;
        while let Some(event) = session.poll_event() {
            match event {
                Event::Opened { flow, .. } => {
                    session.set_window(flow, WINDOW.0, WINDOW.1, self.now);
                }
                Event::Records {
                    flow,
                    first,
                    records,
                } => {
                    let count = records.len() as u64;
                    self.received += count;
                    session.recycle(records);
                    session.done_all(flow, first, count, self.now);
                }
                _ => {}
            }
        }
    }
}

/// Carries what a client has to say to the node, and the other way round; whether there was anything.
fn carry(end: &mut End, node: &mut NodeCore, now: Time) -> bool {
    let mut moved = false;
    for lane in (0..=8).filter_map(LaneId::new) {
        let mut bytes = BytesMut::new();
        while end.session.wants_transmit(lane, now)
            && end.session.transmit(lane, WRITE, now, &mut bytes)
        {
            moved = true;
            for datagram in datagrams(&mut bytes) {
                node.receive(end.link, lane, datagram, now);
            }
        }
        while node.wants_transmit(end.link, lane, now) {
            node.transmit(end.link, lane, WRITE, now, &mut bytes);
            if bytes.is_empty() {
                break;
            }
            moved = true;
            for datagram in datagrams(&mut bytes) {
                let taken = end.session.receive(lane, datagram, now);
                taken.expect("the node keeps to the protocol");
            }
        }
    }
    moved
}

fn datagrams(bytes: &mut BytesMut) -> impl Iterator<Item = Bytes> + use<> {
    let mut bytes = bytes.split().freeze();
    std::iter::from_fn(move || {
        (!bytes.is_empty()).then(|| bytes.split_to(DATAGRAM.min(bytes.len())))
    })
}

/// Publishes on so many subjects in turn, over as many flows but 64 at most.
fn publish(group: Option<&str>, subjects: u64, ack: AckLevel) -> u64 {
    let mut bus = Bus::new(group);
    let head = |number: u64| {
        Arc::new(Head {
            producer: ProducerId { id: 1, epoch: 1 },
            subject: Arc::from(format!("bench.s{number}")),
            kind: 0,
            ack,
            hops: 0,
        })
    };
    let heads: Vec<_> = (0..subjects).map(head).collect();
    let session = &mut bus.publisher.session;
    let open = |_| session.open_flow(Definition::Publish.encode());
    let flows: Vec<_> = (0..subjects.min(64)).filter_map(open).collect();
    bus.exchange();
    let body = Bytes::from_static(&BODY);
    let mut sent = 0;
    while sent < MESSAGES {
        let before = sent;
        while sent < MESSAGES {
            let flow = flows[sent as usize % flows.len()];
            let record = Record {
                head: heads[(sent % subjects) as usize].clone(),
                sequence: sent,
                key: None,
                deadline: None,
                extra: None,
                body: body.clone(),
            };
            let cost = record.cost();
            let session = &mut bus.publisher.session;
            if !session.admits(flow, cost) {
                session.want(flow, 1024, 1024 * cost, cost);
                break;
            }
            session.push(flow, record, u64::MAX).expect("credit");
            sent += 1;
        }
        bus.exchange();
        assert!(sent > before, "credit comes back");
    }
    bus.exchange();
    assert_eq!(bus.received, MESSAGES);
    assert_eq!(bus.node.ledger().residual(), 0);
    bus.received
}

/// One subject, one subscriber.
#[must_use]
pub fn one_subject() -> u64 {
    publish(None, 1, AckLevel::Accepted)
}

/// A thousand subjects in turn.
#[must_use]
pub fn many_subjects() -> u64 {
    publish(None, 1000, AckLevel::Accepted)
}

/// One subject, and a group of two.
#[must_use]
pub fn group() -> u64 {
    publish(Some("workers"), 1, AckLevel::Accepted)
}
