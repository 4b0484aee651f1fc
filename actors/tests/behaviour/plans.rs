//! What is said about a topology before it starts: its mistakes, its pictures, its bound.
#![allow(clippy::unwrap_used)]

use mcpbus_actors::channel::{Capacity, Overflow};
use mcpbus_actors::stage::Out;
use mcpbus_actors::topology::{CheckError, EdgeBound, EdgePlan, StartError, Topology};

#[test]
fn what_is_wrong_with_a_topology_is_said_by_name() {
    let mut t = Topology::new("loop");
    let source = t.produce_iter("source", 1..=5u64);
    let (feedback, again) = t.feedback::<u64>("again");
    let out = t.process(
        "step",
        [source, again],
        |n: &u64, out: &mut Out<'_, u64>| out.emit(*n),
    );
    t.close_loop(feedback, out);
    let stages = vec!["step".to_owned(), "step".to_owned()];
    assert_eq!(t.check().unwrap_err(), CheckError::WaitingCycle { stages });

    let mut t = Topology::new("loose");
    let source = t.produce_iter("source", 1..=5u64);
    let [left, _right] = t.route("split", source, |_: &u64| 0usize);
    t.consume("store", left, |_: &u64| ());
    assert_eq!(
        t.check().unwrap_err(),
        CheckError::LooseEnd {
            stage: "split".into(),
            output: 1
        }
    );

    let mut t = Topology::new("twice");
    let one = t.produce_iter("same", 1..=5u64);
    let two = t.produce_iter("same", 1..=5u64);
    t.consume("store", [one, two], |_: &u64| ());
    assert_eq!(
        t.check().unwrap_err(),
        CheckError::DuplicateName {
            name: "same".into()
        }
    );

    let mut t = Topology::new("other");
    let foreign = Topology::new("foreign").produce_iter("source", 1..=5u64);
    t.consume("store", foreign, |_: &u64| ());
    assert_eq!(
        t.check().unwrap_err(),
        CheckError::ForeignPort {
            stage: "store".into()
        }
    );

    let mut t = Topology::new("unknown");
    t.on_thread("nobody");
    assert_eq!(
        t.check().unwrap_err(),
        CheckError::UnknownStage {
            name: "nobody".into()
        }
    );
    assert_eq!(
        Topology::new("empty").check().unwrap_err(),
        CheckError::Empty
    );

    let mut t = Topology::new("tasks");
    let source = t.produce_iter("source", 1..=5u64);
    t.consume("store", source, |_: &u64| ());
    assert!(matches!(t.start(), Err(StartError::NoRuntime)));
}

#[test]
fn pictures_show_every_stage_and_edge_and_the_bound_is_in_bytes() {
    let mut t = Topology::new("pictures");
    let source = t
        .produce_iter("source", 1..=5u64)
        .capacity(Capacity::messages(10).bytes(1000));
    let [left, right] = t.route("split \"q\"", source, |_: &u64| 0usize);
    t.consume(
        "store",
        [left.overflow(Overflow::DropNewest), right.named("spare")],
        |_: &u64| (),
    );
    let plan = t.check().unwrap();
    // Three queues with the outputs before them, the hands of the router and of the sink, dead letters.
    let message = plan.edges[0].message_bytes;
    let [first, other, _] = [0, 1, 2].map(|edge| {
        let edge: &EdgePlan = &plan.edges[edge];
        EdgeBound::new(edge.capacity, edge.message_bytes)
    });
    let queues = first.queue + 2 * other.queue;
    let turns = first.turn + 2 * other.turn + first.turn + other.turn;
    let bound = queues + turns + (16 << 20);
    assert!(first.queue >= 1000 && first.queue <= 1000 + 2 * 10 * message);
    assert_eq!(plan.memory_bound(), bound);
    let text = plan.to_string();
    assert!(
        text.contains("source (producer)") && text.contains("drop-newest"),
        "{text}"
    );
    assert!(plan.to_mermaid().starts_with("flowchart LR\n"));
    assert!(plan.to_dot().contains("\"split \\\"q\\\"\" -> \"store\""));
    assert!(
        plan.to_json()
            .contains("\"name\":\"spare\",\"from\":\"split \\\"q\\\"\""),
        "{}",
        plan.to_json()
    );
}
