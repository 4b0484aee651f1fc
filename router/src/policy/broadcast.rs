//! Every destination gets its copy.

use super::contract::{Choice, Destination, Meta, Policy, Scope};

/// Sends each message to every destination that is not drained. Weights say no more than 0 or not 0.
#[derive(Debug, Clone, Default)]
pub struct Broadcast {}

impl Broadcast {
    /// A broadcast; it has no state.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }
}

impl Policy for Broadcast {
    fn name(&self) -> &'static str {
        "broadcast"
    }

    fn choose(&mut self, _meta: &Meta<'_>, destinations: &[Destination]) -> Choice {
        if destinations
            .iter()
            .any(|destination| destination.weight > 0)
        {
            Choice::All
        } else {
            Choice::None
        }
    }

    fn keeps_order(&self) -> bool {
        true
    }

    fn scope(&self) -> Scope {
        Scope::Stateless
    }
}
