//! Reads what the bus needs from a certificate: the name of its subject and the end of its validity.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::peer::{COMMON_DNS_NAME, validate_name};

/// Why a certificate names no peer. Its issuer recovers, by issuing another.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateError {
    /// The bytes are no X.509 certificate.
    Malformed,
    /// The certificate has no DNS name `NAME.node.mcpbus.internal`, or more than one, or an invalid `NAME`.
    NoName,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => formatter.write_str("the certificate is malformed: issue another"),
            Self::NoName => write!(
                formatter,
                "the certificate names no peer: issue one with exactly one DNS name of the form NAME.{COMMON_DNS_NAME}"
            ),
        }
    }
}

impl std::error::Error for CertificateError {}

/// The DNS name that stands for one peer.
pub(crate) fn dns_name_of(name: &str) -> String {
    format!("{name}.{COMMON_DNS_NAME}")
}

/// The name of the peer for which a certificate was issued. The caller has verified the certificate.
pub(crate) fn peer_name(certificate: &CertificateDer<'_>) -> Result<String, CertificateError> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| CertificateError::Malformed)?
        .ok_or(CertificateError::NoName)?;
    let mut found = None;
    for name in &names.value.general_names {
        let GeneralName::DNSName(name) = name else {
            continue;
        };
        let Some(name) = name
            .strip_suffix(COMMON_DNS_NAME)
            .and_then(|name| name.strip_suffix('.'))
        else {
            continue;
        };
        if found.is_some() || validate_name(name).is_err() {
            return Err(CertificateError::NoName);
        }
        found = Some(name.to_owned());
    }
    found.ok_or(CertificateError::NoName)
}

/// The last instant at which a certificate counts.
pub(super) fn not_after(certificate: &CertificateDer<'_>) -> Result<SystemTime, CertificateError> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    Ok(UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .unwrap_or(UNIX_EPOCH))
}
