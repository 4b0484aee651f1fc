//! The account of what was stored.

use std::collections::BTreeMap;

/// Counts of the spool of one node since its start. A message counts once for each queue it is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpoolLedger {
    /// Messages that were there when the node started.
    pub recovered: u64,
    /// Messages that were stored since.
    pub stored: u64,
    /// Messages that their next owner has settled.
    pub delivered: u64,
    /// Messages that became dead letters, by reason.
    pub dead: BTreeMap<&'static str, u64>,
    /// Messages whose deadline passed.
    pub expired: u64,
    /// Messages that nobody wants any more: their subscription has ended.
    pub shed: BTreeMap<&'static str, u64>,
    /// Messages held now, counted by walking the queues.
    pub held: u64,
    /// Repeats of a producer that were recognised. They stand beside the balance.
    pub repeats: u64,
    /// Deliveries beyond the first of a message. They stand beside the balance.
    pub redelivered: u64,
}

impl SpoolLedger {
    /// What was stored and is neither held nor ended: 0, or a defect.
    pub fn residual(&self) -> i64 {
        let ended = self.delivered
            + self.dead.values().sum::<u64>()
            + self.expired
            + self.shed.values().sum::<u64>();
        (self.recovered + self.stored) as i64 - ended as i64 - self.held as i64
    }
}
