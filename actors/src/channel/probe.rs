//! A look at an edge from outside, which keeps neither end alive.

use std::fmt;
use std::sync::Arc;

use super::EdgeStats;

pub(crate) trait ProbeSource: Send + Sync {
    fn edge_stats(&self, edge: usize) -> EdgeStats;
    /// Ends the edge from outside, where its kind allows that.
    fn end_edge(&self, edge: usize);
}

/// Reads the account and the filling of one edge, also after both ends are gone.
#[derive(Clone)]
pub struct Probe {
    source: Arc<dyn ProbeSource>,
    edge: usize,
}

impl Probe {
    pub(crate) fn new(source: Arc<dyn ProbeSource>, edge: usize) -> Self {
        Self { source, edge }
    }

    /// A look at the edge now.
    #[must_use]
    pub fn stats(&self) -> EdgeStats {
        self.source.edge_stats(self.edge)
    }
}

impl Probe {
    /// Ends the edge: its senders learn that it is closed, what is queued is still received.
    pub(crate) fn end_edge(&self) {
        self.source.end_edge(self.edge);
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("edge", &self.edge)
            .finish_non_exhaustive()
    }
}
