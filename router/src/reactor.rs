//! Threads that carry I/O out: each a current-thread runtime, so that sessions need no locks and no user code can
//! delay a heartbeat.

use futures_util::future::LocalBoxFuture;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

/// Jobs that may wait for a reactor to take them.
const JOBS: usize = 64;

type Job = Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>;

/// A thread with a current-thread runtime. Clones are the same thread; it ends when the last one is dropped and its
/// tasks are done.
#[derive(Clone)]
pub(crate) struct Reactor {
    jobs: mpsc::Sender<Job>,
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor").finish_non_exhaustive()
    }
}

impl Reactor {
    /// Starts a thread of this name.
    pub(crate) fn start(name: &str) -> io::Result<Self> {
        let (jobs, mut inbox) = mpsc::channel::<Job>(JOBS);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let tasks = LocalSet::new();
                runtime.block_on(tasks.run_until(async {
                    while let Some(job) = inbox.recv().await {
                        tokio::task::spawn_local(job());
                    }
                }));
                // Nobody can hand in more; what runs goes on to its end.
                runtime.block_on(tasks);
            })?;
        Ok(Self { jobs })
    }

    /// The calling thread, within a `LocalSet`, as a reactor: everything happens where it is driven.
    #[cfg(feature = "quic")]
    pub(crate) fn here() -> Self {
        let (jobs, mut inbox) = mpsc::channel::<Job>(JOBS);
        tokio::task::spawn_local(async move {
            while let Some(job) = inbox.recv().await {
                tokio::task::spawn_local(job());
            }
        });
        Self { jobs }
    }

    /// Runs a task on the thread. Waits while many jobs wait already; fails when the thread is gone.
    pub(crate) async fn spawn<F>(
        &self,
        job: impl FnOnce() -> F + Send + 'static,
    ) -> Result<(), ReactorGone>
    where
        F: Future<Output = ()> + 'static,
    {
        let job: Job = Box::new(move || Box::pin(job()));
        self.jobs.send(job).await.map_err(|_| ReactorGone)
    }
}

/// The thread of a reactor has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReactorGone;

impl fmt::Display for ReactorGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the I/O thread has ended")
    }
}

impl std::error::Error for ReactorGone {}

/// Waits for a future on this thread, parking it meanwhile. For futures that need no runtime.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
