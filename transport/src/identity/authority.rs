//! A certificate authority in a directory.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SignatureAlgorithm, SigningKey,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use zeroize::{Zeroize, Zeroizing};

use super::certificate::{dns_name_of, not_after};
use super::files::{self, FileError};
use super::identity::{Credentials, Identity, IdentityError, Trust, TrustError};
use super::peer::{COMMON_DNS_NAME, NameError, validate_name};
use super::validity::Validity;

const CERTIFICATE_FILE: &str = "ca.pem";
const KEY_FILE: &str = "ca.key";

/// Which kind of key is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyAlgorithm {
    /// ECDSA over P-256 with SHA-256: understood everywhere.
    #[default]
    EcdsaP256,
    /// Ed25519: smaller and faster to verify.
    Ed25519,
}

impl KeyAlgorithm {
    fn signature(self) -> &'static SignatureAlgorithm {
        match self {
            Self::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
        }
    }
}

/// A key pair whose private part is wiped from memory when it is dropped.
struct SecretKeyPair(KeyPair);

impl SecretKeyPair {
    fn generate(algorithm: KeyAlgorithm) -> Result<Self, rcgen::Error> {
        KeyPair::generate_for(algorithm.signature()).map(Self)
    }
}

impl Drop for SecretKeyPair {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PublicKeyData for SecretKeyPair {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for SecretKeyPair {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

/// A certificate authority whose certificate and key lie in a directory; see the directory layout in the room's map.
pub struct LocalAuthority {
    directory: PathBuf,
    certificate_pem: String,
    expires: SystemTime,
    issuer: Issuer<'static, SecretKeyPair>,
}

impl LocalAuthority {
    /// Makes a new authority, valid for [`Validity::AUTHORITY_DAYS`] days, in a directory that has none yet.
    ///
    /// The directory is made with mode 0700 if it is missing. Of several processes that start at once exactly one
    /// creates; the others see [`AuthorityError::Exists`].
    ///
    /// # Errors
    ///
    /// [`AuthorityError`] says what is in the way; nothing that exists is ever overwritten.
    pub fn create(
        directory: &Path,
        algorithm: KeyAlgorithm,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        files::create_directory(directory)?;
        let _lock = files::lock(directory)?;
        if directory.join(CERTIFICATE_FILE).exists() {
            return Err(AuthorityError::Exists {
                directory: directory.to_owned(),
            });
        }
        Self::create_locked(directory, algorithm, now)
    }

    /// Opens the authority in a directory.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Missing`] where there is none, and otherwise what is wrong with it.
    pub fn open(directory: &Path) -> Result<Self, AuthorityError> {
        let certificate = files::read_text(&directory.join(CERTIFICATE_FILE)).map_err(|error| {
            match error.is_not_found() {
                true => AuthorityError::Missing {
                    directory: directory.to_owned(),
                },
                false => AuthorityError::File(error),
            }
        })?;
        // Creation writes the key first, so a certificate without key is not a creation under way.
        let key = files::read_secret(&directory.join(KEY_FILE)).map_err(|error| {
            match error.is_not_found() {
                true => AuthorityError::KeyMissing {
                    directory: directory.to_owned(),
                },
                false => AuthorityError::File(error),
            }
        })?;
        Self::from_pem(directory, certificate, &key)
    }

    /// Opens the authority in a directory, or makes one. Processes that start at once get the same authority.
    ///
    /// Blocks while another process creates, which takes milliseconds.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`] says what is wrong with the directory or the authority in it.
    pub fn open_or_create(directory: &Path, now: SystemTime) -> Result<Self, AuthorityError> {
        files::create_directory(directory)?;
        match Self::open(directory) {
            Err(AuthorityError::Missing { .. }) => {}
            other => return other,
        }
        let _lock = files::lock(directory)?;
        match Self::open(directory) {
            Err(AuthorityError::Missing { .. }) => {
                Self::create_locked(directory, KeyAlgorithm::default(), now)
            }
            other => other,
        }
    }

    /// Issues an identity with a new key. Nothing is written; see [`Credentials::save`].
    ///
    /// The certificate never outlives the authority's own.
    ///
    /// # Errors
    ///
    /// [`IssueError`] when the name or the dates cannot stand in a certificate; the caller chooses others.
    pub fn issue(
        &self,
        name: &str,
        algorithm: KeyAlgorithm,
        validity: Validity,
    ) -> Result<Identity, IssueError> {
        validate_name(name).map_err(IssueError::Name)?;
        let (not_before, not_after) = validity
            .ending_by(self.expires)
            .calendar()
            .ok_or(IssueError::Validity)?;
        let key = SecretKeyPair::generate(algorithm).map_err(IssueError::failed)?;
        let mut parameters =
            CertificateParams::new(vec![COMMON_DNS_NAME.to_owned(), dns_name_of(name)])
                .map_err(IssueError::failed)?;
        parameters.distinguished_name = common_name(name);
        parameters.not_before = not_before;
        parameters.not_after = not_after;
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        parameters.use_authority_key_identifier_extension = true;
        let certificate = parameters
            .signed_by(&key, &self.issuer)
            .map_err(IssueError::failed)?;
        let key_pem = Zeroizing::new(key.0.serialize_pem());
        Identity::from_pem(certificate.pem(), key_pem).map_err(IssueError::Identity)
    }

    /// An identity with the default key and validity, together with trust in this authority.
    ///
    /// # Errors
    ///
    /// As [`LocalAuthority::issue`].
    pub fn credentials(&self, name: &str, now: SystemTime) -> Result<Credentials, IssueError> {
        let identity = self.issue(name, KeyAlgorithm::default(), Validity::identity_from(now))?;
        let trust = self.trust().map_err(IssueError::Trust)?;
        Ok(Credentials { identity, trust })
    }

    /// Trust in what this authority issues.
    ///
    /// # Errors
    ///
    /// [`TrustError`] where the authority's certificate is not usable as one.
    pub fn trust(&self) -> Result<Trust, TrustError> {
        Trust::from_pem(self.certificate_pem.clone())
    }

    /// The directory that holds the authority.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The last instant at which what this authority issues is accepted.
    pub fn expires(&self) -> SystemTime {
        self.expires
    }

    fn create_locked(
        directory: &Path,
        algorithm: KeyAlgorithm,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let key = SecretKeyPair::generate(algorithm).map_err(AuthorityError::failed)?;
        let mut parameters = CertificateParams::default();
        // A name of its own for each authority: with equal names a stranger's certificate would be reported as badly
        // signed instead of as issued by an unknown authority.
        let identifier = parameters.key_identifier(&key);
        let identifier: String = identifier
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        parameters.distinguished_name = common_name(&format!("mcpbus authority {identifier}"));
        let (not_before, not_after) = Validity::days_from(now, Validity::AUTHORITY_DAYS)
            .calendar()
            .ok_or_else(|| AuthorityError::Failed {
                problem: "the system clock is outside the years of X.509".into(),
            })?;
        parameters.not_before = not_before;
        parameters.not_after = not_after;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = parameters
            .self_signed(&key)
            .map_err(AuthorityError::failed)?;
        let key_pem = Zeroizing::new(key.0.serialize_pem());
        // The certificate last: its presence says that the authority is whole.
        files::write_atomically(&directory.join(KEY_FILE), key_pem.as_bytes(), 0o600)?;
        files::write_atomically(
            &directory.join(CERTIFICATE_FILE),
            certificate.pem().as_bytes(),
            0o644,
        )?;
        Self::from_pem(directory, certificate.pem(), &key_pem)
    }

    fn from_pem(
        directory: &Path,
        certificate_pem: String,
        key_pem: &str,
    ) -> Result<Self, AuthorityError> {
        let malformed = || AuthorityError::Malformed {
            directory: directory.to_owned(),
        };
        let certificate =
            CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|_| malformed())?;
        let expires = not_after(&certificate).map_err(|_| malformed())?;
        let key = SecretKeyPair(KeyPair::from_pem(key_pem).map_err(|_| malformed())?);
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|_| malformed())?;
        Ok(Self {
            directory: directory.to_owned(),
            certificate_pem,
            expires,
            issuer,
        })
    }
}

impl fmt::Debug for LocalAuthority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LocalAuthority")
            .field("directory", &self.directory)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::CommonName, name);
    distinguished_name
}

/// Why an authority could not be created or opened. The user recovers, as each variant says.
#[derive(Debug)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A file or directory could not be used.
    File(FileError),
    /// The directory holds an authority already. Open it, or name another directory.
    Exists {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory holds no authority. Create one first.
    Missing {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory holds an authority's certificate without its key: it can be trusted but issues nothing.
    KeyMissing {
        /// The directory.
        directory: PathBuf,
    },
    /// Certificate or key cannot be read. Restore them, or name another directory.
    Malformed {
        /// The directory.
        directory: PathBuf,
    },
    /// The cryptographic library refused.
    Failed {
        /// What it said.
        problem: String,
    },
}

impl AuthorityError {
    fn failed(error: rcgen::Error) -> Self {
        Self::Failed {
            problem: error.to_string(),
        }
    }
}

impl From<FileError> for AuthorityError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl fmt::Display for AuthorityError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(formatter),
            Self::Exists { directory } => write!(
                formatter,
                "{} holds a certificate authority already: issue from it, or name another directory",
                directory.display()
            ),
            Self::Missing { directory } => write!(
                formatter,
                "{} holds no certificate authority: create one with `mcpbus cert init {}`",
                directory.display(),
                directory.display()
            ),
            Self::KeyMissing { directory } => write!(
                formatter,
                "{} has ca.pem but no ca.key: restore the key, or name another directory",
                directory.display()
            ),
            Self::Malformed { directory } => write!(
                formatter,
                "ca.pem or ca.key in {} is malformed: restore them, or name another directory",
                directory.display()
            ),
            Self::Failed { problem } => {
                write!(formatter, "cannot make a certificate authority: {problem}")
            }
        }
    }
}

impl std::error::Error for AuthorityError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(error) => Some(error),
            _ => None,
        }
    }
}

/// Why an identity could not be issued. The caller recovers, by another name or other dates.
#[derive(Debug)]
#[non_exhaustive]
pub enum IssueError {
    /// The name cannot stand in a certificate.
    Name(NameError),
    /// The span of validity is empty, begins after the authority's own end, or is outside the years of X.509.
    Validity,
    /// What was issued cannot be used.
    Identity(IdentityError),
    /// The authority's own certificate cannot be used.
    Trust(TrustError),
    /// The cryptographic library refused.
    Failed {
        /// What it said.
        problem: String,
    },
}

impl IssueError {
    fn failed(error: rcgen::Error) -> Self {
        Self::Failed {
            problem: error.to_string(),
        }
    }
}

impl fmt::Display for IssueError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(error) => error.fmt(formatter),
            Self::Validity => formatter.write_str(
                "the certificate would never be valid: choose a validity that begins before it ends and before the authority ends",
            ),
            Self::Identity(error) => write!(formatter, "the issued identity cannot be used: {error}"),
            Self::Trust(error) => write!(formatter, "the authority's certificate cannot be used: {error}"),
            Self::Failed { problem } => write!(formatter, "cannot issue a certificate: {problem}"),
        }
    }
}

impl std::error::Error for IssueError {}
