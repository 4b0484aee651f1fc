//! What belongs to a link: its number, the version in use, the round trip.

use super::*;
use crate::wire::FrameKind;

/// A grant of the first link is taken back; then its ack comes again. Whether more may be used than is counted.
fn an_old_ack_comes_late(fault: Option<Fault>) -> (bool, u64) {
    let mut pair = live();
    let flow = pair.dialer.open_flow(Bytes::new()).unwrap();
    pair.settle_all();
    pair.acceptor.set_window(flow, 100, 100_000, pair.now);
    pair.now += Duration::from_millis(5);
    pair.write(1);
    let old = pair.to_dialer[0].clone().freeze();
    pair.settle_all();
    assert!(pair.acceptor.revoke(flow, 0, 0));
    pair.settle_all();
    pair.cut();
    pair.connect();
    pair.settle_all();
    pair.dialer.planted = fault;
    assert_eq!(pair.dialer.room(flow), (0, 0));
    pair.dialer.receive(LaneId::CONTROL, old, pair.now).unwrap();
    let exceeded =
        pair.dialer.send_flows[&flow].grant() > pair.acceptor.receive_flows[&flow].grant();
    (exceeded, pair.dialer.stale_frames())
}

#[test]
fn an_ack_of_an_earlier_link_does_nothing_and_is_counted() {
    assert_eq!(an_old_ack_comes_late(None), (false, 1));
    let (exceeded, _) = an_old_ack_comes_late(Some(Fault::NoLinkCheck));
    assert!(exceeded, "the check is what keeps a late ack from acting");
}

#[test]
fn every_frame_that_tells_positions_is_bound_to_its_link() {
    let frames = |link| {
        [
            Control::Ack {
                link,
                signals: 0,
                failures: 0,
                flows: Vec::new(),
            },
            Control::Pending {
                link,
                flow: 0,
                messages: 1,
                bytes: 1,
                next: 1,
            },
            Control::Revoke {
                link,
                flow: 0,
                messages: 0,
                bytes: 0,
            },
            Control::Revoked {
                link,
                flow: 0,
                messages: 0,
                bytes: 0,
            },
            Control::Resume {
                link,
                flows: Vec::new(),
                signals: 0,
                failures: 0,
                last: true,
            },
        ]
    };
    for (index, (early, late)) in frames(1).into_iter().zip(frames(3)).enumerate() {
        let mut pair = live();
        pair.cut();
        pair.connect();
        pair.settle_all();
        drain(&mut pair.acceptor);
        let send = |pair: &mut Pair, frame: &Control| {
            let mut out = BytesMut::new();
            frame.encode(&mut out);
            pair.acceptor
                .receive(LaneId::CONTROL, out.freeze(), pair.now)
        };
        assert_eq!(send(&mut pair, &early), Ok(()), "{index}");
        assert!(drain(&mut pair.acceptor).is_empty(), "{index}");
        assert_eq!(pair.acceptor.stale_frames(), 1, "{index}");
        let refused = send(&mut pair, &late);
        assert!(
            matches!(refused, Err(ProtocolError::Unexpected { .. })),
            "{index}: {refused:?}"
        );
    }
}

#[test]
fn a_link_that_is_not_newer_cannot_take_a_session_over() {
    let mut pair = live();
    pair.cut();
    pair.connect();
    pair.settle_all();
    let peer = pair.dialer.make_hello();
    let old = Hello {
        link: 1,
        ..peer.clone()
    };
    for hello in [peer.clone(), old] {
        let refused = pair.acceptor.accept(hello, 999, pair.now).unwrap_err();
        assert!(
            matches!(refused, ProtocolError::Stale { newest: 2, .. }),
            "{refused}"
        );
        assert_eq!(refused.code(), GoodbyeCode::Duplicate);
    }
    let next = Hello { link: 3, ..peer };
    pair.acceptor.accept(next, 999, pair.now).unwrap();
    assert_eq!(pair.acceptor.state(), SessionState::Resuming);
}

/// Two ends that speak these versions.
fn meet(dialer: (u8, u8), acceptor: (u8, u8)) -> Result<Pair, ProtocolError> {
    let mut pair = Pair::new(SessionConfig::default());
    pair.dialer.versions = dialer;
    pair.acceptor.versions = acceptor;
    pair.connect();
    for _ in 0..4 {
        pair.now += Duration::from_millis(5);
        pair.write(1 << 16);
        (0..5).try_for_each(|lane| pair.deliver(lane, usize::MAX))?;
    }
    Ok(pair)
}

#[test]
fn the_newest_version_that_both_speak_is_used() {
    for (dialer, acceptor, used) in [
        ((1, 1), (1, 2), 1),
        ((1, 2), (1, 1), 1),
        ((1, 2), (1, 2), 2),
        ((2, 2), (1, 2), 2),
    ] {
        let mut pair = meet(dialer, acceptor).unwrap();
        assert!(pair.dialer.is_live() && pair.acceptor.is_live());
        assert_eq!(
            (pair.dialer.version(), pair.acceptor.version()),
            (used, used)
        );
        let flow = open(&mut pair, 10, 10_000);
        let next = record(&head(AckLevel::Accepted), 1, 10);
        pair.dialer.push(flow, next, 7).unwrap();
        pair.settle_all();
        assert_eq!(releases(&mut pair.dialer).len(), 1, "messages travel");
    }
}

#[test]
fn a_frame_of_a_newer_version_is_not_sent_to_an_older_peer_and_not_taken_from_one() {
    for (versions, known) in [((1, 1), false), ((1, 2), true)] {
        let mut pair = meet((1, 2), versions).unwrap();
        pair.dialer.newer = true;
        let mut out = BytesMut::new();
        pair.dialer
            .transmit(LaneId::CONTROL, 1 << 16, pair.now, &mut out);
        let mut reader = FrameReader::new(1 << 16);
        reader.push(out.freeze());
        let kinds: Vec<_> = std::iter::from_fn(|| reader.next().unwrap()).collect();
        let sent = kinds.iter().any(|(kind, _)| *kind == FrameKind::Newer);
        assert_eq!(sent, known, "{versions:?}");
        // One who sends it all the same breaks the agreement, also towards an end that would know it.
        let mut out = BytesMut::new();
        Control::Newer.encode(&mut out);
        let taken = pair.dialer.receive(LaneId::CONTROL, out.freeze(), pair.now);
        assert_eq!(taken.is_ok(), known, "{versions:?}: {taken:?}");
    }
}

#[test]
fn without_a_common_version_the_older_end_is_told_to_upgrade() {
    for (dialer, acceptor, older) in [
        ((1, 1), (2, 2), "upgrade the peer"),
        ((2, 3), (1, 1), "upgrade this end"),
    ] {
        let refused = meet(dialer, acceptor).map(|_| ()).unwrap_err();
        assert_eq!(refused.code(), GoodbyeCode::Version);
        let text = refused.to_string();
        assert!(text.contains(older), "{text}");
        assert!(
            text.contains(&format!("versions {} to {}", dialer.0, dialer.1)),
            "{text}"
        );
    }
}

#[test]
fn a_hello_with_more_to_say_is_understood_and_one_that_contradicts_itself_is_not() {
    let hello = live().dialer.make_hello();
    let mut out = BytesMut::new();
    Control::Hello(hello.clone()).encode(&mut out);
    // The empty list of extensions at the end becomes one with an unknown tag.
    out.truncate(out.len() - 1);
    out.extend_from_slice(&[4, 99, 2, 1, 2]);
    let payload = out.freeze().slice(5..);
    assert_eq!(
        Control::decode(FrameKind::Hello, payload),
        Ok(Control::Hello(hello.clone()))
    );
    let mut out = BytesMut::new();
    Control::Hello(Hello {
        versions: (2, 1),
        ..hello
    })
    .encode(&mut out);
    assert!(Control::decode(FrameKind::Hello, out.freeze().slice(5..)).is_err());
}

#[test]
fn the_round_trip_is_known_before_the_first_heartbeat() {
    let mut pair = Pair::new(SessionConfig::default());
    pair.connect();
    assert_eq!(pair.dialer.smoothed_rtt(), None);
    pair.settle_all();
    // Each step of the pair takes 5 ms, and ping and pong cross in one.
    let known = pair.dialer.smoothed_rtt().unwrap();
    assert!(known <= Duration::from_millis(10), "{known:?}");
    assert!(pair.acceptor.smoothed_rtt().is_some());
}
