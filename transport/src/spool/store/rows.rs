//! The rows of the database, byte by byte.
//!
//! The table `rows` holds what is small. Its values end with a checksum over the value, with that of the key as seed.
//!
//! | key (numbers big endian) | value |
//! | --- | --- |
//! | `h` | the words of [`FORMAT`], the version u32 |
//! | `m` | next position, messages, bytes (u64 each) |
//! | `q` queue u32 | definition |
//! | `c` queue u32 | messages of the queue u64 |
//! | `v` key | value |
//! | `i` queue u32, first u64 | flags, messages of the batch, tag, runs of what is not settled |
//!
//! The table `bodies` holds batches: `first u64` is its head (see [`super::batch`]), `first u64, piece u32` a piece of its
//! messages. A piece fills one allocation of the database, so little is lost to rounding, and is freed when none of its
//! messages is needed.

use super::super::contract::{Position, QueueId};
use super::places::Places;
use crate::wire::cursor::{put_blob, put_varint};
use crate::wire::{Cursor, WireError};
use bytes::{BufMut, Bytes, BytesMut};
use redb::TableDefinition;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

pub(super) const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
pub(super) const BODIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("bodies");

/// What the header of every version begins with.
pub(super) const FORMAT: &[u8] = b"mcpbus spool";
/// The version that this build reads and writes.
pub(super) const VERSION: u32 = 1;
/// Bytes of a piece: with its key it fills 16 KiB.
pub(super) const PIECE: usize = 16_320;

pub(super) const HEADER_KEY: &[u8] = b"h";
pub(super) const META_KEY: &[u8] = b"m";
pub(super) const QUEUE: u8 = b'q';
pub(super) const COUNT: u8 = b'c';
pub(super) const VALUE: u8 = b'v';
const INDEX: u8 = b'i';

/// The tag of the row was lost with its bytes: its messages cannot be delivered.
const DAMAGED: u8 = 1;

pub(super) fn queue_key(kind: u8, queue: QueueId) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend(queue.0.to_be_bytes());
    key
}

pub(super) fn value_key(key: &[u8]) -> Vec<u8> {
    [&[VALUE], key].concat()
}

pub(super) fn index_key(queue: QueueId, first: Position) -> Vec<u8> {
    let mut key = queue_key(INDEX, queue);
    key.extend(first.to_be_bytes());
    key
}

/// The first position of the batch of an index key.
pub(super) fn index_first(key: &[u8]) -> Option<Position> {
    let bytes = key.get(5..13)?.try_into().ok()?;
    Some(Position::from_be_bytes(bytes))
}

pub(super) fn batch_key(first: Position) -> Vec<u8> {
    first.to_be_bytes().to_vec()
}

pub(super) fn piece_key(first: Position, piece: usize) -> Vec<u8> {
    let mut key = batch_key(first);
    key.extend((piece as u32).to_be_bytes());
    key
}

/// What an entry of this size takes on the disk, about.
pub(super) fn weight(length: usize) -> u64 {
    // Small entries share pages of 4 KiB, which are two thirds full; a large one has its own, of a power of two.
    match length + 32 {
        small if small <= 2048 => small as u64 * 3 / 2,
        large => (large as u64).next_multiple_of(4096).next_power_of_two(),
    }
}

/// A value with its checksum.
pub(super) fn seal(key: &[u8], value: &[u8]) -> Vec<u8> {
    let sum = xxh3_64_with_seed(value, xxh3_64(key));
    [value, &sum.to_le_bytes()].concat()
}

/// The value that was sealed under this key, unless its bytes have changed.
pub(super) fn unseal<'a>(key: &[u8], sealed: &'a [u8]) -> Option<&'a [u8]> {
    let (value, sum) = sealed.split_last_chunk::<8>()?;
    let expected = xxh3_64_with_seed(value, xxh3_64(key));
    (u64::from_le_bytes(*sum) == expected).then_some(value)
}

/// What a store knows of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) next: Position,
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl Meta {
    pub(super) fn encode(self) -> Vec<u8> {
        let numbers = [self.next, self.messages, self.bytes];
        let bytes: Vec<u8> = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
        seal(META_KEY, &bytes)
    }

    pub(super) fn decode(sealed: &[u8]) -> Option<Self> {
        let value = unseal(META_KEY, sealed)?;
        Some(Self {
            next: number(value.get(..8)?)?,
            messages: number(value.get(8..16)?)?,
            bytes: number(value.get(16..)?)?,
        })
    }
}

pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// What a queue needs of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IndexRow {
    /// How many messages the batch has.
    pub(super) count: usize,
    pub(super) tag: Bytes,
    /// Those that are not settled.
    pub(super) open: Places,
    /// Whether the row was damaged once: nobody knows the tag any more.
    pub(super) damaged: bool,
}

impl IndexRow {
    pub(super) fn encode(&self, key: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::with_capacity(self.tag.len() + 16);
        out.put_u8(if self.damaged { DAMAGED } else { 0 });
        put_varint(&mut out, self.count as u64);
        put_blob(&mut out, &self.tag);
        self.open.encode(&mut out);
        seal(key, &out)
    }

    pub(super) fn decode(key: &[u8], sealed: &[u8]) -> Option<Self> {
        let value = unseal(key, sealed)?;
        Self::fields(&mut Cursor::new(Bytes::copy_from_slice(value))).ok()
    }

    fn fields(cursor: &mut Cursor) -> Result<Self, WireError> {
        use super::super::contract::{BATCH_MAX, TAG_MAX};
        let damaged = cursor.u8("flags")? & DAMAGED != 0;
        let count = cursor.bounded("count", BATCH_MAX as u64)? as usize;
        let tag = cursor.blob("tag", TAG_MAX)?;
        let open = Places::decode(cursor, count)?;
        Ok(Self {
            count,
            tag,
            open,
            damaged,
        })
    }

    /// In the place of a row that cannot be read: all messages of the batch, none of which can be delivered.
    pub(super) fn lost(count: usize) -> Self {
        Self {
            count,
            tag: Bytes::new(),
            open: Places::below(count),
            damaged: true,
        }
    }
}
