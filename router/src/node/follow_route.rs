//! Routes of other nodes: who follows them, and what they decide here.

use super::core::NodeCore;
use super::decide::{Decision, EntryIndex, EntryRoute, EntryState};
use crate::interest::{NodeId, RoutedGroups};
use crate::protocol::Target;
use crate::routing::Subject;
use std::sync::Arc;

impl NodeCore {
    /// The route of this node that a flow's messages are here for.
    pub(super) fn own_route(&self, targets: &[Target]) -> Option<usize> {
        let [target] = targets else { return None };
        let entry = (target.origin == self.config.id)
            .then(|| self.local_entries.get(&target.entry))
            .flatten()?;
        match self.entries.get(*entry as usize)?.route {
            Some(EntryRoute::Here(route)) => Some(route),
            _ => None,
        }
    }

    /// Whether a target is a route of another node.
    pub(super) fn is_route(&self, target: &Target) -> bool {
        let entry = self.remote_entries.get(&(target.origin, target.entry));
        let entry = entry.and_then(|index| self.entries.get(*index as usize));
        entry.is_some_and(|entry| entry.route.is_some())
    }

    /// What a route of this node decides for messages of another one, which has served everybody else itself.
    pub(super) fn route_decision(&self, subject: &str, route: usize) -> Decision {
        let mut entries: Vec<EntryIndex> = Vec::new();
        if let Ok(subject) = Subject::new(subject) {
            self.table
                .for_each_match(&subject, |entry| entries.push(*entry));
        }
        entries.sort_unstable();
        entries.dedup();
        let mut decision = self.make_decision(Some(route), &entries);
        decision.plain.clear();
        decision.groups.clear();
        decision
    }

    /// Of the routes that other nodes have for a subject: the most specific one, then the nearest, then that of the
    /// smallest origin.
    pub(super) fn route_elsewhere(
        &self,
        entries: &[EntryIndex],
    ) -> Option<(EntryIndex, Arc<RoutedGroups>)> {
        let hops = |entry: &EntryState| {
            self.interest
                .path(NodeId(entry.target.origin))
                .map_or(usize::MAX, <[NodeId]>::len)
        };
        let routes = entries.iter().filter_map(|index| {
            let entry = self.entries.get(*index as usize)?;
            match &entry.route {
                Some(EntryRoute::There(groups)) => Some((*index, entry, groups.clone())),
                _ => None,
            }
        });
        routes
            .max_by(|(_, one, _), (_, other, _)| {
                one.pattern
                    .compare_specificity(&other.pattern)
                    .then_with(|| hops(other).cmp(&hops(one)))
                    .then_with(|| other.target.origin.cmp(&one.target.origin))
            })
            .map(|(index, _, groups)| (index, groups))
    }
}
