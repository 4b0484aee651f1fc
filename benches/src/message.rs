//! The message that the in-process benches move.

use mcpbus_actors::Message;

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
