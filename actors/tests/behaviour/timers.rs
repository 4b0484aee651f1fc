//! Timers of stages.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use mcpbus_actors::stage::{Context, Input, Out, Processor};
use mcpbus_actors::topology::{Placement, Topology};
use mcpbus_actors::{Outcome, Time};

use crate::assert_at_rest;

/// Emits what it has at a fixed time after the first input.
#[derive(Clone, Default)]
struct Window {
    sum: u64,
    ends: Option<Time>,
}

impl Processor<u64, u64> for Window {
    fn process(
        &mut self,
        input: Input<'_, u64>,
        _: &mut Out<'_, u64>,
        cx: &mut Context<'_>,
    ) -> Outcome {
        self.sum += *input;
        self.ends
            .get_or_insert(cx.now() + Duration::from_millis(20));
        Outcome::Done
    }
    fn next_timeout(&self) -> Option<Time> {
        self.ends
    }
    fn handle_timeout(&mut self, out: &mut Out<'_, u64>, _: &mut Context<'_>) {
        self.ends = None;
        out.emit(std::mem::take(&mut self.sum));
    }
}

#[test]
fn timers_fire_on_tasks_and_on_threads() {
    for placement in [Placement::OneThread, Placement::Threads] {
        let mut t = Topology::new("timers");
        t.placement(placement);
        let rx = t.input::<u64>("rx");
        let tx = t.process("window", rx, Window::default());
        t.output("tx", tx);
        let mut running = t.start().unwrap();
        let sender = running.take_input::<u64>("rx").unwrap();
        let mut receiver = running.take_output::<u64>("tx").unwrap();
        sender.blocking_send(5).unwrap();
        sender.blocking_send(6).unwrap();
        let first = receiver.blocking_recv().unwrap();
        let rest = if first == 5 {
            receiver.blocking_recv().unwrap()
        } else {
            0
        };
        assert_eq!(first + rest, 11);
        drop(sender);
        assert_at_rest(&running.wait_blocking().unwrap());
    }
}
