use mcpbus_actors::topology::Topology;

fn main() {
    let mut t = Topology::new("wrong");
    let numbers = t.produce_iter("numbers", 1..=10u64);
    t.consume("print", numbers, |text: &String| println!("{text}"));
}
