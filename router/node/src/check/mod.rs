//! What `mcpbus check` shows of a verified file: the topology as text or as a diagram, and the memory bound.

pub mod bound;
pub mod diagram;
pub mod text;

use serde_json::{Value as Json, json};

use crate::config::{NodeFile, Warning, normalise, verify};

pub use bound::{Bound, memory_bound};

/// The whole answer as one JSON object: the file normalised, its edges, warnings and the memory bound.
pub fn to_json(file: &NodeFile, warnings: &[Warning]) -> Json {
    let bound = memory_bound(file);
    let name = |at: usize| {
        file.stages
            .get(at)
            .map_or("", |stage| stage.name.value.as_str())
    };
    let edges: Vec<Json> = verify::edges(&file.stages)
        .iter()
        .map(|edge| {
            json!({
                "name": edge.name,
                "from": name(edge.from),
                "to": name(edge.to),
                "messages": edge.bounds.messages,
                "bytes": edge.bounds.bytes,
                "overflow": edge.bounds.overflow.word(),
            })
        })
        .collect();
    let parts: Vec<Json> = bound
        .parts
        .iter()
        .map(|part| json!({ "what": part.what, "bytes": part.bytes }))
        .collect();
    json!({
        "file": normalise::to_json(file),
        "edges": edges,
        "warnings": warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "memory_bound": { "bytes": bound.total(), "budget": file.limits.budget, "parts": parts },
    })
}

#[cfg(test)]
mod tests;
