//! The user's own state directory: how local processes trust each other without any set-up.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::authority::{AuthorityError, IssueError, LocalAuthority};
use super::identity::Credentials;

/// The environment variable that names another state directory.
pub const STATE_VARIABLE: &str = "MCPBUS_STATE";

/// The folder of the local authority inside the state directory.
const AUTHORITY_FOLDER: &str = "authority";

/// The directory in which the processes of one user share a certificate authority.
///
/// It is `$MCPBUS_STATE`, else `$XDG_STATE_HOME/mcpbus`, else `~/.local/state/mcpbus`. Being readable by its user alone,
/// it makes two users of one host strangers to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDirectory {
    path: PathBuf,
}

impl StateDirectory {
    /// The directory that the environment names. Nothing is created yet.
    ///
    /// # Errors
    ///
    /// [`StateDirectoryError::NotNamed`] where neither variable nor home is set; the user sets `MCPBUS_STATE`.
    pub fn from_environment() -> Result<Self, StateDirectoryError> {
        Self::from_variables(|name| env::var_os(name))
    }

    fn from_variables(
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, StateDirectoryError> {
        let named = |name: &str| {
            variable(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        if let Some(path) = named(STATE_VARIABLE) {
            return Ok(Self::at(path));
        }
        // The XDG specification tells to ignore paths that are not absolute.
        if let Some(path) = named("XDG_STATE_HOME").filter(|path| path.is_absolute()) {
            return Ok(Self::at(path.join("mcpbus")));
        }
        match named("HOME").filter(|path| path.is_absolute()) {
            Some(home) => Ok(Self::at(home.join(".local/state/mcpbus"))),
            None => Err(StateDirectoryError::NotNamed),
        }
    }

    /// A state directory at a given path. Nothing is created yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The user's local authority, created on first use.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`] where the directory cannot be used.
    pub fn local_authority(&self, now: SystemTime) -> Result<LocalAuthority, AuthorityError> {
        LocalAuthority::open_or_create(&self.path.join(AUTHORITY_FOLDER), now)
    }

    /// Credentials for this process under a name, issued by the user's local authority and kept in memory only.
    ///
    /// This is what a process uses whose configuration says nothing about TLS.
    ///
    /// # Errors
    ///
    /// [`StateDirectoryError`] where the directory cannot be used or the name cannot stand in a certificate.
    pub fn local_credentials(
        &self,
        name: &str,
        now: SystemTime,
    ) -> Result<Credentials, StateDirectoryError> {
        let authority = self
            .local_authority(now)
            .map_err(StateDirectoryError::Authority)?;
        authority
            .credentials(name, now)
            .map_err(StateDirectoryError::Issue)
    }
}

/// Why the local authority could not serve.
#[derive(Debug)]
#[non_exhaustive]
pub enum StateDirectoryError {
    /// The environment names neither a state directory nor a home. The user sets `MCPBUS_STATE`.
    NotNamed,
    /// The authority in the directory cannot be used.
    Authority(AuthorityError),
    /// The authority cannot issue an identity under this name.
    Issue(IssueError),
}

impl fmt::Display for StateDirectoryError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNamed => write!(
                formatter,
                "there is no place for the local certificate authority: set {STATE_VARIABLE} to a directory, or HOME"
            ),
            Self::Authority(error) => write!(
                formatter,
                "the local certificate authority cannot be used: {error}"
            ),
            Self::Issue(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for StateDirectoryError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(variables: &[(&str, &str)]) -> Result<PathBuf, StateDirectoryError> {
        StateDirectory::from_variables(|wanted| {
            variables
                .iter()
                .find(|(name, _)| *name == wanted)
                .map(|(_, value)| OsString::from(value))
        })
        .map(|directory| directory.path().to_owned())
    }

    #[test]
    fn the_environment_names_the_place_in_order_of_precedence() {
        let all = [
            ("MCPBUS_STATE", "/a"),
            ("XDG_STATE_HOME", "/b"),
            ("HOME", "/c"),
        ];
        assert!(matches!(place(&all), Ok(path) if path == Path::new("/a")));
        assert!(matches!(place(&all[1..]), Ok(path) if path == Path::new("/b/mcpbus")));
        assert!(
            matches!(place(&all[2..]), Ok(path) if path == Path::new("/c/.local/state/mcpbus"))
        );
        assert!(
            matches!(place(&[("XDG_STATE_HOME", "relative"), ("HOME", "/c")]),
            Ok(path) if path == Path::new("/c/.local/state/mcpbus"))
        );
        assert!(matches!(
            place(&[("MCPBUS_STATE", "")]),
            Err(StateDirectoryError::NotNamed)
        ));
    }
}
