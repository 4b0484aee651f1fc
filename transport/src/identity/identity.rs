//! An identity, what is trusted, and both together.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::certificate::{CertificateError, not_after, peer_name};
use super::files::{self, FileError};
use super::tls;

const CHAIN_FILE: &str = "identity.pem";
const KEY_FILE: &str = "identity.key";
const TRUST_FILE: &str = "trust.pem";

/// A certificate chain with its private key: what a process proves its name with.
///
/// Cloning shares the key. The key's text is wiped from memory with the last clone.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    expires: SystemTime,
    chain_pem: String,
    key_pem: Zeroizing<String>,
    certified_key: Arc<CertifiedKey>,
}

impl Identity {
    /// An identity from a PEM certificate chain (leaf first) and a PEM private key.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] when either is unreadable, when they do not belong together, or when the chain's leaf names no
    /// peer. Whoever issued the identity issues another.
    pub fn from_pem(chain_pem: String, key_pem: Zeroizing<String>) -> Result<Self, IdentityError> {
        let chain = certificates(&chain_pem).ok_or(IdentityError::NoCertificate)?;
        let leaf = chain.first().ok_or(IdentityError::NoCertificate)?;
        let name = peer_name(leaf).map_err(IdentityError::Certificate)?;
        let expires = not_after(leaf).map_err(IdentityError::Certificate)?;
        let key =
            PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| IdentityError::NoKey)?;
        let certified_key =
            CertifiedKey::from_der(chain, key, tls::provider()).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => IdentityError::KeyMismatch,
                _ => IdentityError::NoKey,
            })?;
        let certified_key = Arc::new(certified_key);
        Ok(Self {
            inner: Arc::new(Inner {
                name,
                expires,
                chain_pem,
                key_pem,
                certified_key,
            }),
        })
    }

    /// Reads `identity.pem` and `identity.key` from a directory.
    ///
    /// # Errors
    ///
    /// As [`Identity::from_pem`], and [`IdentityError::File`] when a file is missing or its key can be read by others.
    pub fn load(directory: &Path) -> Result<Self, IdentityError> {
        let chain = files::read_text(&directory.join(CHAIN_FILE)).map_err(IdentityError::File)?;
        let key = files::read_secret(&directory.join(KEY_FILE)).map_err(IdentityError::File)?;
        Self::from_pem(chain, key)
    }

    /// Writes `identity.pem` (0644) and `identity.key` (0600) into a directory, which is made with mode 0700 if missing.
    ///
    /// Each file is replaced atomically, the key first. A reader that comes between the two sees
    /// [`IdentityError::KeyMismatch`] and may try again.
    ///
    /// # Errors
    ///
    /// [`FileError`]: the caller names another directory or makes room.
    pub fn save(&self, directory: &Path) -> Result<(), FileError> {
        files::create_directory(directory)?;
        files::write_atomically(
            &directory.join(KEY_FILE),
            self.inner.key_pem.as_bytes(),
            0o600,
        )?;
        files::write_atomically(
            &directory.join(CHAIN_FILE),
            self.inner.chain_pem.as_bytes(),
            0o644,
        )
    }

    /// The name that peers will see.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The last instant at which peers accept this identity in a new handshake.
    pub fn expires(&self) -> SystemTime {
        self.inner.expires
    }

    /// The certificate chain as PEM text, leaf first.
    pub fn chain_pem(&self) -> &str {
        &self.inner.chain_pem
    }

    pub(super) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.inner.certified_key)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Identity")
            .field("name", &self.inner.name)
            .field("expires", &self.inner.expires)
            .finish_non_exhaustive()
    }
}

/// The authorities whose certificates are accepted.
#[derive(Clone, Debug)]
pub struct Trust {
    pem: String,
    roots: Arc<RootCertStore>,
}

impl Trust {
    /// Trusts every certificate in a PEM text: one or more authorities.
    ///
    /// # Errors
    ///
    /// [`TrustError`] when the text holds no certificate or one that cannot be an authority's.
    pub fn from_pem(pem: String) -> Result<Self, TrustError> {
        let found = certificates(&pem).ok_or(TrustError::NoCertificate)?;
        if found.is_empty() {
            return Err(TrustError::NoCertificate);
        }
        let mut roots = RootCertStore::empty();
        for certificate in found {
            roots.add(certificate).map_err(|_| TrustError::Malformed)?;
        }
        Ok(Self {
            pem,
            roots: Arc::new(roots),
        })
    }

    /// Reads a PEM file of one or more authorities.
    ///
    /// # Errors
    ///
    /// As [`Trust::from_pem`], and [`TrustError::File`] when the file cannot be read.
    pub fn load(file: &Path) -> Result<Self, TrustError> {
        let pem = files::read_text(file).map_err(TrustError::File)?;
        Self::from_pem(pem).map_err(|error| TrustError::In {
            path: file.to_owned(),
            problem: Box::new(error),
        })
    }

    /// The trusted certificates as PEM text.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub(super) fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.roots)
    }
}

/// What a process needs to open links: its own identity, and whom it trusts.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// What this process proves its name with.
    pub identity: Identity,
    /// Whose certificates it accepts.
    pub trust: Trust,
}

impl Credentials {
    /// Reads `identity.pem`, `identity.key` and `trust.pem` from a directory.
    ///
    /// # Errors
    ///
    /// [`IdentityError`]; a problem with `trust.pem` is its variant [`IdentityError::Trust`].
    pub fn load(directory: &Path) -> Result<Self, IdentityError> {
        let identity = Identity::load(directory)?;
        let trust = Trust::load(&directory.join(TRUST_FILE)).map_err(IdentityError::Trust)?;
        Ok(Self { identity, trust })
    }

    /// Writes all three files into a directory; see [`Identity::save`].
    ///
    /// # Errors
    ///
    /// [`FileError`]: the caller names another directory or makes room.
    pub fn save(&self, directory: &Path) -> Result<(), FileError> {
        files::create_directory(directory)?;
        files::write_atomically(
            &directory.join(TRUST_FILE),
            self.trust.pem.as_bytes(),
            0o644,
        )?;
        self.identity.save(directory)
    }
}

/// Why an identity could not be loaded.
#[derive(Debug)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file could not be read, or its permissions are too wide.
    File(FileError),
    /// There is no readable certificate in the chain. Issue the identity anew.
    NoCertificate,
    /// There is no usable private key. Issue the identity anew.
    NoKey,
    /// Certificate and key are not of one pair. Issue the identity anew; while another process writes it, try again.
    KeyMismatch,
    /// The leaf certificate names no peer.
    Certificate(CertificateError),
    /// The trusted authorities beside the identity could not be loaded.
    Trust(TrustError),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(formatter),
            Self::NoCertificate => formatter
                .write_str("identity.pem holds no readable certificate: issue the identity anew"),
            Self::NoKey => formatter
                .write_str("identity.key holds no usable private key: issue the identity anew"),
            Self::KeyMismatch => formatter.write_str(
                "identity.pem and identity.key do not belong together: issue the identity anew",
            ),
            Self::Certificate(error) => error.fmt(formatter),
            Self::Trust(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for IdentityError {}

/// Why the trusted authorities could not be loaded.
#[derive(Debug)]
#[non_exhaustive]
pub enum TrustError {
    /// The file could not be read.
    File(FileError),
    /// There is no readable certificate. Name a PEM file with at least one.
    NoCertificate,
    /// A certificate cannot be used as an authority's. Name another file.
    Malformed,
    /// One of the above, found in this file.
    In {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: Box<TrustError>,
    },
}

impl fmt::Display for TrustError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(formatter),
            Self::NoCertificate => {
                formatter.write_str("no readable certificate: name a PEM file with at least one")
            }
            Self::Malformed => formatter.write_str(
                "a certificate cannot be used as an authority's: name the authority's PEM file",
            ),
            Self::In { path, problem } => write!(formatter, "{}: {problem}", path.display()),
        }
    }
}

impl std::error::Error for TrustError {}

/// All certificates of a PEM text; `None` where one is unreadable.
fn certificates(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .ok()
}
