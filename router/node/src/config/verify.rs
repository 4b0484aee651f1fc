//! What only the whole file shows: equal routes, equal names, edges with one end, cycles.

use std::fmt;

use super::mistake::{Mistake, Place, closest};
use super::node_file::NodeFile;
use super::route::Policy;
use super::stage::{EdgeBounds, Input, Output, Stage, verify_pattern};

/// Something that is allowed and probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where it stands.
    pub place: Place,
    /// What follows from it.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File { line, column, .. } => {
                write!(f, "line {line}, column {column}: {}", self.text)
            }
            _ => f.write_str(&self.text),
        }
    }
}

/// An edge inside the process: one stage that feeds, one that takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The edge's name in the file.
    pub name: String,
    /// The position of the feeding stage.
    pub from: usize,
    /// The position of the taking stage.
    pub to: usize,
    /// Its bounds.
    pub bounds: EdgeBounds,
}

/// The edges between the stages of a file: each stage that reads a name gets every message of each stage that feeds
/// it.
pub fn edges(stages: &[Stage]) -> Vec<Edge> {
    let mut edges = Vec::new();
    for (to, taker) in stages.iter().enumerate() {
        let Some(Input::Edges(names)) = &taker.input else {
            continue;
        };
        for name in names {
            for (from, feeder) in stages.iter().enumerate() {
                if matches!(&feeder.output, Some(Output::Edge(out)) if out.value == name.value) {
                    edges.push(Edge {
                        name: name.value.clone(),
                        from,
                        to,
                        bounds: feeder.edge,
                    });
                }
            }
        }
    }
    edges
}

/// Reports mistakes and returns warnings.
pub fn verify(file: &NodeFile, mistakes: &mut Vec<Mistake>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    verify_routes(file, mistakes, &mut warnings);
    verify_links(file, mistakes);
    verify_names(file, mistakes);
    verify_edges(file, mistakes);
    verify_cycles(file, mistakes);
    verify_outputs(file, mistakes);
    if mistakes.is_empty() {
        // What routing itself would refuse at the start, it refuses here.
        if let Err(error) = file.route_table() {
            mistakes.push(Mistake::new(Place::Whole, "route", error.to_string()));
        }
    }
    let idle = file.listen.is_none() && file.links.is_empty() && file.stages.is_empty();
    if idle && mistakes.is_empty() {
        warnings.push(Warning {
            place: Place::Whole,
            text: "the file has no [listen], no [[link]] and no [[stage]]: the node would have nothing to do".to_owned(),
        });
    }
    warnings
}

fn verify_routes(file: &NodeFile, mistakes: &mut Vec<Mistake>, warnings: &mut Vec<Warning>) {
    for (index, route) in file.routes.iter().enumerate() {
        let subject = &route.subject;
        if let Err(problem) = verify_pattern(&subject.value) {
            mistakes.push(Mistake::new(
                subject.place.clone(),
                format!("route.{index}.subject"),
                problem,
            ));
        }
        if let Some(earlier) = file.routes[..index]
            .iter()
            .find(|earlier| earlier.subject.value == subject.value)
        {
            let at = match &earlier.subject.place {
                Place::File { line, .. } => format!(" in line {line}"),
                _ => String::new(),
            };
            mistakes.push(
                Mistake::new(
                    subject.place.clone(),
                    format!("route.{index}.subject"),
                    format!("there is a route for `{}` already{at}", subject.value),
                )
                .hint(
                    "of two routes the more specific one wins; two equal ones cannot be told apart",
                ),
            );
        }
        let mut seen: Vec<&str> = Vec::new();
        for destination in &route.to {
            if seen.contains(&destination.group.value.as_str()) {
                mistakes.push(Mistake::new(
                    destination.group.place.clone(),
                    format!("route.{index}.to"),
                    format!("the group `{}` is named twice", destination.group.value),
                ));
            }
            seen.push(&destination.group.value);
        }
        if route.is_unordered() && route.to.len() > 1 {
            let way = if route.policy == Policy::Weighted {
                "`sticky = true` or "
            } else {
                ""
            };
            warnings.push(Warning {
                place: subject.place.clone(),
                text: format!(
                    "the route for `{}` is unordered: {} sends messages of one key to different groups; \
                     {way}`policy = \"hash\"` keeps order per key",
                    subject.value,
                    route.policy.word()
                ),
            });
        }
    }
}

fn verify_links(file: &NodeFile, mistakes: &mut Vec<Mistake>) {
    for (index, link) in file.links.iter().enumerate() {
        if file.links[..index]
            .iter()
            .any(|earlier| earlier.value == link.value)
        {
            let problem = format!("there is a link to `{}` already", link.value);
            mistakes.push(Mistake::new(
                link.place.clone(),
                format!("link.{index}.to"),
                problem,
            ));
        }
        if file
            .listen
            .is_some_and(|listen| listen.to_string() == link.value)
        {
            let problem = format!("`{}` is this node's own address", link.value);
            mistakes.push(Mistake::new(
                link.place.clone(),
                format!("link.{index}.to"),
                problem,
            ));
        }
    }
}

fn verify_names(file: &NodeFile, mistakes: &mut Vec<Mistake>) {
    for (index, stage) in file.stages.iter().enumerate() {
        if file.stages[..index]
            .iter()
            .any(|earlier| earlier.name.value == stage.name.value)
        {
            let problem = format!("there is a stage `{}` already", stage.name.value);
            mistakes.push(Mistake::new(
                stage.name.place.clone(),
                format!("stage.{index}.name"),
                problem,
            ));
        }
    }
}

fn verify_edges(file: &NodeFile, mistakes: &mut Vec<Mistake>) {
    let fed: Vec<&str> = file
        .stages
        .iter()
        .filter_map(|stage| match &stage.output {
            Some(Output::Edge(edge)) => Some(edge.value.as_str()),
            _ => None,
        })
        .collect();
    let mut read: Vec<&str> = Vec::new();
    for (index, stage) in file.stages.iter().enumerate() {
        let Some(Input::Edges(names)) = &stage.input else {
            continue;
        };
        for (at, name) in names.iter().enumerate() {
            if names[..at]
                .iter()
                .any(|earlier| earlier.value == name.value)
            {
                let problem = format!("the edge `{}` is named twice", name.value);
                mistakes.push(Mistake::new(
                    name.place.clone(),
                    format!("stage.{index}.in"),
                    problem,
                ));
            }
            read.push(&name.value);
            if !fed.contains(&name.value.as_str()) {
                let problem = format!("no stage has `out = \"{}\"`", name.value);
                let mistake =
                    Mistake::new(name.place.clone(), format!("stage.{index}.in"), problem);
                mistakes.push(mistake.suggest(&name.value, fed.iter().copied()));
            }
        }
    }
    for (index, stage) in file.stages.iter().enumerate() {
        let Some(Output::Edge(edge)) = &stage.output else {
            continue;
        };
        if !read.contains(&edge.value.as_str()) {
            let problem = format!(
                "no stage has `in = \"{}\"`: its messages would go nowhere",
                edge.value
            );
            let mistake = Mistake::new(edge.place.clone(), format!("stage.{index}.out"), problem);
            mistakes.push(match closest(&edge.value, read.iter().copied()) {
                Some(close) => mistake.hint(format!("did you mean `{close}`?")),
                None => mistake.hint("a stage of kind `discard` takes what is not wanted"),
            });
        }
    }
}

fn verify_cycles(file: &NodeFile, mistakes: &mut Vec<Mistake>) {
    let edges = edges(&file.stages);
    // Stages without an unvisited feeder are taken away until none is left; what remains lies on a cycle or behind
    // one.
    let mut remaining: Vec<usize> = (0..file.stages.len()).collect();
    loop {
        let before = remaining.len();
        let fed: Vec<usize> = edges
            .iter()
            .filter(|edge| remaining.contains(&edge.from))
            .map(|edge| edge.to)
            .collect();
        remaining.retain(|stage| fed.contains(stage));
        if remaining.is_empty() {
            return;
        }
        if remaining.len() == before {
            break;
        }
    }
    // Walking against the edges stays among what remains, so it must come back to a stage it has seen.
    let mut path = vec![remaining[0]];
    while let Some(edge) = edges
        .iter()
        .find(|edge| path.last() == Some(&edge.to) && remaining.contains(&edge.from))
    {
        if let Some(start) = path.iter().position(|seen| *seen == edge.from) {
            let mut names: Vec<&str> = path[start..]
                .iter()
                .map(|at| file.stages[*at].name.value.as_str())
                .collect();
            names.reverse();
            names.push(names[0]);
            let stage = &file.stages[edge.from];
            mistakes.push(
                Mistake::new(
                    stage.name.place.clone(),
                    format!("stage.{}", edge.from),
                    format!("the stages form a cycle: {}", names.join(" -> ")),
                )
                .hint(
                    "a full cycle could only wait for itself; let messages come back by a subject",
                ),
            );
            return;
        }
        path.push(edge.from);
    }
}

fn verify_outputs(file: &NodeFile, mistakes: &mut Vec<Mistake>) {
    // Two writers of one file would write into each other's lines.
    let mut seen: Vec<&std::path::Path> = Vec::new();
    let mut inputs = 0;
    for (index, stage) in file.stages.iter().enumerate() {
        match &stage.kind {
            super::StageKind::Write(spec) => {
                if seen.contains(&spec.path.as_path()) {
                    let problem = format!("two stages write to `{}`", spec.path.display());
                    mistakes.push(
                        Mistake::new(
                            stage.name.place.clone(),
                            format!("stage.{index}.path"),
                            problem,
                        )
                        .hint("one stage can read several edges: in = [\"a\", \"b\"]"),
                    );
                }
                seen.push(&spec.path);
            }
            super::StageKind::Lines(spec) if spec.path.as_os_str() == "-" => {
                inputs += 1;
                if inputs > 1 {
                    let problem = "two stages read standard input";
                    mistakes.push(Mistake::new(
                        stage.name.place.clone(),
                        format!("stage.{index}.path"),
                        problem,
                    ));
                }
            }
            _ => {}
        }
    }
}
