//! What carries drivers: a future for a tokio task, a loop for a thread of its own.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::driver::Step;
use super::group::Group;
use crate::channel::{Waits, WakeChannel};

/// Stages as a future. Needs a tokio runtime with time when one of them uses timers.
pub(crate) fn task(group: Group) -> impl Future<Output = ()> + Send {
    StageTask { group, sleep: None }
}

struct StageTask {
    group: Group,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Future for StageTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.group.poll(cx) {
                Step::Over => return Poll::Ready(()),
                Step::Yield => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Step::Wait(None) => {
                    self.sleep = None;
                    return Poll::Pending;
                }
                Step::Wait(Some(until)) => {
                    let left = until.saturating_since(self.group.now());
                    let mut sleep = Box::pin(tokio::time::sleep(left));
                    if sleep.as_mut().poll(cx).is_ready() {
                        if left.is_zero() {
                            continue;
                        }
                        // The runtime's clock is ahead of ours; look again later rather than spin.
                        cx.waker().wake_by_ref();
                    }
                    self.sleep = Some(sleep);
                    return Poll::Pending;
                }
            }
        }
    }
}

/// Runs stages on this thread until they are over.
pub(crate) fn run_on_thread(mut group: Group) {
    let (waker, wake) = WakeChannel::pair();
    let mut cx = Context::from_waker(&waker);
    loop {
        match group.poll(&mut cx) {
            Step::Over => return,
            Step::Yield => {}
            Step::Wait(until) => {
                let timeout: Option<Duration> =
                    until.map(|until| until.saturating_since(group.now()));
                let mut waits = Waits::new(&wake);
                group.register(&mut waits);
                waits.sleep(timeout);
            }
        }
        while wake.try_recv().is_ok() {}
    }
}
