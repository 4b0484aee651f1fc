//! What is counted: the hot paths of the engine, the wire and the node, each on one thread, so that the count is the same in every run.
//!
//! `benches/hot_paths.rs` runs each of them under valgrind; `benches/instructions/guard` compares the counts with
//! `baseline.txt`.

pub mod bus;
pub mod channel;
pub mod stage;
pub mod topology;
pub mod wire;

use mcpbus_actors::Message;

/// Messages of one run: so many that what happens once hardly counts.
pub const MESSAGES: u64 = 100_000;

/// 64 bytes with a key: about what a service passes between its parts.
#[derive(Clone, Debug, Message)]
pub struct Order {
    /// The key.
    #[message(key)]
    pub account: u64,
    /// The rest.
    pub fields: [u64; 7],
}

/// `count` orders, one after another over accounts.
pub fn orders(count: u64) -> impl Iterator<Item = Order> + Send + 'static {
    (0..count).map(|account| Order {
        account,
        fields: [account; 7],
    })
}
