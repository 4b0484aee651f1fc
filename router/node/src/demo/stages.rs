//! The stages of the demo: a source of payments, two risk processors, the aggregator.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mcpbus::client::Delivery;
use mcpbus::codec::{BincodeCodec, Codec as _};
use mcpbus_actors::runtime::Emitter;
use mcpbus_actors::stage::{Aggregator, Context, Input, Out, Processor, Producer, Progress};
use mcpbus_actors::{Clock as _, Kind, Message, Outcome, Reason, Rejection, SystemClock};

use super::risk::{Assessed, Version, assess};
use super::totals::Totals;
use crate::payments::generator::Generator;
use crate::payments::payment::Payment;
use crate::run::{Event, Events};
use crate::stages::lines::{Line, LineSource};

/// Bytes of an encoded payment, at most.
pub const MAX_BODY: usize = 256;

/// Counts that the live picture reads.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Payments that the source has made.
    pub made: Arc<AtomicU64>,
    /// Payments assessed by version 1 and 2.
    pub assessed: [Arc<AtomicU64>; 2],
}

/// The generator as a producer.
#[derive(Debug)]
pub struct Source {
    generator: Generator,
    live: Live,
}

impl Source {
    /// A producer over a generator.
    pub fn new(generator: Generator, live: Live) -> Self {
        Self { generator, live }
    }
}

impl Producer<Payment> for Source {
    fn produce(&mut self, out: &mut Out<'_, Payment>, cx: &mut Context<'_>) -> Progress {
        let now = cx.now().as_nanos();
        for _ in 0..64 {
            match self.generator.next(now) {
                Some(payment) => out.emit(payment),
                None => return Progress::Finished,
            }
        }
        self.live
            .made
            .store(self.generator.made(), Ordering::Relaxed);
        Progress::More
    }
}

/// A row of the bank's file on its way to become a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    bytes: bytes::Bytes,
    position: u64,
    made_at: u64,
    whole: bool,
}

impl Message for Row {
    const KIND: Kind = Kind::new("bank.row", 1, "line");

    fn weight(&self) -> usize {
        size_of::<Self>() + self.bytes.len()
    }
}

/// Reads the rows of a file; the first line is the header. Blocks.
pub fn read_rows(
    mut source: LineSource,
    emitter: &Emitter<Row>,
    clock: SystemClock,
    live: &Live,
    events: &Events,
) {
    let mut position = 0;
    loop {
        let (bytes, whole) = match source.next_line(|| emitter.is_stopped()) {
            Ok(Some(Line::Whole { bytes, .. })) => (bytes, true),
            Ok(Some(Line::TooLong { beginning, .. })) => (beginning, false),
            Ok(None) => return,
            Err(error) => {
                events.report(Event::Failed {
                    stage: "rows".to_owned(),
                    reason: error.to_string(),
                });
                return;
            }
        };
        position += 1;
        let row = Row {
            bytes,
            position,
            made_at: clock.now().as_nanos(),
            whole,
        };
        if emitter.send(row).is_err() {
            return;
        }
        live.made.store(position, Ordering::Relaxed);
    }
}

/// A row becomes a payment, or a dead letter.
pub fn decode_row(row: &Row, out: &mut Out<'_, Payment>) -> Outcome {
    if !row.whole {
        return Outcome::Reject(Rejection::new(Reason::Decode, "the row is too long"));
    }
    match Payment::parse(&row.bytes, row.position, row.made_at) {
        Ok(payment) => {
            out.emit(payment);
            Outcome::Done
        }
        Err(error) => Outcome::Reject(Rejection::new(Reason::Decode, error.to_string())),
    }
}

/// A version of the risk rule as a processor. The delivery is acknowledged when its assessment is on its way.
#[derive(Clone, Debug)]
pub struct Risk {
    version: Version,
    count: Arc<AtomicU64>,
}

impl Risk {
    /// The processor of a version.
    pub fn new(version: Version, live: &Live) -> Self {
        let [one, two] = &live.assessed;
        let count = match version {
            Version::One => one,
            Version::Two => two,
        };
        Self {
            version,
            count: Arc::clone(count),
        }
    }
}

impl Processor<Delivery, Assessed> for Risk {
    fn process(
        &mut self,
        input: Input<'_, Delivery>,
        out: &mut Out<'_, Assessed>,
        _: &mut Context<'_>,
    ) -> Outcome {
        let payment: Payment = match BincodeCodec.decode(input.body(), MAX_BODY) {
            Ok(payment) => payment,
            Err(error) => {
                return Outcome::Reject(Rejection::new(Reason::Decode, error.to_string()));
            }
        };
        out.emit(assess(self.version, &payment));
        self.count.fetch_add(1, Ordering::Relaxed);
        input.take().ack();
        Outcome::Done
    }
}

impl Message for Totals {
    const KIND: Kind = Kind::new("bank.totals", 1, "totals");

    fn weight(&self) -> usize {
        size_of::<Self>() + self.accounts().len() * 96
    }
}

/// Joins what both versions say; gives the totals at the end.
#[derive(Debug, Default)]
pub struct Join(Totals);

impl Aggregator<Assessed, Totals> for Join {
    fn add(
        &mut self,
        input: Input<'_, Assessed>,
        _: &mut Out<'_, Totals>,
        cx: &mut Context<'_>,
    ) -> Outcome {
        self.0.add(&input, cx.now().as_nanos());
        Outcome::Done
    }

    fn finish(&mut self, out: &mut Out<'_, Totals>, _: &mut Context<'_>) -> Progress {
        out.emit(std::mem::take(&mut self.0));
        Progress::Finished
    }
}
