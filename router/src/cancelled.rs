//! Requests that nobody waits for any more, and that may still come: a cancel does not wait for data, so it may overtake
//! the request that it is for.
//!
//! Kept until the request would have expired, a minute at most. When there are too many the oldest are forgotten: those
//! requests go on, and their answers are dropped where they were asked for.

use foldhash::fast::FixedState;
use mcpbus_actors::Time;
use mcpbus_transport::wire::ReplyAddress;
use std::collections::{HashSet, VecDeque};
use std::time::Duration;

/// Longest time that a cancelled request is looked for.
const LONGEST: Duration = Duration::from_secs(60);

/// A request, as it is known everywhere: the node of its requester, its session there, and which of its requests.
pub(crate) type RequestKey = (u128, u64, u64);

/// The key of a request by where its answer goes.
pub(crate) fn request_key(address: &ReplyAddress) -> RequestKey {
    (address.node, address.session, address.correlation)
}

/// Requests that are to end where they are met. At most as many as its limit.
#[derive(Debug)]
pub(crate) struct Cancelled {
    keys: HashSet<RequestKey, FixedState>,
    /// Until when each is kept, in the order in which they came.
    order: VecDeque<(Time, RequestKey)>,
    limit: usize,
}

impl Cancelled {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            keys: HashSet::default(),
            order: VecDeque::new(),
            limit,
        }
    }

    /// A request that would have been waited for so long is to end.
    pub(crate) fn insert(&mut self, key: RequestKey, left: Duration, now: Time) {
        if self.limit == 0 || self.keys.contains(&key) {
            return;
        }
        while let Some((until, oldest)) = self.order.front()
            && (*until <= now || self.order.len() >= self.limit)
        {
            self.keys.remove(oldest);
            self.order.pop_front();
        }
        self.keys.insert(key);
        self.order.push_back((now + left.min(LONGEST), key));
    }

    /// Whether a request is to end.
    #[inline]
    pub(crate) fn contains(&self, address: Option<&ReplyAddress>) -> bool {
        // Nearly always there are none.
        !self.keys.is_empty()
            && address.is_some_and(|address| self.keys.contains(&request_key(address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(correlation: u64) -> ReplyAddress {
        ReplyAddress {
            node: 1,
            session: 2,
            correlation,
        }
    }

    #[test]
    fn the_oldest_and_the_expired_are_forgotten() {
        let mut cancelled = Cancelled::new(3);
        let now = Time::ZERO;
        for number in 0..5 {
            let key = request_key(&address(number));
            cancelled.insert(key, Duration::from_secs(5), now);
            cancelled.insert(key, Duration::from_secs(5), now);
        }
        let known: Vec<u64> = (0..5)
            .filter(|number| cancelled.contains(Some(&address(*number))))
            .collect();
        assert_eq!(known, [2, 3, 4]);
        assert!(!cancelled.contains(None));
        let later = now + Duration::from_secs(5);
        cancelled.insert(request_key(&address(9)), Duration::MAX, later);
        assert!(!cancelled.contains(Some(&address(4))));
        assert!(cancelled.contains(Some(&address(9))));
        let key = request_key(&address(10));
        cancelled.insert(key, Duration::ZERO, later + LONGEST);
        assert!(!cancelled.contains(Some(&address(9))));
    }

    #[test]
    fn with_room_for_none_none_is_kept() {
        let mut cancelled = Cancelled::new(0);
        cancelled.insert(request_key(&address(1)), Duration::MAX, Time::ZERO);
        assert!(!cancelled.contains(Some(&address(1))));
    }
}
