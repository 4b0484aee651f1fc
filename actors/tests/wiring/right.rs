use mcpbus_actors::stage::Out;
use mcpbus_actors::topology::Topology;
use mcpbus_actors::Message;

#[derive(Clone, Message)]
#[message(name = "payment", version = 2)]
enum Payment {
    Card { #[message(key)] account: String, amount: u64 },
    Cash(u64),
    Nothing,
}

#[derive(Message)]
struct Wrapped<T> {
    inner: T,
    #[message(no_heap)]
    other: std::thread::ThreadId,
}

fn main() {
    assert_eq!((Payment::KIND.name, Payment::KIND.version), ("payment", 2));
    let card = Payment::Card { account: "a".to_owned(), amount: 1 };
    assert_eq!(card.key(), Some(mcpbus_actors::Key::from("a")));
    assert_eq!(card.weight(), std::mem::size_of::<Payment>() + 1);
    assert_eq!((Payment::Cash(1).key(), Payment::Nothing.key()), (None, None));
    let wrapped = Wrapped { inner: vec![0u8; 10], other: std::thread::current().id() };
    assert_eq!(wrapped.weight(), std::mem::size_of::<Wrapped<Vec<u8>>>() + 10);
    let _ = wrapped.other;

    let mut t = Topology::new("right");
    let payments = t.produce_iter("payments", [card]);
    let amounts = t.process("amount", payments, |payment: &Payment, out: &mut Out<'_, u64>| match payment {
        Payment::Card { amount, .. } | Payment::Cash(amount) => out.emit(*amount),
        Payment::Nothing => {}
    });
    t.consume("print", amounts, |amount: &u64| assert_eq!(*amount, 1));
    assert_eq!(t.run_blocking().map(|report| report.ledger.residual()).ok(), Some(0));
}
