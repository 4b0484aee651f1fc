use super::*;

#[test]
fn large_states_come_whole_or_not_at_all() {
    let mut mesh = chain(3);
    for id in 0..2_000 {
        mesh.set(0, id, entry(id, 1));
    }
    let mut sizes = BTreeSet::new();
    for pick in 0..100_000 {
        mesh.step(pick * 7919 % 104_729);
        sizes.insert(mesh.views[2].entries.len());
    }
    mesh.finish();
    mesh.check();
    assert_eq!(sizes, BTreeSet::from([0, 2_000]));
}

#[test]
fn paths_over_a_lost_link_stay_in_use_for_a_while() {
    let mut mesh = chain(3);
    mesh.set(2, 1, entry(1, 1));
    mesh.finish();
    mesh.down(0, 1, true);
    mesh.quiesce();
    assert!(mesh.nodes[0].is_stale(node(2)));
    assert_eq!(mesh.views[0].entries.len(), 1);
    // The middle node comes back without knowing anything: it gets its time, and nothing flaps.
    mesh.restart(1);
    mesh.up(0, 1);
    let changes = mesh.views[0].entries.clone();
    mesh.quiesce();
    assert_eq!(mesh.views[0].entries, changes);
    assert!(!mesh.nodes[0].is_stale(node(2)));
    mesh.finish();
    mesh.check();
    // For good.
    mesh.down(0, 1, true);
    let at = mesh.nodes[0].next_timeout().unwrap();
    assert_eq!(at, mesh.now + HOLD);
    mesh.nodes[0].handle_timeout(at);
    mesh.settle(0);
    assert!(mesh.views[0].entries.is_empty() && mesh.views[0].hops.is_empty());
}

#[test]
fn two_nodes_that_lost_the_same_origin_do_not_chase_each_other() {
    let mut mesh = Mesh::new(3);
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        mesh.up(a, b);
    }
    mesh.set(2, 1, entry(1, 1));
    mesh.finish();
    mesh.down(0, 2, true);
    mesh.down(1, 2, true);
    let before = mesh.delivered;
    mesh.quiesce();
    assert!(
        mesh.delivered - before < 20,
        "{} messages",
        mesh.delivered - before
    );
    assert!(mesh.nodes[0].is_stale(node(2)) && mesh.nodes[1].is_stale(node(2)));
    mesh.finish();
    mesh.check();
}

#[test]
fn a_newer_epoch_beats_a_shorter_path() {
    let mut interest = fresh(9, 1);
    for peer in 0..2 {
        interest
            .neighbour_up(Neighbour(peer), node(peer as usize), Time::ZERO)
            .unwrap();
    }
    let mut tell = |peer: usize, epoch: u64, path: &[NodeId]| {
        let announce = Announce {
            origin: node(5),
            epoch,
            path: Arc::from(path),
            ..announce()
        };
        interest
            .handle(
                Neighbour(peer as u32),
                Message::Announce(announce),
                Time::ZERO,
            )
            .unwrap();
        interest.next_hop(node(5))
    };
    assert_eq!(tell(0, 1, &[node(0), node(5)]), Some(Neighbour(0)));
    assert_eq!(
        tell(1, 1, &[node(1), node(5)]),
        Some(Neighbour(0)),
        "the path in use stays on ties"
    );
    assert_eq!(tell(1, 2, &[node(1), node(4), node(5)]), Some(Neighbour(1)));
    assert_eq!(tell(0, 2, &[node(0), node(5)]), Some(Neighbour(0)));
}

#[test]
fn after_its_return_a_neighbour_has_time_to_hear_of_origins_again() {
    let mut interest = fresh(9, 1);
    let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
    let far = Announce {
        origin: node(5),
        path: Arc::from([node(0), node(5)]),
        ..announce()
    };
    interest.neighbour_up(Neighbour(0), node(0), at(0)).unwrap();
    interest
        .handle(Neighbour(0), Message::Announce(far.clone()), at(0))
        .unwrap();
    interest.neighbour_down(Neighbour(0), at(1));
    assert_eq!(interest.next_timeout(), Some(at(11)));
    interest.neighbour_up(Neighbour(0), node(0), at(5)).unwrap();
    assert_eq!(interest.next_timeout(), Some(at(15)));
    interest
        .handle(Neighbour(0), Message::SyncDone, at(7))
        .unwrap();
    assert_eq!(interest.next_timeout(), Some(at(17)));
    assert!(interest.is_stale(node(5)));
    interest
        .handle(Neighbour(0), Message::Announce(far), at(8))
        .unwrap();
    assert!(!interest.is_stale(node(5)));
    interest.handle_timeout(at(17));
    assert_eq!(interest.next_hop(node(5)), Some(Neighbour(0)));
    assert_eq!(interest.next_timeout(), None);
}

#[test]
fn paths_end_at_the_hop_limit() {
    let mut mesh = chain(18);
    mesh.finish();
    assert!(mesh.nodes[0].next_hop(node(16)).is_some());
    assert!(mesh.nodes[0].next_hop(node(17)).is_none());
}

#[test]
fn what_exceeds_the_limits_is_refused_counted_and_told() {
    let limits = Limits {
        entries: 2,
        origins: 1,
        neighbours: 1,
        hold: HOLD,
        patience: HOLD,
    };
    let mut small = Interest::new(node(9), 1, limits);
    small
        .neighbour_up(Neighbour(0), node(0), Time::ZERO)
        .unwrap();
    let full = Err(InterestError::TooManyNeighbours { limit: 1 });
    assert_eq!(small.neighbour_up(Neighbour(1), node(1), Time::ZERO), full);
    let mut big = fresh(0, 1);
    big.neighbour_up(Neighbour(0), node(9), Time::ZERO).unwrap();
    for id in 0..3 {
        big.local_set(EntryId(id), entry(id, 1)).unwrap();
        small.local_set(EntryId(id.min(1)), entry(id, 1)).unwrap();
    }
    let full = Err(InterestError::TooManyEntries { limit: 2 });
    assert_eq!(small.local_set(EntryId(7), entry(7, 1)), full);
    while let Some((_, message)) = big.poll_send() {
        small.handle(Neighbour(0), message, Time::ZERO).unwrap();
    }
    assert_eq!(small.refused().entries, 1);
    assert_eq!(small.entries(node(0)).count(), 2);
    while let Some((_, message)) = small.poll_send() {
        big.handle(Neighbour(0), message, Time::ZERO).unwrap();
    }
    let changes: Vec<Change> = std::iter::from_fn(|| big.poll_change()).collect();
    assert!(changes.contains(&Change::Confirmed {
        id: EntryId(2),
        refused: true
    }));
    let other = Announce {
        path: Arc::from([node(0), node(5)]),
        origin: node(5),
        ..announce()
    };
    small
        .handle(Neighbour(0), Message::Announce(other), Time::ZERO)
        .unwrap();
    assert_eq!(small.refused().origins, 1);
    small
        .handle(
            Neighbour(0),
            Message::Confirm {
                token: 99,
                refused: false,
            },
            Time::ZERO,
        )
        .unwrap();
    assert_eq!(small.refused().confirmations, 1);
}

#[test]
fn a_neighbour_that_breaks_the_protocol_is_refused_and_changes_nothing() {
    let mut interest = fresh(9, 1);
    assert_eq!(
        interest.handle(Neighbour(0), Message::SyncDone, Time::ZERO),
        Err(InterestError::UnknownNeighbour {
            neighbour: Neighbour(0)
        })
    );
    assert_eq!(
        interest.neighbour_up(Neighbour(0), node(9), Time::ZERO),
        Err(InterestError::LinkToSelf {
            neighbour: Neighbour(0)
        })
    );
    interest
        .neighbour_up(Neighbour(0), node(0), Time::ZERO)
        .unwrap();
    let mut handle =
        |announce: Announce| interest.handle(Neighbour(0), Message::Announce(announce), Time::ZERO);
    let long: Vec<NodeId> = std::iter::once(node(0)).chain((20..36).map(node)).collect();
    let paths: [&[NodeId]; 6] = [
        &[],
        &[node(1)],
        &[node(0), node(1)],
        &[node(0), node(9), node(0)],
        &[node(0), node(1), node(1), node(0)],
        &long,
    ];
    for path in paths {
        let origin = if path.len() > 16 { node(35) } else { node(0) };
        let refused = handle(Announce {
            origin,
            path: Arc::from(path),
            ..announce()
        });
        assert_eq!(
            refused,
            Err(InterestError::Path {
                origin,
                nodes: path.len()
            })
        );
    }
    handle(announce()).unwrap();
    let refused = handle(Announce {
        first: false,
        epoch: 2,
        ..announce()
    });
    assert_eq!(
        refused,
        Err(InterestError::Epoch {
            origin: node(0),
            epoch: 2
        })
    );
    assert_eq!(interest.origins().count(), 1);
    // A neighbour that never confirms makes us owe without end; the window bounds what another may ask of us.
    interest
        .neighbour_up(Neighbour(1), node(1), Time::ZERO)
        .unwrap();
    for token in 1..=u64::from(CONFIRM_WINDOW) {
        let asking = Announce {
            first: false,
            token: Some(token),
            ..announce()
        };
        interest
            .handle(Neighbour(0), Message::Announce(asking), Time::ZERO)
            .unwrap();
    }
    let asking = Message::Announce(Announce {
        first: false,
        token: Some(77),
        ..announce()
    });
    assert_eq!(
        interest.handle(Neighbour(0), asking, Time::ZERO),
        Err(InterestError::ConfirmWindow { origin: node(0) })
    );
    interest.neighbour_down(Neighbour(1), Time::ZERO);
    let confirms = std::iter::from_fn(|| interest.poll_send_to(Neighbour(0)))
        .filter(|message| matches!(message, Message::Confirm { .. }))
        .count();
    assert_eq!(confirms, CONFIRM_WINDOW as usize);
}

#[test]
fn nobody_waits_long_for_a_neighbour_that_is_silent() {
    let mut mesh = chain(3);
    mesh.finish();
    // Asked before it falls silent, and after.
    mesh.set(0, 1, entry(1, 1));
    assert!(!mesh.views[0].confirmed.contains(&EntryId(1)));
    let far = mesh.numbers[&(0, 1)];
    let now = mesh.now;
    mesh.nodes[0].neighbour_silent(far, now);
    let patience = Limits::default().patience;
    assert_eq!(mesh.nodes[0].next_timeout(), Some(now + patience));
    mesh.nodes[0].handle_timeout(now + patience.mul_f64(0.99));
    mesh.settle(0);
    assert!(!mesh.views[0].confirmed.contains(&EntryId(1)));
    mesh.nodes[0].handle_timeout(now + patience);
    mesh.settle(0);
    assert!(mesh.views[0].confirmed.contains(&EntryId(1)));
    mesh.set(0, 2, entry(2, 1));
    assert!(mesh.views[0].confirmed.contains(&EntryId(2)));
    assert!(mesh.views[2].entries.is_empty());
    // Back in its session it is told everything, and is waited for again.
    mesh.nodes[0].neighbour_back(far);
    mesh.set(0, 3, entry(3, 1));
    assert!(!mesh.views[0].confirmed.contains(&EntryId(3)));
    mesh.finish();
    mesh.check();
    assert!(mesh.views[0].confirmed.contains(&EntryId(3)));
    assert_eq!(mesh.views[2].entries.len(), 3);
}
