//! A batch that is being filled one by one, by messages most of which say nothing of their own beside sequence and key.

use crate::message::{Batch, Header, Key, Message};

/// The batch, and what is known of the headers in it.
pub(super) struct Tail<M> {
    batch: Batch<M>,
    /// All headers in it are plain ones, with or without a key: the next such one need not be compared with them.
    plain: Option<bool>,
}

impl<M> Default for Tail<M> {
    fn default() -> Self {
        Self {
            batch: Batch::default(),
            plain: None,
        }
    }
}

impl<M: Message> Tail<M> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.batch.len()
    }

    /// Appends a message whose header says nothing but its key. `weight` is that of its body,
    /// which is there.
    #[inline(always)]
    pub(super) fn push_plain(&mut self, key: Option<Key>, body: &mut Option<M>, weight: usize) {
        if self.plain != Some(key.is_some()) {
            self.announce(key);
        }
        let key = key.map_or(0, |Key(key)| key);
        self.batch.push_from(key, body, weight);
    }

    #[cold]
    fn announce(&mut self, key: Option<Key>) {
        let all_agree = self.batch.announce(Header::with_key(key));
        self.plain = all_agree.then_some(key.is_some());
    }

    /// The batch, for everything else.
    #[inline]
    pub(super) fn batch(&mut self) -> &mut Batch<M> {
        self.plain = None;
        &mut self.batch
    }
}
