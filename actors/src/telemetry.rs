//! Metrics of edges: handles are made once per edge, numbers are recorded once per batch.

use metrics::{Counter, counter};

use crate::channel::Settlement;

/// The metrics of one edge. Names: `mcpbus_edge_{delivered,dead,expired,shed,cancelled}_total` with the labels
/// `topology` and `edge`.
#[derive(Clone)]
pub(crate) struct EdgeTelemetry {
    delivered: Counter,
    dead: Counter,
    expired: Counter,
    shed: Counter,
    cancelled: Counter,
}

impl EdgeTelemetry {
    pub(crate) fn new(topology: &str, edge: &str) -> Self {
        let labels = [("topology", topology.to_owned()), ("edge", edge.to_owned())];
        Self {
            delivered: counter!("mcpbus_edge_delivered_total", &labels),
            dead: counter!("mcpbus_edge_dead_total", &labels),
            expired: counter!("mcpbus_edge_expired_total", &labels),
            shed: counter!("mcpbus_edge_shed_total", &labels),
            cancelled: counter!("mcpbus_edge_cancelled_total", &labels),
        }
    }

    /// Records that a batch was delivered.
    pub(crate) fn delivered(&self, messages: u64) {
        self.delivered.increment(messages);
    }

    /// Records the outcomes of a batch.
    pub(crate) fn settled(&self, settlement: &Settlement) {
        self.delivered.increment(settlement.delivered);
        for (counter, count) in [
            (&self.dead, settlement.dead.total()),
            (&self.expired, settlement.expired),
            (&self.shed, settlement.shed.total()),
            (&self.cancelled, settlement.cancelled),
        ] {
            if count > 0 {
                counter.increment(count);
            }
        }
    }
}

/// Accepted messages of one edge, counted at its sending end: `mcpbus_edge_accepted_total`.
#[derive(Clone)]
pub(crate) struct AcceptedCounter(Counter);

impl AcceptedCounter {
    pub(crate) fn new(topology: &str, edge: &str) -> Self {
        let labels = [("topology", topology.to_owned()), ("edge", edge.to_owned())];
        Self(counter!("mcpbus_edge_accepted_total", &labels))
    }

    pub(crate) fn add(&self, messages: u64) {
        self.0.increment(messages);
    }
}
