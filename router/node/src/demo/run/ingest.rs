//! The ingest node's side: payments from a generator or a file, published one by one.

use mcpbus::AckLevel;
use mcpbus::client::{Client, Publication};
use mcpbus::codec::{BincodeCodec, Codec as _, EncodeError};
use mcpbus_actors::channel::{Capacity, Receiver};
use mcpbus_actors::topology::Topology;
use mcpbus_actors::{Key, SystemClock};

use super::{DemoError, DemoOptions, EDGE, SUBJECT};
use crate::demo::stages::{Live, MAX_BODY, Source, decode_row, read_rows};
use crate::payments::{Generator, GeneratorSpec, Payment};
use crate::run::Events;
use crate::stages::lines::{LineSource, LinesSpec};

/// The ingest node's topology: generator or file, then the open port `payments`.
pub(super) fn source(
    options: &DemoOptions,
    clock: SystemClock,
    live: &Live,
    events: &Events,
) -> Result<Topology, DemoError> {
    let mut topology = Topology::new("ingest");
    topology
        .clock(clock)
        .default_capacity(Capacity::messages(EDGE));
    let payments = match &options.input {
        None => {
            let spec = GeneratorSpec {
                count: options.messages,
                seed: options.seed,
                ..GeneratorSpec::default()
            };
            topology.produce(
                "generator",
                Source::new(Generator::new(&spec), live.clone()),
            )
        }
        Some(path) => {
            let spec = LinesSpec {
                path: path.clone(),
                header: true,
                follow: false,
                max_line: 1 << 20,
            };
            let source = LineSource::open(spec).map_err(DemoError::Input)?;
            let (live, events) = (live.clone(), events.clone());
            let rows = topology.produce_blocking("rows", move |emitter| {
                read_rows(source, &emitter, clock, &live, &events)
            });
            topology.process("decode", rows, decode_row)
        }
    };
    topology.output("payments", payments);
    Ok(topology)
}

/// Publishes payments until the source ends.
pub(super) async fn publish(mut payments: Receiver<Payment>, client: Client) -> Result<(), String> {
    use std::fmt::Write as _;
    let publisher = client.publisher(AckLevel::Accepted);
    let mut subject = String::new();
    while let Some(payment) = payments.recv().await {
        subject.clear();
        // Writing to a String cannot fail.
        let _infallible = write!(subject, "{SUBJECT}.{}", payment.account);
        let mut body = Vec::with_capacity(64);
        let encoded: Result<(), EncodeError> = BincodeCodec.encode(&payment, MAX_BODY, &mut body);
        encoded.map_err(|error| error.to_string())?;
        let message = Publication::new(subject.as_str(), body)
            .key(Key::from_bytes(&subject.as_bytes()[SUBJECT.len() + 1..]));
        publisher
            .publish(message)
            .await
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}
