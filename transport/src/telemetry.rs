//! Bytes on links as metrics: one count per read or write of a lane.
//!
//! `mcpbus_link_{received,sent}_bytes_total` with the label `lane` (`control` or `data`).

use crate::link::LaneId;
use metrics::{Counter, counter};

/// Counters of the bytes of one link.
#[derive(Clone)]
pub(crate) struct LinkTelemetry {
    received: [Counter; 2],
    sent: [Counter; 2],
}

impl LinkTelemetry {
    pub(crate) fn new() -> Self {
        let of = |name: &'static str| {
            [
                counter!(name, "lane" => "control"),
                counter!(name, "lane" => "data"),
            ]
        };
        Self {
            received: of("mcpbus_link_received_bytes_total"),
            sent: of("mcpbus_link_sent_bytes_total"),
        }
    }

    pub(crate) fn received(&self, lane: LaneId, bytes: usize) {
        self.received[usize::from(!lane.is_control())].increment(bytes as u64);
    }

    pub(crate) fn sent(&self, lane: LaneId, bytes: usize) {
        self.sent[usize::from(!lane.is_control())].increment(bytes as u64);
    }
}
