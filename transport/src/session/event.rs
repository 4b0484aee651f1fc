//! What a session tells its owner.

use super::window::Window;
use crate::wire::{Failure, GoodbyeCode, Record};
use bytes::Bytes;

/// Something that the owner of a session must act on. Events come in the order in which they happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The link is up and both ends have agreed.
    Up {
        /// Whether the session goes on where it was. If not, an [`Event::Reset`] came before, unless the
        /// session is new.
        resumed: bool,
    },
    /// The peer has no memory of this session: it restarted, or it gave the session up. All receiving flows are
    /// gone. Sending flows go on from a new start with what the peer had not received.
    Reset {
        /// Whether the peer is another life of itself: what it held is lost.
        died: bool,
        /// Messages the peer had taken over and had not passed on, by flow.
        lost: Vec<(u32, u64)>,
        /// What this end still holds of what came, by receiving flow.
        windows: Vec<(u32, Window)>,
    },
    /// The peer opened a flow towards this end.
    Opened {
        /// Its number.
        flow: u32,
        /// What it means.
        definition: Bytes,
    },
    /// The peer closed a flow.
    Closed {
        /// Its number.
        flow: u32,
        /// What this end still holds of what came.
        window: Window,
    },
    /// Records came. The owner calls `hold` or `done` for each.
    Records {
        /// On which flow.
        flow: u32,
        /// The sequence of the first.
        first: u64,
        /// The records; give the vector back with `recycle`.
        records: Vec<Record>,
    },
    /// A sending flow has more credit than before, or its peer has passed more of it on.
    Credit {
        /// Which.
        flow: u32,
    },
    /// Credit of a sending flow was taken back before it was used: who waits for some asks anew.
    Reduced {
        /// Which.
        flow: u32,
    },
    /// The sender of a receiving flow has confirmed a revoke: [`exposure`](super::Session::exposure) is what it still
    /// has.
    Revoked {
        /// Which.
        flow: u32,
    },
    /// The peer waits for credit on a flow.
    Pending {
        /// Which.
        flow: u32,
        /// How many messages wait there.
        messages: u64,
        /// How many bytes wait there.
        bytes: u64,
        /// What the first of them weighs, in bytes.
        next: u64,
    },
    /// A message of the floor above.
    Signal {
        /// Its content.
        payload: Bytes,
    },
    /// The peer leaves.
    Goodbye {
        /// Why, for programs.
        code: GoodbyeCode,
        /// Why, for people.
        reason: String,
    },
    /// The peer has been silent for too long. Close the link.
    Silent,
}

/// Records in a row that the sender no longer owns, or that failed alike: their tokens are one number after the other, or
/// all [`u64::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Releases {
    /// The flow they were sent on.
    pub flow: u32,
    /// What the owner gave with the first.
    pub token: u64,
    /// How many they are.
    pub count: u64,
    /// Well, or how not.
    pub result: Result<(), Failure>,
}

impl Releases {
    /// The token of each.
    pub fn tokens(&self) -> impl Iterator<Item = u64> + use<> {
        let (first, step) = (self.token, u64::from(self.token != u64::MAX));
        (0..self.count).map(move |index| first + index * step)
    }

    /// The token that the next one must have to belong to them.
    pub(super) fn next_token(&self) -> Option<u64> {
        match self.token {
            u64::MAX => Some(u64::MAX),
            first => first
                .checked_add(self.count)
                .filter(|next| *next != u64::MAX),
        }
    }
}

/// A record that the sender no longer owns, or that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// The flow it was sent on.
    pub flow: u32,
    /// What the owner gave with it.
    pub token: u64,
    /// Well, or how not.
    pub result: Result<(), Failure>,
}
