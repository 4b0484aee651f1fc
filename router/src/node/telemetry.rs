//! The node's ledger as metrics: counters that move once per batch, never per message.

use super::ledger::NodeLedger;
use metrics::{Counter, counter};
use std::collections::BTreeMap;

/// Handles of one node's counters, and what they were told last.
pub(super) struct Telemetry {
    node: String,
    accepted: Counter,
    delivered: Counter,
    expired: Counter,
    cancelled: Counter,
    lost: Counter,
    dead: BTreeMap<&'static str, Counter>,
    shed: BTreeMap<&'static str, Counter>,
    told: NodeLedger,
}

impl Telemetry {
    pub(super) fn new(node: &str) -> Self {
        let of = |name: &'static str| counter!(name, "node" => node.to_owned());
        Self {
            accepted: of("mcpbus_node_accepted_total"),
            delivered: of("mcpbus_node_delivered_total"),
            expired: of("mcpbus_node_expired_total"),
            cancelled: of("mcpbus_node_cancelled_total"),
            lost: of("mcpbus_node_lost_total"),
            dead: BTreeMap::new(),
            shed: BTreeMap::new(),
            told: NodeLedger::default(),
            node: node.to_owned(),
        }
    }

    /// Moves the counters to where the ledger is. Costs a few comparisons when nothing moved.
    pub(super) fn record(&mut self, ledger: &NodeLedger) {
        let told = &mut self.told;
        advance(&self.accepted, &mut told.accepted, ledger.accepted);
        advance(&self.delivered, &mut told.delivered, ledger.delivered);
        advance(&self.expired, &mut told.expired, ledger.expired);
        advance(&self.cancelled, &mut told.cancelled, ledger.cancelled);
        advance(&self.lost, &mut told.lost, ledger.lost);
        let node = &self.node;
        for (reason, count) in &ledger.dead {
            let handle = self.dead.entry(reason).or_insert_with(
                || counter!("mcpbus_node_dead_total", "node" => node.clone(), "reason" => *reason),
            );
            advance(handle, told.dead.entry(reason).or_default(), *count);
        }
        for (reason, count) in &ledger.shed {
            let handle = self.shed.entry(reason).or_insert_with(
                || counter!("mcpbus_node_shed_total", "node" => node.clone(), "reason" => *reason),
            );
            advance(handle, told.shed.entry(reason).or_default(), *count);
        }
    }
}

fn advance(counter: &Counter, told: &mut u64, now: u64) {
    if now > *told {
        counter.increment(now - *told);
        *told = now;
    }
}
