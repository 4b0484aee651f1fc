//! `filter`: passes records that fulfil conditions and ends the others as done.

use mcpbus_actors::Time;

use super::condition::Condition;
use super::contract::{RecordStage, Refusal};
use crate::record::Record;

/// What `filter` is told: every condition of `all` holds, and at least one of `any` if there are any.
#[derive(Clone, Debug, Default)]
pub struct FilterSpec {
    /// All of these.
    pub all: Vec<Condition>,
    /// At least one of these, unless there are none.
    pub any: Vec<Condition>,
}

/// The stage.
#[derive(Debug)]
pub struct Filter(FilterSpec);

impl Filter {
    /// Builds the stage.
    pub fn new(spec: FilterSpec) -> Self {
        Self(spec)
    }
}

impl RecordStage for Filter {
    fn take(
        &mut self,
        mut record: Record,
        _now: Time,
        out: &mut Vec<Record>,
    ) -> Result<(), Refusal> {
        if let Err(error) = record.ensure_fields() {
            return Err(Refusal::decode(record, error));
        }
        let all = self.0.all.iter().all(|condition| condition.holds(&record));
        let any =
            self.0.any.is_empty() || self.0.any.iter().any(|condition| condition.holds(&record));
        if all && any {
            out.push(record);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bytes::Bytes;

    #[test]
    fn all_and_any() {
        let conditions = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| Condition::parse(text).unwrap())
                .collect()
        };
        let mut stage = Filter::new(FilterSpec {
            all: conditions(&["a > 1"]),
            any: conditions(&["b == x", "b == y"]),
        });
        let mut out = Vec::new();
        for line in [
            r#"{"a":2,"b":"x"}"#,
            r#"{"a":1,"b":"x"}"#,
            r#"{"a":2,"b":"z"}"#,
            r#"{"a":3,"b":"y"}"#,
        ] {
            stage
                .take(
                    Record::from_line(Bytes::from(line), 0),
                    Time::ZERO,
                    &mut out,
                )
                .unwrap();
        }
        assert_eq!(out.len(), 2);
        let refused = stage.take(
            Record::from_line(Bytes::from_static(b"no json"), 9),
            Time::ZERO,
            &mut out,
        );
        assert_eq!(refused.unwrap_err().record.number(), 9);
    }
}
