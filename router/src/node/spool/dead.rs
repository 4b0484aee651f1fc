//! Dead letters on the disk: to look at, to discard, to try again.

use super::append::NO_TOKEN;
use super::definition;
use super::state::{DEAD, Set, Spool};
use crate::node::core::NodeCore;
use mcpbus_actors::Time;
use mcpbus_transport::spool::{Position, Request, Stored};
use mcpbus_transport::wire::{Failure, Record};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

/// Most dead letters that are read at once.
const READ_MAX: usize = 1000;
/// Most bytes of bodies that are read at once; one message may exceed it.
const READ_BYTES: u64 = 1 << 20;

/// A message that ended badly, with what is known of its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it lies: names it towards its node.
    pub position: u64,
    /// Header and body as they were published. `None` where its bytes on the disk have changed.
    pub record: Option<Record>,
    /// Why it ended.
    pub failure: Failure,
    /// How often its consumer died with it; what a consumer gave back is counted in its header.
    pub attempts: u16,
    /// The durable subscription, or the node, that it was for.
    pub queue: String,
    /// The node where it ended.
    pub node: String,
}

impl NodeCore {
    /// Asks for the dead letters behind `after` (0: from the oldest), at most 1,000 and about 1 MiB of bodies. They come with
    /// [`poll_dead_letters`](Self::poll_dead_letters). Looking changes nothing. `false` without a spool.
    pub fn ask_dead_letters(&mut self, after: u64, most: usize) -> bool {
        let Some(spool) = &mut self.spool else {
            return false;
        };
        let most = most.clamp(1, READ_MAX);
        let hidden = spool.discarded().filter(|position| *position > after);
        let messages = (most + hidden.count()).min(READ_MAX);
        spool.dead_letters_asked.push_back(most);
        spool.requests.push_back(Request::Read {
            queue: DEAD,
            after,
            messages,
            bytes: READ_BYTES,
        });
        true
    }

    /// What was asked for, in the order of asking; empty where there is nothing behind that position, or the store cannot
    /// read.
    pub fn poll_dead_letters(&mut self) -> Option<Vec<DeadLetter>> {
        self.spool.as_mut()?.dead_letters.pop_front()
    }

    pub(super) fn dead_letters_read(&mut self, mut stored: Vec<Stored>) {
        if let Some(spool) = &mut self.spool {
            let hidden: BTreeSet<Position> = spool.discarded().collect();
            stored.retain(|stored| !hidden.contains(&stored.position));
            let most = spool.dead_letters_asked.pop_front();
            stored.truncate(most.unwrap_or(READ_MAX));
        }
        let letters = stored.into_iter().map(|stored| {
            let (failure, attempts, queue, node) = definition::recover_dead(stored.tag)
                .unwrap_or((Failure::Corrupt, 0, String::new(), String::new()));
            DeadLetter {
                position: stored.position,
                failure: match &stored.record {
                    Ok(_) => failure,
                    Err(_) => Failure::Corrupt,
                },
                record: stored.record.ok(),
                attempts,
                queue,
                node,
            }
        });
        let letters = letters.collect();
        if let Some(spool) = &mut self.spool {
            spool.dead_letters.push_back(letters);
        }
    }

    /// Discards a dead letter. One that is not there is passed over.
    pub fn discard_dead_letter(&mut self, position: u64, now: Time) {
        self.settle_dead(position);
        self.settle(now);
    }

    /// Gives a dead letter to its durable subscription again, behind what waits there, with the number that it had and a new
    /// series of attempts. `false` where that subscription is no more, or the message's bytes have changed; then it stays.
    pub fn replay_dead_letter(&mut self, letter: &DeadLetter, now: Time) -> bool {
        let Some(spool) = &self.spool else {
            return false;
        };
        let queue = spool.names.get(letter.queue.as_str()).copied();
        let (Some(queue), Some(record)) = (queue, &letter.record) else {
            return false;
        };
        let mut record = record.clone();
        if let Some(extra) = &mut record.extra {
            extra.attempt = 0;
        }
        let set = Set {
            queues: Arc::from([(mcpbus_transport::spool::QueueId(queue), bytes::Bytes::new())]),
            targets: Rc::from([]),
        };
        self.append_to(record, set, 0, NO_TOKEN);
        self.settle_dead(letter.position);
        self.settle(now);
        true
    }

    fn settle_dead(&mut self, position: Position) {
        if let Some(spool) = &mut self.spool
            && let Some(dead) = spool.queues.get_mut(&DEAD.0)
        {
            let settled = spool.pending.settled.entry(DEAD.0).or_default();
            if settled.insert(position) {
                dead.behind = dead.behind.saturating_sub(1);
            }
        }
    }
}

impl Spool {
    /// Dead letters that are discarded, and on the disk until that is committed.
    fn discarded(&self) -> impl Iterator<Item = Position> {
        let commits = self.under_way.iter().chain([&self.pending]);
        commits
            .filter_map(|commit| commit.settled.get(&DEAD.0))
            .flatten()
            .copied()
    }
}
