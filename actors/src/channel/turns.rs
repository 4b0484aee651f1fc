//! Which edges of an inbox have messages, in the order of their turns. A chain through the edges themselves, so that a turn
//! touches nothing but the edge whose turn it is.

use super::edge::Edge;
use crate::message::Message;

/// A place in the chain, kept in each edge.
#[derive(Default)]
pub(super) struct Place {
    /// Whether the edge stands in the chain.
    listed: bool,
    next: Option<usize>,
}

impl Place {
    #[inline]
    pub(super) fn is_listed(&self) -> bool {
        self.listed
    }
}

/// The ends of the chain.
#[derive(Default)]
pub(super) struct Turns {
    ends: Option<(usize, usize)>,
}

impl Turns {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_none()
    }

    /// Puts an edge behind all others, if it has messages and may be taken from.
    #[inline]
    pub(super) fn push_back<M: Message>(&mut self, edges: &mut [Edge<M>], edge: usize) {
        let slot = &mut edges[edge];
        if !slot.may_have_turn() {
            return;
        }
        slot.place.listed = true;
        slot.place.next = None;
        self.ends = Some(match self.ends {
            None => (edge, edge),
            Some((first, last)) => {
                edges[last].place.next = Some(edge);
                (first, edge)
            }
        });
    }

    /// Puts an edge before all others, if it has messages and may be taken from.
    pub(super) fn push_front<M: Message>(&mut self, edges: &mut [Edge<M>], edge: usize) {
        let slot = &mut edges[edge];
        if !slot.may_have_turn() {
            return;
        }
        slot.place.listed = true;
        slot.place.next = self.ends.map(|(first, _)| first);
        self.ends = Some((edge, self.ends.map_or(edge, |(_, last)| last)));
    }

    /// Takes the edge whose turn it is.
    #[inline]
    pub(super) fn pop_front<M: Message>(&mut self, edges: &mut [Edge<M>]) -> Option<usize> {
        let (first, last) = self.ends?;
        let place = &mut edges[first].place;
        place.listed = false;
        self.ends = place.next.take().map(|next| (next, last));
        Some(first)
    }

    pub(super) fn clear(&mut self) {
        self.ends = None;
    }
}
