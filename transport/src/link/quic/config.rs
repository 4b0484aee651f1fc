//! The bounds of QUIC links.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quinn::{EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

use crate::link::contract::LaneId;

/// The largest UDP payload that fits into an Ethernet frame over IPv4.
const ETHERNET_PAYLOAD: u16 = 1472;

/// The bounds of an endpoint and its links. All are finite; the defaults suit up to some hundred links per process.
///
/// The memory that one link can take is at most `receive_window + send_window`, and that of an endpoint is at most
/// `connections` times that: a node that must stay below a budget lowers windows or connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuicConfig {
    /// The highest lane, the same at both ends. By default 8: one control lane and eight data lanes.
    pub highest_lane: LaneId,
    /// How many bytes of a lane may be on their way to a reader that does not read. By default 1 MiB.
    pub stream_window: u32,
    /// How many bytes of all lanes together may be on their way to this end. By default 16 MiB.
    pub receive_window: u32,
    /// How many written bytes may wait for their acknowledgement, all lanes together. By default 8 MiB.
    pub send_window: u32,
    /// After how long without a sign of the peer a link counts as cut. By default 10 s; the lower of both ends counts.
    pub idle_timeout: Duration,
    /// How long a handshake may take, at either end. By default 5 s.
    pub handshake_timeout: Duration,
    /// How many connections an endpoint has at most, dialed and accepted together. By default 1,024.
    pub connections: usize,
    /// How many accepted handshakes may be under way at once. By default 64.
    pub pending_handshakes: usize,
    /// From how many handshakes under way on a peer must first prove its address, at the cost of a round trip. By default 16.
    pub validate_addresses_from: usize,
    /// How large the socket's buffers should be, in bytes, each way; the system may give less. By default 4 MiB.
    pub socket_buffer: usize,
    /// The round-trip time that is assumed before one was measured. By default 100 ms.
    pub initial_round_trip_time: Duration,
    /// The largest UDP payload that path discovery tries, in bytes, from 1,200 to 65,527. By default 1,452. On networks with
    /// jumbo frames up to about 6,000 is faster; above, ten datagrams no longer fit into one segmented send, and it is slower.
    pub largest_datagram: u16,
}

impl Default for QuicConfig {
    fn default() -> Self {
        Self {
            highest_lane: LaneId::new(8).unwrap_or(LaneId::MAX),
            stream_window: 1024 * 1024,
            receive_window: 16 * 1024 * 1024,
            send_window: 8 * 1024 * 1024,
            idle_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(5),
            connections: 1024,
            pending_handshakes: 64,
            validate_addresses_from: 16,
            socket_buffer: 4 * 1024 * 1024,
            initial_round_trip_time: Duration::from_millis(100),
            largest_datagram: 1452,
        }
    }
}

impl QuicConfig {
    /// Checks that every bound can be kept.
    ///
    /// # Errors
    ///
    /// [`QuicConfigError`] names the first field that cannot; whoever wrote the configuration corrects it.
    pub fn validate(&self) -> Result<(), QuicConfigError> {
        let wrong = |field, problem| Err(QuicConfigError { field, problem });
        if self.stream_window < 16 * 1024 {
            return wrong("stream_window", "must be at least 16 KiB");
        }
        if self.receive_window < self.stream_window {
            return wrong("receive_window", "must be at least stream_window");
        }
        if self.send_window < 16 * 1024 {
            return wrong("send_window", "must be at least 16 KiB");
        }
        if self.receive_window > 1 << 30 || self.send_window > 1 << 30 {
            return wrong("receive_window and send_window", "must be at most 1 GiB");
        }
        if !(Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&self.idle_timeout) {
            return wrong("idle_timeout", "must be between 100 ms and 1 h");
        }
        if !(Duration::from_millis(10)..=Duration::from_secs(600)).contains(&self.handshake_timeout)
        {
            return wrong("handshake_timeout", "must be between 10 ms and 10 min");
        }
        if self.connections == 0 || self.pending_handshakes == 0 {
            return wrong("connections and pending_handshakes", "must be at least 1");
        }
        if self.initial_round_trip_time.is_zero() {
            return wrong("initial_round_trip_time", "must be above 0");
        }
        if !(1200..=65_527).contains(&self.largest_datagram) {
            return wrong("largest_datagram", "must be between 1200 and 65527");
        }
        Ok(())
    }

    /// What quinn is told about each connection.
    pub(super) fn transport(&self) -> Arc<TransportConfig> {
        let mut transport = TransportConfig::default();
        let mut discovery = MtuDiscoveryConfig::default();
        discovery.upper_bound(self.largest_datagram);
        transport
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            // One for each lane, the control lane included, and one for the confirmation.
            .max_concurrent_uni_streams(VarInt::from_u32(u32::from(self.highest_lane.number()) + 2))
            .stream_receive_window(VarInt::from_u32(self.stream_window))
            .receive_window(VarInt::from_u32(self.receive_window))
            .send_window(u64::from(self.send_window))
            .max_idle_timeout(IdleTimeout::try_from(self.idle_timeout).ok())
            .keep_alive_interval(None)
            .datagram_receive_buffer_size(None)
            .initial_rtt(self.initial_round_trip_time)
            .mtu_discovery_config(Some(discovery))
            // Without it a stream that has begun goes on until it is empty, before any of a higher priority: under load
            // control would wait for data for as long as there is data.
            .send_fairness(true)
            .enable_segmentation_offload(true);
        Arc::new(transport)
    }

    /// What quinn is told about the endpoint.
    pub(super) fn endpoint(&self) -> Result<EndpointConfig, QuicConfigError> {
        let mut endpoint = EndpointConfig::default();
        endpoint
            .max_udp_payload_size(self.largest_datagram.max(ETHERNET_PAYLOAD))
            .map_err(|_| QuicConfigError {
                field: "largest_datagram",
                problem: "must be between 1200 and 65527",
            })?;
        Ok(endpoint)
    }
}

/// A field of [`QuicConfig`] that cannot be kept. Whoever wrote the configuration corrects it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuicConfigError {
    field: &'static str,
    problem: &'static str,
}

impl fmt::Display for QuicConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "the QUIC setting {} {}",
            self.field, self.problem
        )
    }
}

impl std::error::Error for QuicConfigError {}
