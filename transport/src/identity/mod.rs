//! Who a peer is, and how it proves it.
//!
//! Invariants of this room:
//! * A peer's name comes from a certificate that was verified against a [`Trust`], never from what the peer says.
//! * Every certificate issued here carries the DNS name [`COMMON_DNS_NAME`], so that a dialer needs no custom
//!   verifier, and `NAME.node.mcpbus.internal`, from which the peer's own name is read.
//! * A private key is written with mode 0600 and refused when others can read it.
//! * Links are mutual TLS 1.3 without resumption or early data: a removed trust takes effect with the next handshake.
//!
//! | file | subject |
//! | --- | --- |
//! | `peer.rs` | [`PeerIdentity`] and the rule for names; compiled without `quic` too |
//! | `authority.rs` | [`LocalAuthority`]: creates or opens a certificate authority in a directory, issues identities |
//! | `identity.rs` | [`Identity`], [`Trust`] and [`Credentials`]: certificate chain and key, what is trusted, both |
//! | `state.rs` | [`StateDirectory`]: the authority that the processes of one user share |
//! | `validity.rs` | [`Validity`]: from when until when a certificate counts |
//! | `certificate.rs` | reads name and expiry from a certificate |
//! | `files.rs` | permissions, atomic writes, bounded reads |
//! | `tls.rs` | the TLS configurations for links |
//!
//! # Directory layout
//!
//! An authority's directory, and the identities issued beside it (`cert init DIR`, `cert issue DIR NAME`):
//!
//! ```text
//! DIR/ca.pem              certificate of the authority      0644
//! DIR/ca.key              its private key, PKCS#8 PEM       0600
//! DIR/.lock               lock file held during creation    0600
//! DIR/NAME/identity.pem   certificate chain, leaf first     0644
//! DIR/NAME/identity.key   private key, PKCS#8 PEM           0600
//! DIR/NAME/trust.pem      authorities to trust              0644
//! ```
//!
//! Directories made here have mode 0700. To give a machine its identity, copy `DIR/NAME` to it, and nothing else.

mod peer;

pub use peer::{COMMON_DNS_NAME, MAX_NAME_LENGTH, NameError, PeerIdentity, validate_name};

#[cfg(feature = "quic")]
mod authority;
#[cfg(feature = "quic")]
mod certificate;
#[cfg(feature = "quic")]
mod files;
#[cfg(feature = "quic")]
#[allow(clippy::module_inception)]
mod identity;
#[cfg(feature = "quic")]
mod state;
#[cfg(all(test, feature = "quic"))]
mod tests;
#[cfg(feature = "quic")]
pub(crate) mod tls;
#[cfg(feature = "quic")]
mod validity;

#[cfg(feature = "quic")]
pub use authority::{AuthorityError, IssueError, KeyAlgorithm, LocalAuthority};
#[cfg(feature = "quic")]
pub use certificate::CertificateError;
#[cfg(feature = "quic")]
pub(crate) use certificate::{dns_name_of, peer_name};
#[cfg(feature = "quic")]
pub use files::FileError;
#[cfg(feature = "quic")]
pub use identity::{Credentials, Identity, IdentityError, Trust, TrustError};
#[cfg(feature = "quic")]
pub use state::{STATE_VARIABLE, StateDirectory, StateDirectoryError};
#[cfg(feature = "quic")]
pub use tls::TlsError;
#[cfg(feature = "quic")]
pub use validity::Validity;
