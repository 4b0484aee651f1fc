//! The changes of one commit, within one transaction of the database.

use super::super::clock::Moment;
use super::super::contract::{Operation, Position, QueueId, Usage};
use super::batch::{self, BatchHead};
use super::places::Places;
use super::rows::{
    BODIES, COUNT, IndexRow, META_KEY, Meta, PIECE, QUEUE, ROWS, batch_key, index_first, index_key,
    piece_key, queue_key, seal, value_key, weight,
};
use crate::wire::Record;
use bytes::Bytes;
use redb::{ReadableTable, StorageError, Table, TableError, WriteTransaction};
use std::collections::BTreeMap;

type Rows<'t> = Table<'t, &'static [u8], &'static [u8]>;

/// What a store keeps in memory: nothing that grows with messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The queues, and how many messages each has.
    pub(super) queues: BTreeMap<QueueId, u64>,
    pub(super) meta: Meta,
}

impl Known {
    pub(super) fn usage(&self) -> Usage {
        Usage {
            messages: self.meta.messages,
            bytes: self.meta.bytes,
        }
    }
}

/// What a commit changed of [`Known`].
#[derive(Debug, Default)]
pub(super) struct Changed {
    queues: BTreeMap<QueueId, Option<u64>>,
    pub(super) meta: Meta,
}

impl Changed {
    /// Makes it known, once the commit has succeeded.
    pub(super) fn enter(self, known: &mut Known) {
        known.meta = self.meta;
        for (queue, count) in self.queues {
            match count {
                Some(count) => known.queues.insert(queue, count),
                None => known.queues.remove(&queue),
            };
        }
    }
}

/// Carries changes out in a transaction, which is not committed yet.
pub(super) fn apply(
    transaction: &WriteTransaction,
    operations: &[Operation],
    known: &Known,
    at: Moment,
) -> Result<Changed, TableError> {
    let mut change = Change {
        rows: transaction.open_table(ROWS)?,
        bodies: transaction.open_table(BODIES)?,
        known,
        changed: Changed {
            queues: BTreeMap::new(),
            meta: known.meta,
        },
        at,
    };
    for operation in operations {
        change.apply(operation)?;
    }
    change.finish()?;
    Ok(change.changed)
}

struct Change<'t, 'k> {
    rows: Rows<'t>,
    bodies: Rows<'t>,
    known: &'k Known,
    changed: Changed,
    at: Moment,
}

impl Change<'_, '_> {
    fn apply(&mut self, operation: &Operation) -> Result<(), StorageError> {
        match operation {
            Operation::PutQueue { queue, definition } => {
                self.put(&queue_key(QUEUE, *queue), definition)?;
                let count = self.count(*queue).unwrap_or(0);
                self.changed.queues.insert(*queue, Some(count));
            }
            Operation::RemoveQueue { queue } => self.remove_queue(*queue)?,
            Operation::Append {
                first,
                records,
                queues,
            } => self.append(*first, records, queues)?,
            Operation::Settle { queue, positions } => self.settle(*queue, positions)?,
            Operation::Put { key, value } => self.put(&value_key(key), value)?,
            Operation::Delete { key } => self.delete(&value_key(key))?,
        }
        Ok(())
    }

    /// Writes what is known of the whole.
    fn finish(&mut self) -> Result<(), StorageError> {
        for (queue, count) in &self.changed.queues {
            let key = queue_key(COUNT, *queue);
            match count {
                Some(count) => {
                    let row = seal(&key, &count.to_le_bytes());
                    self.rows.insert(key.as_slice(), row.as_slice())?;
                }
                None => {
                    self.rows.remove(key.as_slice())?;
                }
            }
        }
        let meta = self.changed.meta.encode();
        self.rows.insert(META_KEY, meta.as_slice())?;
        Ok(())
    }

    fn count(&self, queue: QueueId) -> Option<u64> {
        match self.changed.queues.get(&queue) {
            Some(count) => *count,
            None => self.known.queues.get(&queue).copied(),
        }
    }

    fn add(&mut self, length: usize) {
        let bytes = &mut self.changed.meta.bytes;
        *bytes = bytes.saturating_add(weight(length));
    }

    fn take(&mut self, length: usize) {
        let bytes = &mut self.changed.meta.bytes;
        *bytes = bytes.saturating_sub(weight(length));
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StorageError> {
        let row = seal(key, value);
        self.put_row(key, &row)
    }

    fn put_row(&mut self, key: &[u8], row: &[u8]) -> Result<(), StorageError> {
        let before = self
            .rows
            .insert(key, row)?
            .map(|before| before.value().len());
        if let Some(before) = before {
            self.take(key.len() + before);
        }
        self.add(key.len() + row.len());
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), StorageError> {
        let before = self.rows.remove(key)?.map(|before| before.value().len());
        if let Some(before) = before {
            self.take(key.len() + before);
        }
        Ok(())
    }

    fn put_body(&mut self, key: &[u8], body: &[u8]) -> Result<(), StorageError> {
        self.bodies.insert(key, body)?;
        self.add(key.len() + body.len());
        Ok(())
    }

    fn delete_body(&mut self, key: &[u8]) -> Result<(), StorageError> {
        let before = self.bodies.remove(key)?.map(|before| before.value().len());
        if let Some(before) = before {
            self.take(key.len() + before);
        }
        Ok(())
    }

    fn append(
        &mut self,
        first: Position,
        records: &[Record],
        queues: &[(QueueId, Bytes)],
    ) -> Result<(), StorageError> {
        let encoded = batch::encode(first, records, queues, self.at);
        self.put_body(&batch_key(first), &encoded.head)?;
        for (index, piece) in encoded.messages.chunks(PIECE).enumerate() {
            self.put_body(&piece_key(first, index), piece)?;
        }
        for (queue, tag) in queues {
            let key = index_key(*queue, first);
            let row = IndexRow {
                count: records.len(),
                tag: tag.clone(),
                open: Places::below(records.len()),
                damaged: false,
            };
            self.put_row(&key, &row.encode(&key))?;
            let count = self.count(*queue).unwrap_or(0);
            let count = count.saturating_add(records.len() as u64);
            self.changed.queues.insert(*queue, Some(count));
        }
        let meta = &mut self.changed.meta;
        meta.next = first + records.len() as u64;
        meta.messages = meta.messages.saturating_add(records.len() as u64);
        Ok(())
    }

    fn remove_queue(&mut self, queue: QueueId) -> Result<(), StorageError> {
        if self.count(queue).is_none() {
            return Ok(());
        }
        // One batch at a time: what the queue holds may be more than memory.
        let mut last = Some(Position::MAX);
        while let Some(to) = last
            && let Some((first, row)) = self.index_row(queue, 0, to)?
        {
            let open = row.open;
            self.settle_batch(queue, first, row, open)?;
            // Downwards, so that it ends even where a damaged row cannot be removed.
            last = first.min(to).checked_sub(1);
        }
        self.delete(&queue_key(QUEUE, queue))?;
        self.changed.queues.insert(queue, None);
        Ok(())
    }

    fn settle(&mut self, queue: QueueId, positions: &[Position]) -> Result<(), StorageError> {
        if self.count(queue).is_none() {
            return Ok(());
        }
        let mut rest = positions;
        while let [position, behind @ ..] = rest {
            rest = behind;
            let Some((first, row)) = self.index_row(queue, 0, *position)? else {
                continue;
            };
            let inside = |position: &Position| {
                usize::try_from(position - first).is_ok_and(|offset| offset < row.count)
            };
            if !inside(position) {
                continue;
            }
            // Those that follow and lie in the same batch are settled with it.
            let together = rest.partition_point(inside);
            let mut settled = Places::NONE;
            for position in std::iter::once(position).chain(&rest[..together]) {
                let offset = (position - first) as usize;
                if row.open.contains(offset) {
                    settled.insert(offset);
                }
            }
            rest = &rest[together..];
            if !settled.is_empty() {
                self.settle_batch(queue, first, row, settled)?;
            }
        }
        Ok(())
    }

    /// The last batch of a queue that begins between two positions, if there is one.
    fn index_row(
        &self,
        queue: QueueId,
        from: Position,
        to: Position,
    ) -> Result<Option<(Position, IndexRow)>, StorageError> {
        let (from, to) = (index_key(queue, from), index_key(queue, to));
        let mut range = self.rows.range(from.as_slice()..=to.as_slice())?;
        let Some(row) = range.next_back().transpose()? else {
            return Ok(None);
        };
        let key = row.0.value().to_vec();
        let first = index_first(&key).unwrap_or_default();
        let decoded = IndexRow::decode(&key, row.1.value());
        drop(row);
        drop(range);
        let row = match decoded {
            Some(row) => row,
            None => IndexRow::lost(self.head(first)?.map_or(1, |head| head.count())),
        };
        Ok(Some((first, row)))
    }

    fn head(&self, first: Position) -> Result<Option<BatchHead>, StorageError> {
        let key = batch_key(first);
        let row = self.bodies.get(key.as_slice())?;
        Ok(row.and_then(|row| BatchHead::decode(first, row.value())))
    }

    /// Settles messages of one batch: the queue no longer needs them, and what no queue needs is freed.
    fn settle_batch(
        &mut self,
        queue: QueueId,
        first: Position,
        mut row: IndexRow,
        settled: Places,
    ) -> Result<(), StorageError> {
        let key = index_key(queue, first);
        row.open = row.open.without(&settled);
        if row.open.is_empty() {
            self.delete(&key)?;
        } else {
            self.put_row(&key, &row.encode(&key))?;
        }
        let count = self.count(queue).unwrap_or(0);
        let count = count.saturating_sub(settled.count());
        self.changed.queues.insert(queue, Some(count));

        let head = self.head(first)?;
        let mut needed = row.open;
        for other in head.iter().flat_map(|head| &head.queues) {
            if *other != queue
                && let Some((_, row)) = self.index_row(*other, first, first)?
            {
                needed.join(&row.open);
            }
        }
        let freed = settled.without(&needed);
        let messages = &mut self.changed.meta.messages;
        *messages = messages.saturating_sub(freed.count());
        match head {
            _ if needed.is_empty() => self.remove_batch(first, head),
            Some(head) => self.free_pieces(first, &head, &freed, &needed),
            // The whole is freed with its last message.
            None => Ok(()),
        }
    }

    fn remove_batch(
        &mut self,
        first: Position,
        head: Option<BatchHead>,
    ) -> Result<(), StorageError> {
        let pieces = match head {
            Some(head) => head.bytes().div_ceil(PIECE as u64) as usize,
            // Nobody knows how many there are, so they are looked for.
            None => self.pieces_of(first)?,
        };
        for piece in 0..pieces {
            self.delete_body(&piece_key(first, piece))?;
        }
        self.delete_body(&batch_key(first))
    }

    /// How many pieces a batch may have, from the last that is there.
    fn pieces_of(&self, first: Position) -> Result<usize, StorageError> {
        let (from, to) = (piece_key(first, 0), piece_key(first, u32::MAX as usize));
        let mut range = self.bodies.range(from.as_slice()..=to.as_slice())?;
        let last = range.next_back().transpose()?;
        let number = last.and_then(|(key, _)| key.value().get(8..12)?.try_into().ok());
        Ok(number.map_or(0, |number| u32::from_be_bytes(number) as usize + 1))
    }

    /// Frees the pieces that held these messages and hold none that is needed.
    fn free_pieces(
        &mut self,
        first: Position,
        head: &BatchHead,
        freed: &Places,
        needed: &Places,
    ) -> Result<(), StorageError> {
        let size = PIECE as u64;
        let mut next = 0;
        for place in freed.iter().filter_map(|offset| head.place(offset)) {
            for piece in next.max(place.start / size)..place.end.div_ceil(size) {
                next = piece + 1;
                let mut messages = head.messages_in(piece * size..(piece + 1) * size);
                if !messages.any(|offset| needed.contains(offset)) {
                    self.delete_body(&piece_key(first, piece as usize))?;
                }
            }
        }
        Ok(())
    }
}
