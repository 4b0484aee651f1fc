//! From the builder to the plan.

use super::builder::{EdgeDraft, Topology};
use super::check::{self, CheckError};
use super::fusion;
use super::plan::{EdgePlan, End, Plan};

impl Topology {
    /// The topology as data.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let mut position = vec![usize::MAX; self.edges.len()];
        let mut edges: Vec<EdgePlan> = Vec::new();
        let mut asked = Vec::new();
        for (index, draft) in self
            .edges
            .iter()
            .enumerate()
            .filter(|(_, draft)| !draft.removed)
        {
            position[index] = edges.len();
            edges.push(EdgePlan {
                name: self.edge_name(index),
                from: draft.from.clone(),
                to: draft.to.clone(),
                capacity: draft.capacity.unwrap_or(self.settings.capacity),
                overflow: draft.overflow,
                kind: draft.kind,
                type_id: draft.type_id,
                feedback: draft.feedback.is_some(),
                fused: false,
            });
            asked.push(draft.fused);
        }
        let stages = self.stages.iter().map(|draft| {
            let mut plan = draft.plan.clone();
            for edge in plan.inputs.iter_mut().chain(&mut plan.outputs) {
                *edge = position[*edge];
            }
            plan
        });
        let mut plan = Plan {
            name: self.name.clone(),
            placement: self.settings.placement,
            stages: stages.collect(),
            edges,
            dead_letter_bytes: self.settings.dead_letters.bytes,
        };
        fusion::decide(&mut plan, self.settings.fusion, &asked);
        plan
    }

    /// Checks everything that can be known before the start, and gives the plan.
    ///
    /// # Errors
    /// [`CheckError`]: the first thing that is wrong.
    pub fn check(&self) -> Result<Plan, CheckError> {
        if let Some(fault) = self.faults.first() {
            return Err(fault.clone());
        }
        let plan = self.plan();
        check::check(&plan)?;
        Ok(plan)
    }

    fn edge_name(&self, index: usize) -> String {
        let draft = &self.edges[index];
        if let Some(name) = draft.name.as_ref().or(draft.feedback.as_ref()) {
            return name.clone();
        }
        let end = |end: &End| match end {
            End::Loose => "?".to_owned(),
            End::Open(name) => name.clone(),
            End::Stage(stage) => self.stages[*stage].plan.name.clone(),
        };
        let mut name = format!("{}->{}", end(&draft.from), end(&draft.to));
        // Parallel edges between the same two stages are told apart by the number of the output.
        if let End::Stage(from) = &draft.from {
            let same = |other: &EdgeDraft| {
                !other.removed
                    && other.name.is_none()
                    && other.from == draft.from
                    && other.to == draft.to
            };
            if self.edges.iter().filter(|other| same(other)).count() > 1 {
                let output = self.stages[*from]
                    .plan
                    .outputs
                    .iter()
                    .position(|edge| *edge == index)
                    .unwrap_or(0);
                name = format!("{}.{output}->{}", end(&draft.from), end(&draft.to));
            }
        }
        name
    }
}
