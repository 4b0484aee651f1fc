//! What stages may do and what happens to their messages: outcomes, leases, panics, drains, loops, open ports.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use mcpbus_actors::channel::{Capacity, Overflow};
use mcpbus_actors::runtime::StageStatus;
use mcpbus_actors::stage::{
    Aggregator, Context, Input, Lease, Out, Processor, Producer, Progress, owned,
};
use mcpbus_actors::supervisor::RestartPolicy;
use mcpbus_actors::topology::{CheckError, Placement, Report, RunError, StartError, Topology};
use mcpbus_actors::{Envelope, ManualClock, Outcome, Reason, ShedReason, Time};

const PLACEMENTS: [Placement; 3] = [Placement::OneThread, Placement::Tasks, Placement::Threads];

#[track_caller]
fn assert_at_rest(report: &Report) {
    assert_eq!(report.ledger.residual(), 0, "{report}");
    assert_eq!(report.ledger.total().held, 0, "{report}");
}

fn collector() -> (
    Arc<Mutex<Vec<u64>>>,
    impl FnMut(&u64) + Clone + Send + 'static,
) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&seen);
    (seen, move |n: &u64| keep.lock().unwrap().push(*n))
}

#[test]
fn a_message_is_tried_five_times_then_dead_and_its_outputs_are_taken_back() {
    let (seen, consumer) = collector();
    let tries = Arc::new(AtomicUsize::new(0));
    let mut t = Topology::new("retry");
    t.placement(Placement::OneThread);
    let source = t.produce_iter("source", 0..10u64);
    let count = Arc::clone(&tries);
    let out = t.process("flaky", source, move |n: &u64, out: &mut Out<'_, u64>| {
        out.emit(*n);
        match n {
            3 => {
                count.fetch_add(1, Ordering::SeqCst);
                Outcome::retry()
            }
            7 => Outcome::reject(Reason::Decode),
            // Succeeds at the third attempt.
            5 if count.fetch_add(100, Ordering::SeqCst) < 200 => Outcome::retry(),
            _ => Outcome::Done,
        }
    });
    t.consume("store", out, consumer);
    let mut running = t.start().unwrap();
    let report = running.wait_blocking().unwrap();
    assert_eq!(*seen.lock().unwrap(), [0, 1, 2, 4, 5, 6, 8, 9]);
    assert_eq!(tries.load(Ordering::SeqCst), 5 + 300);
    let edge = report.ledger.edge("source->flaky").unwrap();
    assert_eq!(
        (
            edge.dead.get(Reason::MaxDeliver),
            edge.dead.get(Reason::Decode),
            edge.delivered
        ),
        (1, 1, 8)
    );
    assert_at_rest(&report);
    let letters = running.dead_letters().take();
    let bodies: Vec<(u64, u8)> = letters
        .into_iter()
        .map(|letter| {
            (
                *letter.body.unwrap().downcast::<u64>().unwrap(),
                letter.header.attempt(),
            )
        })
        .collect();
    assert_eq!(bodies, [(3, 5), (7, 0)]);
}

#[test]
fn a_panic_costs_one_message_and_the_stage_is_built_anew() {
    for placement in PLACEMENTS {
        let (seen, consumer) = collector();
        let built = Arc::new(AtomicUsize::new(0));
        let hooked = Arc::new(AtomicUsize::new(0));
        let mut t = Topology::new("panic");
        t.placement(placement);
        let hook = Arc::clone(&hooked);
        t.on_dead_letter(move |letter| {
            assert_eq!(letter.rejection.reason, Reason::Panic);
            hook.fetch_add(1, Ordering::SeqCst);
        });
        let source = t.produce_iter("source", 0..1000u64);
        let count = Arc::clone(&built);
        let out = t.process_with("fragile", source, move || {
            count.fetch_add(1, Ordering::SeqCst);
            |n: &u64, out: &mut Out<'_, u64>| {
                out.emit(*n);
                assert!(n % 400 != 399, "message {n} is bad");
            }
        });
        t.consume("store", out, consumer);
        let report = t.run_blocking().unwrap();
        let expected: Vec<u64> = (0..1000).filter(|n| n % 400 != 399).collect();
        assert_eq!(
            *seen.lock().unwrap(),
            expected,
            "order is kept and outputs of the panic are taken back"
        );
        assert_eq!(
            (built.load(Ordering::SeqCst), hooked.load(Ordering::SeqCst)),
            (3, 2)
        );
        let stage = report.stage("fragile").unwrap();
        assert_eq!((stage.panics, stage.status), (2, StageStatus::Finished));
        assert_eq!(stage.last_panic.as_deref(), Some("message 799 is bad"));
        assert_eq!(
            report
                .ledger
                .edge("source->fragile")
                .unwrap()
                .dead
                .get(Reason::Panic),
            2
        );
        assert_at_rest(&report);
    }
}

#[test]
fn too_many_panics_stop_the_topology_with_an_error() {
    let mut t = Topology::new("hopeless");
    t.placement(Placement::Threads);
    t.default_capacity(Capacity::messages(4));
    t.restart_policy(RestartPolicy {
        max_restarts: 2,
        ..RestartPolicy::default()
    });
    let endless = t.produce_iter("endless", 0..u64::MAX);
    t.consume("broken", endless, |_: &u64| -> () { panic!("always") });
    match t.run_blocking() {
        Err(StartError::Run(RunError::StagePanicked {
            stage,
            text,
            panics,
            report,
        })) => {
            assert_eq!(
                (stage.as_str(), text.as_str(), panics),
                ("broken", "always", 3)
            );
            assert_at_rest(&report);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_producer_that_panics_and_cannot_be_built_again_is_an_error() {
    for blocking in [false, true] {
        let (seen, consumer) = collector();
        let mut t = Topology::new("source");
        t.placement(Placement::OneThread);
        let source = if blocking {
            t.produce_blocking("source", |emitter| {
                emitter.send(1).unwrap();
                panic!("no more");
            })
        } else {
            t.produce_iter("source", (0..5u64).inspect(|n| assert!(*n < 3, "no more")))
        };
        t.consume("store", source, consumer);
        assert!(matches!(
            t.run_blocking(),
            Err(StartError::Run(RunError::StagePanicked { .. }))
        ));
        assert!(seen.lock().unwrap().len() <= 3);
    }
}

#[test]
fn an_expired_message_never_reaches_a_handler() {
    struct Deadlines(u64);
    impl Producer<u64> for Deadlines {
        fn produce(&mut self, out: &mut Out<'_, u64>, cx: &mut Context<'_>) -> Progress {
            let mut envelope = Envelope::new(self.0);
            if self.0 % 2 == 1 {
                envelope.header.set_deadline(Some(cx.now()));
            } else {
                envelope
                    .header
                    .set_deadline(Some(cx.now() + Duration::from_secs(1)));
            }
            out.emit_envelope(envelope);
            self.0 += 1;
            if self.0 == 10 {
                Progress::Finished
            } else {
                Progress::More
            }
        }
    }
    let (seen, consumer) = collector();
    let clock = ManualClock::new();
    clock.set(Time::from_nanos(5));
    let mut t = Topology::new("deadlines");
    t.clock(clock).placement(Placement::OneThread);
    let source = t.produce("source", Deadlines(0));
    t.consume("store", source, consumer);
    let report = t.run_blocking().unwrap();
    assert_eq!(*seen.lock().unwrap(), [0, 2, 4, 6, 8]);
    assert_eq!(report.ledger.edge("source->store").unwrap().expired, 5);
    assert_at_rest(&report);
}

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

#[test]
fn a_drain_ends_endless_producers_and_loses_nothing() {
    for placement in PLACEMENTS {
        let sum = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&sum);
        let (started, first) = mpsc::sync_channel(1);
        let mut t = Topology::new("drain");
        t.placement(placement);
        t.default_capacity(Capacity::messages(16));
        let endless = t.produce_iter("endless", 0..u64::MAX);
        let blocking = t.produce_blocking("blocking", |emitter| {
            let mut number = 0;
            while emitter.send(number).is_ok() {
                number += 1;
            }
        });
        let [left, right] = t.broadcast("copy", t.merge([endless, blocking]));
        let left = t.process(
            "left",
            left,
            owned(|n: u64, out: &mut Out<'_, u64>| out.emit(n)),
        );
        t.consume("count", [left, right], move |_: &u64| {
            let _ = started.try_send(());
            seen.fetch_add(1, Ordering::SeqCst);
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_time()
            .build()
            .unwrap();
        let _inside = runtime.enter();
        let mut running = t.start().unwrap();
        first.recv().unwrap();
        let report = running.drain_blocking().unwrap();
        assert_at_rest(&report);
        let total = report.ledger.total();
        assert_eq!(total.delivered, total.accepted, "{report}");
        assert_eq!(
            report.ledger.stage("count").unwrap().consumed,
            sum.load(Ordering::SeqCst)
        );
    }
}

#[test]
fn a_stop_counts_what_was_in_flight_as_cancelled() {
    for placement in PLACEMENTS {
        let (entered, wait) = mpsc::sync_channel(0);
        let mut t = Topology::new("stop");
        t.placement(placement);
        t.default_capacity(Capacity::messages(8));
        let endless = t.produce_iter("endless", 0..u64::MAX);
        let passed = t.process("pass", endless, |n: &u64, out: &mut Out<'_, u64>| {
            out.emit(*n)
        });
        t.output("tx", passed);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_time()
            .build()
            .unwrap();
        let _inside = runtime.enter();
        let mut running = t.start().unwrap();
        let mut receiver = running.take_output::<u64>("tx").unwrap();
        std::thread::spawn(move || {
            for expected in 0..5 {
                assert_eq!(receiver.blocking_recv(), Some(expected));
            }
            entered.send(receiver).unwrap();
        });
        let receiver = wait.recv().unwrap();
        let report = running.stop_blocking().unwrap();
        drop(receiver);
        assert!(
            report.ledger.total().cancelled + report.ledger.total().held > 0,
            "{report}"
        );
        assert_eq!(running.ledger().residual(), 0, "{}", running.report());
        assert_eq!(running.ledger().total().held, 0, "{}", running.report());
    }
}

#[tokio::test]
async fn a_pause_holds_everything_and_a_resume_goes_on() {
    let mut t = Topology::new("pause");
    let rx = t.input::<u64>("rx");
    let tx = t.process("pass", rx, |n: &u64, out: &mut Out<'_, u64>| out.emit(*n));
    t.output("tx", tx);
    let mut running = t.start().unwrap();
    let (sender, mut receiver) = (
        running.take_input::<u64>("rx").unwrap(),
        running.take_output::<u64>("tx").unwrap(),
    );
    sender.send(1).await.unwrap();
    assert_eq!(receiver.recv().await, Some(1));
    running.pause();
    while running.report().stage("pass").unwrap().status != StageStatus::Paused {
        tokio::task::yield_now().await;
    }
    sender.send(2).await.unwrap();
    tokio::task::yield_now().await;
    assert!(receiver.try_recv().is_err());
    running.resume();
    assert_eq!(receiver.recv().await, Some(2));
    drop(sender);
    assert_at_rest(&running.wait().await.unwrap());
}

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

#[test]
fn a_loop_with_one_edge_that_drops_runs_dry_and_ends() {
    for placement in [Placement::OneThread, Placement::Threads] {
        let (seen, consumer) = collector();
        let mut t = Topology::new("loop");
        t.placement(placement);
        let source = t.produce_iter("source", 1..=5u64);
        let (feedback, again) = t.feedback::<u64>("again");
        let [done, more] = t.route("halve", t.merge([source, again]), |n: &u64| *n > 1);
        let halved = t.process("step", more, |n: &u64, out: &mut Out<'_, u64>| {
            out.emit(n / 2)
        });
        t.close_loop(feedback, halved.overflow(Overflow::DropOldest));
        t.consume("store", done, consumer);
        let report = t.run_blocking().unwrap();
        assert_eq!(*seen.lock().unwrap(), [1, 1, 1, 1, 1]);
        assert_at_rest(&report);
    }
}

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
    assert_eq!(
        plan.memory_bound(),
        3 * (1000 + 2 * Capacity::DEFAULT_BYTES) + (16 << 20)
    );
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

#[test]
fn full_edges_shed_or_refuse_by_their_policy_and_everything_is_counted() {
    for (overflow, lossy) in [
        (Overflow::DropNewest, true),
        (Overflow::DropOldest, true),
        (Overflow::Fail, false),
    ] {
        let (open, gate) = mpsc::sync_channel::<()>(0);
        let gate = Arc::new(Mutex::new(gate));
        let mut t = Topology::new("full");
        t.placement(Placement::Threads);
        let source = t
            .produce_iter("source", 0..5000u64)
            .capacity(Capacity::messages(4))
            .overflow(overflow);
        t.consume("slow", source, move |n: &u64| {
            if *n == 0 {
                let _ = gate.lock().unwrap().recv();
            }
        });
        let mut running = t.start().unwrap();
        while running.report().stage("source").unwrap().status != StageStatus::Finished {
            std::thread::yield_now();
        }
        drop(open);
        let report = running.wait_blocking().unwrap();
        assert_at_rest(&report);
        let counts = report.ledger.edge("source->slow").unwrap();
        assert_eq!(counts.accepted, 5000, "{report}");
        let lost = if lossy {
            counts.shed.get(ShedReason::Overflow)
        } else {
            counts.dead.get(Reason::Quota)
        };
        assert!(lost > 4000, "{report}");
        assert_eq!(counts.delivered + lost, 5000);
    }
}

#[test]
fn a_stage_that_does_not_come_back_is_reported_as_stuck() {
    let (open, gate) = mpsc::sync_channel::<()>(0);
    let gate = Arc::new(Mutex::new(gate));
    let mut t = Topology::new("stuck");
    t.placement(Placement::Threads)
        .stuck_after(Duration::from_millis(1));
    let source = t.produce_iter("source", 0..1u64);
    t.consume("slow", source, move |_: &u64| {
        let _ = gate.lock().unwrap().recv();
    });
    let mut running = t.start().unwrap();
    while !running.report().stage("slow").unwrap().stuck {
        std::thread::yield_now();
    }
    drop(open);
    assert_at_rest(&running.wait_blocking().unwrap());
}
