//! `filter`: passes records that fulfil conditions and ends the others as done.

use std::borrow::Cow;

use mcpbus_actors::Time;

use super::condition::Condition;
use super::contract::{RecordStage, Refusal, Taken};
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
        record: &Record,
        _now: Time,
        out: &mut Vec<Record>,
    ) -> Result<Taken, Refusal> {
        let fields = record.with_fields().map_err(Refusal::decode)?;
        let all = self.0.all.iter().all(|condition| condition.holds(&fields));
        let any =
            self.0.any.is_empty() || self.0.any.iter().any(|condition| condition.holds(&fields));
        Ok(match fields {
            _ if !(all && any) => Taken::Consumed,
            Cow::Borrowed(_) => Taken::Passed,
            // The next stage need not read the line again.
            Cow::Owned(parsed) => {
                out.push(parsed);
                Taken::Consumed
            }
        })
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
        let lines = [
            r#"{"a":2,"b":"x"}"#,
            r#"{"a":1,"b":"x"}"#,
            r#"{"a":2,"b":"z"}"#,
            r#"{"a":3,"b":"y"}"#,
        ];
        for line in lines {
            let record = Record::from_line(Bytes::from(line), 0);
            assert_eq!(
                stage.take(&record, Time::ZERO, &mut out),
                Ok(Taken::Consumed)
            );
        }
        assert_eq!(out.len(), 2);
        assert_eq!(
            stage.take(&out[0].clone(), Time::ZERO, &mut out),
            Ok(Taken::Passed)
        );
        let line = Record::from_line(Bytes::from_static(b"no json"), 9);
        assert_eq!(
            stage
                .take(&line, Time::ZERO, &mut out)
                .unwrap_err()
                .reason
                .name(),
            "decode"
        );
    }
}
