//! QUIC links with mutual TLS. This is the only place that knows quinn.
//!
//! Invariants of this folder:
//! * Every window, count and time is finite; see [`QuicConfig`].
//! * A [`QuicLink`] exists only once both ends have verified each other: once an acceptor has verified the dialer, it says
//!   so with the byte 255 on its first stream, and a dial succeeds only when that has arrived. With TLS 1.3 alone the
//!   dialer would be done before it is refused.
//! * Lane `n` is one unidirectional stream that begins with the byte `n`; the control lane has the highest priority.
//! * The session above sends heartbeats; QUIC's own keep-alive stays off.
//!
//! | file | subject |
//! | --- | --- |
//! | `config.rs` | [`QuicConfig`]: the bounds, and what quinn is told |
//! | `socket.rs` | the UDP socket and its buffers |
//! | `endpoint.rs` | [`QuicEndpoint`]: bind, dial, accept |
//! | `impaired.rs` | a real socket whose datagrams are impaired: [`SocketImpairment`] |
//! | `network.rs` | [`MemoryNetwork`]: UDP inside of a process, impaired by pair and direction |
//! | `datagram.rs` | datagrams as quinn hands them over |
//! | `refusal.rs` | what a failed handshake means: [`DialError`], [`RefusalReason`] |
//! | `connection.rs` | [`QuicLink`] |
//! | `lane.rs` | [`QuicLaneWriter`], [`QuicLaneReader`] |

mod config;
mod connection;
mod datagram;
mod endpoint;
mod impaired;
#[cfg(test)]
mod impaired_tests;
mod lane;
mod network;
mod refusal;
mod socket;
#[cfg(test)]
mod tests;

pub use config::{QuicConfig, QuicConfigError};
pub use connection::QuicLink;
pub use endpoint::{EndpointClosed, QuicEndpoint};
pub use impaired::SocketImpairment;
pub use lane::{QuicLaneReader, QuicLaneWriter};
pub use network::MemoryNetwork;
pub use refusal::{DialError, RefusalReason};
pub use socket::BindError;
