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
        let mut sets = Sets::new(self.stages.len());
        for edge in self.edges.iter().filter(|edge| edge.fused) {
            if let (End::Stage(from), End::Stage(to)) = (&edge.from, &edge.to)
                && included(*from)
                && included(*to)
            {
                sets.join(*from, *to);
            }
        }
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut place = vec![usize::MAX; self.stages.len()];
        for stage in (0..self.stages.len()).filter(|stage| included(*stage)) {
            let place = &mut place[sets.of(stage)];
            if *place == usize::MAX {
                *place = groups.len();
                groups.push(Vec::new());
            }
            groups[*place].push(stage);
        }
        groups
    }
}

/// Disjoint sets of stages: each stage leads to another of its set, the last one to itself.
struct Sets {
    next: Vec<usize>,
    size: Vec<usize>,
}

impl Sets {
    fn new(count: usize) -> Self {
        Self {
            next: (0..count).collect(),
            size: vec![1; count],
        }
    }

    /// The stage that stands for the set of this one.
    fn of(&mut self, mut stage: usize) -> usize {
        while self.next[stage] != stage {
            // The way is halved for those who ask later.
            self.next[stage] = self.next[self.next[stage]];
            stage = self.next[stage];
        }
        stage
    }

    fn size(&mut self, stage: usize) -> usize {
        let of = self.of(stage);
        self.size[of]
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of(one), self.of(other));
        if one != other {
            let (keep, give) = (one.min(other), one.max(other));
            self.next[give] = keep;
            self.size[keep] += self.size[give];
        }
    }
}

/// Marks the edges whose ends share a task; `asked` are those whose port asks for it.
pub(super) fn decide(plan: &mut Plan, fusion: Fusion, asked: &[bool]) {
    let mut sets = Sets::new(plan.stages.len());
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
            let same = sets.of(from) == sets.of(to);
            let together = sets.size(from) + sets.size(to);
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
                sets.join(from, to);
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
