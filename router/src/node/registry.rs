//! Who is connected to a node, readable from any thread at any time, without asking the node's own.

use dashmap::DashMap;
use std::sync::Arc;

/// One peer, as it stands in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerEntry {
    /// Its name.
    pub name: String,
    /// Whether it is a node; otherwise a client.
    pub node: bool,
    /// Whether its link is up.
    pub live: bool,
}

/// The peers of a node, by the numbers the node gave them. Clones are the same registry; each of a node's threads
/// writes its own peers.
#[derive(Clone, Debug, Default)]
pub struct PeerRegistry {
    peers: Arc<DashMap<u64, PeerEntry>>,
}

impl PeerRegistry {
    /// All peers, in the order in which they came. No entry is locked once this returns.
    pub fn peers(&self) -> Vec<PeerEntry> {
        let mut peers: Vec<_> = self
            .peers
            .iter()
            .map(|entry| (*entry.key(), entry.value().clone()))
            .collect();
        peers.sort_unstable_by_key(|(number, _)| *number);
        peers.into_iter().map(|(_, peer)| peer).collect()
    }

    pub(super) fn set(&self, number: u64, peer: PeerEntry) {
        self.peers.insert(number, peer);
    }

    pub(super) fn set_live(&self, number: u64, live: bool) {
        if let Some(mut peer) = self.peers.get_mut(&number) {
            peer.live = live;
        }
    }

    pub(super) fn remove(&self, number: u64) {
        self.peers.remove(&number);
    }
}
