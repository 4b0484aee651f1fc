//! What windows emit.

use crate::message::{Envelope, Header, Key, Kind, Message};
use crate::stage::Out;

/// The result of one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windowed<S> {
    /// The key of its messages.
    pub key: Option<Key>,
    /// Where it begins: event time in nanoseconds since the Unix epoch; in windows by number the number of its first
    /// message, from 0 on among all that the stage took.
    pub start: i64,
    /// Where it ends: the first instant, or number, after it.
    pub end: i64,
    /// How many messages are in it. A window by number that was open at the end has fewer than the others.
    pub messages: u64,
    /// What they were folded into.
    pub value: S,
}

impl<S: Message> Message for Windowed<S> {
    const KIND: Kind = Kind::composed("windowed", &[S::KIND]);

    fn weight(&self) -> usize {
        size_of::<Self>() + self.value.weight().saturating_sub(size_of::<S>())
    }

    fn key(&self) -> Option<Key> {
        self.key
    }
}

impl<S: Message> Windowed<S> {
    /// Emits it, with its last instant as event time: so that windows of the same length, further on, put it in the same
    /// place. In windows by number it has none.
    pub(super) fn emit(self, out: &mut Out<'_, Self>, by_time: bool) {
        let mut header = Header::with_key(self.key);
        if by_time {
            header.set_event_time(Some(self.end.saturating_sub(1)));
        }
        out.emit_envelope(Envelope { header, body: self });
    }
}
