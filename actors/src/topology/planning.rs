//! From the builder to the plan.

use std::collections::BTreeMap;

use super::builder::{EdgeDraft, Topology};
use super::check::{self, CheckError};
use super::fusion;
use super::plan::{EdgePlan, End, Plan};

impl Topology {
    /// The topology as data.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let parallel = self.parallel();
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
                name: self.edge_name(index, &parallel),
                from: draft.from.clone(),
                to: draft.to.clone(),
                capacity: draft.capacity.unwrap_or(self.settings.capacity),
                overflow: draft.overflow,
                kind: draft.kind,
                type_id: draft.type_id,
                message_bytes: draft.message_bytes,
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

    /// How many unnamed edges lead from one stage to another, by the numbers of both.
    fn parallel(&self) -> BTreeMap<(usize, usize), usize> {
        let mut parallel = BTreeMap::new();
        let unnamed = |draft: &&EdgeDraft| !draft.removed && draft.name.is_none();
        for draft in self.edges.iter().filter(unnamed) {
            if let (End::Stage(from), End::Stage(to)) = (&draft.from, &draft.to) {
                *parallel.entry((*from, *to)).or_insert(0) += 1;
            }
        }
        parallel
    }

    fn edge_name(&self, index: usize, parallel: &BTreeMap<(usize, usize), usize>) -> String {
        let draft = &self.edges[index];
        if let Some(name) = draft.name.as_ref().or(draft.feedback.as_ref()) {
            return name.clone();
        }
        let end = |end: &End| match end {
            End::Loose => "?".to_owned(),
            End::Open(name) => name.clone(),
            End::Stage(stage) => self.stages[*stage].plan.name.clone(),
        };
        // Parallel edges between the same two stages are told apart by the number of the output.
        if let (End::Stage(from), End::Stage(to)) = (&draft.from, &draft.to)
            && parallel.get(&(*from, *to)).is_some_and(|count| *count > 1)
        {
            let outputs = &self.stages[*from].plan.outputs;
            let output = outputs.iter().position(|edge| *edge == index).unwrap_or(0);
            return format!("{}.{output}->{}", end(&draft.from), end(&draft.to));
        }
        format!("{}->{}", end(&draft.from), end(&draft.to))
    }
}
