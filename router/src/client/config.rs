//! Limits and times of a client.

use mcpbus_transport::session::SessionConfig;
use std::time::Duration;

/// Limits and times of a client. All are finite.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Its name, for people (default: the name of the program).
    pub name: String,
    /// Limits of its session.
    pub session: SessionConfig,
    /// Messages that may wait on one flow before its publishers wait (default 1,024).
    pub flow_messages: usize,
    /// Bytes that may wait on all flows before publishers wait (default 1 MiB). One message more is admitted when
    /// nothing waits.
    pub queue_bytes: usize,
    /// Most flows (default 256). Further subjects share them by hash.
    pub flows: u32,
    /// Messages a subscription holds or has granted (default 1,024).
    pub window_messages: u64,
    /// Bytes a subscription holds or has granted (default 2 MiB); at least twice the largest body is used.
    pub window_bytes: u64,
    /// Most requests that wait for an answer (default 1,024).
    pub requests: usize,
    /// How long the first connection may take (default 5 s).
    pub connect_timeout: Duration,
    /// Shortest and longest pause between attempts to connect again (default 50 ms and 2 s).
    pub retry: (Duration, Duration),
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            name: String::from("client"),
            session: SessionConfig::default(),
            flow_messages: 1024,
            queue_bytes: 1 << 20,
            flows: 256,
            window_messages: 1024,
            window_bytes: 2 << 20,
            requests: 1024,
            connect_timeout: Duration::from_secs(5),
            retry: (Duration::from_millis(50), Duration::from_secs(2)),
        }
    }
}

impl ClientConfig {
    /// The window of a subscription in bytes: two of the largest bodies must fit.
    pub(super) fn subscription_bytes(&self) -> u64 {
        self.window_bytes
            .max(2 * (self.session.message_max + mcpbus_transport::wire::record::RECORD_OVERHEAD))
    }
}
