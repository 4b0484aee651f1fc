//! Labels: what a publisher says of a message beside its subject and key, for routes to go by.

use super::cursor::WireError;
use bytes::Bytes;
use std::fmt;

/// Most labels of a message.
pub const LABELS_MAX: usize = 16;
/// Longest name of a label, in bytes.
pub const LABEL_NAME_MAX: usize = 64;
/// Longest value of a label, in bytes. Lengths below 128 take one byte on the wire.
pub const LABEL_VALUE_MAX: usize = 127;
/// Most bytes of all labels of a message, lengths included.
pub const LABELS_BYTES: usize = 512;

/// Names with their values, each name once, in the order of the names. Kept as they stand on the wire, so that a node hands
/// them on without opening them; a clone shares them.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Labels {
    encoded: Bytes,
}

impl Labels {
    /// The labels of these names and values.
    ///
    /// # Errors
    ///
    /// [`LabelError`] says which name or limit is at fault; whoever labels the message corrects it.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(
        labels: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, LabelError> {
        let mut labels: Vec<(N, V)> = labels.into_iter().collect();
        labels.sort_by(|(one, _), (other, _)| one.as_ref().cmp(other.as_ref()));
        let mut encoded = Vec::new();
        for (name, value) in &labels {
            let (name, value) = (name.as_ref(), value.as_ref());
            if name.is_empty() || name.len() > LABEL_NAME_MAX {
                return Err(LabelError::Name(name.to_owned()));
            }
            if value.len() > LABEL_VALUE_MAX {
                return Err(LabelError::Value(name.to_owned()));
            }
            encoded.push(name.len() as u8);
            encoded.extend_from_slice(name.as_bytes());
            encoded.push(value.len() as u8);
            encoded.extend_from_slice(value.as_bytes());
        }
        if let Some(twice) = labels
            .windows(2)
            .find(|pair| pair[0].0.as_ref() == pair[1].0.as_ref())
        {
            return Err(LabelError::Twice(twice[0].0.as_ref().to_owned()));
        }
        if labels.len() > LABELS_MAX || encoded.len() > LABELS_BYTES {
            return Err(LabelError::TooMany);
        }
        Ok(Self {
            encoded: encoded.into(),
        })
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }

    /// What they weigh in credit and in memory bounds, in bytes: what they take on the wire.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.encoded.len() as u64
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// Names and values in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &self.encoded[..];
        std::iter::from_fn(move || {
            let name = text(&mut rest)?;
            Some((name, text(&mut rest)?))
        })
    }

    pub(crate) fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Labels as a peer wrote them.
    pub(crate) fn decode(encoded: Bytes) -> Result<Self, WireError> {
        let invalid = |value: usize| WireError::Invalid {
            field: "labels",
            value: value as u64,
        };
        if encoded.len() > LABELS_BYTES {
            return Err(WireError::TooLarge {
                field: "labels",
                value: encoded.len() as u64,
                limit: LABELS_BYTES as u64,
            });
        }
        let mut rest = &encoded[..];
        let mut last: Option<&str> = None;
        let mut count = 0;
        while !rest.is_empty() {
            let at = encoded.len() - rest.len();
            let name = text(&mut rest).ok_or(invalid(at))?;
            let value = text(&mut rest).ok_or(invalid(at))?;
            let ascends = last.is_none_or(|last| last < name);
            count += 1;
            let fits = !name.is_empty() && name.len() <= LABEL_NAME_MAX && count <= LABELS_MAX;
            if !ascends || !fits || value.len() > LABEL_VALUE_MAX {
                return Err(invalid(at));
            }
            last = Some(name);
        }
        // A slice would keep the whole frame that they came in.
        Ok(Self {
            encoded: Bytes::copy_from_slice(&encoded),
        })
    }
}

/// A length of one byte and so much text; `None` if that is not there.
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let (length, after) = rest.split_first()?;
    let text = std::str::from_utf8(after.get(..usize::from(*length))?).ok()?;
    *rest = &after[text.len()..];
    Some(text)
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Why a message cannot have these labels.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LabelError {
    /// A name is empty or longer than [`LABEL_NAME_MAX`].
    Name(String),
    /// The value of this name is longer than [`LABEL_VALUE_MAX`].
    Value(String),
    /// This name has two values.
    Twice(String),
    /// They are more than [`LABELS_MAX`], or take more than [`LABELS_BYTES`].
    TooMany,
}

impl fmt::Display for LabelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(
                f,
                "the name of a label has 1 to {LABEL_NAME_MAX} bytes, and '{name}' has {}",
                name.len()
            ),
            Self::Value(name) => write!(
                f,
                "the value of the label '{name}' is longer than {LABEL_VALUE_MAX} bytes"
            ),
            Self::Twice(name) => write!(f, "the label '{name}' has two values: keep one"),
            Self::TooMany => write!(
                f,
                "a message has at most {LABELS_MAX} labels of together {LABELS_BYTES} bytes: leave some out"
            ),
        }
    }
}

impl std::error::Error for LabelError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_peer_wrote_wrongly_is_refused() {
        let decode = |bytes: &'static [u8]| Labels::decode(Bytes::from_static(bytes));
        assert_eq!(decode(b"").unwrap(), Labels::default());
        assert_eq!(decode(b"\x01a\x01x\x01b\x00").unwrap().get("a"), Some("x"));
        for wrong in [
            &b"\x01a"[..],
            b"\x01a\x05x",
            b"\x00\x00",
            b"\x01b\x00\x01a\x00",
            b"\x01a\x00\x01a\x00",
            b"\x01\xff\x00",
        ] {
            assert!(decode(wrong).is_err(), "{wrong:?}");
        }
        assert!(Labels::decode(vec![0; LABELS_BYTES + 1].into()).is_err());
    }

    #[test]
    fn limits_are_named() {
        let of = |labels: &[(&str, &str)]| Labels::new(labels.iter().copied()).unwrap_err();
        assert_eq!(of(&[("", "x")]), LabelError::Name(String::new()));
        assert_eq!(
            of(&[("a", &"x".repeat(128))]),
            LabelError::Value("a".into())
        );
        assert_eq!(
            of(&[("a", "x"), ("b", ""), ("a", "y")]),
            LabelError::Twice("a".into())
        );
        let many = (0..17).map(|number| (number.to_string(), ""));
        assert_eq!(Labels::new(many), Err(LabelError::TooMany));
        let heavy = (0..5).map(|number| (number.to_string(), "x".repeat(120)));
        assert_eq!(Labels::new(heavy), Err(LabelError::TooMany));
    }

    proptest! {
        #[test]
        fn labels_come_out_as_they_went_in(
            wanted in proptest::collection::btree_map("[a-z]{1,8}", "[a-zä]{0,8}", 0..10),
        ) {
            let labels = Labels::new(&wanted).unwrap();
            prop_assert_eq!(labels.iter().count(), wanted.len());
            for (name, value) in &wanted {
                prop_assert_eq!(labels.get(name), Some(value.as_str()));
            }
            prop_assert_eq!(labels.get("-"), None);
            prop_assert_eq!(Labels::decode(labels.encoded.clone()).unwrap(), labels);
        }

        #[test]
        fn no_bytes_are_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let bytes = Bytes::from(bytes);
            if let Ok(labels) = Labels::decode(bytes.clone()) {
                let again = Labels::new(labels.iter().collect::<Vec<_>>()).unwrap();
                prop_assert_eq!(again.encoded(), &bytes[..]);
            }
        }
    }
}
