//! A relay between clients and a server that impairs UDP, so that unmodified processes can be tested through it.
//!
//! Each client has a socket of its own towards the server and an impairment for each direction, whose chances follow from the
//! relay's seed and the order in which clients came.

use bytes::Bytes;
use mcpbus_actors::Clock as _;
use mcpbus_transport::clock::RuntimeClock;
use mcpbus_transport::link::impairment::{
    ImpairedPath, Impairment, ImpairmentConfig, ImpairmentCounts,
};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// Most clients of a relay; datagrams of further ones are dropped.
const CLIENTS: usize = 64;
/// The largest UDP payload.
const DATAGRAM: usize = 65_535;

/// What happens in each direction.
#[derive(Clone, Debug, Default)]
pub struct RelayImpairment {
    /// From clients to the server.
    pub to_server: ImpairmentConfig,
    /// From the server to clients.
    pub to_clients: ImpairmentConfig,
    /// Where chance begins.
    pub seed: u64,
}

/// A relay that runs on a thread of its own until it is dropped.
#[derive(Debug)]
pub struct UdpRelay {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Dropped, it ends the relay.
    _stop: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Shared {
    clock: RuntimeClock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The directions: to the server and to the client, in turns.
    ways: Vec<Arc<Way>>,
    cut_until: Option<mcpbus_actors::Time>,
}

#[derive(Debug)]
struct Way {
    path: Mutex<ImpairedPath<()>>,
    changed: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl UdpRelay {
    /// Starts a relay to `server` that listens on `listen`; port 0 lets the system choose.
    ///
    /// # Errors
    ///
    /// The address cannot be bound, or the impairment cannot be kept.
    pub fn start(
        listen: SocketAddr,
        server: SocketAddr,
        impairment: RelayImpairment,
    ) -> io::Result<Self> {
        for config in [&impairment.to_server, &impairment.to_clients] {
            config
                .validate()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let front = runtime.block_on(UdpSocket::bind(listen))?;
        let address = front.local_addr()?;
        let shared = Arc::new(Shared {
            clock: RuntimeClock::new(),
            state: Mutex::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let serving = shared.clone();
        std::thread::Builder::new()
            .name("udp-relay".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        () = serve(front, server, impairment, serving) => {}
                    }
                });
            })?;
        Ok(Self {
            address,
            shared,
            _stop: stop,
        })
    }

    /// Where clients reach it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets nothing pass for a while, in both directions, for clients that come meanwhile too.
    pub fn cut(&self, time: Duration) {
        let now = self.shared.clock.now();
        let mut state = lock(&self.shared.state);
        state.cut_until = Some(now + time);
        for way in &state.ways {
            lock(&way.path).cut(now, now + time);
        }
    }

    /// What became of the datagrams to the server, and of those to clients.
    pub fn counts(&self) -> (ImpairmentCounts, ImpairmentCounts) {
        let state = lock(&self.shared.state);
        let sum = |first: usize| {
            let ways = state.ways.iter().skip(first).step_by(2);
            ways.fold(ImpairmentCounts::default(), |sum, way| {
                let counts = lock(&way.path).counts();
                ImpairmentCounts {
                    offered: sum.offered + counts.offered,
                    passed: sum.passed + counts.passed,
                    lost: sum.lost + counts.lost,
                    lost_in_bursts: sum.lost_in_bursts + counts.lost_in_bursts,
                    cut: sum.cut + counts.cut,
                    queue_full: sum.queue_full + counts.queue_full,
                    duplicated: sum.duplicated + counts.duplicated,
                    corrupted: sum.corrupted + counts.corrupted,
                    reordered: sum.reordered + counts.reordered,
                }
            })
        };
        (sum(0), sum(1))
    }
}

impl Shared {
    /// A new direction; one that comes during a cut is cut too.
    fn way(&self, config: &ImpairmentConfig, seed: u64) -> Option<Arc<Way>> {
        let now = self.clock.now();
        let mut path = ImpairedPath::new(Impairment::new(config.clone(), seed).ok()?);
        let mut state = lock(&self.state);
        if let Some(until) = state.cut_until.filter(|until| *until > now) {
            path.cut(now, until);
        }
        let way = Arc::new(Way {
            path: Mutex::new(path),
            changed: Notify::new(),
        });
        state.ways.push(way.clone());
        Some(way)
    }

    fn put(&self, way: &Way, datagram: &[u8]) {
        lock(&way.path).send(self.clock.now(), (), Bytes::copy_from_slice(datagram));
        way.changed.notify_one();
    }
}

async fn serve(
    front: UdpSocket,
    server: SocketAddr,
    impairment: RelayImpairment,
    shared: Arc<Shared>,
) {
    let front = Arc::new(front);
    let mut clients: HashMap<SocketAddr, Arc<Way>> = HashMap::new();
    // Dropped with this future, and with it every client's tasks.
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        // An error of a datagram socket tells of an earlier datagram that could not be sent: it is lost.
        let Ok((length, client)) = front.recv_from(&mut buffer).await else {
            continue;
        };
        if !clients.contains_key(&client) && clients.len() < CLIENTS {
            let seed = impairment.seed.wrapping_add(2 * clients.len() as u64);
            let Ok(back) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await else {
                continue;
            };
            let ways = (
                shared.way(&impairment.to_server, seed),
                shared.way(&impairment.to_clients, seed.wrapping_add(1)),
            );
            let (Some(there), Some(here)) = ways else {
                continue;
            };
            let back = Arc::new(back);
            tasks.spawn(deliver(shared.clone(), there.clone(), back.clone(), server));
            tasks.spawn(deliver(shared.clone(), here.clone(), front.clone(), client));
            tasks.spawn(answers(shared.clone(), back, here));
            clients.insert(client, there);
        }
        if let Some(way) = clients.get(&client) {
            shared.put(way, &buffer[..length]);
        }
    }
}

/// Takes what the server sends to one client.
async fn answers(shared: Arc<Shared>, back: Arc<UdpSocket>, way: Arc<Way>) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        if let Ok((length, _)) = back.recv_from(&mut buffer).await {
            shared.put(&way, &buffer[..length]);
        }
    }
}

/// Sends on what has been under way long enough.
async fn deliver(shared: Arc<Shared>, way: Arc<Way>, socket: Arc<UdpSocket>, to: SocketAddr) {
    loop {
        let (arrived, next) = {
            let mut path = lock(&way.path);
            (path.receive(shared.clock.now()), path.next_arrival())
        };
        if let Some(((), datagram)) = arrived {
            // What cannot be sent is lost, as on any network.
            let _ = socket.send_to(&datagram, to).await;
            continue;
        }
        let changed = way.changed.notified();
        match next {
            None => changed.await,
            Some(next) => {
                let until: Instant = shared.clock.instant(next);
                let _ = timeout_at(until, changed).await;
            }
        }
    }
}
