//! Binding, dialing and accepting.

use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{AsyncUdpSocket, ClientConfig, Endpoint, Incoming, Runtime, ServerConfig, VarInt};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::config::QuicConfig;
use super::connection::QuicLink;
use super::impaired::{ImpairedSocket, SocketImpairment};
use super::network::MemoryNetwork;
use super::refusal::{DialError, RefusalReason};
use super::socket::{self, BindError};
use crate::identity::{COMMON_DNS_NAME, Credentials, TlsError, dns_name_of, tls, validate_name};
use crate::link::contract::{CloseCode, LinkError, short_reason};
use crate::link::impairment::ImpairmentCounts;

/// A UDP port from which links are dialed and on which they are accepted.
///
/// It runs on the tokio runtime on which it was bound. Links outlive it; [`QuicEndpoint::close`] ends them.
pub struct QuicEndpoint {
    endpoint: Endpoint,
    config: QuicConfig,
    accepts: bool,
    dialer: Mutex<ClientConfig>,
    handshakes: tokio::sync::Mutex<JoinSet<Handshake>>,
    refusals: Refusals,
    impaired: Option<Arc<ImpairedSocket>>,
}

/// What an endpoint stands on.
struct Socket {
    below: Arc<dyn AsyncUdpSocket>,
    impaired: Option<Arc<ImpairedSocket>>,
    runtime: Arc<dyn Runtime>,
    /// Where the endpoint's chances begin; none takes the system's.
    seed: Option<u64>,
}

impl Socket {
    fn real(socket: UdpSocket, address: SocketAddr) -> Result<Self, BindError> {
        let runtime = quinn::default_runtime().ok_or(BindError::NoRuntime)?;
        let below = runtime
            .wrap_udp_socket(socket)
            .map_err(|source| BindError::Io { address, source })?;
        Ok(Self {
            below,
            impaired: None,
            runtime,
            seed: None,
        })
    }

    fn impaired(self, impairment: SocketImpairment) -> Result<Self, BindError> {
        let socket = ImpairedSocket::new(self.below, impairment).map_err(BindError::Impairment)?;
        let socket = Arc::new(socket);
        Ok(Self {
            below: socket.clone(),
            impaired: Some(socket),
            ..self
        })
    }
}

type Handshake = Result<QuicLink, (SocketAddr, RefusalReason, String)>;

impl QuicEndpoint {
    /// Binds an address for accepting and dialing. Port 0 lets the system choose; see [`QuicEndpoint::local_address`].
    ///
    /// An endpoint on a loopback address reaches loopback addresses only.
    ///
    /// # Errors
    ///
    /// [`BindError`] says what is in the way and names the address.
    pub fn bind(
        address: SocketAddr,
        credentials: &Credentials,
        config: QuicConfig,
    ) -> Result<Self, BindError> {
        config.validate().map_err(BindError::Config)?;
        let socket = Socket::real(socket::bind(address, config.socket_buffer)?, address)?;
        Self::on_socket(socket, address, credentials, config, true)
    }

    /// Binds a port of the system's choice for dialing only, to addresses of both families where the host has both.
    ///
    /// # Errors
    ///
    /// As [`QuicEndpoint::bind`].
    pub fn dialer(credentials: &Credentials, config: QuicConfig) -> Result<Self, BindError> {
        config.validate().map_err(BindError::Config)?;
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        let socket = Socket::real(socket::bind_any(config.socket_buffer)?, address)?;
        Self::on_socket(socket, address, credentials, config, false)
    }

    /// As [`QuicEndpoint::bind`], with datagrams that are impaired in both directions. For tests.
    ///
    /// # Errors
    ///
    /// As [`QuicEndpoint::bind`]; [`BindError::Impairment`] for one that cannot be kept.
    pub fn bind_impaired(
        address: SocketAddr,
        credentials: &Credentials,
        config: QuicConfig,
        impairment: SocketImpairment,
    ) -> Result<Self, BindError> {
        config.validate().map_err(BindError::Config)?;
        let socket = Socket::real(socket::bind(address, config.socket_buffer)?, address)?;
        let socket = socket.impaired(impairment)?;
        Self::on_socket(socket, address, credentials, config, true)
    }

    /// As [`QuicEndpoint::dialer`], with datagrams that are impaired in both directions. For tests.
    ///
    /// # Errors
    ///
    /// As [`QuicEndpoint::bind_impaired`].
    pub fn dialer_impaired(
        credentials: &Credentials,
        config: QuicConfig,
        impairment: SocketImpairment,
    ) -> Result<Self, BindError> {
        config.validate().map_err(BindError::Config)?;
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        let socket = Socket::real(socket::bind_any(config.socket_buffer)?, address)?;
        let socket = socket.impaired(impairment)?;
        Self::on_socket(socket, address, credentials, config, false)
    }

    /// Binds an address of a network inside of this process, for accepting and dialing. For simulation: the endpoint follows
    /// the runtime's time, paused or not, and draws its own chances (not those of the cryptography) from `seed`.
    ///
    /// # Errors
    ///
    /// As [`QuicEndpoint::bind`].
    pub fn on_network(
        network: &MemoryNetwork,
        address: SocketAddr,
        credentials: &Credentials,
        config: QuicConfig,
        seed: u64,
    ) -> Result<Self, BindError> {
        config.validate().map_err(BindError::Config)?;
        let runtime = quinn::default_runtime().ok_or(BindError::NoRuntime)?;
        let socket = network
            .bind(address)
            .map_err(|source| socket::bind_error(address, source))?;
        let socket = Socket {
            below: Arc::new(socket),
            impaired: None,
            runtime,
            seed: Some(seed),
        };
        Self::on_socket(socket, address, credentials, config, true)
    }

    /// The one place where a quinn endpoint is made: with another socket and runtime the rest stays as it is.
    fn on_socket(
        socket: Socket,
        address: SocketAddr,
        credentials: &Credentials,
        config: QuicConfig,
        accepts: bool,
    ) -> Result<Self, BindError> {
        let server = if accepts {
            Some(server_config(credentials, &config).map_err(BindError::Tls)?)
        } else {
            None
        };
        let dialer = client_config(credentials, &config).map_err(BindError::Tls)?;
        let mut endpoint_config = config.endpoint().map_err(BindError::Config)?;
        if let Some(seed) = socket.seed {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            endpoint_config.rng_seed(Some(bytes));
        }
        let endpoint = Endpoint::new_with_abstract_socket(
            endpoint_config,
            server,
            socket.below,
            socket.runtime,
        )
        .map_err(|source| BindError::Io { address, source })?;
        Ok(Self {
            endpoint,
            config,
            accepts,
            dialer: Mutex::new(dialer),
            handshakes: tokio::sync::Mutex::default(),
            refusals: Refusals::default(),
            impaired: socket.impaired,
        })
    }

    /// Lets nothing pass for a while, in both directions; false where the endpoint was not bound with an impairment.
    pub fn cut(&self, time: Duration) -> bool {
        match &self.impaired {
            Some(socket) => {
                socket.cut(time);
                true
            }
            None => false,
        }
    }

    /// What became of the datagrams sent and of those received, where the endpoint was bound with an impairment.
    pub fn impairment_counts(&self) -> Option<(ImpairmentCounts, ImpairmentCounts)> {
        self.impaired.as_ref().map(|socket| socket.counts())
    }

    /// The address that was bound, with the port that the system chose.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.endpoint.local_addr().ok()
    }

    /// Uses other credentials for every handshake from now on; links that exist stay.
    ///
    /// # Errors
    ///
    /// [`TlsError`] when the credentials cannot be used; the old ones stay in use.
    pub fn set_credentials(&self, credentials: &Credentials) -> Result<(), TlsError> {
        let dialer = client_config(credentials, &self.config)?;
        if self.accepts {
            self.endpoint
                .set_server_config(Some(server_config(credentials, &self.config)?));
        }
        *self.dialer.lock().unwrap_or_else(PoisonError::into_inner) = dialer;
        Ok(())
    }

    /// Dials a peer. Ok means that both ends have verified each other.
    ///
    /// With `expected`, only the peer of that name will do; without, any that a trusted authority has named.
    /// Dropping the future gives the dial up.
    ///
    /// # Errors
    ///
    /// [`DialError`] says at which end and why. [`DialError::is_temporary`] tells whether to try again.
    pub async fn dial(
        &self,
        address: SocketAddr,
        expected: Option<&str>,
    ) -> Result<QuicLink, DialError> {
        let server_name = match expected {
            None => COMMON_DNS_NAME.to_owned(),
            Some(name) => {
                validate_name(name).map_err(|error| DialError::Invalid {
                    address,
                    problem: error.to_string(),
                })?;
                dns_name_of(name)
            }
        };
        if self.endpoint.open_connections() >= self.config.connections {
            return Err(DialError::Unavailable {
                problem: "it has as many connections as it may have",
            });
        }
        let waited = self.config.handshake_timeout;
        let dialer = self
            .dialer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let connecting = self
            .endpoint
            .connect_with(dialer, address, &server_name)
            .map_err(|error| DialError::of_connect(address, error))?;
        let handshake = async {
            let connection = connecting
                .await
                .map_err(|error| DialError::of(address, waited, &error))?;
            let link = QuicLink::new(connection.clone(), self.config.highest_lane)
                .map_err(|error| DialError::of_certificate(address, error))?;
            match link.confirmed().await {
                Ok(()) => Ok(link),
                Err(LinkError::Violation { problem }) if connection.close_reason().is_none() => {
                    Err(DialError::Failed { address, problem })
                }
                Err(error) => Err(match connection.close_reason() {
                    Some(reason) => DialError::of(address, waited, &reason),
                    None => DialError::Failed {
                        address,
                        problem: error.to_string(),
                    },
                }),
            }
        };
        timeout(waited, handshake)
            .await
            .unwrap_or(Err(DialError::NoAnswer { address, waited }))
    }

    /// Waits for the next peer that has dialed and been verified. Cancel safe.
    ///
    /// Handshakes run side by side while this is awaited, so a slow or hostile dialer delays no other. What is refused is
    /// counted, see [`QuicEndpoint::refused`], and logged.
    ///
    /// # Errors
    ///
    /// [`EndpointClosed`], also for an endpoint that only dials.
    pub async fn accept(&self) -> Result<QuicLink, EndpointClosed> {
        if !self.accepts {
            return Err(EndpointClosed);
        }
        let mut handshakes = self.handshakes.lock().await;
        loop {
            let room = handshakes.len() < self.config.pending_handshakes;
            tokio::select! {
                // In this order and not by chance, so that a simulated run repeats itself; what ends makes room first.
                biased;
                Some(done) = handshakes.join_next(), if !handshakes.is_empty() => match done {
                    Ok(Ok(link)) => return Ok(link),
                    Ok(Err((address, reason, problem))) => self.refusals.record(address, reason, &problem),
                    Err(error) => tracing::error!(%error, "a handshake task ended abnormally"),
                },
                incoming = self.endpoint.accept(), if room => match incoming {
                    Some(incoming) => self.begin(incoming, &mut handshakes),
                    None => return Err(EndpointClosed),
                },
            }
        }
    }

    fn begin(&self, incoming: Incoming, handshakes: &mut JoinSet<Handshake>) {
        let address = incoming.remote_address();
        if self.endpoint.open_connections() >= self.config.connections {
            incoming.refuse();
            self.refusals.record(
                address,
                RefusalReason::ConnectionLimit,
                "too many connections",
            );
            return;
        }
        // Under load a dialer first shows that it receives at its address; forged addresses cost nothing more.
        if handshakes.len() >= self.config.validate_addresses_from && incoming.may_retry() {
            // The only error is that the address is validated already, and that was asked just before.
            let _ = incoming.retry();
            return;
        }
        let (highest_lane, limit) = (self.config.highest_lane, self.config.handshake_timeout);
        handshakes.spawn(async move {
            let refused = |reason, problem: String| (address, reason, problem);
            let handshake = async {
                let connection = incoming
                    .await
                    .map_err(|error| refused(RefusalReason::of(&error), error.to_string()))?;
                let link = QuicLink::new(connection, highest_lane)
                    .map_err(|error| refused(RefusalReason::BadCertificate, error.to_string()))?;
                link.confirm()
                    .await
                    .map_err(|error| refused(RefusalReason::Failed, error.to_string()))?;
                Ok(link)
            };
            timeout(limit, handshake).await.unwrap_or_else(|_| {
                Err(refused(
                    RefusalReason::HandshakeTimeout,
                    "took too long".to_owned(),
                ))
            })
        });
    }

    /// How many connections were refused for a reason since the endpoint was bound.
    pub fn refused(&self, reason: RefusalReason) -> u64 {
        self.refusals.counts[reason.index()].load(Ordering::Relaxed)
    }

    /// How many connections exist now, dialed and accepted, handshakes included.
    pub fn connections(&self) -> usize {
        self.endpoint.open_connections()
    }

    /// Ends all links and accepts no more; what is under way is discarded.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.endpoint
            .close(VarInt::from_u32(code.0), short_reason(reason).as_bytes());
    }

    /// Waits until the peers of all closed links have been told, or cannot be. Cancel safe.
    pub async fn wait_idle(&self) {
        self.endpoint.wait_idle().await;
    }
}

impl fmt::Debug for QuicEndpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("QuicEndpoint")
            .field("local_address", &self.local_address())
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

fn client_config(credentials: &Credentials, config: &QuicConfig) -> Result<ClientConfig, TlsError> {
    let tls =
        QuicClientConfig::try_from(tls::client_config(credentials)?).map_err(TlsError::new)?;
    let mut client = ClientConfig::new(Arc::new(tls));
    client.transport_config(config.transport());
    Ok(client)
}

fn server_config(credentials: &Credentials, config: &QuicConfig) -> Result<ServerConfig, TlsError> {
    let tls =
        QuicServerConfig::try_from(tls::server_config(credentials)?).map_err(TlsError::new)?;
    let mut server = ServerConfig::with_crypto(Arc::new(tls));
    server
        .transport_config(config.transport())
        .max_incoming(config.pending_handshakes)
        // A dialer has one datagram of use before it is accepted; early data is refused.
        .incoming_buffer_size(64 * 1024)
        .incoming_buffer_size_total(1024 * 1024);
    Ok(server)
}

/// The endpoint accepts no more: it was closed, or it only dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointClosed;

impl fmt::Display for EndpointClosed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .write_str("the endpoint accepts no more connections: it was closed, or it only dials")
    }
}

impl std::error::Error for EndpointClosed {}

/// Counts refusals, and logs them at a bounded rate: a storm of strangers must not become a storm of lines.
#[derive(Default)]
struct Refusals {
    counts: [AtomicU64; RefusalReason::ALL.len()],
    log: Mutex<LogWindow>,
}

#[derive(Default)]
struct LogWindow {
    began: Option<Instant>,
    lines: u32,
    silent: u64,
}

impl Refusals {
    const WINDOW: Duration = Duration::from_secs(10);
    const LINES_PER_WINDOW: u32 = 10;

    fn record(&self, address: SocketAddr, reason: RefusalReason, problem: &str) {
        self.counts[reason.index()].fetch_add(1, Ordering::Relaxed);
        let silent = {
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            if log.began.is_none_or(|began| now - began >= Self::WINDOW) {
                log.began = Some(now);
                log.lines = 0;
            }
            if log.lines >= Self::LINES_PER_WINDOW {
                log.silent += 1;
                return;
            }
            log.lines += 1;
            std::mem::take(&mut log.silent)
        };
        tracing::warn!(%address, reason = reason.name(), problem, more_since = silent, "refused a connection");
    }
}
