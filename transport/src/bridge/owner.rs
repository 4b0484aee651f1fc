//! What the bridge asks of the one who holds the sessions.

use crate::link::LaneId;
use bytes::{Bytes, BytesMut};
use mcpbus_actors::Time;

/// One link that is attached to a hub. Never used again within the life of a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkHandle(pub u64);

/// The sans-IO owner of sessions. All methods are plain functions that never wait.
pub trait Owner: 'static {
    /// Bytes came on a lane of a link.
    fn receive(&mut self, link: LinkHandle, lane: LaneId, bytes: Bytes, now: Time);

    /// Whether the data lanes of a link may be read: both ends have agreed on the session.
    fn reads_data(&self, link: LinkHandle) -> bool;

    /// Whether there is something to write on a lane.
    fn wants_transmit(&self, link: LinkHandle, lane: LaneId, now: Time) -> bool;

    /// Appends about `budget` bytes at most for a lane.
    fn transmit(
        &mut self,
        link: LinkHandle,
        lane: LaneId,
        budget: usize,
        now: Time,
        out: &mut BytesMut,
    );

    /// Whether the link is to be closed once its control lane is written out, and why.
    fn wants_close(&self, link: LinkHandle) -> Option<String>;

    /// The link has ended; `reason` says why, for people.
    fn link_down(&mut self, link: LinkHandle, reason: &str, now: Time);

    /// The next link about which one of the questions above may have a new answer.
    fn poll_touched(&mut self) -> Option<LinkHandle>;

    /// Called after each change, before anybody is woken: the place to hand work to other threads. Never waits.
    fn hand_out(&mut self) {}

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    fn next_timeout(&self) -> Option<Time>;

    /// The time has come.
    fn handle_timeout(&mut self, now: Time);
}
