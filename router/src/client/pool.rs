//! A pool of connections to one node, for programs in which many want one of their own for a while.
//!
//! A [`Client`] carries any number of publishers and subscriptions at once, and most programs need one. A pool is for
//! those that must not share: an answer that must not wait behind another's bodies, a limit for each tenant. The names
//! of its limits are those that users of connection pools know.

use super::config::ClientConfig;
use super::error::ConnectError;
use super::handle::{Client, ClientStatus};
use mcpbus_transport::identity::Credentials;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often at least connections are looked at that nobody has used for long.
const REAP: Duration = Duration::from_secs(30);

/// Limits and times of a pool. All are finite.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolConfig {
    /// Most connections, in use or not: `maxPoolSize` (default 20). At least 1.
    #[doc(alias = "maxPoolSize")]
    pub max_pool_size: u32,
    /// Connections that are kept open although nobody uses them: `minIdle` (default 5). At most `max_pool_size`.
    #[doc(alias = "minIdle")]
    pub min_idle: u32,
    /// How long a borrower waits for a connection: `connectionTimeout` (default 3,000 ms). Above 0.
    #[doc(alias = "connectionTimeout")]
    pub connection_timeout: Duration,
    /// After how long a connection that nobody uses is closed, down to `min_idle`: `idleTimeout` (default 10 minutes).
    /// Above 0.
    #[doc(alias = "idleTimeout")]
    pub idle_timeout: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_pool_size: 20,
            min_idle: 5,
            connection_timeout: Duration::from_millis(3000),
            idle_timeout: Duration::from_secs(600),
        }
    }
}

impl PoolConfig {
    /// Sets `maxPoolSize`.
    #[must_use]
    pub fn max_pool_size(mut self, connections: u32) -> Self {
        self.max_pool_size = connections;
        self
    }

    /// Sets `minIdle`.
    #[must_use]
    pub fn min_idle(mut self, connections: u32) -> Self {
        self.min_idle = connections;
        self
    }

    /// Sets `connectionTimeout`.
    #[must_use]
    pub fn connection_timeout(mut self, time: Duration) -> Self {
        self.connection_timeout = time;
        self
    }

    /// Sets `idleTimeout`.
    #[must_use]
    pub fn idle_timeout(mut self, time: Duration) -> Self {
        self.idle_timeout = time;
        self
    }

    fn check(&self) -> Result<(), PoolError> {
        let refuse = |reason: String| Err(PoolError::Config { reason });
        if self.max_pool_size == 0 {
            return refuse("maxPoolSize is 0: nobody could ever have a connection".into());
        }
        if self.min_idle > self.max_pool_size {
            return refuse(format!(
                "minIdle is {}, more than maxPoolSize, which is {}",
                self.min_idle, self.max_pool_size
            ));
        }
        if self.connection_timeout.is_zero() || self.idle_timeout.is_zero() {
            return refuse("connectionTimeout and idleTimeout must be above 0".into());
        }
        Ok(())
    }
}

/// Connections to one node that are borrowed and given back. Clones share it.
#[derive(Clone)]
pub struct ClientPool {
    pool: Pool<Dialer>,
}

/// A connection that was borrowed; dropping it gives it back.
pub struct PooledClient {
    client: bb8::PooledConnection<'static, Lender<Dialer>>,
}

/// How many connections a pool has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolState {
    /// All of them.
    pub connections: u32,
    /// Those that nobody uses.
    pub idle: u32,
}

impl ClientPool {
    /// A pool of connections to `address`, `HOST:PORT`. Waits until `min_idle` of them are up.
    ///
    /// # Errors
    ///
    /// [`PoolError::Config`] for limits that cannot be, and [`PoolError::Connect`] when the node cannot be reached.
    pub async fn connect(
        address: &str,
        credentials: &Credentials,
        client: ClientConfig,
        config: PoolConfig,
    ) -> Result<Self, PoolError> {
        let dialer = Dialer {
            address: address.to_owned(),
            credentials: credentials.clone(),
            config: client,
        };
        let pool = Pool::build(dialer, config).await?;
        Ok(Self { pool })
    }

    /// Borrows a connection, opens one, or waits until one is given back. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`PoolError::Exhausted`] when all are in use for `connection_timeout`; [`PoolError::Connect`] when there is room
    /// for one more and the node cannot be reached in that time.
    pub async fn get(&self) -> Result<PooledClient, PoolError> {
        let client = self.pool.get().await?;
        Ok(PooledClient { client })
    }

    /// How many connections there are.
    pub fn state(&self) -> PoolState {
        self.pool.state()
    }
}

impl fmt::Debug for ClientPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientPool")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Deref for PooledClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl fmt::Debug for PooledClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PooledClient").field(&**self).finish()
    }
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolError {
    /// All connections are in use and none was given back in time; try later, or raise `max_pool_size`.
    Exhausted {
        /// How many there are.
        max_pool_size: u32,
        /// How long was waited.
        after: Duration,
    },
    /// A connection could not be opened.
    Connect(ConnectError),
    /// The limits cannot be; correct them.
    Config {
        /// What is wrong.
        reason: String,
    },
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted {
                max_pool_size,
                after,
            } => write!(
                f,
                "all {max_pool_size} connections of the pool are in use, and none was given back within {} ms; give them \
                 back sooner, or raise maxPoolSize",
                after.as_millis()
            ),
            Self::Connect(error) => write!(f, "the pool has no connection: {error}"),
            Self::Config { reason } => write!(f, "the pool's limits cannot be: {reason}"),
        }
    }
}

impl std::error::Error for PoolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect(error) => Some(error),
            Self::Exhausted { .. } | Self::Config { .. } => None,
        }
    }
}

/// Opens connections, and says of one whether it is still of use.
trait Open: Send + Sync + 'static {
    type Connection: Send + 'static;

    fn open(&self) -> impl Future<Output = Result<Self::Connection, ConnectError>> + Send;

    fn is_over(&self, connection: &Self::Connection) -> bool;
}

struct Dialer {
    address: String,
    credentials: Credentials,
    config: ClientConfig,
}

impl Open for Dialer {
    type Connection = Client;

    async fn open(&self) -> Result<Client, ConnectError> {
        Client::connect(&self.address, &self.credentials, self.config.clone()).await
    }

    /// A client renews a lost link by itself; only one that was closed is of no use.
    fn is_over(&self, client: &Client) -> bool {
        client.status() == ClientStatus::Closed
    }
}

/// What the pool borrows from.
struct Lender<O> {
    opener: O,
    /// What the last attempt to connect said, until one succeeds.
    failed: Arc<Mutex<Option<ConnectError>>>,
}

impl<O: Open> bb8::ManageConnection for Lender<O> {
    type Connection = O::Connection;
    type Error = ConnectError;

    async fn connect(&self) -> Result<O::Connection, ConnectError> {
        let opened = self.opener.open().await;
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) =
            opened.as_ref().err().cloned();
        opened
    }

    async fn is_valid(&self, _connection: &mut O::Connection) -> Result<(), ConnectError> {
        // Whether it is over is asked before a connection is lent, without a round trip.
        Ok(())
    }

    fn has_broken(&self, connection: &mut O::Connection) -> bool {
        self.opener.is_over(connection)
    }
}

struct Pool<O: Open> {
    pool: bb8::Pool<Lender<O>>,
    failed: Arc<Mutex<Option<ConnectError>>>,
    config: PoolConfig,
}

impl<O: Open> Clone for Pool<O> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            failed: self.failed.clone(),
            config: self.config.clone(),
        }
    }
}

impl<O: Open> Pool<O> {
    async fn build(opener: O, config: PoolConfig) -> Result<Self, PoolError> {
        config.check()?;
        let failed = Arc::default();
        let lender = Lender {
            opener,
            failed: Arc::clone(&failed),
        };
        let pool = bb8::Pool::builder()
            .max_size(config.max_pool_size)
            .min_idle(config.min_idle)
            .connection_timeout(config.connection_timeout)
            .idle_timeout(config.idle_timeout)
            .max_lifetime(None)
            .reaper_rate(REAP.min(config.idle_timeout))
            .test_on_check_out(false)
            .build(lender)
            .await
            .map_err(PoolError::Connect)?;
        Ok(Self {
            pool,
            failed,
            config,
        })
    }

    async fn get(&self) -> Result<bb8::PooledConnection<'static, Lender<O>>, PoolError> {
        self.pool.get_owned().await.map_err(|error| match error {
            bb8::RunError::User(error) => PoolError::Connect(error),
            bb8::RunError::TimedOut => self.why_none(),
        })
    }

    /// Why nobody could be lent a connection in time.
    fn why_none(&self) -> PoolError {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match failed.clone() {
            Some(error) if self.state().connections < self.config.max_pool_size => {
                PoolError::Connect(error)
            }
            _ => PoolError::Exhausted {
                max_pool_size: self.config.max_pool_size,
                after: self.config.connection_timeout,
            },
        }
    }

    fn state(&self) -> PoolState {
        let state = self.pool.state();
        PoolState {
            connections: state.connections,
            idle: state.idle_connections,
        }
    }
}

#[cfg(test)]
mod tests;
