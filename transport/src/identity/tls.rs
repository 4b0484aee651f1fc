//! The TLS configurations for links: mutual TLS 1.3, one cryptographic provider, nothing resumed.

use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};

use super::identity::Credentials;

/// The application protocol that both ends must name: another protocol on the same port is refused in the handshake.
pub(crate) const APPLICATION_PROTOCOL: &[u8] = b"mcpbus/1";

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

/// The provider is passed explicitly everywhere, so an application that installs another is not disturbed.
pub(crate) fn provider() -> &'static Arc<CryptoProvider> {
    &PROVIDER
}

/// What the dialing end uses.
pub(crate) fn client_config(credentials: &Credentials) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::new)?
        .with_root_certificates(credentials.trust.roots())
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(
            credentials.identity.certified_key(),
        )));
    config.alpn_protocols = vec![APPLICATION_PROTOCOL.to_vec()];
    // A resumed session would keep a trust that was removed in between.
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

/// What the accepting end uses.
pub(crate) fn server_config(credentials: &Credentials) -> Result<ServerConfig, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(
        credentials.trust.roots(),
        Arc::clone(provider()),
    )
    .build()
    .map_err(TlsError::new)?;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::new)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(
            credentials.identity.certified_key(),
        )));
    config.alpn_protocols = vec![APPLICATION_PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// The cryptographic library refused the credentials. Whoever issued them issues others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    problem: String,
}

impl TlsError {
    pub(crate) fn new(error: impl fmt::Display) -> Self {
        Self {
            problem: error.to_string(),
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "the credentials cannot be used for TLS: {}: issue others",
            self.problem
        )
    }
}

impl std::error::Error for TlsError {}
