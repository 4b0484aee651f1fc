//! Two logs in the order of their times, looked up by eight workers that wait, and counted per host and minute.

use mcpbus::actors::stage::window::{self, Windowed};
use mcpbus::actors::stage::{Out, by_event_time};
use mcpbus::actors::topology::{PoolOrder, Topology, Workers};
use mcpbus::actors::{Envelope, Key};
use std::thread::sleep;
use std::time::Duration;

const SECOND: i64 = 1_000_000_000;

/// One request every two seconds: what it answered, by a host whose number is the key.
fn request(number: i64, offset: i64) -> Envelope<u64> {
    let mut envelope = Envelope::new(if number % 10 == 0 { 500 } else { 200 });
    let time = (2 * number + offset) * SECOND;
    envelope.header.set_event_time(Some(time));
    envelope
        .header
        .set_key(Some(Key(number.unsigned_abs() % 3)));
    envelope
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut topology = Topology::new("stream");
    let logs = [0, 1].map(|offset| {
        topology.produce_blocking(&format!("log-{offset}"), move |emitter| {
            let mut requests = (0..120).map(|number| request(number, offset));
            // Whoever drains the topology ends the log.
            let _ = requests.try_for_each(|request| emitter.send_envelope(request));
        })
    });
    let requests = topology.merge_sorted("by time", logs, by_event_time());
    let workers = Workers::new(8).order(PoolOrder::Ordered);
    let failures = topology.pool(
        "look up",
        requests,
        workers,
        |status: &u64, out: &mut Out<'_, bool>| {
            sleep(Duration::from_millis(2));
            out.emit(*status >= 500);
        },
    );
    let per_minute = topology.aggregate_with("per minute", failures, || {
        let count = |failures: &mut u64, failed: &bool| *failures += u64::from(*failed);
        window::tumbling(Duration::from_secs(60), 0, count)
    });
    topology.consume("print", per_minute, |window: &Windowed<u64>| {
        let host = window.key.map_or(0, Key::value);
        let (from, to) = (window.start / SECOND, window.end / SECOND);
        println!(
            "host {host}, {from:3} s to {to:3} s: {} of {} failed",
            window.value, window.messages
        );
    });
    let report = topology.run_blocking()?;
    println!("{}", report.ledger);
    let total = report.ledger.total();
    // In the order of their times nothing is late.
    assert_eq!((total.dead.total(), total.residual()), (0, 0));
    Ok(())
}
