//! A body with its header.

use super::{Header, Message};

/// A message on its way: header and body, moved together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope<M> {
    /// What travels beside the body.
    pub header: Header,
    /// The body.
    pub body: M,
}

impl<M: Message> Envelope<M> {
    /// Wraps a body; the header takes the body's key.
    #[must_use]
    #[inline]
    pub fn new(body: M) -> Self {
        Self {
            header: Header::with_key(body.key()),
            body,
        }
    }

    /// Bytes it counts for in a bound: header and body.
    #[must_use]
    #[inline]
    pub fn weight(&self) -> usize {
        self.header.weight() + self.body.weight()
    }
}

impl<M: Message> From<M> for Envelope<M> {
    fn from(body: M) -> Self {
        Self::new(body)
    }
}
