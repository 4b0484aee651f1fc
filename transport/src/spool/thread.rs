//! The thread on which a store blocks.

use super::contract::{Store, WallClock};
use super::request::{Answer, Request, carry_out};
use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Requests that wait for the store. Its owner gathers what comes meanwhile into the next commit.
const CAPACITY: usize = 16;
/// How long [`SpoolThread`] waits for its last request when it is dropped.
const PATIENCE: Duration = Duration::from_secs(10);

/// A thread that owns a store and carries requests out in their order.
///
/// Dropping it lets it finish what it was given, and waits for that up to ten seconds; a disk that hangs for longer keeps
/// the thread, not who dropped it.
#[derive(Debug)]
pub struct SpoolThread {
    requests: Option<SyncSender<Request>>,
    /// Closed when the thread ends.
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

/// Why a request was not taken; it comes back.
#[derive(Debug)]
pub enum Refused {
    /// As many wait already as may. Ask again after the next answer.
    Busy(Request),
    /// The thread has ended: the store or the receiver of answers panicked.
    Ended(Request),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy(_) => "the store has enough to do: ask again after its next answer",
            Self::Ended(_) => "the thread of the store has ended: restart the node",
        })
    }
}

impl std::error::Error for Refused {}

impl SpoolThread {
    /// Starts the thread of a store that has been recovered. `clock` is read before each request, `answer` is called
    /// after each, both on the thread; an `answer` that blocks holds up the store.
    ///
    /// # Errors
    ///
    /// When the system has no thread.
    pub fn start(
        store: Box<dyn Store>,
        mut clock: impl FnMut() -> WallClock + Send + 'static,
        answer: impl FnMut(Answer) + Send + 'static,
    ) -> io::Result<Self> {
        let (requests, received) = sync_channel::<Request>(CAPACITY);
        let (alive, ended) = sync_channel(0);
        let thread = std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || {
                // Locals are dropped in reverse order, by a panic too: who waits for the end hears of it when the rest is gone.
                let _alive: SyncSender<()> = alive;
                let (received, mut answer, mut store) = (received, answer, store);
                while let Ok(request) = received.recv() {
                    answer(carry_out(&mut *store, request, clock()));
                }
            })?;
        Ok(Self {
            requests: Some(requests),
            ended,
            thread: Some(thread),
        })
    }

    /// Hands a request over. Never waits.
    ///
    /// # Errors
    ///
    /// [`Refused`], with the request.
    pub fn ask(&self, request: Request) -> Result<(), Refused> {
        let Some(requests) = &self.requests else {
            return Err(Refused::Ended(request));
        };
        requests.try_send(request).map_err(|error| match error {
            TrySendError::Full(request) => Refused::Busy(request),
            TrySendError::Disconnected(request) => Refused::Ended(request),
        })
    }
}

impl Drop for SpoolThread {
    fn drop(&mut self) {
        // Without a sender the thread ends behind its last request.
        self.requests = None;
        let Some(thread) = self.thread.take() else {
            return;
        };
        if thread.thread().id() == std::thread::current().id() {
            return;
        }
        if self.ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            tracing::error!("the disk of the spool hangs: its last commits may be missing");
            return;
        }
        if thread.join().is_err() {
            tracing::error!("the thread of the spool panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::{
        Operation, Position, QueueId, Recovered, StoreError, Stored, Usage,
    };
    use super::super::memory::MemoryStore;
    use super::*;
    use bytes::Bytes;
    use mcpbus_actors::Time;
    use std::sync::mpsc::{Sender, channel};

    const CLOCK: WallClock = WallClock {
        now: Time::ZERO,
        unix_micros: 0,
    };

    /// A store that begins a commit only when it is told to, and tells when it is dropped.
    struct Gated {
        inside: MemoryStore,
        begun: Sender<()>,
        gate: Receiver<()>,
        dropped: Sender<Usage>,
    }

    impl Store for Gated {
        fn recover(&mut self) -> Result<Recovered, StoreError> {
            self.inside.recover()
        }

        fn commit(
            &mut self,
            operations: &[Operation],
            clock: WallClock,
            sync: bool,
        ) -> Result<Usage, StoreError> {
            self.begun.send(()).expect("the test listens");
            self.gate.recv().expect("the test opens the gate");
            self.inside.commit(operations, clock, sync)
        }

        fn read(
            &mut self,
            queue: QueueId,
            after: Position,
            messages: usize,
            bytes: u64,
            clock: WallClock,
        ) -> Result<Vec<Stored>, StoreError> {
            self.inside.read(queue, after, messages, bytes, clock)
        }
    }

    impl Drop for Gated {
        fn drop(&mut self) {
            let _ = self.dropped.send(self.inside.usage());
        }
    }

    fn request(ticket: u64) -> Request {
        let (key, value) = (Bytes::from(vec![ticket as u8]), Bytes::new());
        Request::Commit {
            ticket,
            operations: vec![Operation::Put { key, value }],
            sync: true,
        }
    }

    fn ticket(answer: &Answer) -> u64 {
        match answer {
            Answer::Committed { ticket, result } => {
                assert!(result.is_ok(), "{result:?}");
                *ticket
            }
            Answer::Read { after, .. } => *after,
        }
    }

    #[test]
    fn requests_are_carried_out_in_order_and_refused_when_too_many_wait() {
        let (begun, has_begun) = channel();
        let (open, gate) = channel();
        let (dropped, is_dropped) = channel();
        let (answer, answers) = channel();
        let inside = MemoryStore::new(1 << 20);
        let store = Gated {
            inside,
            begun,
            gate,
            dropped,
        };
        let thread = SpoolThread::start(
            Box::new(store),
            || CLOCK,
            move |got| {
                answer.send(ticket(&got)).expect("the test listens");
            },
        )
        .expect("a thread");
        thread.ask(request(0)).expect("the thread is idle");
        has_begun.recv().expect("the first has begun");
        for ticket in 1..=CAPACITY as u64 {
            thread.ask(request(ticket)).expect("there is room");
        }
        let read = Request::Read {
            queue: QueueId(1),
            after: 99,
            messages: 1,
            bytes: 1,
        };
        match thread.ask(read) {
            Err(Refused::Busy(Request::Read { after: 99, .. })) => {}
            other => panic!("the request comes back: {other:?}"),
        }
        assert!(
            answers.try_recv().is_err(),
            "nothing is answered before it is done"
        );
        for _ in 0..=CAPACITY {
            open.send(()).expect("the store waits");
        }
        drop(thread);
        let expected: Vec<u64> = (0..=CAPACITY as u64).collect();
        assert_eq!(
            answers.iter().collect::<Vec<_>>(),
            expected,
            "what was given is finished, in order"
        );
        let usage = is_dropped
            .try_recv()
            .expect("the store is closed before the drop returns");
        assert!(usage.bytes > 0);
    }

    #[test]
    fn a_receiver_that_panics_ends_the_thread_and_the_request_comes_back() {
        let (ended, is_ended) = channel::<()>();
        let store = MemoryStore::new(1 << 20);
        let thread = SpoolThread::start(
            Box::new(store),
            || CLOCK,
            move |_| {
                let _ended = &ended;
                panic!("planted");
            },
        )
        .expect("a thread");
        thread.ask(request(0)).expect("the thread is idle");
        assert!(is_ended.recv().is_err(), "the receiver of answers is gone");
        // The channel of requests closes while the thread unwinds: wait for its end.
        assert!(thread.ended.recv().is_err());
        assert!(matches!(thread.ask(request(1)), Err(Refused::Ended(_))));
    }
}
