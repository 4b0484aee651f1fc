//! Windows: aggregators that divide messages by event time or by number, per key, and emit one result per window.
//!
//! * `event`: [`tumbling`] and [`sliding`] windows by event time
//! * `session`: windows that end after a gap without messages of their key
//! * `count`: [`tumbling_count`] and [`sliding_count`] windows of so many messages of their key
//! * `watermark`: how far event time has come; `room`: how much may be open; `result`: what is emitted
//!
//! The key is the message's. Invariants:
//! * never more than the limit is open; a message that would exceed it is rejected as `quota` and has changed no window;
//! * a message whose windows are all complete is late: rejected as `rejected`; one without event time as `decode`;
//! * every other message is in its windows, and each window is emitted once: in order of end and key, at the latest at the
//!   end.

mod count;
mod event;
mod result;
mod room;
mod session;
#[cfg(test)]
mod tests;
mod watermark;

pub use count::{CountWindows, sliding_count, tumbling_count};
pub use event::{EventWindows, sliding, tumbling};
pub use result::Windowed;
pub use session::{SessionWindows, session};
