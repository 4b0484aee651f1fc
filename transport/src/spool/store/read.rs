//! Reading: what a store knows, and the messages of a queue.

use super::super::clock::Moment;
use super::super::contract::{CorruptRecord, Position, QueueId, Recovered, RecoveredQueue, Stored};
use super::batch::BatchHead;
use super::change::Known;
use super::rows::{
    BODIES, COUNT, IndexRow, META_KEY, Meta, PIECE, QUEUE, ROWS, VALUE, batch_key, index_first,
    index_key, number, piece_key, queue_key, unseal, weight,
};
use bytes::{Bytes, BytesMut};
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, StorageError, TableError};

/// How far positions leap when nobody knows any more which were used. No store lives to use as many.
const LEAP: Position = 1 << 40;

type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// A view of a store that later commits do not change.
pub(super) struct View {
    rows: Rows,
    bodies: Rows,
}

impl View {
    pub(super) fn new(transaction: &ReadTransaction) -> Result<Self, TableError> {
        Ok(Self {
            rows: transaction.open_table(ROWS)?,
            bodies: transaction.open_table(BODIES)?,
        })
    }

    /// What a store keeps in memory. Reads no message, and goes on where rows are damaged.
    pub(super) fn known(&self) -> Result<Known, StorageError> {
        let mut known = Known::default();
        for row in self.rows.range::<&[u8]>(&[QUEUE][..]..&[QUEUE + 1][..])? {
            let (key, _) = row?;
            let Some(queue) = queue_of(key.value()) else {
                continue;
            };
            let key = queue_key(COUNT, queue);
            let row = self.rows.get(key.as_slice())?;
            let count = row.and_then(|row| number(unseal(&key, row.value())?));
            let count = match count {
                Some(count) => count,
                None => self.count(queue)?,
            };
            known.queues.insert(queue, count);
        }
        let row = self.rows.get(META_KEY)?;
        known.meta = match row.and_then(|row| Meta::decode(row.value())) {
            Some(meta) => meta,
            None => self.survey()?,
        };
        Ok(known)
    }

    /// Counts the messages of a queue.
    fn count(&self, queue: QueueId) -> Result<u64, StorageError> {
        let (from, to) = (index_key(queue, 0), index_key(queue, Position::MAX));
        let mut count = 0;
        for row in self.rows.range(from.as_slice()..=to.as_slice())? {
            let (key, row) = row?;
            count += self.index_row(key.value(), row.value())?.1.open.count();
        }
        Ok(count)
    }

    /// Finds out what a store holds, from all that it holds.
    pub(super) fn survey(&self) -> Result<Meta, StorageError> {
        let mut meta = Meta {
            next: LEAP,
            ..Meta::default()
        };
        for row in self.rows.range::<&[u8]>(&b"i"[..]..)? {
            let (key, row) = row?;
            let length = key.value().len() + row.value().len();
            if matches!(key.value().first(), Some(b'i' | &QUEUE | &VALUE)) {
                meta.bytes += weight(length);
            }
        }
        for row in self.bodies.iter()? {
            let (key, row) = row?;
            meta.bytes += weight(key.value().len() + row.value().len());
            let Ok(first) = key.value().try_into().map(Position::from_be_bytes) else {
                continue;
            };
            meta.next = first.saturating_add(LEAP);
            let mut needed = super::places::Places::NONE;
            let head = BatchHead::decode(first, row.value());
            for queue in head.iter().flat_map(|head| &head.queues) {
                let key = index_key(*queue, first);
                if let Some(row) = self.rows.get(key.as_slice())? {
                    needed.join(&self.index_row(&key, row.value())?.1.open);
                }
            }
            meta.messages += needed.count();
        }
        Ok(meta)
    }

    /// All that is not a message.
    pub(super) fn recovered(&self, known: &Known) -> Result<Recovered, StorageError> {
        let mut recovered = Recovered {
            next: known.meta.next.max(1),
            usage: known.usage(),
            ..Recovered::default()
        };
        for (queue, messages) in &known.queues {
            let key = queue_key(QUEUE, *queue);
            let row = self.rows.get(key.as_slice())?;
            let definition =
                row.and_then(|row| unseal(&key, row.value()).map(Bytes::copy_from_slice));
            if definition.is_none() {
                tracing::error!(
                    queue = queue.0,
                    "the definition of a queue in the spool is damaged"
                );
            }
            recovered.queues.push(RecoveredQueue {
                queue: *queue,
                definition: definition.unwrap_or_default(),
                messages: *messages,
            });
        }
        for row in self.rows.range::<&[u8]>(&[VALUE][..]..&[VALUE + 1][..])? {
            let (key, row) = row?;
            match unseal(key.value(), row.value()) {
                Some(value) => {
                    let name = Bytes::copy_from_slice(key.value().get(1..).unwrap_or_default());
                    recovered.values.push((name, Bytes::copy_from_slice(value)));
                }
                None => tracing::error!(key = ?key.value(), "a value in the spool is damaged"),
            }
        }
        Ok(recovered)
    }

    /// The messages of a queue: see [`Store::read`](super::super::contract::Store::read).
    pub(super) fn messages(
        &self,
        queue: QueueId,
        after: Position,
        messages: usize,
        bytes: u64,
        at: Moment,
    ) -> Result<Vec<Stored>, StorageError> {
        let mut read = Vec::new();
        let mut size = 0;
        let Some(from) = after.checked_add(1) else {
            return Ok(read);
        };
        let (lowest, start) = (index_key(queue, 0), index_key(queue, from));
        let highest = index_key(queue, Position::MAX);
        let before = self
            .rows
            .range(lowest.as_slice()..=start.as_slice())?
            .next_back();
        let begin = match before.transpose()? {
            Some((key, _)) => key.value().to_vec(),
            None => start,
        };
        for row in self.rows.range(begin.as_slice()..=highest.as_slice())? {
            let (key, row) = row?;
            let (first, row, head) = {
                let (first, row) = self.index_row(key.value(), row.value())?;
                let head = if row.damaged { None } else { self.head(first)? };
                (first, row, head)
            };
            let mut pieces = Pieces {
                bodies: &self.bodies,
                first,
                last: None,
            };
            for offset in row.open.iter() {
                let position = first.saturating_add(offset as u64);
                if position < from {
                    continue;
                }
                if read.len() >= messages || (!read.is_empty() && size >= bytes) {
                    return Ok(read);
                }
                let record = match &head {
                    Some(head) => match pieces.message(head, offset)? {
                        Some(bytes) => head.decode_message(offset, bytes, at),
                        None => Err(CorruptRecord),
                    },
                    None => Err(CorruptRecord),
                };
                size += record.as_ref().map_or(0, |record| record.body.len() as u64);
                read.push(Stored {
                    position,
                    tag: row.tag.clone(),
                    record,
                });
            }
        }
        Ok(read)
    }

    fn head(&self, first: Position) -> Result<Option<BatchHead>, StorageError> {
        let row = self.bodies.get(batch_key(first).as_slice())?;
        Ok(row.and_then(|row| BatchHead::decode(first, row.value())))
    }

    fn index_row(&self, key: &[u8], row: &[u8]) -> Result<(Position, IndexRow), StorageError> {
        let first = index_first(key).unwrap_or_default();
        let row = match IndexRow::decode(key, row) {
            Some(row) => row,
            None => IndexRow::lost(self.head(first)?.map_or(1, |head| head.count())),
        };
        Ok((first, row))
    }
}

fn queue_of(key: &[u8]) -> Option<QueueId> {
    let bytes = key.get(1..)?.try_into().ok()?;
    Some(QueueId(u32::from_be_bytes(bytes)))
}

/// The bytes of the messages of one batch. Remembers the last piece: neighbours share it.
struct Pieces<'a> {
    bodies: &'a Rows,
    first: Position,
    last: Option<(u64, Bytes)>,
}

impl Pieces<'_> {
    /// The bytes of a message; none if some of them are missing.
    fn message(&mut self, head: &BatchHead, offset: usize) -> Result<Option<Bytes>, StorageError> {
        let Some(place) = head.place(offset) else {
            return Ok(None);
        };
        let size = PIECE as u64;
        // Grows with what is there: a damaged length allocates nothing.
        let mut bytes = BytesMut::new();
        for piece in place.start / size..place.end.div_ceil(size) {
            let Some(stored) = self.piece(piece)? else {
                return Ok(None);
            };
            let from = place.start.saturating_sub(piece * size) as usize;
            let to = (place.end - piece * size).min(size) as usize;
            match stored.get(from..to) {
                Some(part) => bytes.extend_from_slice(part),
                None => return Ok(None),
            }
        }
        Ok(Some(bytes.freeze()))
    }

    fn piece(&mut self, piece: u64) -> Result<Option<Bytes>, StorageError> {
        if let Some((number, bytes)) = &self.last
            && *number == piece
        {
            return Ok(Some(bytes.clone()));
        }
        let key = piece_key(self.first, piece as usize);
        let stored = self.bodies.get(key.as_slice())?;
        let stored = stored.map(|stored| Bytes::copy_from_slice(stored.value()));
        self.last = stored.clone().map(|stored| (piece, stored));
        Ok(stored)
    }
}
