//! `mcpbus cert`: a certificate authority and identities for links between machines.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Subcommand;
use mcpbus_transport::identity::{
    AuthorityError, Credentials, FileError, IssueError, KeyAlgorithm, LocalAuthority, TrustError,
    Validity,
};

use super::Exit;

/// Make a certificate authority, and issue identities for nodes and clients on several machines.
///
/// On one machine nothing of this is needed: the processes of one user share an authority in the state directory.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a certificate authority in a new directory.
    ///
    /// Keep DIR/ca.key where you trust people to name nodes; no node needs it.
    Init {
        /// The directory; it is made if missing.
        dir: PathBuf,
    },
    /// Issue an identity: DIR/NAME with the certificate, its key and the authority to trust.
    ///
    /// Copy DIR/NAME to the machine, and nothing else; name it in the node file under [tls] identity, or give it
    /// with --identity.
    Issue {
        /// The authority's directory.
        dir: PathBuf,
        /// The name that peers will see.
        name: String,
        /// Days until the certificate expires.
        #[arg(long, default_value_t = Validity::IDENTITY_DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
    },
}

/// Why no certificate was made.
enum Failure {
    Authority(AuthorityError),
    Issue(IssueError),
    Trust(TrustError),
    File(FileError),
    Exists(PathBuf),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Authority(error) => error.fmt(f),
            Self::Issue(error) => error.fmt(f),
            Self::Trust(error) => error.fmt(f),
            Self::File(error) => error.fmt(f),
            Self::Exists(path) => write!(
                f,
                "{} exists already; an identity is never overwritten: choose another name or remove it",
                path.display()
            ),
        }
    }
}

pub(super) fn run(command: &Command) -> Exit {
    let done = match command {
        Command::Init { dir } => init(dir),
        Command::Issue { dir, name, days } => issue(dir, name, *days, SystemTime::now()),
    };
    match done {
        Ok(message) => {
            eprintln!("{message}");
            Exit::Success
        }
        Err(failure) => {
            eprintln!("{failure}");
            Exit::Failure
        }
    }
}

fn init(dir: &Path) -> Result<String, Failure> {
    LocalAuthority::create(dir, KeyAlgorithm::default(), SystemTime::now())
        .map_err(Failure::Authority)?;
    Ok(format!(
        "made a certificate authority in {dir}; issue identities with: mcpbus cert issue {dir} NAME",
        dir = dir.display()
    ))
}

fn issue(dir: &Path, name: &str, days: u32, now: SystemTime) -> Result<String, Failure> {
    let authority = LocalAuthority::open(dir).map_err(Failure::Authority)?;
    let identity = authority
        .issue(
            name,
            KeyAlgorithm::default(),
            Validity::days_from(now, days),
        )
        .map_err(Failure::Issue)?;
    let target = dir.join(name);
    if target.join("identity.pem").exists() {
        return Err(Failure::Exists(target));
    }
    let trust = authority.trust().map_err(Failure::Trust)?;
    Credentials { identity, trust }
        .save(&target)
        .map_err(Failure::File)?;
    Ok(format!(
        "issued {} for {days} days; copy this folder, and nothing else, to its machine",
        target.display()
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn init_issue_load_and_never_overwrite() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("authority");
        assert_eq!(
            run(&Command::Issue {
                dir: dir.clone(),
                name: "a".to_owned(),
                days: 1
            }),
            Exit::Failure
        );
        assert_eq!(run(&Command::Init { dir: dir.clone() }), Exit::Success);
        assert_eq!(run(&Command::Init { dir: dir.clone() }), Exit::Failure);
        let issue = |name: &str| {
            run(&Command::Issue {
                dir: dir.clone(),
                name: name.to_owned(),
                days: 1,
            })
        };
        assert_eq!(issue("edge"), Exit::Success);
        assert_eq!(issue("edge"), Exit::Failure);
        assert_eq!(issue("../edge"), Exit::Failure);
        assert_eq!(
            Credentials::load(&dir.join("edge"))
                .unwrap()
                .identity
                .name(),
            "edge"
        );
    }
}
