//! What is printed of a run.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::plan::{Plan, Role, Topology};
use super::run::{Outcome, Place};
use super::talk::Sample;
use crate::bench::latency::{Latencies, quantiles, quantiles_object};

/// Roles in the order in which a message passes them.
const WAY: [Role; 3] = [Role::Publisher, Role::Router, Role::Subscriber];

/// A run and what came of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// The settings.
    pub plan: Plan,
    /// Which node it was.
    pub place: Place,
    /// What the processes told.
    pub outcome: Outcome,
}

/// What one process did while it was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    seconds: f64,
    cpu: f64,
    count: u64,
}

impl Report {
    /// Between the samples at both ends of the measurement.
    fn span(&self, role: Role) -> Option<Span> {
        let schedule = self.outcome.schedule?;
        let samples = self.outcome.samples.get(&role)?;
        let at = |time| samples.iter().find(|sample| sample.at >= time);
        let (from, to): (&Sample, &Sample) = (at(schedule.from)?, at(schedule.to)?);
        let seconds = |earlier: u64, later: u64| later.saturating_sub(earlier) as f64 / 1e9;
        Some(Span {
            seconds: seconds(from.at, to.at),
            cpu: seconds(from.cpu, to.cpu),
            count: to.count.saturating_sub(from.count),
        })
        .filter(|span| span.seconds > 0.0)
    }

    fn rate(&self) -> f64 {
        let span = self.span(self.plan.counted());
        span.map_or(0.0, |span| span.count as f64 / span.seconds)
    }

    /// CPU seconds that a process takes for a million messages.
    fn cpu(&self, role: Role) -> Option<f64> {
        let span = self.span(role)?;
        let rate = self.rate();
        (rate > 0.0).then(|| span.cpu / span.seconds * 1e6 / rate)
    }

    /// That of all processes on the way; none if one of them is not known.
    fn cpu_total(&self) -> Option<f64> {
        let all = WAY
            .into_iter()
            .filter(|role| self.plan.topology == Topology::Node || *role != Role::Router);
        all.map(|role| self.cpu(role)).sum()
    }

    /// Messages that ended with a reason, which their publisher was told.
    pub fn failed(&self) -> u64 {
        self.outcome.published.failed.values().sum()
    }

    /// Messages that neither came nor failed; requests without their reply.
    pub fn lost(&self) -> u64 {
        let published = &self.outcome.published;
        if self.plan.requests.is_some() {
            return self.failed();
        }
        published
            .messages
            .saturating_sub(self.failed())
            .saturating_sub(self.outcome.received.distinct)
    }

    /// What is wrong with the run, for people; none if nothing is. Without acks nobody promised that everything comes.
    pub fn wrong(&self) -> Option<String> {
        let (published, received) = (&self.outcome.published, &self.outcome.received);
        let promised = self.plan.requests.is_some() || self.plan.ack != mcpbus::AckLevel::None;
        let mut wrong: Vec<String> = Vec::new();
        let mut count = |number: u64, what: &str| {
            if number > 0 {
                wrong.push(format!("{number} messages {what}"));
            }
        };
        if self.plan.requests.is_none() && promised {
            count(self.lost(), "were lost");
        }
        for (reason, number) in &published.failed {
            count(*number, &format!("failed: {reason}"));
        }
        count(published.unanswered, "have no outcome");
        count(received.changed, "were changed on their way");
        count(
            self.outcome.residual.unwrap_or(0).unsigned_abs(),
            "are not accounted for in the node's ledger",
        );
        (!wrong.is_empty()).then(|| wrong.join("\n"))
    }

    /// Latencies from when messages were due; round trips with requests. What was due and never sent is part of them with the time
    /// it had waited at the end, or a rate that is far too high would look fast. None where none were measured.
    pub fn latencies(&self) -> Option<Latencies> {
        let published = &self.outcome.published;
        let came = match self.plan.requests {
            Some(_) => published.round_trips.latencies(),
            None => self.outcome.received.latencies.latencies(),
        };
        let Some(waited) = published.waited.latencies() else {
            return came;
        };
        match came {
            Some(came) => Some(came + waited),
            None => Some(waited),
        }
    }

    /// The JSON object of `--format json`.
    pub fn to_json(&self) -> Value {
        let (published, received) = (&self.outcome.published, &self.outcome.received);
        let known = |value: Option<f64>| value.map(|value| (value * 1e6).round() / 1e6);
        let mut cpu = Map::new();
        for role in WAY {
            cpu.insert(role.to_string(), json!(known(self.cpu(role))));
        }
        cpu.insert(String::from("total"), json!(known(self.cpu_total())));
        let span = self.span(self.plan.counted());
        let mut object = json!({
            "messages_per_second": self.rate().round(),
            "megabytes_per_second": self.megabytes(),
            "lost": self.lost(),
            "duplicated": received.duplicated,
            "reordered": received.reordered,
            "changed": received.changed,
            "failed": published.failed,
            "unanswered": published.unanswered,
            "unsent": published.unsent,
            "residual": self.outcome.residual,
            "cpu_seconds_per_million": cpu,
        });
        let behind = published.behind.latencies();
        for (name, times) in [
            ("latency_us", self.latencies()),
            ("publisher_behind_us", behind),
        ] {
            if let Some(times) = times {
                object[name] = quantiles_object(&times);
            }
        }
        object["messages"] = json!(span.map_or(0, |span| span.count));
        object["seconds"] = json!(known(span.map(|span| span.seconds)));
        object["settings"] = self.settings();
        object
    }

    fn settings(&self) -> Value {
        let plan = &self.plan;
        let seconds = |time: Duration| time.as_secs_f64();
        json!({
            "topology": plan.topology,
            "node": match &self.place {
                Place::Own => None,
                Place::There { node, .. } => Some(node),
            },
            "prefix": plan.prefix,
            "durable": plan.durable(),
            "size": plan.size,
            "rate": plan.rate,
            "ack": plan.ack.name(),
            "links": plan.links,
            "subjects": plan.subjects,
            "keys": plan.keys,
            "requests_in_flight": plan.requests,
            "window": plan.window,
            "warm_up": seconds(plan.warm_up),
            "seconds": seconds(plan.measured),
        })
    }

    /// Bodies only, in millions of bytes a second.
    fn megabytes(&self) -> f64 {
        (self.rate() * self.plan.size as f64 / 1e4).round() / 100.0
    }

    /// What was measured, in a line.
    pub fn title(&self) -> String {
        let plan = &self.plan;
        let what = match (plan.requests, plan.topology, &self.place) {
            (Some(_), Topology::Link, _) => "requests over one link",
            (Some(_), Topology::Node, Place::Own) => "requests over a node",
            (Some(_), Topology::Node, Place::There { .. }) => "requests over the given node",
            (None, Topology::Link, _) => "publisher -> subscriber, one link",
            (None, Topology::Node, Place::Own) => "publisher -> router -> subscriber",
            (None, Topology::Node, Place::There { .. }) => {
                "publisher -> the given node -> subscriber"
            }
        };
        let mut title = format!("{what}, {} bytes", plan.size);
        let mut add = |text: String| {
            title.push_str(", ");
            title.push_str(&text);
        };
        match plan.requests {
            Some(under_way) => add(format!("{under_way} under way on each link")),
            None => add(format!("ack {}", plan.ack)),
        }
        if let Some(rate) = plan.rate {
            add(format!("{rate} a second"));
        }
        for (number, one, many) in [
            (plan.links, "link", "links"),
            (plan.subjects, "subject", "subjects"),
            (plan.keys, "key", "keys"),
        ] {
            match number {
                0 => {}
                1 => add(format!("1 {one}")),
                _ => add(format!("{number} {many}")),
            }
        }
        title
    }

    /// The table for people.
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n", self.title());
        let mut row = |name: &str, value: String| {
            let _always_fits = writeln!(text, "{name:26} {value}");
        };
        let unit = match self.plan.requests {
            Some(_) => "requests/s",
            None => "messages/s",
        };
        row(unit, format!("{:.0}", self.rate()));
        row("MB/s of bodies", format!("{:.2}", self.megabytes()));
        let known = |cpu: Option<f64>| cpu.map_or(String::from("unknown"), |it| format!("{it:.3}"));
        let mut cpu: Vec<_> = WAY
            .into_iter()
            .filter(|role| self.plan.topology == Topology::Node || *role != Role::Router)
            .map(|role| format!("{role} {}", known(self.cpu(role))))
            .collect();
        cpu.push(format!("total {}", known(self.cpu_total())));
        row("CPU seconds per million", cpu.join(", "));
        let behind = self.outcome.published.behind.latencies();
        let name = match self.plan.requests {
            Some(_) => "round trip in us",
            None => "latency in us",
        };
        for (name, times) in [(name, self.latencies()), ("publisher behind in us", behind)] {
            if let Some(times) = times {
                let all = quantiles(&times).map(|(name, value)| format!("{name} {value}"));
                row(name, all.join(", "));
            }
        }
        let unsent = self.outcome.published.unsent;
        if unsent > 0 {
            let text = format!(
                "{unsent} messages were due and not sent; they count as waiting until the end"
            );
            row("the rate was not reached", text);
        }
        let received = &self.outcome.received;
        let counted = |number: Option<u64>, what| number.map(|number| format!("{what} {number}"));
        let counts = [
            Some(format!("lost {}", self.lost())),
            counted(received.duplicated, "duplicated"),
            counted(received.reordered, "reordered"),
        ];
        row(
            "of all messages",
            counts.into_iter().flatten().collect::<Vec<_>>().join(", "),
        );
        text
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::plan::Schedule;
    use super::super::plan::tests::plan;
    use super::*;

    /// A second of 1,000 messages after a warm-up; each process took more CPU time than the one before.
    pub(in crate::bench::node) fn report() -> Report {
        let schedule = Schedule::new(5_000_000_000, &plan());
        let sample = |at, cpu, count| Sample { at, cpu, count };
        let mut outcome = Outcome {
            schedule: Some(schedule),
            residual: Some(0),
            ..Outcome::default()
        };
        for (role, factor) in WAY.into_iter().zip(1..) {
            let samples = vec![
                sample(schedule.begin, 0, 0),
                sample(schedule.from + 1000, factor * 5_000_000, 100),
                sample(schedule.from + 500_001_000, factor * 6_000_000, 600),
                sample(schedule.to + 1000, factor * 7_000_000, 1100),
            ];
            outcome.samples.insert(role, samples);
        }
        outcome.published.messages = 1100;
        outcome.received.distinct = 1100;
        outcome.received.duplicated = Some(0);
        Report {
            plan: plan(),
            place: Place::Own,
            outcome,
        }
    }

    #[test]
    fn figures_are_those_of_the_time_that_is_measured() {
        let object = report().to_json();
        assert_eq!(object["messages_per_second"], json!(1000.0));
        assert_eq!(object["megabytes_per_second"], json!(0.06));
        assert_eq!(object["messages"], json!(1000));
        let cpu = &object["cpu_seconds_per_million"];
        let wanted = json!({"publisher": 2.0, "router": 4.0, "subscriber": 6.0, "total": 12.0});
        assert_eq!(*cpu, wanted);
        assert!(object.get("latency_us").is_none(), "there is no rate");
        assert_eq!(object["reordered"], Value::Null);
        assert_eq!(report().wrong(), None);
    }

    #[test]
    fn what_is_not_known_is_not_0() {
        let mut there = report();
        there.outcome.samples.remove(&Role::Router);
        there.place = Place::There {
            node: String::from("far:1"),
            identity: None,
            trust: None,
        };
        let cpu = &there.to_json()["cpu_seconds_per_million"];
        assert_eq!(
            (&cpu["router"], &cpu["total"]),
            (&Value::Null, &Value::Null)
        );
        assert!(there.to_text().contains("router unknown"));
        // Over one link there is none, and all is known.
        there.plan.topology = Topology::Link;
        let cpu = &there.to_json()["cpu_seconds_per_million"];
        assert_eq!((&cpu["router"], &cpu["total"]), (&Value::Null, &json!(8.0)));
        there.outcome.samples.clear();
        assert_eq!(there.to_json()["messages_per_second"], json!(0.0));
        assert_eq!(there.to_json()["seconds"], Value::Null);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut short = report();
        short.outcome.received.distinct = 1090;
        short.outcome.published.failed = [(String::from("no_spool"), 7)].into();
        assert_eq!(short.lost(), 3, "what failed is not lost as well");
        let wrong = short.wrong().unwrap();
        assert!(
            wrong.contains("3 messages were lost") && wrong.contains("7 messages failed: no_spool")
        );
        short.outcome.published.failed.clear();
        short.plan.ack = mcpbus::AckLevel::None;
        assert_eq!((short.lost(), short.wrong()), (10, None), "nobody promised");
        short.outcome.residual = Some(-2);
        assert!(
            short
                .wrong()
                .unwrap()
                .contains("2 messages are not accounted")
        );
    }

    #[test]
    fn what_was_due_and_not_sent_is_part_of_the_latency() {
        let times = |value| {
            let mut times = crate::bench::latency::none_yet();
            times.record(value).unwrap();
            super::super::talk::Counts::from(&times)
        };
        let mut late = report();
        late.outcome.received.latencies = times(1_000_000);
        late.outcome.published.unsent = 1;
        late.outcome.published.waited = times(1_000_000_000);
        let object = late.to_json();
        assert_eq!(object["unsent"], json!(1));
        assert!(object["latency_us"]["max"].as_f64() >= Some(1e6));
        assert!(late.to_text().contains("the rate was not reached"));
        late.outcome.received = Default::default();
        assert!(late.to_json()["latency_us"]["p50"].as_f64() >= Some(1e6));
    }

    #[test]
    fn requests_that_failed_are_lost() {
        let mut report = report();
        report.plan.requests = Some(1);
        report.outcome.published.failed = [(String::from("timed_out"), 4)].into();
        assert_eq!(report.lost(), 4);
        assert!(
            report
                .wrong()
                .unwrap()
                .contains("4 messages failed: timed_out")
        );
        assert!(report.to_text().contains("requests/s"));
    }
}
