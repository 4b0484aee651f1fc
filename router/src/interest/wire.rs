//! Interest messages as bytes.
//!
//! A message is a version byte (1), a kind byte and the fields below. Numbers are LEB128 varints, node ids 16
//! bytes big endian, texts a varint of their length and their bytes.
//!
//! | kind | fields |
//! | --- | --- |
//! | 1 announce | origin, epoch, flags (1 first, 2 last, 4 stale, 8 token follows), token, number of path nodes, path, number removed, ids removed, number added, per added entry id, members, pattern, group (empty: none), route (0 none, 1 a route, 2 an exclusive route; then number of its groups, groups) |
//! | 2 withdraw | origin |
//! | 3 sync done | |
//! | 4 confirm | token, refused (0 or 1) |

use std::fmt;
use std::sync::Arc;

use super::message::{
    Announce, Entry, EntryId, GROUP_BYTES, MESSAGE_ENTRIES, Message, NodeId, PATH_NODES,
    ROUTE_GROUPS, RoutedGroups,
};
use crate::routing::{Pattern, PatternError, SUBJECT_BYTES};

/// The version this code writes and reads.
pub const WIRE_VERSION: u8 = 1;

const FIRST: u8 = 1;
const LAST: u8 = 2;
const STALE: u8 = 4;
const TOKEN: u8 = 8;

/// The longest message, in bytes.
pub const MESSAGE_BYTES: usize = 32 * 1024;

/// Writes a message. One that [`Interest`](super::Interest) made is at most [`MESSAGE_BYTES`] long.
#[must_use]
pub fn encode(message: &Message) -> Vec<u8> {
    let mut bytes = vec![WIRE_VERSION];
    match message {
        Message::Announce(announce) => {
            bytes.push(1);
            write_announce(&mut bytes, announce);
        }
        Message::Withdraw { origin } => {
            bytes.push(2);
            bytes.extend_from_slice(&origin.0.to_be_bytes());
        }
        Message::SyncDone => bytes.push(3),
        Message::Confirm { token, refused } => {
            bytes.push(4);
            write_number(&mut bytes, *token);
            bytes.push(u8::from(*refused));
        }
    }
    bytes
}

fn write_announce(bytes: &mut Vec<u8>, announce: &Announce) {
    bytes.extend_from_slice(&announce.origin.0.to_be_bytes());
    write_number(bytes, announce.epoch);
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    bytes.push(
        flag(announce.first, FIRST)
            | flag(announce.last, LAST)
            | flag(announce.stale, STALE)
            | flag(announce.token.is_some(), TOKEN),
    );
    if let Some(token) = announce.token {
        write_number(bytes, token);
    }
    write_number(bytes, announce.path.len() as u64);
    for node in announce.path.iter() {
        bytes.extend_from_slice(&node.0.to_be_bytes());
    }
    write_number(bytes, announce.removed.len() as u64);
    for id in &announce.removed {
        write_number(bytes, u64::from(id.0));
    }
    write_number(bytes, announce.added.len() as u64);
    for (id, entry) in &announce.added {
        write_number(bytes, u64::from(id.0));
        write_number(bytes, u64::from(entry.members));
        write_text(bytes, entry.pattern.as_str());
        write_text(bytes, entry.group.as_deref().unwrap_or(""));
        match &entry.route {
            None => bytes.push(0),
            Some(route) => {
                bytes.push(1 + u8::from(route.exclusive));
                write_number(bytes, route.groups.len() as u64);
                for group in &route.groups {
                    write_text(bytes, group);
                }
            }
        }
    }
}

fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn write_text(bytes: &mut Vec<u8>, text: &str) {
    write_number(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

/// Reads a message. Every count is checked against its limit and against the bytes that are there before
/// anything is allocated for it.
///
/// # Errors
///
/// [`WireError`] when the bytes are not exactly one message within its limits. The peer is at fault: the
/// caller closes the link.
pub fn decode(bytes: &[u8]) -> Result<Message, WireError> {
    if bytes.len() > MESSAGE_BYTES {
        return Err(WireError::TooLong {
            length: bytes.len(),
        });
    }
    let mut reader = Reader { bytes, position: 0 };
    let version = reader.byte()?;
    if version != WIRE_VERSION {
        return Err(WireError::Version { version });
    }
    let message = match reader.byte()? {
        1 => Message::Announce(reader.announce()?),
        2 => Message::Withdraw {
            origin: reader.node()?,
        },
        3 => Message::SyncDone,
        4 => Message::Confirm {
            token: reader.number()?,
            refused: reader.flags(1)? == 1,
        },
        kind => return Err(WireError::Kind { kind }),
    };
    match reader.remaining() {
        0 => Ok(message),
        extra => Err(WireError::Trailing { extra }),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let bytes = self.bytes;
        match bytes.get(self.position..self.position.saturating_add(length)) {
            Some(taken) => {
                self.position += length;
                Ok(taken)
            }
            None => Err(WireError::Truncated {
                position: self.position,
            }),
        }
    }

    fn byte(&mut self) -> Result<u8, WireError> {
        Ok(self.take(1)?[0])
    }

    fn flags(&mut self, known: u8) -> Result<u8, WireError> {
        let position = self.position;
        match self.byte()? {
            flags if flags & !known == 0 => Ok(flags),
            flags => Err(WireError::Flags { position, flags }),
        }
    }

    fn node(&mut self) -> Result<NodeId, WireError> {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(self.take(16)?);
        Ok(NodeId(u128::from_be_bytes(bytes)))
    }

    fn number(&mut self) -> Result<u64, WireError> {
        let start = self.position;
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let digit = u64::from(byte & 0x7f);
            // The tenth byte holds the top bit only.
            if shift == 63 && digit > 1 {
                break;
            }
            number |= digit << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(WireError::Number { position: start })
    }

    fn number_32(&mut self) -> Result<u32, WireError> {
        let position = self.position;
        u32::try_from(self.number()?).map_err(|_| WireError::Number { position })
    }

    /// A count of elements of at least `least` bytes each.
    fn count(&mut self, limit: usize, least: usize) -> Result<usize, WireError> {
        let position = self.position;
        let count = self.number()?;
        match usize::try_from(count) {
            Ok(count) if count > limit => Err(WireError::Count {
                position,
                count: count as u64,
                limit,
            }),
            Ok(count) if count * least <= self.remaining() => Ok(count),
            Ok(_) => Err(WireError::Truncated {
                position: self.bytes.len(),
            }),
            Err(_) => Err(WireError::Count {
                position,
                count,
                limit,
            }),
        }
    }

    fn text(&mut self, limit: usize) -> Result<&'a str, WireError> {
        let length = self.count(limit, 1)?;
        let position = self.position;
        std::str::from_utf8(self.take(length)?).map_err(|_| WireError::Text { position })
    }

    fn announce(&mut self) -> Result<Announce, WireError> {
        let origin = self.node()?;
        let epoch = self.number()?;
        let flags = self.flags(FIRST | LAST | STALE | TOKEN)?;
        let token = if flags & TOKEN == 0 {
            None
        } else {
            Some(self.number()?)
        };
        let nodes = self.count(PATH_NODES, 16)?;
        let path = (0..nodes)
            .map(|_| self.node())
            .collect::<Result<Arc<[NodeId]>, _>>()?;
        let count = self.count(MESSAGE_ENTRIES, 1)?;
        let removed = (0..count)
            .map(|_| self.number_32().map(EntryId))
            .collect::<Result<Vec<_>, _>>()?;
        let count = self.count(MESSAGE_ENTRIES, 5)?;
        let added = (0..count)
            .map(|_| self.entry())
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Announce {
            origin,
            epoch,
            path,
            first: flags & FIRST != 0,
            last: flags & LAST != 0,
            stale: flags & STALE != 0,
            removed,
            added,
            token,
        })
    }

    fn entry(&mut self) -> Result<(EntryId, Entry), WireError> {
        let id = EntryId(self.number_32()?);
        let members = self.number_32()?;
        let position = self.position;
        let pattern = Pattern::new(self.text(SUBJECT_BYTES)?)
            .map_err(|error| WireError::Pattern { position, error })?;
        let group = self.group()?;
        let position = self.position;
        let route = match self.byte()? {
            0 => None,
            kind @ (1 | 2) => {
                let count = self.count(ROUTE_GROUPS, 1)?;
                let mut groups = Vec::with_capacity(count);
                for _ in 0..count {
                    let position = self.position;
                    groups.push(self.group()?.ok_or(WireError::Text { position })?);
                }
                Some(Arc::new(RoutedGroups {
                    groups,
                    exclusive: kind == 2,
                }))
            }
            flags => return Err(WireError::Flags { position, flags }),
        };
        Ok((
            id,
            Entry {
                pattern,
                group,
                members,
                route,
            },
        ))
    }

    /// The name of a group; empty is none.
    fn group(&mut self) -> Result<Option<Arc<str>>, WireError> {
        let position = self.position;
        match self.text(GROUP_BYTES)? {
            "" => Ok(None),
            group if group.chars().any(char::is_control) => Err(WireError::Text { position }),
            group => Ok(Some(Arc::from(group))),
        }
    }
}

/// Why bytes are not an interest message. Positions are byte offsets into the message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// The message has `length` bytes, more than [`MESSAGE_BYTES`].
    TooLong {
        /// Bytes in the message.
        length: usize,
    },
    /// The message ends before its fields do.
    Truncated {
        /// Where bytes were missing.
        position: usize,
    },
    /// The peer writes a version that this code does not read.
    Version {
        /// The peer's version.
        version: u8,
    },
    /// There is no such kind of message.
    Kind {
        /// The kind byte.
        kind: u8,
    },
    /// A flag that has no meaning is set.
    Flags {
        /// Where the flags stand.
        position: usize,
        /// The flags.
        flags: u8,
    },
    /// The number does not fit its field.
    Number {
        /// Where the number starts.
        position: usize,
    },
    /// More elements than the limit.
    Count {
        /// Where the count stands.
        position: usize,
        /// The count.
        count: u64,
        /// The most that are allowed.
        limit: usize,
    },
    /// The text is not UTF-8, or a group's name holds a control character.
    Text {
        /// Where the text starts.
        position: usize,
    },
    /// The text is not a pattern.
    Pattern {
        /// Where the text starts.
        position: usize,
        /// Why not.
        error: PatternError,
    },
    /// Bytes follow the last field.
    Trailing {
        /// How many.
        extra: usize,
    },
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interest message: ")?;
        match self {
            Self::TooLong { length } => {
                write!(f, "{length} bytes, at most {MESSAGE_BYTES} are allowed")
            }
            Self::Truncated { position } => write!(f, "ends too early, at byte {position}"),
            Self::Version { version } => {
                write!(
                    f,
                    "version {version} is not {WIRE_VERSION}: upgrade the older of the two nodes"
                )
            }
            Self::Kind { kind } => {
                write!(f, "unknown kind {kind}: upgrade the older of the two nodes")
            }
            Self::Flags { position, flags } => {
                write!(
                    f,
                    "unknown flags {flags:#04x} at byte {position}: upgrade the older of the two nodes"
                )
            }
            Self::Number { position } => write!(f, "number out of range at byte {position}"),
            Self::Count {
                position,
                count,
                limit,
            } => {
                write!(
                    f,
                    "{count} elements at byte {position}, at most {limit} are allowed"
                )
            }
            Self::Text { position } => write!(f, "invalid text at byte {position}"),
            Self::Pattern { position, error } => {
                write!(f, "invalid pattern at byte {position}: {error}")
            }
            Self::Trailing { extra } => write!(f, "{extra} bytes too many"),
        }
    }
}

impl std::error::Error for WireError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Pattern { error, .. } => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let group = proptest::option::of("[a-zé]{1,20}");
        (
            "[a-c]{1,3}(\\.([a-c]|\\*)){0,5}(\\.>)?",
            group,
            any::<u32>(),
            proptest::option::of((proptest::collection::vec("[a-z]{1,9}", 0..4), any::<bool>())),
        )
            .prop_map(|(pattern, group, members, route)| Entry {
                pattern: pattern.parse().unwrap(),
                group: group.map(Arc::from),
                members,
                route: route.map(|(groups, exclusive)| {
                    let groups = groups.into_iter().map(Arc::from).collect();
                    Arc::new(RoutedGroups { groups, exclusive })
                }),
            })
    }

    fn message() -> impl Strategy<Value = Message> {
        let announce = (
            (
                any::<u128>(),
                any::<u64>(),
                any::<[bool; 3]>(),
                any::<Option<u64>>(),
            ),
            proptest::collection::vec(any::<u128>(), 0..=PATH_NODES),
            proptest::collection::vec(any::<u32>(), 0..10),
            proptest::collection::vec((any::<u32>(), entry()), 0..10),
        );
        let announce = announce.prop_map(
            |((origin, epoch, [first, last, stale], token), path, removed, added)| {
                Message::Announce(Announce {
                    origin: NodeId(origin),
                    epoch,
                    path: path.into_iter().map(NodeId).collect(),
                    first,
                    last,
                    stale,
                    removed: removed.into_iter().map(EntryId).collect(),
                    added: added
                        .into_iter()
                        .map(|(id, entry)| (EntryId(id), entry))
                        .collect(),
                    token,
                })
            },
        );
        prop_oneof![
            4 => announce,
            1 => any::<u128>().prop_map(|origin| Message::Withdraw { origin: NodeId(origin) }),
            1 => Just(Message::SyncDone),
            1 => any::<(u64, bool)>().prop_map(|(token, refused)| Message::Confirm { token, refused }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_every_cut_is_noticed(message in message(), cut in any::<prop::sample::Index>()) {
            let bytes = encode(&message);
            prop_assert_eq!(decode(&bytes), Ok(message));
            prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_err());
            let mut longer = bytes;
            longer.push(0);
            prop_assert_eq!(decode(&longer), Err(WireError::Trailing { extra: 1 }));
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            message in message(),
            noise in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            random in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut bytes = encode(&message);
            for (at, byte) in noise {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let prefixed: Vec<u8> = [1, 1].into_iter().chain(random.iter().copied()).collect();
            for bytes in [bytes, random, prefixed] {
                if let Ok(message) = decode(&bytes) {
                    prop_assert_eq!(decode(&encode(&message)), Ok(message));
                }
            }
        }
    }

    #[test]
    fn counts_beyond_the_bytes_are_refused_before_anything_is_allocated() {
        let mut bytes = vec![1, 1];
        bytes.extend([0; 16]);
        bytes.extend([0, 0, 0]);
        bytes.push(200);
        bytes.push(1);
        assert_eq!(
            decode(&bytes),
            Err(WireError::Truncated {
                position: bytes.len()
            })
        );
        bytes.truncate(bytes.len() - 2);
        bytes.extend([0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert!(matches!(
            decode(&bytes),
            Err(WireError::Count {
                limit: MESSAGE_ENTRIES,
                ..
            })
        ));
        assert!(matches!(
            decode(&vec![0; MESSAGE_BYTES + 1]),
            Err(WireError::TooLong { .. })
        ));
        assert_eq!(decode(&[2, 3]), Err(WireError::Version { version: 2 }));
        assert_eq!(decode(&[1, 9]), Err(WireError::Kind { kind: 9 }));
    }
}
