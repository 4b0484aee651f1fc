//! Stored bytes that change.

use super::*;

#[test]
fn a_damaged_message_is_lost_alone_and_stops_no_recovery() {
    let mut place = OnFaulty::new(1, ROOM);
    // One message longer than a piece, small ones that share a piece with its end.
    let operations = [
        put_queue(),
        append(1, &[500, 40_000, 300, 200]),
        append(5, &[700]),
    ];
    place
        .commit(&operations, true)
        .expect("a healthy store commits");
    // The body of the third of the batch is 300 times the byte 2.
    let body = place.disk.find(&[2; 300]);
    // Pages that were freed may still show it too.
    assert!(!body.is_empty());
    body.into_iter()
        .for_each(|body| assert!(place.disk.flip(body + 7, 3)));
    laws::Place::crash(&mut place);
    let expected = [(1, true), (2, true), (3, false), (4, true), (5, true)];
    assert_eq!(place.held(), expected);
    place
        .commit(&[append(6, &[10])], true)
        .expect("the store goes on");
    let usage = place
        .commit(&[settle([3])], true)
        .expect("it can be settled");
    assert_eq!(usage.messages, 5);
    place
        .commit(&[settle([1, 2, 4, 5, 6])], true)
        .expect("all can be settled");
    place.survey();
}

#[test]
fn a_batch_with_a_damaged_head_is_lost_alone() {
    let mut place = OnFaulty::new(2, ROOM);
    let operations = [put_queue(), append(1, &[9, 30_000]), append(3, &[700])];
    place
        .commit(&operations, true)
        .expect("a healthy store commits");
    // The heads of batches hold the subjects. The first that is found lies in some head.
    let heads = [
        place.disk.find(b"orders.created"),
        place.disk.find(b"\x01a"),
    ]
    .concat();
    assert!(!heads.is_empty());
    for place_of_head in heads {
        place.disk.flip(place_of_head, 0);
        place.store = None;
        place.open();
        let held = place.held();
        assert_eq!(
            held.iter()
                .map(|(position, _)| *position)
                .collect::<Vec<_>>(),
            [1, 2, 3]
        );
        assert_eq!(held[0].1, held[1].1, "a batch is lost as a whole");
        place.disk.flip(place_of_head, 0);
    }
    place.store = None;
    place.open();
    let usage = place
        .commit(&[settle([1, 2, 3])], true)
        .expect("all can be settled");
    assert_eq!(usage.messages, 0);
    place.survey();
}

/// Wherever a bit flips: nothing panics out of the store, and what is read is what was stored.
#[test]
fn flipped_bits_give_no_wrong_message_and_no_panic() {
    let records = laws::sized(&[300; 40]);
    let mut readable = 0;
    for seed in 0..300 {
        let mut place = OnFaulty::new(seed, ROOM);
        place
            .commit(&[put_queue(), append(1, &[300; 40])], true)
            .expect("a healthy store commits");
        place
            .commit(&[settle([2, 3])], true)
            .expect("a healthy store commits");
        place.disk.cut_power_after(0);
        place.store = None;
        place.disk.restart();
        let length = place.disk.length().expect("the disk is on");
        let mut random = super::super::super::random::Random::new(seed);
        for _ in 0..=random.below(8) {
            place
                .disk
                .flip(random.below(length), random.below(8) as u32);
        }
        let Ok(mut store) = DiskStore::on(place.disk.clone(), ROOM) else {
            continue;
        };
        let _ = store.recover();
        if let Ok(read) = store.read(QUEUE, 0, 1000, u64::MAX, CLOCK) {
            readable += 1;
            for stored in read {
                let offset = stored.position.wrapping_sub(1) as usize;
                if let (Ok(record), Some(expected)) = (stored.record, records.get(offset)) {
                    assert_eq!(
                        record.body, expected.body,
                        "seed {seed}, position {}",
                        stored.position
                    );
                }
            }
        }
        let _ = store.commit(&[settle(1..50)], CLOCK, true);
        let _ = store.commit(&[Operation::RemoveQueue { queue: QUEUE }], CLOCK, true);
    }
    assert!(
        readable > 150,
        "most flips leave the queue readable: {readable} of 300"
    );
}
