//! Messages offered at a rate, whatever becomes of them, and what became of them.

use mcpbus::Failure;
use mcpbus::client::{Publication, PublishError, Publisher, ReceiptError};
use mcpbus_benches::failed::Failed;
use mcpbus_benches::series::Series;
use serde::Serialize;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How a message ended, as its publisher sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Processed in time.
    InTime,
    /// Processed when its time was over: the work was for nobody.
    Late,
    /// `expired`: it was not worked on.
    Expired,
    /// `limited`: a guard refused it.
    Refused,
    /// The publisher's own queue was full: the bus holds its publishers back.
    HeldBack,
    /// Anything else.
    Other,
}

/// One message that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) number: usize,
    /// When it was due, since the load began.
    pub(crate) due: Duration,
    pub(crate) end: End,
    /// From when it was due until its publisher knew.
    pub(crate) took: Duration,
}

/// What became of the messages of one load. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Ends(Arc<Mutex<Vec<Ended>>>);

impl Ends {
    fn push(&self, ended: Ended) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(ended);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn all(&self) -> Vec<Ended> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until so many have ended, but no longer than this.
    pub(crate) fn wait_for(&self, count: usize, most: Duration) {
        let begin = Instant::now();
        while self.count() < count && begin.elapsed() < most {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Messages at a steady rate: an open loop, nobody waits for an answer before the next one is sent.
pub(crate) struct Load<'a> {
    pub(crate) publishers: &'a [Publisher],
    /// They take turns, and so do the publishers.
    pub(crate) subjects: &'a [String],
    /// Messages per second.
    pub(crate) rate: f64,
    pub(crate) duration: Duration,
    /// How long each message is worth anything, from when it was due.
    pub(crate) time_to_live: Option<Duration>,
}

impl Load<'_> {
    /// Offers all of it; answers are noted in `ends` by tasks of the runtime, also after this has returned. Returns how many messages
    /// were due. `body` makes the body of a message from its number.
    pub(crate) fn offer(
        &self,
        runtime: &Handle,
        ends: &Ends,
        mut body: impl FnMut(usize) -> Vec<u8>,
    ) -> Result<usize, Failed> {
        let begin = Instant::now();
        let count = (self.rate * self.duration.as_secs_f64()) as usize;
        for number in 0..count {
            let due = Duration::from_secs_f64(number as f64 / self.rate);
            let at = begin + due;
            let early = at.saturating_duration_since(Instant::now());
            if !early.is_zero() {
                thread::sleep(early);
            }
            let subject = &self.subjects[number % self.subjects.len()];
            let mut message = Publication::new(subject.as_str(), body(number));
            if let Some(time) = self.time_to_live {
                // Who is late himself gives his message less time.
                message = message.time_to_live(time.saturating_sub(at.elapsed()));
            }
            let publisher = &self.publishers[number % self.publishers.len()];
            let publish = pin!(publisher.publish_with_receipt(message));
            let (time, ends) = (self.time_to_live, ends.clone());
            let note = move |result: Option<Result<(), ReceiptError>>| {
                let took = at.elapsed();
                let late = time.is_some_and(|time| took > time);
                let end = match result {
                    None => End::HeldBack,
                    Some(Ok(())) if late => End::Late,
                    Some(Ok(())) => End::InTime,
                    Some(Err(ReceiptError::Failed(Failure::Expired))) => End::Expired,
                    Some(Err(ReceiptError::Failed(Failure::Limited { .. }))) => End::Refused,
                    Some(Err(_)) => End::Other,
                };
                ends.push(Ended {
                    number,
                    due,
                    end,
                    took,
                });
            };
            match publish.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(receipt)) => {
                    runtime.spawn(async move { note(Some(receipt.await)) });
                }
                Poll::Ready(Err(PublishError::Full(_))) | Poll::Pending => note(None),
                Poll::Ready(Err(error)) => return Err(Failed::new("a message", error)),
            }
        }
        thread::sleep((begin + self.duration).saturating_duration_since(Instant::now()));
        Ok(count)
    }
}

/// How many messages ended in which way.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Tally {
    pub(crate) in_time: usize,
    pub(crate) late: usize,
    pub(crate) expired: usize,
    pub(crate) refused: usize,
    pub(crate) held_back: usize,
    pub(crate) other: usize,
    /// Nothing was heard of them.
    pub(crate) unanswered: usize,
}

impl Tally {
    pub(crate) fn of(ended: &[Ended], offered: usize) -> Self {
        let count = |end: End| ended.iter().filter(|ended| ended.end == end).count();
        Self {
            in_time: count(End::InTime),
            late: count(End::Late),
            expired: count(End::Expired),
            refused: count(End::Refused),
            held_back: count(End::HeldBack),
            other: count(End::Other),
            unanswered: offered.saturating_sub(ended.len()),
        }
    }
}

/// Milliseconds that those took which were processed in time.
pub(crate) fn latencies<'a>(ended: impl IntoIterator<Item = &'a Ended>) -> Series {
    let mut series = Series::default();
    let in_time = ended.into_iter().filter(|ended| ended.end == End::InTime);
    in_time.for_each(|ended| series.push(ended.took.as_secs_f64() * 1e3));
    series
}
