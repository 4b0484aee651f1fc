//! How messages leave a process: frames, codecs, sessions with credit, links, identity.
//!
//! This floor knows peers and bytes. It does not know which way a message should go: what a flow or a signal
//! means is opaque to it and is read by the floor above.
//!
//! - [`wire`]: frames, byte by byte
//! - [`session`]: sans-IO: sequence, credit, acks, resume with one peer
//! - [`link`]: what carries lanes to a peer: QUIC, in memory
//! - [`bridge`]: moves bytes between sessions and links
//! - [`clock`]: the time by which links and bridge run
//! - [`codec`]: bodies as bytes
//! - [`identity`]: who a peer is: certificates, the local authority, TLS configurations

pub mod bridge;
pub mod clock;
pub mod codec;
pub mod identity;
pub mod link;
#[doc(hidden)]
pub mod planted;
pub mod session;
pub mod spool;
mod telemetry;
pub mod wire;
