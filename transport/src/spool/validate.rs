//! Refuses commits that no store carries out.

use super::contract::{
    BATCH_MAX, KEY_MAX, Operation, Position, QueueId, StoreError, TAG_MAX, VALUE_MAX,
};
use crate::wire::record::SUBJECT_MAX;
use std::collections::BTreeMap;

/// Whether the contract allows these changes, in a store whose next position is not below `next` and whose queues are
/// `known`. Nothing has been done when it does not.
pub(super) fn validate(
    operations: &[Operation],
    mut next: Position,
    known: impl Fn(QueueId) -> bool,
) -> Result<(), StoreError> {
    // Queues that the commit itself has made or removed so far.
    let mut changed: BTreeMap<QueueId, bool> = BTreeMap::new();
    for operation in operations {
        match operation {
            Operation::PutQueue { queue, definition } => {
                at_most("a definition", definition.len(), VALUE_MAX)?;
                changed.insert(*queue, true);
            }
            Operation::RemoveQueue { queue } => {
                changed.insert(*queue, false);
            }
            Operation::Append {
                first,
                records,
                queues,
            } => {
                at_most("a batch", records.len(), BATCH_MAX)?;
                if records.is_empty() || queues.is_empty() {
                    return invalid("a batch without messages or without queues".to_owned());
                }
                if *first == 0 || *first < next {
                    return invalid(format!("position {first} where {next} is the next"));
                }
                for record in records {
                    at_most("a subject", record.head.subject.len(), SUBJECT_MAX)?;
                }
                match first.checked_add(records.len() as u64) {
                    Some(end) => next = end,
                    None => return invalid("the positions are used up".to_owned()),
                }
                for (index, (queue, tag)) in queues.iter().enumerate() {
                    at_most("a tag", tag.len(), TAG_MAX)?;
                    let exists = changed.get(queue).copied();
                    if !exists.unwrap_or_else(|| known(*queue)) {
                        return invalid(format!("there is no queue {}", queue.0));
                    }
                    if queues[..index].iter().any(|(other, _)| other == queue) {
                        return invalid(format!("queue {} is named twice", queue.0));
                    }
                }
            }
            Operation::Settle { positions, .. } => {
                if !positions.is_sorted() {
                    return invalid("the positions to settle do not ascend".to_owned());
                }
            }
            Operation::Put { key, value } => {
                at_most("a key", key.len(), KEY_MAX)?;
                at_most("a value", value.len(), VALUE_MAX)?;
            }
            Operation::Delete { key } => at_most("a key", key.len(), KEY_MAX)?,
        }
    }
    Ok(())
}

fn at_most(what: &str, length: usize, limit: usize) -> Result<(), StoreError> {
    if length <= limit {
        return Ok(());
    }
    invalid(format!("{what} of {length}, the limit is {limit}"))
}

fn invalid(reason: String) -> Result<(), StoreError> {
    Err(StoreError::Invalid { reason })
}
