//! A flow of messages from a peer, and what waits on it.

use super::arrivals::Arrivals;
use super::decide::{CachedDecision, Out};
use super::growth::Growth;
use super::parked::Parked;
use super::peer::PeerId;
use super::places::Place;
use super::take_back::Takers;
use crate::protocol::Target;
use crate::resilience::Permit;
use foldhash::fast::FixedState;
use mcpbus_actors::Time;
use mcpbus_transport::session::Window;
use mcpbus_transport::wire::{Failure, Record};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// A flow's place in the node.
pub(super) type InFlowId = usize;

/// Bits of a token that hold the sequence. Of the two above one says that nobody waits for the copy, the other that a destination
/// of a route has it whose load is kept up. The rest hold the flow.
const SEQUENCE_BITS: u32 = 38;
const UNASKED: u64 = 1 << SEQUENCE_BITS;
const TRACKED: u64 = 1 << (SEQUENCE_BITS + 1);
const FLOW_SHIFT: u32 = SEQUENCE_BITS + 2;
const SEQUENCE_MASK: u64 = (1 << SEQUENCE_BITS) - 1;
/// The flow in the tokens of what came on no flow: copies for mirrors.
const NO_FLOW: InFlowId = (1 << (64 - FLOW_SHIFT)) - 1;
/// Most flows from peers in one node.
pub(super) const IN_FLOWS_MAX: usize = NO_FLOW;
/// Most subjects whose route one flow remembers.
const DECISIONS_MAX: usize = 8192;

/// What the messages of a flow are to be done with.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// Route them.
    Publish,
    /// Bring them to these targets.
    Forward { targets: Rc<[Target]> },
    /// Bring each to its address.
    Replies,
    /// Bring what is stored to those it is stored for.
    Spooled { queue: u32 },
}

/// Why a flow does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocked {
    /// A flow it goes to has no credit.
    Credit,
    /// Nobody to give it to is known now, but somebody may be soon.
    Destination { since: Time },
    /// An earlier flow from the same peer must be empty first.
    Predecessor,
    /// The way it went before must be passed on first.
    Drain { since: Time },
    /// The message at its front has its turn later, or waits for room at its destination.
    Turn,
}

/// What a message that waits for credit will be handed to, while nothing changes.
pub(super) struct Chosen {
    pub(super) sequence: u64,
    pub(super) version: u64,
    pub(super) outs: Rc<[Out]>,
}

/// What a policy has chosen for a message, until it is handed on.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChosenDestination {
    pub(super) sequence: u64,
    pub(super) route: usize,
    pub(super) destination: usize,
    /// The mirror that is to have a copy.
    pub(super) copy: Option<usize>,
    /// The flow that leads to the destination, where its load is kept up.
    pub(super) out: Option<Out>,
}

/// A message that the guards of its route have let through, from a time on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admitted {
    pub(super) sequence: u64,
    pub(super) route: usize,
    pub(super) from: Time,
    /// The deadline that it has on the route.
    pub(super) deadline: Option<Time>,
}

/// A message at a destination whose load is kept up.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) route: usize,
    pub(super) destination: usize,
    /// When it was handed over.
    pub(super) since: Time,
    /// What the guards of the destination have given for it.
    pub(super) permit: Option<Permit>,
    /// When nobody waits for it any more.
    pub(super) deadline: Option<Time>,
    /// The flow that it went by, and its sequence there; 0 before it is handed on.
    pub(super) out: Out,
    pub(super) position: u64,
    /// Whether the guards have heard that this has passed; they hear no more of it.
    pub(super) told: bool,
}

/// A flow to another node that this flow's messages went by, on a way that may have changed since.
pub(super) struct Former {
    pub(super) peer: PeerId,
    pub(super) flow: u32,
    /// Up to here the flow must be passed on before its targets are reached in another way.
    pub(super) position: u64,
    pub(super) targets: Rc<[Target]>,
    /// Whether one of them is a route of another node: nobody here knows whom that has chosen.
    pub(super) routed: bool,
}

/// Where all messages of a flow go.
pub(super) struct Forwarded {
    /// In this version of the node.
    pub(super) version: u64,
    /// Those that are settled when they were processed, or others.
    pub(super) receipts: bool,
    pub(super) outs: Rc<[Out]>,
}

/// The flows that messages of one head went by.
#[derive(Default)]
pub(super) struct Ways {
    /// Hash of their subject: several heads may have one.
    pub(super) subject: u64,
    /// In which version of the node.
    pub(super) version: u64,
    pub(super) present: SmallVec<[(PeerId, u32); 2]>,
    /// In the version before, of those in which there were such messages.
    pub(super) before: SmallVec<[(PeerId, u32); 2]>,
    /// All those that may still have such messages.
    pub(super) undrained: SmallVec<[(PeerId, u32); 2]>,
}

impl Ways {
    /// Whether messages went this way when they last went, before anything changed: then it is no change to go it again.
    pub(super) fn contains(&self, way: (PeerId, u32), version: u64) -> bool {
        self.present.contains(&way) || self.version == version && self.before.contains(&way)
    }

    /// A peer is gone.
    pub(super) fn forget(&mut self, peer: PeerId) {
        for ways in [&mut self.present, &mut self.before, &mut self.undrained] {
            ways.retain(|(way, _)| *way != peer);
        }
    }

    /// A message goes this way.
    pub(super) fn note(&mut self, way: (PeerId, u32), version: u64) {
        if self.version != version {
            self.version = version;
            self.before = std::mem::take(&mut self.present);
        }
        if !self.present.contains(&way) {
            self.present.push(way);
        }
        if !self.undrained.contains(&way) {
            self.undrained.push(way);
        }
    }
}

/// How a flow's part of the credit budget grows and shrinks.
#[derive(Default)]
pub(super) struct Share {
    /// The window its session is told, in messages and bytes.
    pub(super) window: (u64, u64),
    /// What the first message weighed that its sender had no credit for, when it last asked; 0: it has been given more
    /// since.
    pub(super) asked: u64,
    /// The same for what it was given since, until something came: it may not have been told yet.
    pub(super) given_for: u64,
    /// How far it is worth to be widened.
    pub(super) growth: Growth,
    /// Until then it keeps what it was given, having waited for it.
    pub(super) kept_until: Time,
}

/// A flow of messages from a peer.
pub(super) struct InFlow {
    pub(super) peer: PeerId,
    /// The peer's number for it; `None` once the flow has ended and only what came on it remains.
    pub(super) flow: Option<u32>,
    pub(super) purpose: Purpose,
    /// Messages that came and were not handed on.
    pub(super) queue: VecDeque<(u64, Record)>,
    /// What the message at the front of the queue was decided to go to, when it had to wait.
    pub(super) chosen: Option<Chosen>,
    /// Which destination of its route a policy has chosen for a message.
    pub(super) chosen_destination: Option<ChosenDestination>,
    /// What the guards have said of the message at the front of the queue.
    pub(super) admitted: Option<Admitted>,
    /// The place of one of its messages in the queue of a destination.
    pub(super) place: Option<Place>,
    /// Since when a message waits for room at destinations of its route.
    pub(super) waits_since: Option<(u64, Time)>,
    /// Messages that wait for their turn, or for room, while others of the flow go on, and what must stay behind them.
    pub(super) parked: Option<Box<Parked>>,
    /// When its messages came, where a guard asks for it.
    pub(super) arrivals: Arrivals,
    /// Messages whose destinations are to hear how they ended, by the sequence in their tokens.
    pub(super) tracked: BTreeMap<u64, Tracked>,
    pub(super) blocked: Option<Blocked>,
    pub(super) scheduled: bool,
    /// Flows to peers that it was woken for, or handed messages to, in its present turn.
    pub(super) visited: SmallVec<[(PeerId, u32, bool); 4]>,
    /// Flows that wait while there is something in the queue of this one.
    pub(super) successors: Vec<InFlowId>,
    /// Flows whose queues must be empty first. What is taken back from a peer may fill them again.
    pub(super) predecessors: Vec<InFlowId>,
    /// What remains of an ended flow.
    pub(super) window: Option<Window>,
    /// Messages in the queue of which only some copies are to be decided again, and for whom.
    pub(super) only: BTreeMap<u64, Vec<Takers>>,
    /// Of those, the ones whose end the publisher is not told of.
    pub(super) unasked: BTreeSet<u64>,
    /// Messages of which a copy has failed and others are still out.
    pub(super) failed: BTreeMap<u64, Failure>,
    /// Routes by head of message.
    pub(super) decisions: HashMap<usize, Rc<CachedDecision>, FixedState>,
    /// Its part of the node's credit budget: what its peer may use at most and what is held of it.
    pub(super) credit: (u64, u64),
    /// How its part grows and shrinks.
    pub(super) share: Share,
    /// In which version of the node a copy that was taken back was last decided again, for the targets that it had.
    pub(super) decided_again: u64,
    /// Flows to nodes that were used since the node's version was this.
    pub(super) used: (u64, Vec<(PeerId, u32)>),
    /// Flows that were used before, and of which not everything is known to have come to its end.
    pub(super) former: Vec<Former>,
    /// By which flows the messages of each head last went, by head.
    pub(super) ways: HashMap<usize, Ways, FixedState>,
    /// The ways of its messages, where they are the same for all.
    pub(super) forwarded: Option<Forwarded>,
    /// What its peer waits for that has asked whether everything has come to its end.
    pub(super) asked: Option<Vec<(PeerId, u32, u64)>>,
    /// Whether targets that are out of reach have been waited for long enough.
    pub(super) impatient: bool,
    /// The message that goes on without some of its targets.
    pub(super) skipped: Option<(u64, Failure)>,
    /// Whether it stands among those that were refused credit.
    pub(super) hungry: bool,
    /// Copies handed on and not yet released.
    pub(super) copies_out: u64,
    /// The node it came from in an earlier life, where that life is over and the flow is not.
    pub(super) orphan_of: Option<u128>,
    /// The queue of the spool that its messages come from, where they do. Such a flow stays when it is empty.
    pub(super) spool: Option<u32>,
}

impl InFlow {
    pub(super) fn new(peer: PeerId, flow: u32, purpose: Purpose) -> Self {
        Self {
            peer,
            flow: Some(flow),
            purpose,
            queue: VecDeque::new(),
            chosen: None,
            chosen_destination: None,
            admitted: None,
            place: None,
            waits_since: None,
            parked: None,
            arrivals: Arrivals::default(),
            tracked: BTreeMap::new(),
            blocked: None,
            scheduled: false,
            visited: SmallVec::new(),
            successors: Vec::new(),
            predecessors: Vec::new(),
            window: None,
            only: BTreeMap::new(),
            unasked: BTreeSet::new(),
            failed: BTreeMap::new(),
            decisions: HashMap::default(),
            credit: (0, 0),
            share: Share::default(),
            decided_again: 0,
            used: (0, Vec::new()),
            former: Vec::new(),
            ways: HashMap::default(),
            forwarded: None,
            asked: None,
            impatient: false,
            skipped: None,
            hungry: false,
            copies_out: 0,
            orphan_of: None,
            spool: None,
        }
    }

    /// When it stops waiting for a destination. What is still to be routed waits as long as its route is empty.
    pub(super) fn gives_up_at(&self, hold: Duration) -> Option<Time> {
        match (self.blocked, &self.purpose) {
            (Some(Blocked::Destination { since }), Purpose::Forward { .. }) => Some(since + hold),
            _ => None,
        }
    }

    /// Since when it waits for a way to be passed on.
    pub(super) fn drains_since(&self) -> Option<Time> {
        match self.blocked {
            Some(Blocked::Drain { since }) => Some(since),
            _ => None,
        }
    }

    /// Whether the flow has ended and nothing of it is left.
    pub(super) fn is_over(&self) -> bool {
        self.flow.is_none() && self.spool.is_none() && !self.has_waiting() && self.copies_out == 0
    }

    pub(super) fn remember(&mut self, address: usize, decision: Rc<CachedDecision>) {
        if self.decisions.len() >= DECISIONS_MAX {
            self.decisions.clear();
            self.ways.clear();
        }
        self.decisions.insert(address, decision);
    }
}

/// The token of a copy: where it came from.
pub(super) fn token(flow: InFlowId, sequence: u64) -> u64 {
    (flow as u64) << FLOW_SHIFT | (sequence & SEQUENCE_MASK)
}

/// The token of a copy that came on no flow, by its number.
pub(super) fn token_without_flow(number: usize) -> u64 {
    token(NO_FLOW, number as u64)
}

/// The number of such a copy; `None` for the copies of messages that came on a flow.
pub(super) fn number_without_flow(token: u64) -> Option<usize> {
    (token >> FLOW_SHIFT == NO_FLOW as u64).then_some((token & SEQUENCE_MASK) as usize)
}

/// The same for a copy that a destination has whose load is kept up.
pub(super) fn tracked(token: u64) -> u64 {
    token | TRACKED
}

pub(super) fn is_tracked(token: u64) -> bool {
    token & TRACKED != 0
}

/// The same for a copy whose failure the publisher is not told of: it asked for the message to be stored, and this copy is
/// for somebody for whom nothing is.
pub(super) fn unasked(token: u64) -> u64 {
    token | UNASKED
}

pub(super) fn is_unasked(token: u64) -> bool {
    token & UNASKED != 0
}

/// The flow of a token, and the sequence that lies next to `near` and has the token's low bits.
pub(super) fn from_token(token: u64) -> (InFlowId, u64) {
    ((token >> FLOW_SHIFT) as InFlowId, token & SEQUENCE_MASK)
}

/// The full sequence: the smallest one above `settled` with these low bits.
pub(super) fn full_sequence(low: u64, settled: u64) -> u64 {
    let next = settled + 1;
    let candidate = (next & !SEQUENCE_MASK) | low;
    if candidate < next {
        candidate + SEQUENCE_MASK + 1
    } else {
        candidate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_without_a_flow_is_told_from_all_others() {
        assert_eq!(number_without_flow(token_without_flow(9)), Some(9));
        assert_eq!(number_without_flow(token(IN_FLOWS_MAX - 1, 9)), None);
    }

    #[test]
    fn a_sequence_survives_its_token_at_the_wrap() {
        for sequence in [
            1,
            5,
            SEQUENCE_MASK,
            SEQUENCE_MASK + 1,
            SEQUENCE_MASK + 2,
            7 * SEQUENCE_MASK,
        ] {
            let (flow, low) = from_token(token(77, sequence));
            assert_eq!(flow, 77);
            assert_eq!(
                from_token(unasked(tracked(token(77, sequence)))),
                (flow, low)
            );
            assert_eq!(number_without_flow(token(77, sequence)), None);
            for distance in [1, 2, 1000] {
                if sequence >= distance {
                    assert_eq!(full_sequence(low, sequence - distance), sequence);
                }
            }
        }
    }
}
