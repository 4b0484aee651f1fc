//! The meeting place of one owner and its links on one thread.

use super::link::{LinkWakes, run_link};
use super::owner::{LinkHandle, Owner};
use crate::link::Link;
use futures_util::future::LocalBoxFuture;
use mcpbus_actors::{Clock, Time};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use tokio::sync::Notify;

/// Holds an owner and drives its links. Clones are the same hub. Not `Send`: it lives within a `LocalSet`.
pub struct Hub<O> {
    pub(super) shared: Rc<Shared<O>>,
}

pub(super) struct Shared<O> {
    pub(super) owner: RefCell<O>,
    pub(super) clock: Box<dyn Clock>,
    pub(super) links: RefCell<BTreeMap<LinkHandle, Rc<LinkWakes>>>,
    next_link: Cell<u64>,
    timer: Notify,
}

impl<O> Clone for Hub<O> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<O> std::fmt::Debug for Hub<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("links", &self.shared.links.borrow().len())
            .finish_non_exhaustive()
    }
}

impl<O: Owner> Hub<O> {
    /// A hub for `owner`, whose time is that of `clock`: the machine's, or under paused time a
    /// [`RuntimeClock`](crate::clock::RuntimeClock). Call [`Hub::run_timer`] once, in a local task of its own.
    pub fn new(owner: O, clock: impl Clock) -> Self {
        Self {
            shared: Rc::new(Shared {
                owner: RefCell::new(owner),
                clock: Box::new(clock),
                links: RefCell::new(BTreeMap::new()),
                next_link: Cell::new(1),
                timer: Notify::new(),
            }),
        }
    }

    /// The time on the hub's clock.
    pub fn now(&self) -> Time {
        self.shared.clock.now()
    }

    /// How many links are attached.
    pub fn links(&self) -> usize {
        self.shared.links.borrow().len()
    }

    /// Lets `act` at the owner, then wakes whatever that concerns. `act` must not call the hub.
    pub fn with<R>(&self, act: impl FnOnce(&mut O, Time) -> R) -> R {
        let result = {
            let mut owner = self.shared.owner.borrow_mut();
            act(&mut owner, self.shared.clock.now())
        };
        self.wake();
        result
    }

    /// Attaches a link: `start` tells the owner of it, and the returned future drives it until it ends. Spawn it on the
    /// hub's `LocalSet`. `highest_lane` is the highest lane that sessions may use.
    pub fn attach<L: Link + 'static>(
        &self,
        link: L,
        highest_lane: u8,
        start: impl FnOnce(&mut O, LinkHandle, Time),
    ) -> LocalBoxFuture<'static, ()>
    where
        L::Writer: 'static,
        L::Reader: 'static,
    {
        let handle = LinkHandle(self.shared.next_link.get());
        self.shared.next_link.set(handle.0 + 1);
        let wakes = Rc::new(LinkWakes::new(highest_lane));
        self.shared.links.borrow_mut().insert(handle, wakes.clone());
        self.with(|owner, now| start(owner, handle, now));
        Box::pin(run_link(self.clone(), link, handle, wakes))
    }

    /// Calls the owner whenever its time has come; never ends.
    pub async fn run_timer(&self) {
        loop {
            let next = self.shared.owner.borrow().next_timeout();
            match next {
                None => self.shared.timer.notified().await,
                Some(at) => {
                    let left = at.saturating_since(self.now());
                    if left.is_zero() {
                        self.with(|owner, now| owner.handle_timeout(now));
                        tokio::task::yield_now().await;
                    } else {
                        // Whichever comes first: the time, or news that the time has changed.
                        let _ = tokio::time::timeout(left, self.shared.timer.notified()).await;
                    }
                }
            }
        }
    }

    /// Wakes the writers, gates and timer that the owner's last change concerns.
    pub(super) fn wake(&self) {
        let mut owner = self.shared.owner.borrow_mut();
        owner.hand_out();
        let now = self.shared.clock.now();
        let mut touched = false;
        while let Some(handle) = owner.poll_touched() {
            touched = true;
            let links = self.shared.links.borrow();
            if let Some(wakes) = links.get(&handle) {
                wakes.wake(&*owner, handle, now);
            }
        }
        if touched {
            self.shared.timer.notify_one();
        }
    }
}
