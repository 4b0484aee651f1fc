//! What two peers of the router say to each other on top of a session: what a flow is for ([`Definition`]) and
//! the ordered control messages ([`Signal`]). Transport carries both without reading them.
//!
//! Every message begins with its kind; lengths are compared with their limits before anything is allocated; the
//! numbers are never reused.

mod cancel;
mod definition;
mod reply;
mod signal;

pub use cancel::{CANCELS_MAX, Cancel};
pub use definition::{Definition, TARGETS_MAX, Target};
pub use reply::{ReplyStatus, decode_reply, encode_reply, responder_lost};
pub use signal::{REASON_MAX, Signal, SubscribeRefusal};

#[cfg(test)]
mod tests;
