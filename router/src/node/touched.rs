//! The links about which something may have changed since they were last asked.

use mcpbus_transport::bridge::LinkHandle;
use std::collections::BTreeSet;

/// Links in order, each once.
#[derive(Debug, Default)]
pub(super) struct Touched {
    links: BTreeSet<LinkHandle>,
    /// The last one put in: most come many times in a row.
    last: Option<LinkHandle>,
}

impl Touched {
    #[inline]
    pub(super) fn insert(&mut self, link: LinkHandle) {
        if self.last != Some(link) {
            self.links.insert(link);
            self.last = Some(link);
        }
    }

    /// Puts in the link of a peer, where it has one.
    #[inline]
    pub(super) fn extend(&mut self, link: Option<LinkHandle>) {
        if let Some(link) = link {
            self.insert(link);
        }
    }

    pub(super) fn pop(&mut self) -> Option<LinkHandle> {
        self.last = None;
        self.links.pop_first()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_link_comes_out_once_for_each_time_that_it_was_touched() {
        let mut touched = Touched::default();
        for link in [2, 2, 1, 2] {
            touched.insert(LinkHandle(link));
        }
        assert_eq!(touched.pop(), Some(LinkHandle(1)));
        touched.extend(Some(LinkHandle(2)));
        touched.extend(None);
        assert_eq!(touched.pop(), Some(LinkHandle(2)));
        touched.insert(LinkHandle(2));
        assert_eq!(touched.pop(), Some(LinkHandle(2)));
        assert_eq!(touched.pop(), None);
    }
}
