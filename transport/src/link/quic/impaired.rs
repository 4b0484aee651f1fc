//! A UDP socket whose datagrams are impaired, both ways. For tests with real sockets.

use std::fmt;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use mcpbus_actors::{Clock as _, Time};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::time::{Instant, Sleep, sleep_until};

use super::datagram::{self, Label};
use crate::clock::RuntimeClock;
use crate::link::impairment::{
    ImpairedPath, Impairment, ImpairmentConfig, ImpairmentConfigError, ImpairmentCounts,
};

/// What happens to the datagrams of a socket. A seed is one sequence of chances for each direction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SocketImpairment {
    /// To what is sent.
    pub outgoing: ImpairmentConfig,
    /// To what is received.
    pub incoming: ImpairmentConfig,
    /// Where chance begins.
    pub seed: u64,
}

/// How often the socket below is asked before others get their turn.
const ROUNDS: usize = 8;

/// A socket between quinn and another one. Everything happens when quinn's endpoint polls: no task of its own.
pub(super) struct ImpairedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    clock: RuntimeClock,
    state: Mutex<State>,
}

struct State {
    outgoing: ImpairedPath<Label>,
    incoming: ImpairedPath<Label>,
    /// A datagram that the socket below had no room for.
    blocked: Option<(Label, Bytes)>,
    room: Pin<Box<dyn UdpPoller>>,
    timer: Pin<Box<Sleep>>,
    /// Who polls, and for which point in time its timer is set.
    poller: Option<(Waker, Option<Time>)>,
}

impl ImpairedSocket {
    pub(super) fn new(
        inner: Arc<dyn AsyncUdpSocket>,
        impairment: SocketImpairment,
    ) -> Result<Self, ImpairmentConfigError> {
        let path = |config, seed| Ok(ImpairedPath::new(Impairment::new(config, seed)?));
        let state = State {
            outgoing: path(impairment.outgoing, impairment.seed)?,
            // Far from the other direction's sequence.
            incoming: path(impairment.incoming, !impairment.seed)?,
            blocked: None,
            room: inner.clone().create_io_poller(),
            timer: Box::pin(sleep_until(Instant::now())),
            poller: None,
        };
        Ok(Self {
            inner,
            clock: RuntimeClock::new(),
            state: Mutex::new(state),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets nothing pass for a while, in both directions.
    pub(super) fn cut(&self, time: Duration) {
        let now = self.clock.now();
        let mut state = self.state();
        state.outgoing.cut(now, now + time);
        state.incoming.cut(now, now + time);
    }

    /// What became of the datagrams that were sent, and of those received.
    pub(super) fn counts(&self) -> (ImpairmentCounts, ImpairmentCounts) {
        let state = self.state();
        (state.outgoing.counts(), state.incoming.counts())
    }

    /// Hands what has been delayed long enough to the socket below.
    fn release(&self, state: &mut State, now: Time, context: &mut Context<'_>) {
        loop {
            let next = state.blocked.take();
            let Some((label, datagram)) = next.or_else(|| state.outgoing.receive(now)) else {
                return;
            };
            let transmit = Transmit {
                destination: label.peer,
                ecn: label.ecn,
                contents: &datagram,
                segment_size: None,
                src_ip: label.here,
            };
            match self.inner.try_send(&transmit) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    state.blocked = Some((label, datagram));
                    if state.room.as_mut().poll_writable(context).is_pending() {
                        return;
                    }
                }
                // As on any network: what cannot be sent is lost, and its sender sends it again.
                Ok(()) | Err(_) => {}
            }
        }
    }
}

impl AsyncUdpSocket for ImpairedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let now = self.clock.now();
        let mut state = self.state();
        for (label, datagram) in datagram::of_transmit(transmit) {
            state.outgoing.send(now, label, datagram);
        }
        // Whoever polls must not sleep beyond what has just been added.
        if let Some(next) = state.outgoing.next_arrival()
            && let Some((waker, until)) = &state.poller
            && until.is_none_or(|until| next < until)
        {
            waker.wake_by_ref();
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.state();
        let state = &mut *state;
        state.poller = None;
        loop {
            let now = self.clock.now();
            self.release(state, now, context);
            let mut empty = false;
            for _ in 0..ROUNDS {
                let Poll::Ready(received) = self.inner.poll_recv(context, buffers, meta) else {
                    empty = true;
                    break;
                };
                let count = received?;
                for (buffer, meta) in buffers.iter().zip(meta.iter()).take(count) {
                    for (label, datagram) in datagram::of_buffer(buffer, meta) {
                        state.incoming.send(now, label, datagram);
                    }
                }
            }
            let count = datagram::fill(buffers, meta, || state.incoming.receive(now));
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            if !empty {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            // One that is blocked is waited for by its poller, and those behind it with it.
            let outgoing = state.outgoing.next_arrival();
            let outgoing = outgoing.filter(|_| state.blocked.is_none());
            let next = outgoing
                .into_iter()
                .chain(state.incoming.next_arrival())
                .min();
            if let Some(next) = next {
                state.timer.as_mut().reset(self.clock.instant(next));
                if state.timer.as_mut().poll(context).is_ready() {
                    continue;
                }
            }
            state.poller = Some((context.waker().clone(), next));
            return Poll::Pending;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

impl fmt::Debug for ImpairedSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ImpairedSocket")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
