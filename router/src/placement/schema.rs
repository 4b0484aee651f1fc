//! What the two ends of an edge tell each other about its type before anything is carried.
//!
//! The sending end asks, on a subject beside that of the edge, and the receiving end answers whether it means the same
//! type. If it does not, the edge never comes up, and both say which type differs and how.

use mcpbus_actors::Kind;
use mcpbus_transport::codec::{BincodeCodec, Codec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest question, in bytes.
const BYTES_MAX: usize = 32 * 1024;
/// Longest shape that is told; a longer one is compared by its fingerprint only.
const SHAPE_MAX: usize = 16 * 1024;
/// Most differences that are named.
const NAMED_MAX: usize = 8;

/// The type of an edge's messages, as one end knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Schema {
    name: String,
    version: u16,
    fingerprint: u64,
    shape: String,
}

impl From<Kind> for Schema {
    fn from(kind: Kind) -> Self {
        let shape = if kind.shape.len() <= SHAPE_MAX {
            kind.shape
        } else {
            ""
        };
        Self {
            name: kind.name.to_owned(),
            version: kind.version,
            fingerprint: kind.fingerprint,
            shape: shape.to_owned(),
        }
    }
}

impl Schema {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A name of more than the rest of the limit is none that a person wrote; the other end refuses what is cut.
        let _ = BincodeCodec.encode(self, BYTES_MAX, &mut bytes);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        BincodeCodec
            .decode(bytes, BYTES_MAX)
            .map_err(|error| format!("the other end says nothing about its type: {error}"))
    }

    /// What is different at the receiving end; `None` if both mean the same type.
    pub(super) fn differs_from(&self, receiver: &Self) -> Option<String> {
        if (&self.name, self.version, self.fingerprint)
            == (&receiver.name, receiver.version, receiver.fingerprint)
        {
            return None;
        }
        if self.name != receiver.name {
            return Some(format!(
                "the sender's type is `{}`, the receiver's is `{}`",
                self.name, receiver.name
            ));
        }
        let mut differences = Vec::new();
        if self.version != receiver.version {
            differences.push(format!(
                "the sender has version {}, the receiver version {}",
                self.version, receiver.version
            ));
        }
        if self.fingerprint != receiver.fingerprint {
            differences.extend(self.fields_that_differ(receiver));
        }
        let more = differences.len().saturating_sub(NAMED_MAX);
        differences.truncate(NAMED_MAX);
        let mut text = format!("type `{}`: {}", self.name, differences.join("; "));
        if more > 0 {
            text.push_str(&format!("; and {more} more"));
        }
        Some(text)
    }

    fn fields_that_differ(&self, receiver: &Self) -> Vec<String> {
        let (Some(ours), Some(theirs)) = (fields(&self.shape), fields(&receiver.shape)) else {
            return vec![format!(
                "its shape has the fingerprint {:016x} at the sender and {:016x} at the receiver",
                self.fingerprint, receiver.fingerprint
            )];
        };
        let mut differences = Vec::new();
        for (name, sent) in &ours {
            match theirs.get(name) {
                None => differences.push(format!("field `{name}` is unknown to the receiver")),
                Some(expected) if expected != sent => differences.push(format!(
                    "field `{name}` is `{sent}` at the sender and `{expected}` at the receiver"
                )),
                Some(_) => {}
            }
        }
        for name in theirs.keys().filter(|name| !ours.contains_key(*name)) {
            differences.push(format!("field `{name}` is unknown to the sender"));
        }
        if differences.is_empty() {
            differences.push("its fields are in another order".to_owned());
        }
        differences
    }
}

/// The fields of a struct's shape, `name:type;` each; `None` for anything else.
fn fields(shape: &str) -> Option<BTreeMap<&str, &str>> {
    let fields = shape.strip_suffix(';')?.split(';');
    fields
        .map(|field| {
            let (name, kind) = field.split_once(':')?;
            let plain = |part: &str| !part.is_empty() && !part.contains(['{', '}']);
            (plain(name) && plain(kind)).then_some((name, kind))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    fn schema(name: &'static str, version: u16, shape: &'static str) -> Schema {
        Kind::new(name, version, shape).into()
    }

    #[test]
    fn the_same_type_is_taken() {
        let sent = schema("Payment", 1, "account:u32;amount:u64;");
        assert_eq!(sent.differs_from(&sent), None);
        assert_eq!(Schema::decode(&sent.encode()).unwrap(), sent);
    }

    #[test]
    fn what_differs_is_named() {
        let sent = schema("Payment", 1, "account:u32;amount:u64;note:String;");
        for (receiver, text) in [
            (
                schema("Account", 1, "account:u32;amount:u64;note:String;"),
                "the sender's type is `Payment`, the receiver's is `Account`",
            ),
            (
                schema("Payment", 2, "account:u32;amount:u64;note:String;"),
                "type `Payment`: the sender has version 1, the receiver version 2",
            ),
            (
                schema("Payment", 1, "account:u32;amount:u32;fee:u8;"),
                "type `Payment`: field `amount` is `u64` at the sender and `u32` at the receiver; field `note` is unknown to the \
                 receiver; field `fee` is unknown to the sender",
            ),
            (
                schema("Payment", 1, "amount:u64;account:u32;note:String;"),
                "type `Payment`: its fields are in another order",
            ),
        ] {
            assert_eq!(sent.differs_from(&receiver).unwrap(), text);
        }
        let choice = schema("Payment", 1, "A{0:u8;}B{}");
        let text = sent.differs_from(&choice).unwrap();
        assert!(text.contains("fingerprint"), "{text}");
    }

    proptest! {
        #[test]
        fn bytes_of_anybody_are_an_error_and_not_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let sent = schema("Payment", 1, "account:u32;");
            if let Ok(other) = Schema::decode(&bytes) {
                let _ = other.differs_from(&sent);
                let _ = sent.differs_from(&other);
            }
        }
    }
}
