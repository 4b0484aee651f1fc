//! What a failed handshake or a lost connection means.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use quinn::{ConnectError, ConnectionError, TransportErrorCode};

use crate::identity::CertificateError;
use crate::link::contract::{CloseCode, CutCause, LinkError};

/// The TLS alerts that tell certificates apart, with their numbers from RFC 8446. QUIC carries an alert as 0x100 plus its
/// number.
mod alert {
    pub(super) const BAD_CERTIFICATE: u64 = 0x100 + 42;
    pub(super) const UNSUPPORTED_CERTIFICATE: u64 = 0x100 + 43;
    pub(super) const CERTIFICATE_REVOKED: u64 = 0x100 + 44;
    pub(super) const CERTIFICATE_EXPIRED: u64 = 0x100 + 45;
    pub(super) const CERTIFICATE_UNKNOWN: u64 = 0x100 + 46;
    pub(super) const UNKNOWN_CA: u64 = 0x100 + 48;
    pub(super) const ACCESS_DENIED: u64 = 0x100 + 49;
    pub(super) const DECRYPT_ERROR: u64 = 0x100 + 51;
    pub(super) const CERTIFICATE_REQUIRED: u64 = 0x100 + 116;
    pub(super) const NO_APPLICATION_PROTOCOL: u64 = 0x100 + 120;
    pub(super) const RANGE: std::ops::Range<u64> = 0x100..0x200;
}

/// Why an acceptor refused a connection, or lost it before it became a link. Stable names for counters and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RefusalReason {
    /// The dialer's certificate comes from an authority that is not trusted.
    UntrustedCertificate,
    /// The dialer's certificate has expired or does not count yet.
    ExpiredCertificate,
    /// The dialer showed no certificate.
    NoCertificate,
    /// The dialer's certificate is unusable for another reason, for example because it names no peer.
    BadCertificate,
    /// The dialer does not trust this end's certificate.
    RejectedByPeer,
    /// The dialer speaks another protocol.
    ProtocolMismatch,
    /// The handshake took longer than allowed.
    HandshakeTimeout,
    /// The endpoint has as many connections as it may have.
    ConnectionLimit,
    /// The dialer went away, or broke the protocol, during the handshake.
    Failed,
}

impl RefusalReason {
    /// All reasons.
    pub const ALL: [Self; 9] = [
        Self::UntrustedCertificate,
        Self::ExpiredCertificate,
        Self::NoCertificate,
        Self::BadCertificate,
        Self::RejectedByPeer,
        Self::ProtocolMismatch,
        Self::HandshakeTimeout,
        Self::ConnectionLimit,
        Self::Failed,
    ];

    /// The stable name of the reason.
    pub fn name(self) -> &'static str {
        match self {
            Self::UntrustedCertificate => "untrusted_certificate",
            Self::ExpiredCertificate => "expired_certificate",
            Self::NoCertificate => "no_certificate",
            Self::BadCertificate => "bad_certificate",
            Self::RejectedByPeer => "rejected_by_peer",
            Self::ProtocolMismatch => "protocol_mismatch",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::ConnectionLimit => "connection_limit",
            Self::Failed => "failed",
        }
    }

    /// The place of the reason in [`RefusalReason::ALL`].
    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// Why an acceptor's handshake failed.
    pub(super) fn of(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::TransportError(error) => match u64::from(error.code) {
                alert::UNKNOWN_CA | alert::DECRYPT_ERROR => Self::UntrustedCertificate,
                alert::CERTIFICATE_EXPIRED => Self::ExpiredCertificate,
                alert::CERTIFICATE_REQUIRED => Self::NoCertificate,
                alert::NO_APPLICATION_PROTOCOL => Self::ProtocolMismatch,
                alert::BAD_CERTIFICATE
                | alert::UNSUPPORTED_CERTIFICATE
                | alert::CERTIFICATE_REVOKED
                | alert::CERTIFICATE_UNKNOWN
                | alert::ACCESS_DENIED => Self::BadCertificate,
                _ => Self::Failed,
            },
            ConnectionError::ConnectionClosed(close) => match u64::from(close.error_code) {
                alert::NO_APPLICATION_PROTOCOL => Self::ProtocolMismatch,
                code if alert::RANGE.contains(&code) => Self::RejectedByPeer,
                _ => Self::Failed,
            },
            ConnectionError::VersionMismatch => Self::ProtocolMismatch,
            ConnectionError::TimedOut => Self::HandshakeTimeout,
            _ => Self::Failed,
        }
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Why a dial did not become a link.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DialError {
    /// Nobody answered in time. Try again later, or correct the address.
    NoAnswer {
        /// The address dialed.
        address: SocketAddr,
        /// How long was waited.
        waited: Duration,
    },
    /// The peer's certificate comes from an authority that this end does not trust. Trust it, or correct the address.
    PeerUntrusted {
        /// The address dialed.
        address: SocketAddr,
    },
    /// The peer's certificate has expired or does not count yet. The peer's operator issues another.
    PeerExpired {
        /// The address dialed.
        address: SocketAddr,
    },
    /// The peer's certificate is not for the bus, or not for the peer that was expected.
    PeerMismatch {
        /// The address dialed.
        address: SocketAddr,
        /// What is wrong with it.
        problem: String,
    },
    /// The peer does not trust the authority that issued this end's identity. Use an identity from the peer's authority.
    UntrustedByPeer {
        /// The address dialed.
        address: SocketAddr,
    },
    /// This end's identity has expired or does not count yet. Issue another, and check the clocks.
    ExpiredForPeer {
        /// The address dialed.
        address: SocketAddr,
    },
    /// The peer asked for a certificate and this end has none to show.
    CertificateRequired {
        /// The address dialed.
        address: SocketAddr,
    },
    /// The peer refused this end's certificate for another reason. Issue another.
    RefusedByPeer {
        /// The address dialed.
        address: SocketAddr,
        /// What it said.
        problem: String,
    },
    /// What answers at the address speaks another protocol. Correct the address, or run the same version at both ends.
    OtherProtocol {
        /// The address dialed.
        address: SocketAddr,
    },
    /// The peer takes no more connections. Try again later.
    Busy {
        /// The address dialed.
        address: SocketAddr,
    },
    /// The address cannot be dialed from this endpoint, or the expected name cannot be one. The caller corrects it.
    Invalid {
        /// The address dialed.
        address: SocketAddr,
        /// What is wrong.
        problem: String,
    },
    /// This endpoint is closed or has as many connections as it may have. The caller uses another, or closes links.
    Unavailable {
        /// What is in the way.
        problem: &'static str,
    },
    /// The connection was lost during the handshake. Try again.
    Failed {
        /// The address dialed.
        address: SocketAddr,
        /// What happened.
        problem: String,
    },
}

impl DialError {
    /// Why a dialer's handshake failed.
    pub(super) fn of(address: SocketAddr, waited: Duration, error: &ConnectionError) -> Self {
        match error {
            ConnectionError::TransportError(error) => match u64::from(error.code) {
                alert::UNKNOWN_CA | alert::DECRYPT_ERROR => Self::PeerUntrusted { address },
                alert::CERTIFICATE_EXPIRED => Self::PeerExpired { address },
                alert::NO_APPLICATION_PROTOCOL => Self::OtherProtocol { address },
                alert::BAD_CERTIFICATE
                | alert::UNSUPPORTED_CERTIFICATE
                | alert::CERTIFICATE_REVOKED
                | alert::CERTIFICATE_UNKNOWN
                | alert::ACCESS_DENIED => Self::PeerMismatch {
                    address,
                    problem: error.reason.clone(),
                },
                _ => Self::Failed {
                    address,
                    problem: error.to_string(),
                },
            },
            ConnectionError::ConnectionClosed(close) => match u64::from(close.error_code) {
                alert::UNKNOWN_CA | alert::DECRYPT_ERROR => Self::UntrustedByPeer { address },
                alert::CERTIFICATE_EXPIRED => Self::ExpiredForPeer { address },
                alert::CERTIFICATE_REQUIRED => Self::CertificateRequired { address },
                alert::NO_APPLICATION_PROTOCOL => Self::OtherProtocol { address },
                code if code == u64::from(TransportErrorCode::CONNECTION_REFUSED) => {
                    Self::Busy { address }
                }
                code if alert::RANGE.contains(&code) => Self::RefusedByPeer {
                    address,
                    problem: close.to_string(),
                },
                _ => Self::Failed {
                    address,
                    problem: close.to_string(),
                },
            },
            ConnectionError::ApplicationClosed(close) => match close.error_code.into_inner() {
                code if code == u64::from(CloseCode::UNNAMED_PEER.0) => Self::RefusedByPeer {
                    address,
                    problem: String::from_utf8_lossy(&close.reason).into_owned(),
                },
                _ => Self::Failed {
                    address,
                    problem: close.to_string(),
                },
            },
            ConnectionError::VersionMismatch => Self::OtherProtocol { address },
            ConnectionError::TimedOut => Self::NoAnswer { address, waited },
            error => Self::Failed {
                address,
                problem: error.to_string(),
            },
        }
    }

    pub(super) fn of_connect(address: SocketAddr, error: ConnectError) -> Self {
        match error {
            ConnectError::EndpointStopping => Self::Unavailable {
                problem: "it is closed",
            },
            ConnectError::CidsExhausted => Self::Unavailable {
                problem: "it has no connection ids left",
            },
            error => Self::Invalid {
                address,
                problem: error.to_string(),
            },
        }
    }

    pub(super) fn of_certificate(address: SocketAddr, error: CertificateError) -> Self {
        Self::PeerMismatch {
            address,
            problem: error.to_string(),
        }
    }

    /// Whether the same dial may succeed later without anybody changing a configuration.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::NoAnswer { .. } | Self::Busy { .. } | Self::Failed { .. }
        )
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer { address, waited } => write!(
                formatter,
                "nobody answered at {address} within {:.1} s: is a node running there?",
                waited.as_secs_f64()
            ),
            Self::PeerUntrusted { address } => write!(
                formatter,
                "the peer at {address} has a certificate of an authority that is not trusted here: trust that authority, or correct the address"
            ),
            Self::PeerExpired { address } => write!(
                formatter,
                "the certificate of the peer at {address} has expired or does not count yet: issue it another, and check the clocks"
            ),
            Self::PeerMismatch { address, problem } => {
                write!(
                    formatter,
                    "the certificate of the peer at {address} is not the expected one: {problem}"
                )
            }
            Self::UntrustedByPeer { address } => write!(
                formatter,
                "the peer at {address} does not trust the authority of this identity: use an identity from its authority"
            ),
            Self::ExpiredForPeer { address } => write!(
                formatter,
                "the peer at {address} refused this identity, because it has expired or does not count yet: issue another, and check the clocks"
            ),
            Self::CertificateRequired { address } => {
                write!(
                    formatter,
                    "the peer at {address} requires a certificate: use an identity from its authority"
                )
            }
            Self::RefusedByPeer { address, problem } => {
                write!(
                    formatter,
                    "the peer at {address} refused this identity: {problem}"
                )
            }
            Self::OtherProtocol { address } => write!(
                formatter,
                "what answers at {address} speaks another protocol or version: correct the address, or run the same version at both ends"
            ),
            Self::Busy { address } => {
                write!(
                    formatter,
                    "the peer at {address} takes no more connections: try again later"
                )
            }
            Self::Invalid { address, problem } => {
                write!(formatter, "cannot dial {address}: {problem}")
            }
            Self::Unavailable { problem } => {
                write!(formatter, "this endpoint cannot dial: {problem}")
            }
            Self::Failed { address, problem } => {
                write!(
                    formatter,
                    "the connection to {address} was lost during the handshake: {problem}"
                )
            }
        }
    }
}

impl std::error::Error for DialError {}

/// What the end of an established connection means for its link.
pub(super) fn link_error(error: ConnectionError) -> LinkError {
    match error {
        ConnectionError::ApplicationClosed(close) => LinkError::ClosedByPeer {
            // Codes of the bus have 32 bits; a larger one comes from no peer of ours.
            code: CloseCode(u32::try_from(close.error_code.into_inner()).unwrap_or(u32::MAX)),
            reason: String::from_utf8_lossy(&close.reason).into_owned(),
        },
        ConnectionError::LocallyClosed => LinkError::ClosedHere,
        ConnectionError::TimedOut => LinkError::Cut {
            cause: CutCause::Silence,
        },
        ConnectionError::Reset => LinkError::Cut {
            cause: CutCause::Restarted,
        },
        error => LinkError::Violation {
            problem: error.to_string(),
        },
    }
}
