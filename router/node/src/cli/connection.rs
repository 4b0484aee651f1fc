//! What all commands share that speak to a node: its address and who we are.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use mcpbus::client::{Client, ClientConfig};
use mcpbus_transport::identity::{
    Credentials, IdentityError, StateDirectory, StateDirectoryError, Trust, TrustError,
};

use super::Exit;
use crate::config::node_file::verify_host_port;
use crate::config::quantity::parse_duration;

/// The node to speak to, and with which identity.
#[derive(Clone, Debug, Args)]
pub struct ConnectionArguments {
    /// The node's address.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub node: String,
    /// Who we are.
    #[command(flatten)]
    pub credentials: CredentialArguments,
}

/// With which identity to speak to a node.
#[derive(Clone, Debug, Args)]
pub struct CredentialArguments {
    /// Directory with this client's identity, as `mcpbus cert issue` writes it. Without it, the certificate
    /// authority in the user's state directory issues one (MCPBUS_STATE names another directory).
    #[arg(long, value_name = "DIR")]
    pub identity: Option<PathBuf>,
    /// PEM file with the certificates to trust, instead of the identity's own trust.pem.
    #[arg(long, value_name = "FILE", requires = "identity")]
    pub trust: Option<PathBuf>,
}

/// For clap: the address of a node.
///
/// # Errors
/// What is wrong with the text.
pub fn host_port(text: &str) -> Result<String, String> {
    verify_host_port(text).map(|()| text.to_owned())
}

/// For clap: a duration such as `2s`.
///
/// # Errors
/// What is wrong with the text.
pub fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
}

/// Why there are no credentials. The person at the command line recovers.
#[derive(Debug)]
pub enum CredentialsError {
    /// The identity's directory cannot be used.
    Identity(IdentityError),
    /// The trust file cannot be used.
    Trust(TrustError),
    /// The state directory cannot be used.
    State(StateDirectoryError),
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(error) => error.fmt(f),
            Self::Trust(error) => error.fmt(f),
            Self::State(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CredentialsError {}

/// Loads the credentials of `identity` and `trust`, or issues some for `name` from the user's local authority.
///
/// # Errors
/// [`CredentialsError`].
pub fn credentials(
    identity: Option<&std::path::Path>,
    trust: Option<&std::path::Path>,
    name: &str,
    now: SystemTime,
) -> Result<Credentials, CredentialsError> {
    let Some(directory) = identity else {
        return StateDirectory::from_environment()
            .and_then(|state| state.local_credentials(name, now))
            .map_err(CredentialsError::State);
    };
    let mut credentials = Credentials::load(directory).map_err(CredentialsError::Identity)?;
    if let Some(file) = trust {
        credentials.trust = Trust::load(file).map_err(CredentialsError::Trust)?;
    }
    Ok(credentials)
}

/// Connects a command to its node; what goes wrong is said on standard error.
///
/// # Errors
/// [`Exit::NotPermitted`] without usable credentials, [`Exit::Unavailable`] when the first connection takes longer
/// than 5 s.
pub(super) async fn connect(
    arguments: &ConnectionArguments,
    command: &str,
) -> Result<Client, Exit> {
    let name = format!("{command}-{}", std::process::id());
    let given = &arguments.credentials;
    let (identity, trust) = (given.identity.as_deref(), given.trust.as_deref());
    let credentials = credentials(identity, trust, &name, SystemTime::now()).map_err(|error| {
        eprintln!("{error}");
        Exit::NotPermitted
    })?;
    let config = ClientConfig {
        name,
        ..ClientConfig::default()
    };
    Client::connect(&arguments.node, &credentials, config)
        .await
        .map_err(|error| {
            eprintln!("{error}");
            Exit::Unavailable
        })
}
