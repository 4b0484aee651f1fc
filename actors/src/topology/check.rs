//! What must be right before a topology starts.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;

use super::plan::{End, Plan};
use crate::channel::Overflow;

/// Why a topology cannot start. Its author can repair each.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckError {
    /// Nothing to run.
    Empty,
    /// Two stages, edges or open ports have one name.
    DuplicateName {
        /// The name.
        name: String,
    },
    /// An output that leads nowhere, or a loop that was not closed.
    LooseEnd {
        /// The stage whose output it is, or the name of the loop.
        stage: String,
        /// Which of its outputs, from 0.
        output: usize,
    },
    /// A cycle in which every edge waits: full once, it would stand still for ever.
    WaitingCycle {
        /// The stages on it.
        stages: Vec<String>,
    },
    /// A port of another topology was used.
    ForeignPort {
        /// The stage that it was connected to.
        stage: String,
    },
    /// A stage was named that does not exist.
    UnknownStage {
        /// The name.
        name: String,
    },
    /// A stage without inputs that is not a producer.
    NoInput {
        /// Its name.
        stage: String,
    },
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the topology has no stages; add a producer and a consumer"),
            Self::DuplicateName { name } => {
                write!(f, "the name {name:?} is used twice; names must be unique")
            }
            Self::LooseEnd { stage, output } => {
                write!(
                    f,
                    "output {output} of {stage:?} leads nowhere; connect it to a stage or open it with `output`"
                )
            }
            Self::WaitingCycle { stages } => write!(
                f,
                "the cycle {} has only edges that wait, so it could stand still for ever; give one of them another \
                 overflow policy",
                stages.join(" -> ")
            ),
            Self::ForeignPort { stage } => {
                write!(
                    f,
                    "stage {stage:?} was connected to a port of another topology; build both in one"
                )
            }
            Self::UnknownStage { name } => write!(f, "there is no stage {name:?}"),
            Self::NoInput { stage } => {
                write!(f, "stage {stage:?} has no input; connect at least one port")
            }
        }
    }
}

impl Error for CheckError {}

/// Checks everything that can be known before the start.
pub(super) fn check(plan: &Plan) -> Result<(), CheckError> {
    if plan.stages.is_empty() {
        return Err(CheckError::Empty);
    }
    let mut stages = BTreeSet::new();
    for stage in &plan.stages {
        if !stages.insert(&stage.name) {
            return Err(CheckError::DuplicateName {
                name: stage.name.clone(),
            });
        }
        if stage.inputs.is_empty() && !stage.role.is_source() {
            return Err(CheckError::NoInput {
                stage: stage.name.clone(),
            });
        }
    }
    let mut edges = BTreeSet::new();
    for (index, edge) in plan.edges.iter().enumerate() {
        if edge.from == End::Loose || edge.to == End::Loose {
            let (stage, output) = match &edge.from {
                End::Stage(stage) => {
                    let stage = &plan.stages[*stage];
                    (
                        stage.name.clone(),
                        stage
                            .outputs
                            .iter()
                            .position(|output| *output == index)
                            .unwrap_or(0),
                    )
                }
                End::Open(name) => (name.clone(), 0),
                End::Loose => (edge.name.clone(), 0),
            };
            return Err(CheckError::LooseEnd { stage, output });
        }
        if !edges.insert(&edge.name) {
            return Err(CheckError::DuplicateName {
                name: edge.name.clone(),
            });
        }
    }
    match waiting_cycle(plan) {
        Some(cycle) => Err(CheckError::WaitingCycle {
            stages: cycle
                .into_iter()
                .map(|s| plan.stages[s].name.clone())
                .collect(),
        }),
        None => Ok(()),
    }
}

/// A cycle made only of edges that wait.
fn waiting_cycle(plan: &Plan) -> Option<Vec<usize>> {
    let mut next: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for edge in plan
        .edges
        .iter()
        .filter(|edge| edge.overflow == Overflow::Wait)
    {
        if let (End::Stage(from), End::Stage(to)) = (&edge.from, &edge.to) {
            next.entry(*from).or_default().push(*to);
        }
    }
    let mut done = vec![false; plan.stages.len()];
    let mut on_path = vec![false; plan.stages.len()];
    for start in 0..plan.stages.len() {
        if done[start] {
            continue;
        }
        // Depth first with an explicit path: a stage met again on the path closes a cycle.
        let mut path: Vec<(usize, usize)> = vec![(start, 0)];
        on_path[start] = true;
        while let Some((stage, position)) = path.last_mut() {
            let stage = *stage;
            match next
                .get(&stage)
                .and_then(|followers| followers.get(*position))
            {
                Some(&follower) => {
                    *position += 1;
                    if on_path[follower] {
                        let along = path.iter().map(|(stage, _)| *stage);
                        let mut cycle: Vec<usize> =
                            along.skip_while(|stage| *stage != follower).collect();
                        cycle.push(follower);
                        return Some(cycle);
                    }
                    if !done[follower] {
                        on_path[follower] = true;
                        path.push((follower, 0));
                    }
                }
                None => {
                    done[stage] = true;
                    on_path[stage] = false;
                    path.pop();
                }
            }
        }
    }
    None
}

/// A set of stages that feed each other, with the edges inside and the edges that lead in.
#[derive(Clone, Debug)]
pub(super) struct Cycle {
    pub(super) stages: Vec<usize>,
    pub(super) inside: Vec<usize>,
    pub(super) entering: Vec<usize>,
}

/// All sets of stages that feed each other: strongly connected, by reachability (topologies are small).
pub(super) fn cycles(plan: &Plan) -> Vec<Cycle> {
    if !plan.edges.iter().any(|edge| edge.feedback) {
        return Vec::new();
    }
    let count = plan.stages.len();
    let mut reach = vec![vec![false; count]; count];
    for edge in &plan.edges {
        if let (End::Stage(from), End::Stage(to)) = (&edge.from, &edge.to) {
            reach[*from][*to] = true;
        }
    }
    for via in 0..count {
        let through = reach[via].clone();
        for row in &mut reach {
            if row[via] {
                for (target, reached) in row.iter_mut().zip(&through) {
                    *target |= reached;
                }
            }
        }
    }
    let mut seen = vec![false; count];
    let mut cycles = Vec::new();
    for stage in 0..count {
        if seen[stage] || !reach[stage][stage] {
            continue;
        }
        let stages: Vec<usize> = (0..count)
            .filter(|other| reach[stage][*other] && reach[*other][stage])
            .collect();
        for other in &stages {
            seen[*other] = true;
        }
        let leads_in = |end: &End| matches!(end, End::Stage(stage) if stages.contains(stage));
        let (mut inside, mut entering) = (Vec::new(), Vec::new());
        for (index, edge) in plan
            .edges
            .iter()
            .enumerate()
            .filter(|(_, edge)| leads_in(&edge.to))
        {
            if leads_in(&edge.from) {
                inside.push(index)
            } else {
                entering.push(index)
            }
        }
        cycles.push(Cycle {
            stages,
            inside,
            entering,
        });
    }
    cycles
}
