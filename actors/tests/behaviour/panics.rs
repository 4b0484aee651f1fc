//! A stage that panics costs one message, and too many panics end the run.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mcpbus_actors::Reason;
use mcpbus_actors::channel::Capacity;
use mcpbus_actors::runtime::StageStatus;
use mcpbus_actors::stage::Out;
use mcpbus_actors::supervisor::RestartPolicy;
use mcpbus_actors::topology::{Placement, RunError, StartError, Topology};

use crate::{PLACEMENTS, assert_at_rest, collector};

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
