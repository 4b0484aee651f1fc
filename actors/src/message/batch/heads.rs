//! What the headers of a batch have in common, or not.

use std::collections::VecDeque;
use std::iter;

use super::super::Time;
use super::super::header::Common;

/// What of the headers does not stand with each message.
#[derive(Clone, Default)]
pub(super) struct Heads {
    /// What all headers have in common, while `each` is empty.
    pub(super) common: Common,
    /// What would be common, per message: as many as there are, or none.
    pub(super) each: VecDeque<Common>,
    pub(super) earliest_deadline: Option<Time>,
}

impl Heads {
    pub(super) fn note_deadline(&mut self, deadline: Option<Time>) {
        self.earliest_deadline = match (self.earliest_deadline, deadline) {
            (Some(mine), Some(theirs)) => Some(mine.min(theirs)),
            (mine, theirs) => mine.or(theirs),
        };
    }

    /// Notes what the message after the first `before` has in common with them, or not.
    pub(super) fn note_common(&mut self, common: Common, before: usize) {
        if self.each.is_empty() && before > 0 && common == self.common {
            return;
        }
        self.note_deadline(common.deadline());
        if before == 0 && common.is_plain() {
            self.common = common;
        } else {
            self.tell_apart(before);
            self.each.push_back(common);
        }
    }

    /// From here on what `count` messages have in common is held per message.
    pub(super) fn tell_apart(&mut self, count: usize) {
        if self.each.is_empty() {
            let copies = iter::repeat_with(|| self.common.clone()).take(count);
            self.each.extend(copies);
        }
    }

    /// What would be common, of the first message, which leaves.
    #[inline]
    pub(super) fn take_first(&mut self) -> Common {
        if self.each.is_empty() {
            // What stands for many is plain.
            return self.common.plain();
        }
        self.each.pop_front().unwrap_or_default()
    }

    /// What would be common, of the last message, which leaves.
    pub(super) fn take_last(&mut self) -> Common {
        self.each.pop_back().unwrap_or_else(|| self.common.clone())
    }

    pub(super) fn of(&self, index: usize) -> &Common {
        self.each.get(index).unwrap_or(&self.common)
    }
}
