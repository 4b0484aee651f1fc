//! `project`: sets, chooses, renames and keeps fields.
//!
//! Steps in this order: `set` (templates over the record as it came), `choose` (by conditions), `rename`, then `keep`
//! or `drop`.

use mcpbus_actors::Time;
use std::sync::Arc;

use super::condition::Condition;
use super::contract::{RecordStage, Refusal, Taken};
use crate::record::{Record, Schema, Value};
use crate::template::Template;

/// A field whose value depends on conditions.
#[derive(Clone, Debug)]
pub struct Choose {
    /// The field that is set.
    pub field: String,
    /// All of these must hold.
    pub when: Vec<Condition>,
    /// Its value when they hold.
    pub then: Template,
    /// Its value otherwise; without it the field stays as it is.
    pub otherwise: Option<Template>,
}

/// What `project` is told.
#[derive(Clone, Debug, Default)]
pub struct ProjectSpec {
    /// Fields set from templates, in order.
    pub set: Vec<(String, Template)>,
    /// Fields set by conditions, in order.
    pub choose: Vec<Choose>,
    /// Old name and new name.
    pub rename: Vec<(String, String)>,
    /// The fields that stay, in this order; empty means all. A record without one of them gets null there.
    pub keep: Vec<String>,
    /// The fields that go.
    pub drop: Vec<String>,
}

/// The stage.
#[derive(Debug)]
pub struct Project {
    spec: ProjectSpec,
    // The shape of the last record's output: records of one source share their shape.
    last: Option<(Arc<Schema>, Arc<Shape>)>,
}

#[derive(Debug)]
struct Shape {
    /// All names after `set` and `choose`.
    widened: Arc<Schema>,
    /// The output's names.
    result: Arc<Schema>,
    /// For each output the position in `widened`, or none for null.
    sources: Vec<Option<usize>>,
}

impl Project {
    /// Builds the stage.
    pub fn new(spec: ProjectSpec) -> Self {
        Self { spec, last: None }
    }

    fn shape(&mut self, schema: &Arc<Schema>) -> Arc<Shape> {
        if let Some((known, shape)) = &self.last
            && (Arc::ptr_eq(known, schema) || known == schema)
        {
            return Arc::clone(shape);
        }
        let shape = Arc::new(self.new_shape(schema));
        self.last = Some((Arc::clone(schema), Arc::clone(&shape)));
        shape
    }

    fn new_shape(&self, schema: &Schema) -> Shape {
        let mut widened: Vec<&str> = schema.names().collect();
        let set = self.spec.set.iter().map(|(name, _)| name.as_str());
        for name in set.chain(self.spec.choose.iter().map(|choose| choose.field.as_str())) {
            if !widened.contains(&name) {
                widened.push(name);
            }
        }
        let renamed: Vec<&str> = widened
            .iter()
            .map(|name| {
                let new = self.spec.rename.iter().find(|(old, _)| old == name);
                new.map_or(*name, |(_, new)| new.as_str())
            })
            .collect();
        let position = |wanted: &str| renamed.iter().rposition(|name| *name == wanted);
        let kept: Vec<&str> = if self.spec.keep.is_empty() {
            let mut all: Vec<&str> = Vec::with_capacity(renamed.len());
            for name in &renamed {
                if !all.contains(name) && !self.spec.drop.iter().any(|gone| gone == name) {
                    all.push(name);
                }
            }
            all
        } else {
            self.spec.keep.iter().map(String::as_str).collect()
        };
        Shape {
            sources: kept.iter().map(|name| position(name)).collect(),
            result: Schema::new(kept),
            widened: Schema::new(widened),
        }
    }
}

fn render(template: &Template, record: &Record) -> Result<Value, String> {
    let mut bytes = Vec::new();
    template
        .render(&mut bytes, |field, out| record.append_field(field, out))
        .map_err(|error| error.to_string())?;
    // A template that is one whole field keeps the field's type.
    if let (Some(crate::template::Field::Name(name)), true) =
        (template.fields().next(), template.fields().count() == 1)
        && template.text() == format!("{{{name}}}")
        && let Some(value) = record.get(name)
    {
        return Ok(value.clone());
    }
    Ok(Value::text(String::from_utf8_lossy(&bytes)))
}

impl RecordStage for Project {
    fn take(
        &mut self,
        record: &Record,
        _now: Time,
        out: &mut Vec<Record>,
    ) -> Result<Taken, Refusal> {
        let record = record.with_fields().map_err(Refusal::decode)?;
        let shape = self.shape(record.schema());
        let mut assigned: Vec<(usize, Value)> =
            Vec::with_capacity(self.spec.set.len() + self.spec.choose.len());
        let set = self
            .spec
            .set
            .iter()
            .map(|(name, template)| (name, Some(template)));
        let choose = self.spec.choose.iter().map(|choose| {
            let holds = choose.when.iter().all(|condition| condition.holds(&record));
            (
                &choose.field,
                if holds {
                    Some(&choose.then)
                } else {
                    choose.otherwise.as_ref()
                },
            )
        });
        let mut fault = None;
        for (name, template) in set.chain(choose) {
            let (Some(template), Some(position)) = (template, shape.widened.position(name)) else {
                continue;
            };
            match render(template, &record) {
                Ok(value) => assigned.push((position, value)),
                Err(detail) => {
                    fault = Some(detail);
                    break;
                }
            }
        }
        if let Some(detail) = fault {
            return Err(Refusal::decode(detail));
        }
        let number = record.number();
        let mut values = record.values().to_vec();
        values.resize(shape.widened.len(), Value::Null);
        for (position, value) in assigned {
            values[position] = value;
        }
        let taken = shape
            .sources
            .iter()
            .map(|source| source.map_or(Value::Null, |at| values[at].clone()))
            .collect();
        out.push(Record::from_values(
            Arc::clone(&shape.result),
            taken,
            number,
        ));
        Ok(Taken::Consumed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bytes::Bytes;

    fn project(spec: ProjectSpec, line: &str) -> Result<String, Refusal> {
        let mut stage = Project::new(spec);
        let mut out = Vec::new();
        stage.take(
            &Record::from_line(Bytes::copy_from_slice(line.as_bytes()), 0),
            Time::ZERO,
            &mut out,
        )?;
        Ok(String::from_utf8(out[0].to_body().to_vec()).unwrap())
    }

    fn template(text: &str) -> Template {
        Template::parse(text).unwrap()
    }

    #[test]
    fn status_class_and_rename() {
        let spec = ProjectSpec {
            set: vec![
                ("class".to_owned(), template("{status:1}xx")),
                ("copy".to_owned(), template("{bytes}")),
                ("bytes".to_owned(), template("{bytes}")),
            ],
            rename: vec![("bytes".to_owned(), "size".to_owned())],
            drop: vec!["status".to_owned()],
            ..ProjectSpec::default()
        };
        let line = r#"{"status":404,"bytes":235}"#;
        assert_eq!(
            project(spec, line).unwrap(),
            r#"{"size":235,"class":"4xx","copy":235}"#
        );
    }

    #[test]
    fn choose_by_condition() {
        let choose = |otherwise: Option<&str>| ProjectSpec {
            choose: vec![Choose {
                field: "risk".to_owned(),
                when: vec![Condition::parse("amount >= 50000").unwrap()],
                then: template("high"),
                otherwise: otherwise.map(template),
            }],
            keep: vec!["risk".to_owned(), "missing".to_owned()],
            ..ProjectSpec::default()
        };
        assert_eq!(
            project(choose(Some("low")), r#"{"amount":1}"#).unwrap(),
            r#"{"risk":"low","missing":null}"#
        );
        assert_eq!(
            project(choose(Some("low")), r#"{"amount":50000}"#).unwrap(),
            r#"{"risk":"high","missing":null}"#
        );
        assert_eq!(
            project(choose(None), r#"{"amount":1}"#).unwrap(),
            r#"{"risk":null,"missing":null}"#
        );
    }

    #[test]
    fn a_template_over_a_missing_field_is_refused() {
        let spec = ProjectSpec {
            set: vec![("x".to_owned(), template("{nothing}"))],
            ..ProjectSpec::default()
        };
        let refusal = project(spec, r#"{"a":1}"#).unwrap_err();
        assert!(refusal.detail.contains("nothing"));
    }
}
