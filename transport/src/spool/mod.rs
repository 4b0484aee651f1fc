//! What a node keeps on its disk: messages for those who are away, and what it must still know after a restart.
//!
//! A [`Store`] blocks, so it has a thread of its own ([`SpoolThread`]). The node decides sans-IO what is stored and when
//! it is settled; it hands over a [`Request`] and hears an [`Answer`].
//!
//! | file | subject |
//! | --- | --- |
//! | `contract`, `laws` | what a store does, and the tests that every store passes |
//! | `clock`, `validate` | deadlines that survive a restart; commits that no store carries out |
//! | `memory` | a store that forgets: for tests and simulation |
//! | `disk`, `store` | the file under a store; the store in it |
//! | `faulty`, `random` | a disk that loses, tears, fills up and flips bits, by seed |
//! | `request`, `thread` | what a node asks for; the thread that carries it out |

mod clock;
mod contract;
#[cfg(feature = "spool")]
mod disk;
#[cfg(feature = "spool")]
#[doc(hidden)]
pub mod faulty;
pub mod laws;
mod memory;
mod random;
mod request;
#[cfg(feature = "spool")]
mod store;
mod thread;
mod validate;

pub use contract::{
    BATCH_MAX, CorruptRecord, KEY_MAX, Operation, Position, QueueId, Recovered, RecoveredQueue,
    Store, StoreError, Stored, TAG_MAX, Usage, VALUE_MAX, WallClock,
};
#[cfg(feature = "spool")]
pub use disk::Disk;
pub use memory::{Faults, MemoryStore};
pub use request::{Answer, Request, carry_out};
#[cfg(feature = "spool")]
pub use store::{CACHE_BYTES, DiskStore};
pub use thread::{Refused, SpoolThread};
