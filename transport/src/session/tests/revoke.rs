//! Credit that is taken back.

use super::*;

/// What a sender may use its receiver counts (I1), and no more is counted than the window that was given (I2).
pub(super) fn assert_counted(pair: &Pair, window: (u64, u64)) {
    for (id, receive) in &pair.acceptor.receive_flows {
        let counted = receive.grant();
        if let Some(send) = pair.dialer.send_flows.get(id) {
            let usable = send.grant();
            assert!(
                usable.0 <= counted.0 && usable.1 <= counted.1,
                "flow {id}: the sender may go to {usable:?}, {counted:?} are counted"
            );
        }
        let (messages, bytes) = receive.exposure();
        assert!(
            messages <= window.0 && bytes <= window.1,
            "flow {id}: {messages}, {bytes}"
        );
    }
}

fn push(pair: &mut Pair, flow: u32, sequence: u64) {
    let next = record(&head(AckLevel::Accepted), sequence, 72);
    pair.dialer.push(flow, next, sequence).unwrap();
}

fn revoked(session: &mut Session) -> usize {
    let events = drain(session);
    let revoked = events
        .iter()
        .filter(|event| matches!(event, Event::Revoked { .. }));
    revoked.count()
}

#[test]
fn a_sender_learns_that_credit_was_taken_back_to_ask_anew() {
    let mut pair = live();
    let flow = open(&mut pair, 100, 100);
    // What it asks for is given and taken back before it could be used.
    pair.dialer.want(flow, 1, 500, 500);
    pair.settle_all();
    pair.acceptor.set_window(flow, 100, 500, pair.now);
    pair.settle_all();
    drain(&mut pair.dialer);
    assert!(pair.acceptor.revoke(flow, 0, 0));
    pair.settle_all();
    assert_eq!(pair.dialer.room(flow), (0, 0));
    let events = drain(&mut pair.dialer);
    let told =
        |event: &Event| matches!(event, Event::Reduced { flow: reduced } if *reduced == flow);
    assert!(events.iter().any(told), "{events:?}");
}

#[test]
fn what_is_not_used_comes_back_and_counts_until_it_does() {
    let mut pair = live();
    let flow = open(&mut pair, 100, 100_000);
    push(&mut pair, flow, 1);
    push(&mut pair, flow, 2);
    drain(&mut pair.acceptor);
    assert!(pair.acceptor.revoke(flow, 0, 0));
    assert!(!pair.acceptor.revoke(flow, 0, 0), "one is under way");
    assert_eq!(
        pair.acceptor.exposure(flow),
        (100, 100_000),
        "not confirmed"
    );
    pair.settle_all();
    assert_eq!(revoked(&mut pair.acceptor), 1);
    assert_eq!(
        pair.acceptor.exposure(flow),
        (2, 400),
        "two of 200 bytes were used"
    );
    assert_eq!(pair.dialer.room(flow), (0, 0));
    assert_eq!(
        pair.acceptor.held(flow),
        (2, 400),
        "what was pushed came all the same"
    );
    // What is settled does not come back as credit: the window is 0.
    pair.acceptor.done(flow, 1, pair.now);
    pair.acceptor.done(flow, 2, pair.now);
    pair.settle_all();
    assert_eq!(pair.acceptor.exposure(flow), (0, 0));
    assert_eq!(pair.dialer.room(flow), (0, 0));
    pair.acceptor.set_window(flow, 5, 5000, pair.now);
    pair.settle_all();
    assert_eq!(pair.dialer.room(flow), (5, 5000));
}

#[test]
fn a_grant_waits_for_the_revoke_before_it() {
    let mut pair = live();
    let flow = open(&mut pair, 100, 100_000);
    assert!(pair.acceptor.revoke(flow, 10, 10_000));
    pair.acceptor.set_window(flow, 50, 50_000, pair.now);
    pair.now += Duration::from_millis(5);
    pair.write(1 << 16);
    pair.deliver(0, usize::MAX).unwrap();
    assert_eq!(pair.dialer.room(flow), (10, 10_000));
    assert_counted(&pair, (100, 100_000));
    pair.settle_all();
    assert_eq!(pair.dialer.room(flow), (50, 50_000));
    assert_eq!(pair.acceptor.exposure(flow), (50, 50_000));
}

#[test]
fn a_revoke_whose_confirmation_was_cut_off_is_repeated() {
    for delivered in [false, true] {
        let mut pair = live();
        let flow = open(&mut pair, 100, 100_000);
        push(&mut pair, flow, 1);
        assert!(pair.acceptor.revoke(flow, 0, 0));
        pair.write(1 << 16);
        if delivered {
            pair.deliver(0, usize::MAX).unwrap();
        }
        pair.cut();
        assert_eq!(pair.acceptor.exposure(flow), (100, 100_000));
        pair.connect();
        pair.settle_all();
        assert_eq!(revoked(&mut pair.acceptor), 1);
        assert_eq!(pair.acceptor.exposure(flow), (1, 200));
        assert_eq!(pair.dialer.room(flow), (0, 0));
    }
}

#[test]
fn what_was_queued_before_the_peer_forgot_is_not_taken_for_used() {
    let mut pair = live();
    let flow = open(&mut pair, 100, 100_000);
    (1..=50).for_each(|sequence| push(&mut pair, flow, sequence));
    pair.cut();
    let config = pair.acceptor.config.clone();
    pair.acceptor = Session::new(config, local(2, 2), 1, 500);
    pair.connect();
    pair.settle_all();
    pair.acceptor.set_window(flow, 5, 5000, pair.now);
    pair.now += Duration::from_millis(5);
    pair.write(1);
    assert!(pair.acceptor.revoke(flow, 2, 2000));
    pair.settle_all();
    assert_counted(&pair, (5, 5000));
    assert_eq!(
        pair.acceptor.held(flow).0,
        5,
        "fifty wait, five were granted"
    );
}

#[test]
fn an_impossible_confirmation_ends_the_session_and_one_too_many_does_not() {
    let confirm = |pair: &mut Pair, flow, messages, bytes| {
        let mut out = BytesMut::new();
        let link = pair.acceptor.link;
        let revoked = Control::Revoked {
            link,
            flow,
            messages,
            bytes,
        };
        revoked.encode(&mut out);
        pair.acceptor
            .receive(LaneId::CONTROL, out.freeze(), pair.now)
    };
    for (messages, bytes) in [(101, 500), (50, 100_001), (0, 500), (50, 0)] {
        let mut pair = live();
        let flow = open(&mut pair, 100, 100_000);
        push(&mut pair, flow, 1);
        pair.settle_all();
        assert_eq!(
            confirm(&mut pair, flow, messages, bytes),
            Ok(()),
            "nothing was revoked"
        );
        assert_eq!(pair.acceptor.exposure(flow), (100, 100_000));
        assert!(pair.acceptor.revoke(flow, 0, 0));
        let refused = confirm(&mut pair, flow, messages, bytes);
        assert!(
            matches!(refused, Err(ProtocolError::Flow { .. })),
            "{messages}, {bytes}: {refused:?}"
        );
    }
    let mut pair = live();
    assert_eq!(
        confirm(&mut pair, 77, 1, 1),
        Ok(()),
        "it may cross the flow's end"
    );
}

#[test]
fn what_is_queued_for_a_peer_that_forgot_asks_for_credit_itself() {
    let mut pair = live();
    let flow = open(&mut pair, 100, 100_000);
    pair.cut();
    let large = record(&head(AckLevel::Accepted), 1, 50_000);
    pair.dialer.push(flow, large, 1).unwrap();
    let config = pair.acceptor.config.clone();
    pair.acceptor = Session::new(config, local(2, 2), 1, 500);
    pair.connect();
    for window in [1000, 60_000] {
        pair.settle_all();
        let events = drain(&mut pair.acceptor);
        let asked = events.iter().find_map(|event| match event {
            Event::Pending { messages, next, .. } => Some((*messages, *next)),
            _ => None,
        });
        assert_eq!(asked, Some((1, 50_128)));
        pair.acceptor.set_window(flow, 4, window, pair.now);
    }
    pair.settle_all();
    assert_eq!(pair.acceptor.held(flow).0, 1);
}

#[test]
fn what_the_sender_was_not_told_of_is_not_given_behind_the_revoke() {
    let mut pair = live();
    let flow = open(&mut pair, 0, 500);
    // More is granted, and a part of it taken back, before the ack that says so.
    pair.acceptor.set_window(flow, 4, 4000, pair.now);
    assert!(!pair.acceptor.revoke(flow, 2, 2000), "nobody knows of it");
    assert_eq!(pair.acceptor.exposure(flow), (2, 2000));
    assert!(pair.acceptor.revoke(flow, 2, 100), "it knows of 500 bytes");
    for _ in 0..4 {
        pair.now += Duration::from_millis(1);
        pair.write(1);
        pair.deliver(0, usize::MAX).unwrap();
        assert_counted(&pair, (4, 4000));
    }
    pair.settle_all();
    assert_eq!(pair.dialer.room(flow), (2, 100));
}

#[test]
fn a_question_for_credit_that_was_cut_off_or_forgotten_is_asked_again() {
    for forgets in [false, true] {
        let mut pair = live();
        let flow = pair.dialer.open_flow(Bytes::new()).unwrap();
        pair.settle_all();
        pair.dialer.want(flow, 3, 300, 100);
        pair.now += Duration::from_millis(5);
        pair.write(1 << 16);
        pair.cut();
        if forgets {
            let config = pair.acceptor.config.clone();
            pair.acceptor = Session::new(config, local(2, 2), 1, 500);
        }
        let asked = |pair: &mut Pair| {
            pair.connect();
            pair.settle_all();
            let events = drain(&mut pair.acceptor);
            let pending = events.iter().filter(|event| {
                matches!(
                    event,
                    Event::Pending {
                        messages: 3,
                        bytes: 300,
                        next: 100,
                        ..
                    }
                )
            });
            pending.count()
        };
        assert_eq!(asked(&mut pair), 1, "forgets: {forgets}");
        pair.acceptor.set_window(flow, 5, 5000, pair.now);
        pair.settle_all();
        pair.cut();
        assert_eq!(asked(&mut pair), 0, "it has been answered");
    }
}
