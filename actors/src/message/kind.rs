//! What a message is, by name and by shape, so that two programs can find out whether they mean the same.

use std::fmt;

/// The kind of a message: a stable name, a version, and a fingerprint of its field names and types.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Kind {
    /// The stable name, unique in a system; by default the path-free name of the type.
    pub name: &'static str,
    /// The version its author gave it, from 1.
    pub version: u16,
    /// FNV-1a (64 bit) of the shape: field names and types in order.
    pub fingerprint: u64,
    /// The shape itself, so that two programs can say what differs; empty for a kind that is made of others.
    pub shape: &'static str,
}

impl Kind {
    /// A kind whose fingerprint is taken from `shape`, a canonical text of its fields.
    #[must_use]
    pub const fn new(name: &'static str, version: u16, shape: &'static str) -> Self {
        Self {
            name,
            version,
            fingerprint: fingerprint(OFFSET, shape.as_bytes()),
            shape,
        }
    }

    /// A kind made of other kinds, for tuples and wrappers.
    #[must_use]
    pub const fn composed(name: &'static str, parts: &[Self]) -> Self {
        let mut hash = fingerprint(OFFSET, name.as_bytes());
        let mut index = 0;
        while index < parts.len() {
            hash = fingerprint(hash, parts[index].name.as_bytes());
            hash = fingerprint(hash, &parts[index].fingerprint.to_le_bytes());
            index += 1;
        }
        Self {
            name,
            version: 1,
            fingerprint: hash,
            shape: "",
        }
    }

    /// Whether a value of kind `other` can be read as this kind: name, version and shape are equal.
    #[must_use]
    pub fn is_compatible_with(&self, other: &Self) -> bool {
        self == other
    }
}

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

const fn fingerprint(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(PRIME);
        index += 1;
    }
    hash
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} v{} ({:016x})",
            self.name, self.version, self.fingerprint
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_changes_with_its_shape() {
        let before = Kind::new("Payment", 1, "account:u32;");
        assert_ne!(
            before.fingerprint,
            Kind::new("Payment", 1, "account:u64;").fingerprint
        );
        assert!(before.is_compatible_with(&Kind::new("Payment", 1, "account:u32;")));
        assert_ne!(
            Kind::composed("tuple", &[before, Kind::new("u8", 1, "u8")]),
            Kind::composed("tuple", &[Kind::new("u8", 1, "u8"), before])
        );
    }
}
