//! Which neighbours share a task. A fused edge stays what it is: bounded, counted, with its policy; but nobody is woken
//! across it, and what is given is taken while it is in the cache.

use super::builder::Topology;
use super::plan::{End, Placement, Plan, Role};

/// The most stages that are fused unasked: whenever one of them is woken, all are asked.
const MOST: usize = 16;

/// Which neighbours run in one task, their turns following each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fusion {
    /// Where it costs nobody anything: on one thread all neighbours, up to 16 at a time; as tasks, a router with the one
    /// stage before it; and where a port asks for it with [`Port::fused`](super::Port::fused).
    #[default]
    Automatic,
    /// Only where a port asks for it.
    Asked,
}

impl Topology {
    /// Which neighbours run in one task; [`Fusion::Automatic`] if nothing is said. Outcomes and ledger do not depend on it.
    pub fn fusion(&mut self, fusion: Fusion) -> &mut Self {
        self.settings.fusion = fusion;
        self
    }
}

impl Plan {
    /// The stages that share a task, by their indices, in the order of their turns; each stage is in one group.
    #[must_use]
    pub fn groups(&self) -> Vec<Vec<usize>> {
        self.groups_of(|_| true)
    }

    /// As [`Plan::groups`], of the stages that are included.
    pub(super) fn groups_of(&self, included: impl Fn(usize) -> bool) -> Vec<Vec<usize>> {
        let mut group: Vec<usize> = (0..self.stages.len()).collect();
        for edge in self.edges.iter().filter(|edge| edge.fused) {
            if let (End::Stage(from), End::Stage(to)) = (&edge.from, &edge.to)
                && included(*from)
                && included(*to)
            {
                join(&mut group, *from, *to);
            }
        }
        let mut groups = vec![Vec::new(); self.stages.len()];
        for stage in (0..self.stages.len()).filter(|stage| included(*stage)) {
            groups[group[stage]].push(stage);
        }
        groups.retain(|group| !group.is_empty());
        groups
    }
}

/// Puts the groups of two stages together, under the smaller number.
fn join(group: &mut [usize], one: usize, other: usize) {
    let (keep, give) = (group[one].min(group[other]), group[one].max(group[other]));
    for of in group.iter_mut().filter(|of| **of == give) {
        *of = keep;
    }
}

/// Marks the edges whose ends share a task; `asked` are those whose port asks for it.
pub(super) fn decide(plan: &mut Plan, fusion: Fusion, asked: &[bool]) {
    let mut group: Vec<usize> = (0..plan.stages.len()).collect();
    let mut size = vec![1; plan.stages.len()];
    let own_thread = |stage: usize| {
        plan.placement == Placement::Threads
            || plan.stages[stage].on_thread
            || plan.stages[stage].role == Role::BlockingProducer
    };
    let mut fused = vec![false; plan.edges.len()];
    // What is asked for comes first, so that what nobody asked for never takes its place.
    for unasked in [false, true] {
        for (index, edge) in plan.edges.iter().enumerate() {
            let (End::Stage(from), End::Stage(to)) = (&edge.from, &edge.to) else {
                continue;
            };
            let (from, to) = (*from, *to);
            if own_thread(from) || own_thread(to) || asked[index] == unasked {
                continue;
            }
            let together = size[group[from]] + size[group[to]];
            let same = group[from] == group[to];
            let router = matches!(plan.stages[to].role, Role::Router | Role::Broadcast);
            let cheap = match plan.placement {
                Placement::OneThread => true,
                Placement::Tasks => {
                    router
                        && plan.stages[to].inputs.len() == 1
                        && plan.stages[from].outputs.len() == 1
                }
                Placement::Threads => false,
            };
            let wanted = fusion == Fusion::Automatic && cheap && (same || together <= MOST);
            if !unasked || wanted {
                fused[index] = true;
                if !same {
                    join(&mut group, from, to);
                    size[group[from]] = together;
                }
            }
        }
    }
    for (edge, fused) in plan.edges.iter_mut().zip(fused) {
        edge.fused = fused;
    }
}

#[cfg(test)]
mod tests {
    use crate::stage::Out;
    use crate::topology::{Fusion, Placement, Topology};

    /// Source, router with two ways, a stage on each, a consumer.
    fn plan(placement: Placement, fusion: Fusion, ask: bool) -> Vec<Vec<usize>> {
        let mut t = Topology::new("t");
        t.placement(placement).fusion(fusion);
        let source = t.produce_iter("source", 0..3_u64);
        let [even, odd] = t.route("router", source, |n: &u64| (n % 2) as usize);
        let pass = |n: &u64, out: &mut Out<'_, u64>| out.emit(*n);
        let even = t.process("even", if ask { even.fused() } else { even }, pass);
        let odd = t.process("odd", odd, pass);
        t.consume("end", [even, odd], |_: &u64| ());
        t.plan().groups()
    }

    #[test]
    fn neighbours_are_fused_where_it_is_cheap_or_asked_for() {
        use Fusion::{Asked, Automatic};
        let alone = |stages: std::ops::Range<usize>| stages.map(|stage| vec![stage]);
        assert_eq!(
            plan(Placement::OneThread, Automatic, false),
            [vec![0, 1, 2, 3, 4]]
        );
        let expected: Vec<_> = [vec![0, 1]].into_iter().chain(alone(2..5)).collect();
        assert_eq!(plan(Placement::Tasks, Automatic, false), expected);
        let expected: Vec<_> = alone(0..5).collect();
        assert_eq!(plan(Placement::Tasks, Asked, false), expected);
        assert_eq!(plan(Placement::Threads, Automatic, true), expected);
        assert_eq!(
            plan(Placement::Tasks, Asked, true),
            [vec![0], vec![1, 2], vec![3], vec![4]]
        );
    }

    #[test]
    fn long_chains_are_fused_in_pieces() {
        let mut t = Topology::new("t");
        t.placement(Placement::OneThread);
        let mut port = t.produce_iter("source", 0..3_u64);
        for stage in 0..98 {
            let pass = |n: &u64, out: &mut Out<'_, u64>| out.emit(*n);
            port = t.process(&format!("stage{stage}"), port, pass);
        }
        t.consume("end", port, |_: &u64| ());
        let groups = t.plan().groups();
        assert_eq!(groups.iter().map(Vec::len).sum::<usize>(), 100);
        assert!(groups.iter().all(|group| group.len() <= 16) && groups.len() == 7);
    }
}
