//! The UDP socket under an endpoint.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use super::config::QuicConfigError;
use crate::identity::TlsError;
use crate::link::impairment::ImpairmentConfigError;

/// Binds a socket and asks for large buffers: bursts that do not fit are lost and sent again.
pub(super) fn bind(address: SocketAddr, buffer: usize) -> Result<UdpSocket, BindError> {
    let failed = |source: io::Error| bind_error(address, source);
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )
    .map_err(failed)?;
    if address.is_ipv6() {
        socket.set_only_v6(false).map_err(failed)?;
    }
    socket.set_nonblocking(true).map_err(failed)?;
    socket.bind(&address.into()).map_err(failed)?;
    // A system that refuses large buffers still serves, more slowly.
    let _ = socket.set_recv_buffer_size(buffer);
    let _ = socket.set_send_buffer_size(buffer);
    let (receive, send) = (
        socket.recv_buffer_size().unwrap_or(0),
        socket.send_buffer_size().unwrap_or(0),
    );
    if receive < buffer || send < buffer {
        tracing::info!(
            wanted = buffer,
            receive,
            send,
            "the system gives smaller socket buffers than asked for; raise net.core.rmem_max and net.core.wmem_max for speed"
        );
    }
    Ok(socket.into())
}

/// What a failed bind means.
pub(super) fn bind_error(address: SocketAddr, source: io::Error) -> BindError {
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::AddressInUse { address },
        io::ErrorKind::AddrNotAvailable => BindError::AddressNotAvailable { address },
        io::ErrorKind::PermissionDenied => BindError::PermissionDenied { address },
        _ => BindError::Io { address, source },
    }
}

/// Binds a socket for dialing only: to any address of both families, or of IPv4 where the host has no IPv6.
pub(super) fn bind_any(buffer: usize) -> Result<UdpSocket, BindError> {
    bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), buffer)
        .or_else(|_| bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), buffer))
}

/// Why an endpoint could not be bound. The user recovers, as each variant says.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError {
    /// Another process has the port. Stop it, or choose another port.
    AddressInUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The host has no such address. Choose one that it has, or an unspecified one.
    AddressNotAvailable {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The user may not bind this port. Choose one above 1023.
    PermissionDenied {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The system refused for another reason.
    Io {
        /// The address asked for.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// A setting cannot be kept.
    Config(QuicConfigError),
    /// An impairment cannot be kept.
    Impairment(ImpairmentConfigError),
    /// The credentials cannot be used.
    Tls(TlsError),
    /// There is no tokio runtime to run on. The caller binds from inside one.
    NoRuntime,
}

impl fmt::Display for BindError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressInUse { address } => write!(
                formatter,
                "cannot listen on {address}: the port is in use by another process; stop it, or choose another port"
            ),
            Self::AddressNotAvailable { address } => {
                write!(
                    formatter,
                    "cannot listen on {address}: this host has no such address; choose one that it has"
                )
            }
            Self::PermissionDenied { address } => {
                write!(
                    formatter,
                    "cannot listen on {address}: not permitted; choose a port above 1023"
                )
            }
            Self::Io { address, source } => {
                write!(formatter, "cannot listen on {address}: {source}")
            }
            Self::Config(error) => error.fmt(formatter),
            Self::Impairment(error) => error.fmt(formatter),
            Self::Tls(error) => error.fmt(formatter),
            Self::NoRuntime => {
                formatter.write_str("an endpoint can only be bound from inside a tokio runtime")
            }
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
