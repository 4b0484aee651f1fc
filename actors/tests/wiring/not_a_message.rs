use mcpbus_actors::topology::Topology;

struct Plain;

fn main() {
    let mut t = Topology::new("plain");
    let _ = t.produce_iter("plain", [Plain]);
}
