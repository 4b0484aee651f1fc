use mcpbus_actors::topology::Topology;

fn main() {
    let mut t = Topology::new("twice");
    let numbers = t.produce_iter("numbers", 1..=10u64);
    t.consume("print", numbers, |_: &u64| ());
    t.consume("store", numbers, |_: &u64| ());
}
