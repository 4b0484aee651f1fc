//! UDP inside a process: sockets with addresses, and an impairment for each direction between two of them.
//!
//! With the paused time of a current-thread runtime a whole mesh of QUIC endpoints runs under virtual time.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mcpbus_actors::{Clock as _, Time};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::time::{Instant, Sleep, sleep_until};

use super::datagram::{self, Label};
use crate::clock::RuntimeClock;
use crate::link::impairment::{
    ImpairedPath, Impairment, ImpairmentConfig, ImpairmentConfigError, ImpairmentCounts,
};

/// Segments that one send may have, as a kernel with segmentation offload allows.
const SEGMENTS: usize = 10;

/// A network of UDP sockets inside of this process. Clones are the same network.
///
/// Datagrams to an address that nobody has are dropped. What is under way is bounded as [`ImpairedPath`] says.
#[derive(Clone)]
pub struct MemoryNetwork {
    shared: Arc<Mutex<Shared>>,
    clock: RuntimeClock,
}

struct Shared {
    seed: u64,
    places: BTreeMap<SocketAddr, Place>,
    /// Datagrams to nobody.
    unreachable: u64,
    trace: u64,
}

/// What is known of an address.
#[derive(Default)]
struct Place {
    bound: bool,
    /// Who polls its socket, and for which point in time its timer is set.
    poller: Option<(Waker, Option<Time>)>,
    /// The ways to it, by sender.
    paths: BTreeMap<SocketAddr, ImpairedPath<Label>>,
}

impl Place {
    fn next(&self) -> Option<(Time, SocketAddr)> {
        let heads = self
            .paths
            .iter()
            .filter_map(|(from, path)| Some((path.next_arrival()?, *from)));
        heads.min()
    }
}

impl Shared {
    /// The way from one address to another; one that was never impaired changes nothing.
    fn path(&mut self, from: SocketAddr, to: SocketAddr) -> &mut ImpairedPath<Label> {
        let place = self.places.entry(to).or_default();
        let plain = || ImpairedPath::new(Impairment::default());
        place.paths.entry(from).or_insert_with(plain)
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl MemoryNetwork {
    /// A network without sockets. The chances of each direction follow from `seed` and its impairments' order.
    pub fn new(seed: u64) -> Self {
        let shared = Shared {
            seed,
            places: BTreeMap::new(),
            unreachable: 0,
            trace: 0,
        };
        Self {
            shared: Arc::new(Mutex::new(shared)),
            clock: RuntimeClock::new(),
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Impairs one direction from now on; what is under way there is dropped.
    ///
    /// # Errors
    ///
    /// [`ImpairmentConfigError`] names the value that cannot be kept; nothing has changed.
    pub fn impair(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        config: ImpairmentConfig,
    ) -> Result<(), ImpairmentConfigError> {
        let mut shared = self.shared();
        shared.seed = mix(shared.seed.wrapping_add(0x9e37_79b9_7f4a_7c15));
        let path = ImpairedPath::new(Impairment::new(config, shared.seed)?);
        shared
            .places
            .entry(to)
            .or_default()
            .paths
            .insert(from, path);
        Ok(())
    }

    /// Lets nothing pass between two addresses for a while, in both directions.
    pub fn cut(&self, one: SocketAddr, other: SocketAddr, time: Duration) {
        let now = self.clock.now();
        let mut shared = self.shared();
        for (from, to) in [(one, other), (other, one)] {
            shared.path(from, to).cut(now, now + time);
        }
    }

    /// What became of the datagrams from one address to another.
    pub fn counts(&self, from: SocketAddr, to: SocketAddr) -> ImpairmentCounts {
        let shared = self.shared();
        let path = shared
            .places
            .get(&to)
            .and_then(|place| place.paths.get(&from));
        path.map(ImpairedPath::counts).unwrap_or_default()
    }

    /// A hash of all that was sent: when, from where, where to, how long. Two runs that sent the same have the same.
    pub fn trace(&self) -> u64 {
        self.shared().trace
    }

    /// How many datagrams were sent to addresses that nobody had.
    pub fn unreachable(&self) -> u64 {
        self.shared().unreachable
    }

    /// A socket with an address that nobody has.
    pub(super) fn bind(&self, address: SocketAddr) -> io::Result<NetworkSocket> {
        let mut shared = self.shared();
        let place = shared.places.entry(address).or_default();
        if place.bound {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        place.bound = true;
        drop(shared);
        Ok(NetworkSocket {
            network: self.clone(),
            address,
            timer: Mutex::new(Box::pin(sleep_until(Instant::now()))),
        })
    }
}

impl fmt::Debug for MemoryNetwork {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MemoryNetwork")
            .field("places", &self.shared().places.len())
            .finish_non_exhaustive()
    }
}

/// A socket of a [`MemoryNetwork`]. Dropped, it gives its address back.
pub(super) struct NetworkSocket {
    network: MemoryNetwork,
    address: SocketAddr,
    timer: Mutex<Pin<Box<Sleep>>>,
}

impl Drop for NetworkSocket {
    fn drop(&mut self) {
        if let Some(place) = self.network.shared().places.get_mut(&self.address) {
            place.bound = false;
            place.poller = None;
        }
    }
}

impl fmt::Debug for NetworkSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "NetworkSocket({})", self.address)
    }
}

/// There is always room: what is too much is dropped on its way.
#[derive(Debug)]
struct AlwaysRoom;

impl UdpPoller for AlwaysRoom {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for NetworkSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysRoom)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let now = self.network.clock.now();
        let mut shared = self.network.shared();
        let to = transmit.destination;
        for (label, datagram) in datagram::of_transmit(transmit) {
            let ports = u64::from(self.address.port()) << 16 | u64::from(to.port());
            let sent = mix(ports << 32 | datagram.len() as u64);
            shared.trace = mix(shared.trace ^ sent).wrapping_add(now.as_nanos());
            if shared.places.get(&to).is_none_or(|place| !place.bound) {
                shared.unreachable += 1;
                continue;
            }
            let label = Label {
                peer: self.address,
                here: Some(to.ip()),
                ..label
            };
            shared.path(self.address, to).send(now, label, datagram);
        }
        let place = shared.places.get(&to);
        // Whoever polls there must not sleep beyond what has just been added.
        if let Some(place) = place
            && let Some((next, _)) = place.next()
            && let Some((waker, until)) = &place.poller
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
        let mut timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut shared = self.network.shared();
        let Some(place) = shared.places.get_mut(&self.address) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        loop {
            let now = self.network.clock.now();
            let count = datagram::fill(buffers, meta, || {
                let (_, from) = place.next()?;
                place.paths.get_mut(&from)?.receive(now)
            });
            if count > 0 {
                place.poller = None;
                return Poll::Ready(Ok(count));
            }
            let next = place.next().map(|(at, _)| at);
            if let Some(next) = next {
                timer.as_mut().reset(self.network.clock.instant(next));
                if timer.as_mut().poll(context).is_ready() {
                    continue;
                }
            }
            place.poller = Some((context.waker().clone(), next));
            return Poll::Pending;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn max_transmit_segments(&self) -> usize {
        SEGMENTS
    }

    fn may_fragment(&self) -> bool {
        false
    }
}
