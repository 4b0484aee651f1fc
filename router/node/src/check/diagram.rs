//! The topology as Mermaid and as Graphviz DOT.

use std::fmt::Write as _;

use crate::config::{Input, NodeFile, Output, verify};

/// A picture before its notation: boxes and arrows.
struct Picture {
    boxes: Vec<(String, String, Shape)>,
    arrows: Vec<(String, String, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Stage,
    Subject,
    Group,
    Peer,
}

impl Picture {
    fn of(file: &NodeFile) -> Self {
        let mut picture = Self {
            boxes: Vec::new(),
            arrows: Vec::new(),
        };
        for (at, stage) in file.stages.iter().enumerate() {
            let label = format!("{} ({})", stage.name.value, stage.kind.word());
            picture
                .boxes
                .push((format!("stage{at}"), label, Shape::Stage));
        }
        for edge in verify::edges(&file.stages) {
            picture.arrows.push((
                format!("stage{}", edge.from),
                format!("stage{}", edge.to),
                edge.name,
            ));
        }
        for (at, stage) in file.stages.iter().enumerate() {
            if let Some(Output::Publish { subject, .. }) = &stage.output {
                let subject = picture.named(subject.value.text(), Shape::Subject);
                picture
                    .arrows
                    .push((format!("stage{at}"), subject, String::new()));
            }
            if let Some(Input::Subscribe { pattern, group }) = &stage.input {
                let mut from = picture.named(&pattern.value, Shape::Subject);
                if let Some(group) = group {
                    let group = picture.named(&group.value, Shape::Group);
                    picture.arrow_once(&from, &group, "");
                    from = group;
                }
                picture
                    .arrows
                    .push((from, format!("stage{at}"), String::new()));
            }
        }
        for route in &file.routes {
            let subject = picture.named(&route.subject.value, Shape::Subject);
            for to in &route.to {
                let group = picture.named(&to.group.value, Shape::Group);
                let label = format!("{} {}", route.policy.word(), to.weight);
                picture.arrows.retain(|(from, to, label)| {
                    !(from == &subject && to == &group && label.is_empty())
                });
                picture.arrow_once(&subject, &group, &label);
            }
            if let Some(fallback) = &route.guards.fallback {
                let group = picture.named(&fallback.value, Shape::Group);
                picture.arrow_once(&subject, &group, "fallback");
            }
            if let Some(mirror) = &route.mirror {
                let group = picture.named(&mirror.group.value, Shape::Group);
                let label = format!("copies of {}", mirror.share);
                picture.arrow_once(&subject, &group, &label);
            }
        }
        for link in &file.links {
            picture.named(&link.value, Shape::Peer);
        }
        picture
    }

    fn named(&mut self, label: &str, shape: Shape) -> String {
        if let Some((id, _, _)) = self
            .boxes
            .iter()
            .find(|(_, known, kind)| known == label && *kind == shape)
        {
            return id.clone();
        }
        let prefix = match shape {
            Shape::Stage => "stage",
            Shape::Subject => "subject",
            Shape::Group => "group",
            Shape::Peer => "peer",
        };
        let id = format!("{prefix}{}", self.boxes.len());
        self.boxes.push((id.clone(), label.to_owned(), shape));
        id
    }

    fn arrow_once(&mut self, from: &str, to: &str, label: &str) {
        if !self.arrows.iter().any(|(a, b, _)| a == from && b == to) {
            self.arrows
                .push((from.to_owned(), to.to_owned(), label.to_owned()));
        }
    }
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Mermaid flow chart.
pub fn to_mermaid(file: &NodeFile) -> String {
    let picture = Picture::of(file);
    let mut out = "flowchart LR\n".to_owned();
    let entity = |text: &str| {
        text.replace('&', "#amp;")
            .replace('"', "#quot;")
            .replace('<', "#lt;")
            .replace('>', "#gt;")
    };
    for (id, label, shape) in &picture.boxes {
        let (open, close) = match shape {
            Shape::Stage => ("[", "]"),
            Shape::Subject => ("([", "])"),
            Shape::Group => ("{{", "}}"),
            Shape::Peer => ("[[", "]]"),
        };
        let _infallible = writeln!(out, "  {id}{open}\"{}\"{close}", entity(label));
    }
    for (from, to, label) in &picture.arrows {
        let _infallible = if label.is_empty() {
            writeln!(out, "  {from} --> {to}")
        } else {
            writeln!(out, "  {from} -->|\"{}\"| {to}", entity(label))
        };
    }
    out
}

/// Graphviz DOT.
pub fn to_dot(file: &NodeFile) -> String {
    let picture = Picture::of(file);
    let mut out = format!("digraph \"{}\" {{\n  rankdir=LR;\n", quoted(&file.name));
    for (id, label, shape) in &picture.boxes {
        let shape = match shape {
            Shape::Stage => "box",
            Shape::Subject => "ellipse",
            Shape::Group => "hexagon",
            Shape::Peer => "box3d",
        };
        let _infallible = writeln!(out, "  {id} [label=\"{}\", shape={shape}];", quoted(label));
    }
    for (from, to, label) in &picture.arrows {
        let _infallible = writeln!(out, "  {from} -> {to} [label=\"{}\"];", quoted(label));
    }
    out.push_str("}\n");
    out
}
