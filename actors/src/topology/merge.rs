//! Ordered fan-in: several sorted inputs as one.

use super::builder::Topology;
use super::part::MergePart;
use super::plan::Role;
use super::port::IntoPorts;
use super::wiring::Declare;
use crate::message::Message;
use crate::stage::{Merger, Outlet, Outputs, Port, Rank, SortedMerge, SortedMerger};

impl Topology {
    /// Adds a stage that merges inputs, each of them sorted, into one sorted output; of equal messages the one of the first
    /// input comes first. Messages pass as they are.
    ///
    /// A message passes when no input can give one that comes before it: so an input that has nothing is waited for, and
    /// meanwhile the others fill their edges and hold back who sends into them, unless a
    /// [`patience`](SortedMerge::patience) is given. A message that is out of order is rejected.
    ///
    /// ```
    /// use mcpbus_actors::stage::sorted_by;
    /// use mcpbus_actors::topology::Topology;
    ///
    /// let mut t = Topology::new("merge");
    /// let even = t.produce_iter("even", (0..100u64).filter(|n| n % 2 == 0));
    /// let odd = t.produce_iter("odd", (0..100u64).filter(|n| n % 2 == 1));
    /// let all = t.merge_sorted("all", [even, odd], sorted_by(|n: &u64| *n));
    /// let mut next = 0;
    /// t.consume("check", all, move |n: &u64| {
    ///     assert_eq!(*n, next);
    ///     next += 1;
    /// });
    /// let report = t.run_blocking()?;
    /// assert_eq!(report.stage("check").map(|stage| stage.panics), Some(0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn merge_sorted<M, R>(
        &mut self,
        name: &str,
        from: impl IntoPorts<M>,
        merge: SortedMerge<R>,
    ) -> Port<M>
    where
        M: Message,
        R: Rank<M>,
    {
        let ports = from.into_ports();
        let merger = SortedMerger::new(merge, ports.len());
        self.add_merge(name, ports, merger)
    }

    pub(super) fn add_merge<S: Merger>(
        &mut self,
        name: &str,
        ports: Vec<Port<S::Input>>,
        merger: S,
    ) -> Port<S::Output> {
        let inputs = self.connect_all(name, ports);
        let part = Box::new(MergePart::new(merger));
        let stage = self.add_stage(name, Role::Merge, inputs, part);
        Outlet::declare(&mut Declare::new(self, stage), 1)
    }
}
