//! The name of a peer and the rule that names obey.

use std::fmt;

/// The DNS name that every certificate issued for the bus carries, and that a dialer checks.
///
/// It lies below `.internal`, which is reserved for private use, so no public authority issues it.
pub const COMMON_DNS_NAME: &str = "node.mcpbus.internal";

/// The longest name of an identity, in bytes.
pub const MAX_NAME_LENGTH: usize = 63;

/// Who is at the other end of a link.
///
/// A link hands this out after it has verified the peer; the in-memory link is told the names when it is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerIdentity {
    /// The peer's name as its verified certificate states it. Several processes may share a name.
    pub name: String,
}

impl PeerIdentity {
    /// An identity with the given name, for links that verify by other means than a certificate.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

/// Checks a name for an identity.
///
/// A name has 1 to [`MAX_NAME_LENGTH`] bytes: labels of ASCII letters, digits, `-` and `_`, separated by `.`;
/// a label begins and ends with a letter or digit. So each name is also a part of a valid DNS name and of a path.
///
/// # Errors
///
/// [`NameError`] says which rule the name breaks; whoever chose the name chooses another.
pub fn validate_name(name: &str) -> Result<(), NameError> {
    let error = |problem| {
        Err(NameError {
            name: name.chars().take(MAX_NAME_LENGTH).collect(),
            problem,
        })
    };
    if name.is_empty() {
        return error("is empty");
    }
    if name.len() > MAX_NAME_LENGTH {
        return error("is longer than 63 bytes");
    }
    for label in name.split('.') {
        let bytes = label.as_bytes();
        let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
            return error("has an empty part between, before or after its dots");
        };
        if !first.is_ascii_alphanumeric() || !last.is_ascii_alphanumeric() {
            return error("has a part that does not begin and end with a letter or digit");
        }
        if !bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        {
            return error("has a character other than a-z, A-Z, 0-9, '-', '_' and '.'");
        }
    }
    Ok(())
}

/// A name that no identity can have. Choose another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError {
    name: String,
    problem: &'static str,
}

impl fmt::Display for NameError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "the name {:?} {}: choose another name",
            self.name, self.problem
        )
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit_in_dns_and_paths_are_accepted() {
        for name in [
            "edge",
            "risk-v1",
            "a",
            "node.7400",
            "Node_1.west",
            &"x".repeat(63),
        ] {
            assert_eq!(validate_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_that_do_not_fit_are_refused_with_the_rule_they_break() {
        for (name, part) in [
            ("", "empty"),
            ("..", "empty part"),
            ("a..b", "empty part"),
            (".a", "empty part"),
            ("-a", "begin and end"),
            ("a.b-", "begin and end"),
            ("a/b", "character"),
            ("a b", "character"),
            ("ä", "begin and end"),
            (&"x".repeat(64), "longer"),
        ] {
            let error = validate_name(name).expect_err(name).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
