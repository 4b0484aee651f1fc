//! Inputs that a stage holds beyond its handler.
#![allow(clippy::unwrap_used)]

use mcpbus_actors::stage::{Aggregator, Context, Input, Lease, Out, Progress};
use mcpbus_actors::topology::{Placement, Topology};
use mcpbus_actors::{Outcome, Reason};

use crate::{assert_at_rest, collector};

/// Holds three inputs, then settles them when their sum is emitted.
#[derive(Clone, Default)]
struct Triples {
    held: Vec<Lease>,
    sum: u64,
}

impl Aggregator<u64, u64> for Triples {
    fn add(
        &mut self,
        mut input: Input<'_, u64>,
        out: &mut Out<'_, u64>,
        cx: &mut Context<'_>,
    ) -> Outcome {
        assert!(*input != 40, "a bad number");
        self.held.push(input.lease());
        self.sum += *input;
        if self.held.len() == 3 {
            out.emit(self.sum);
            // The last one settles by being done, its lease with it.
            let last = self.held.pop();
            for lease in self.held.drain(..) {
                cx.settle(lease, Outcome::Done);
            }
            self.sum = 0;
            assert!(last.is_some());
            return Outcome::Done;
        }
        Outcome::Defer
    }

    fn finish(&mut self, out: &mut Out<'_, u64>, cx: &mut Context<'_>) -> Progress {
        out.emit(self.sum);
        for lease in self.held.drain(..) {
            cx.settle(lease, Outcome::Done);
        }
        Progress::Finished
    }
}

#[test]
fn leases_hold_inputs_until_their_output_is_accepted_and_survive_a_panic() {
    let (seen, consumer) = collector();
    let mut t = Topology::new("leases");
    t.placement(Placement::OneThread);
    // 39 is held when 40 panics: it is given to the stage built anew.
    let source = t.produce_iter("source", [1, 2, 3, 39, 40, 5, 6, 7u64]);
    let sums = t.aggregate_with("triples", source, Triples::default);
    t.consume("store", sums, consumer);
    let report = t.run_blocking().unwrap();
    assert_eq!(*seen.lock().unwrap(), [6, 39 + 5 + 6, 7]);
    let edge = report.ledger.edge("source->triples").unwrap();
    assert_eq!(
        (edge.accepted, edge.delivered, edge.dead.get(Reason::Panic)),
        (8, 7, 1)
    );
    assert_at_rest(&report);
}

#[test]
fn held_messages_show_in_the_ledger_while_they_are_held() {
    let mut t = Topology::new("held");
    t.placement(Placement::Threads);
    let rx = t.input::<u64>("rx");
    let sums = t.aggregate_with("triples", rx, Triples::default);
    t.output("tx", sums);
    let mut running = t.start().unwrap();
    let (sender, mut receiver) = (
        running.take_input::<u64>("rx").unwrap(),
        running.take_output::<u64>("tx").unwrap(),
    );
    for number in [1, 2, 3, 4] {
        sender.blocking_send(number).unwrap();
    }
    assert_eq!(receiver.blocking_recv(), Some(6));
    let counts = running.ledger().edge("rx").cloned().unwrap();
    assert_eq!((counts.accepted, counts.residual()), (4, 0));
    assert!(counts.held >= 1);
    running.begin_drain();
    assert_eq!(
        receiver.blocking_recv(),
        Some(4),
        "draining ends open inputs although the sender is still held"
    );
    let report = running.wait_blocking().unwrap();
    assert!(sender.try_send(9).is_err());
    assert_at_rest(&report);
}
