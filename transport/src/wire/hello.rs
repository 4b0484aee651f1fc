//! The first frame of a link.

use super::cursor::{Cursor, TEXT_MAX, WireError, put_blob, put_varint, text, truncated};
use bytes::{BufMut, BytesMut};

/// First bytes of every link.
const MAGIC: u64 = u64::from_le_bytes(*b"mcpbus\r\n");
/// Longest list of extensions, in bytes.
const EXTENSIONS_MAX: usize = 4096;

/// What a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    /// A publisher, subscriber, requester or responder.
    Client = 0,
    /// A router node.
    Node = 1,
}

/// First frame of a link: who speaks, which incarnation of the session it wants to go on with, and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Oldest and newest wire version it speaks.
    pub versions: (u8, u8),
    /// What it is.
    pub role: Role,
    /// Who it is; chosen at its first start.
    pub id: u128,
    /// Which life of it this is.
    pub epoch: u64,
    /// Its name, for people.
    pub name: String,
    /// The dialer's number for this session; the acceptor repeats it.
    pub session: u64,
    /// The session's incarnation: 0 asks for a new one; the acceptor answers with the one that is valid.
    pub incarnation: u64,
    /// Which link of the session this is: rises with each link that the dialer makes; the acceptor repeats it.
    pub link: u64,
    /// Most data lanes it will use.
    pub lanes: u8,
    /// Largest body it accepts, in bytes.
    pub message_max: u64,
    /// Most flows it lets the peer open.
    pub flows_max: u32,
}

impl Hello {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(MAGIC);
        out.put_u8(self.versions.0);
        out.put_u8(self.versions.1);
        out.put_u8(self.role as u8);
        out.put_u128_le(self.id);
        put_varint(out, self.epoch);
        put_blob(out, truncated(&self.name).as_bytes());
        put_varint(out, self.session);
        put_varint(out, self.incarnation);
        put_varint(out, self.link);
        out.put_u8(self.lanes);
        put_varint(out, self.message_max);
        put_varint(out, u64::from(self.flows_max));
        // No extensions yet.
        put_blob(out, &[]);
    }

    pub(super) fn decode(cursor: &mut Cursor) -> Result<Self, WireError> {
        let magic = cursor.u64("magic")?;
        if magic != MAGIC {
            return Err(WireError::Invalid {
                field: "magic",
                value: magic,
            });
        }
        let versions = (cursor.u8("oldest version")?, cursor.u8("newest version")?);
        if versions.0 > versions.1 {
            return Err(WireError::Invalid {
                field: "oldest version, above the newest",
                value: u64::from(versions.0),
            });
        }
        let hello = Self {
            versions,
            role: match cursor.u8("role")? {
                0 => Role::Client,
                1 => Role::Node,
                other => {
                    return Err(WireError::Invalid {
                        field: "role",
                        value: u64::from(other),
                    });
                }
            },
            id: cursor.u128("id")?,
            epoch: cursor.varint("epoch")?,
            name: text(cursor.blob("name", TEXT_MAX)?),
            session: cursor.varint("session")?,
            incarnation: cursor.varint("incarnation")?,
            link: cursor.varint("link")?,
            lanes: match cursor.u8("lanes")? {
                0 => {
                    return Err(WireError::Invalid {
                        field: "lanes",
                        value: 0,
                    });
                }
                lanes => lanes,
            },
            message_max: cursor.varint("message_max")?,
            flows_max: cursor.varint32("flows_max")?,
        };
        // What a newer peer says beyond this does not concern this version.
        let mut extensions = Cursor::new(cursor.blob("extensions", EXTENSIONS_MAX)?);
        while extensions.remaining() > 0 {
            extensions.u8("extension tag")?;
            extensions.blob("extension value", EXTENSIONS_MAX)?;
        }
        Ok(hello)
    }
}
