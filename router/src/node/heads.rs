//! The heads that messages are handed on with: one for each kind of way, made once for each head that comes.

use super::core::NodeCore;
use super::decide::Out;
use super::flow::InFlowId;
use mcpbus_transport::wire::{AckLevel, Head};
use std::rc::Rc;
use std::sync::Arc;

/// A head as it is handed on: to whom, and with which ack level.
pub(super) struct Heads {
    /// To a client, or to another node for durable subscriptions there.
    local: Arc<Head>,
    onward: Arc<Head>,
    /// The same for those who are not durable: nobody waits for it to be stored there.
    local_plain: Arc<Head>,
    onward_plain: Arc<Head>,
}

impl Heads {
    pub(super) fn new(head: &Arc<Head>, from_spool: bool) -> Self {
        let with = |hops: u8, ack: AckLevel| {
            if head.hops == hops && head.ack == ack {
                head.clone()
            } else {
                Arc::new(Head {
                    hops,
                    ack,
                    ..Head::clone(head)
                })
            }
        };
        // What is stored here stays here until the next owner has settled it.
        let ack = if from_spool {
            head.ack.max(AckLevel::Stored)
        } else {
            head.ack
        };
        let plain = if ack == AckLevel::Stored {
            AckLevel::Accepted
        } else {
            ack
        };
        let onward = with(head.hops + 1, ack);
        Self {
            local: with(head.hops, ack),
            local_plain: with(head.hops, plain),
            onward_plain: if plain == ack {
                onward.clone()
            } else {
                with(head.hops + 1, plain)
            },
            onward,
        }
    }

    fn same(head: &Arc<Head>) -> Self {
        Self {
            local: head.clone(),
            onward: head.clone(),
            local_plain: head.clone(),
            onward_plain: head.clone(),
        }
    }

    pub(super) fn of(&self, out: &Out) -> &Arc<Head> {
        match (out.onward, out.durable) {
            (false, true) => &self.local,
            (false, false) => &self.local_plain,
            (true, true) => &self.onward,
            (true, false) => &self.onward_plain,
        }
    }
}

impl NodeCore {
    /// The heads to hand messages of `head` on with.
    pub(super) fn heads(&self, id: InFlowId, head: &Arc<Head>) -> Rc<Heads> {
        let address = Arc::as_ptr(head) as usize;
        self.inflows[id]
            .decisions
            .get(&address)
            .map_or_else(|| Rc::new(Heads::same(head)), |cached| cached.heads.clone())
    }
}
