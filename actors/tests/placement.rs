//! One topology function, three placements: equal outputs, equal ledger.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use mcpbus_actors::channel::{Capacity, Receiver, Sender};
use mcpbus_actors::stage::Out;
use mcpbus_actors::topology::{Boundary, Direction, Fusion, Placement, Topology};
use mcpbus_actors::{Batch, Ledger, Message, Outcome, Reason};

#[derive(Clone, Debug, Message, PartialEq)]
struct Order {
    #[message(key)]
    account: u32,
    amount: u64,
    note: String,
}

fn orders(count: u32) -> impl Iterator<Item = Order> + Send + 'static {
    (0..count).map(|number| Order {
        account: number % 7,
        amount: u64::from(number),
        note: "x".repeat((number % 5) as usize),
    })
}

/// Orders go by parity to two processors, whose results are joined; every 10th is rejected.
fn build(results: &Arc<Mutex<Vec<u64>>>, capacity: usize) -> Topology {
    let mut t = Topology::new("orders");
    t.default_capacity(Capacity::messages(capacity));
    let source = t.produce_iter("source", orders(5000));
    let [even, odd] = t.route("parity", source, |order: &Order| order.amount % 2 == 1);
    let double = t.process("double", even, |order: &Order, out: &mut Out<'_, u64>| {
        if order.amount.is_multiple_of(10) {
            return Outcome::reject(Reason::Rejected);
        }
        out.emit(order.amount * 2);
        Outcome::Done
    });
    let triple = t.process("triple", odd, |order: &Order, out: &mut Out<'_, u64>| {
        out.emit(order.amount * 3)
    });
    let sum = t.aggregate("sum", [double, triple], 0u64, |sum, n: &u64| *sum += n);
    let results = Arc::clone(results);
    t.consume("store", sum, move |sum: &u64| {
        results.lock().unwrap().push(*sum)
    });
    t
}

fn expected() -> u64 {
    (0..5000u64)
        .map(|n| match n {
            n if n % 2 == 1 => n * 3,
            n if n % 10 == 0 => 0,
            n => n * 2,
        })
        .sum()
}

fn run(placement: Placement, fusion: Fusion, capacity: usize) -> Ledger {
    let results = Arc::new(Mutex::new(Vec::new()));
    let mut t = build(&results, capacity);
    t.placement(placement).fusion(fusion);
    let report = t.run_blocking().unwrap();
    assert_eq!(
        *results.lock().unwrap(),
        [expected()],
        "{placement:?} {fusion:?}\n{report}"
    );
    assert_eq!(report.ledger.residual(), 0, "{report}");
    assert_eq!(report.ledger.total().held, 0, "{report}");
    let mut ledger = report.ledger;
    ledger.sort();
    ledger
}

#[test]
fn outputs_and_ledger_are_equal_in_every_placement() {
    for capacity in [1, 3, 1024] {
        let one = run(Placement::OneThread, Fusion::Automatic, capacity);
        assert_eq!(one.edge("source->parity").unwrap().delivered, 5000);
        assert_eq!(
            one.edge("parity->double")
                .unwrap()
                .dead
                .get(Reason::Rejected),
            500
        );
        for placement in [Placement::OneThread, Placement::Tasks, Placement::Threads] {
            for fusion in [Fusion::Automatic, Fusion::Asked] {
                assert_eq!(one, run(placement, fusion, capacity));
            }
        }
    }
}

#[test]
fn one_stage_on_a_thread_of_its_own_among_tasks() {
    let results = Arc::new(Mutex::new(Vec::new()));
    let mut t = build(&results, 4);
    t.placement(Placement::OneThread);
    t.on_thread("double");
    let report = t.run_blocking().unwrap();
    assert_eq!(*results.lock().unwrap(), [expected()]);
    assert_eq!(report.ledger.residual(), 0);
}

/// Carries one boundary edge from one part to the other, as a link would.
fn carry<M: Message>(
    from: &mut Vec<Boundary>,
    to: &mut Vec<Boundary>,
    edge: &str,
) -> std::thread::JoinHandle<()> {
    let take = |ends: &mut Vec<Boundary>, direction| {
        let index = ends
            .iter()
            .position(|end| end.edge == edge && end.direction == direction)
            .unwrap();
        ends.swap_remove(index)
    };
    let mut receiver = *take(from, Direction::Out)
        .end
        .downcast::<Receiver<M>>()
        .unwrap();
    let sender = *take(to, Direction::In).end.downcast::<Sender<M>>().unwrap();
    std::thread::spawn(move || {
        let mut batch = Batch::new();
        while receiver.blocking_recv_batch(&mut batch, 64).is_some() {
            sender.blocking_send_batch(&mut batch).unwrap();
        }
    })
}

#[test]
fn the_ledgers_of_two_parts_merge_to_the_ledger_of_the_whole() {
    let whole = run(Placement::Threads, Fusion::Automatic, 64);
    let results = Arc::new(Mutex::new(Vec::new()));
    let first = ["source", "parity", "triple"];
    let part = |here: bool| {
        let mut t = build(&results, 64);
        t.placement(Placement::Threads);
        t.start_part(move |stage| first.contains(&stage) == here)
            .unwrap()
    };
    let (mut here, mut outgoing) = part(true);
    let (mut there, mut incoming) = part(false);
    assert_eq!((outgoing.len(), incoming.len()), (2, 2));
    let carriers = [
        carry::<Order>(&mut outgoing, &mut incoming, "parity->double"),
        carry::<u64>(&mut outgoing, &mut incoming, "triple->sum"),
    ];
    here.wait_blocking().unwrap();
    for carrier in carriers {
        carrier.join().unwrap();
    }
    // Only now: until it is carried away, what waits at the boundary is held by the part that sends it.
    let mut ledger = here.ledger();
    let other = there.wait_blocking().unwrap().ledger;
    assert_ne!(other.residual(), 0, "a part alone does not balance");
    ledger.merge(&other);
    ledger.sort();
    assert_eq!(ledger, whole);
    assert_eq!(*results.lock().unwrap(), [expected()]);
}
