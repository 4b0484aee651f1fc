//! What was measured, as tables and as JSON.

use crate::dead::{Dead, Figures};
use crate::fallback::Fallback;
use crate::goodput::Goodput;
use crate::world::Links;
use mcpbus_benches::series::Series;
use serde::Serialize;
use std::fmt;

const MEBIBYTE: f64 = 1_048_576.0;

/// What the rounds gave for one figure.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    median: f64,
    lowest: f64,
    highest: f64,
}

impl Spread {
    pub(crate) fn of(rounds: &Series) -> Self {
        Self {
            median: rounds.median(),
            lowest: rounds.lowest(),
            highest: rounds.highest(),
        }
    }

    fn text(&self, decimals: usize) -> String {
        let Self {
            median,
            lowest,
            highest,
        } = self;
        format!("{median:.decimals$} ({lowest:.decimals$} to {highest:.decimals$})")
    }
}

/// Everything that was asked for.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) links: Links,
    pub(crate) load_average: Option<String>,
    pub(crate) load_average_at_the_end: Option<String>,
    pub(crate) goodput: Option<Goodput>,
    pub(crate) dead: Option<Dead>,
    pub(crate) fallback: Option<Fallback>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = |load: &Option<String>| load.clone().unwrap_or_else(|| "unknown".into());
        let (before, after) = (
            load(&self.load_average),
            load(&self.load_average_at_the_end),
        );
        let links = match self.links {
            Links::Quic => "loopback QUIC with mutual TLS",
            Links::Memory => "memory",
        };
        writeln!(
            f,
            "links: {links}; load average {before}, at the end {after}"
        )?;
        if let Some(goodput) = &self.goodput {
            write!(f, "\n{goodput}")?;
        }
        if let Some(dead) = &self.dead {
            write!(f, "\n{dead}")?;
        }
        if let Some(fallback) = &self.fallback {
            write!(f, "\n{fallback}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Goodput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "overload: capacity {:.0}/s, time to live {} ms, a node takes at most {:.0} MiB",
            self.capacity,
            self.time_to_live_ms,
            self.node_memory_bound as f64 / MEBIBYTE
        )?;
        for setup in &self.setups {
            writeln!(f, "\n{}", setup.about)?;
            writeln!(
                f,
                "{:>5} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>12}",
                "load",
                "offered",
                "goodput",
                "of peak",
                "p50 ms",
                "p99 ms",
                "late",
                "expired",
                "refused",
                "no room",
                "no word",
                "MiB (most)"
            )?;
            for load in &setup.loads {
                let ends = &load.ends;
                let memory = [load.resident, load.resident_at_most];
                let [now, most] = memory.map(|bytes| bytes as f64 / MEBIBYTE);
                writeln!(
                    f,
                    "{:>5} {:>8.0} {:>8.0} {:>8.2} {:>8.1} {:>8.1} {:>8} {:>8} {:>8} {:>8} {:>8} {:>12}",
                    load.load,
                    load.offered_per_s,
                    load.goodput_per_s,
                    load.goodput_per_s / self.peak(),
                    load.p50_ms,
                    load.p99_ms,
                    ends.late,
                    ends.expired,
                    ends.refused,
                    ends.held_back,
                    ends.unanswered + ends.other,
                    format!("{now:.0} ({most:.0})"),
                )?;
            }
            match setup.recovered_s {
                Some(seconds) => writeln!(f, "normal again after {seconds:.1} s")?,
                None => writeln!(f, "not normal again in the time that was waited")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Dead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "beside a dead destination: {:.0} messages/s to two groups, messages of the first: its share, p50 and p99 until \
             its consumer had them and until their publisher knew, part of them of which it knew at all; medians of {} rounds, ratios with ranges; \
             {} places in a bulkhead",
            self.rate, self.rounds, self.places
        )?;
        writeln!(
            f,
            "{:<50} {:>6} {:>16} {:>16} {:>9} {:>7}",
            "", "share", "delivered, ms", "answered, ms", "answered", "refused"
        )?;
        for case in &self.cases {
            let guards = if case.guards { "guards" } else { "no guards" };
            let what = format!("{}, {} subjects, {guards}", case.policy, case.subjects);
            let rows = [("both healthy", &case.healthy), ("one dead", &case.dead)];
            for (how, figures) in rows {
                writeln!(f, "{:<50} {}", format!("{what}, {how}"), columns(figures))?;
            }
            writeln!(
                f,
                "{:<50} p99 delivered {}, answered {}",
                "  one dead / both healthy",
                case.p99_delivered.text(2),
                case.p99_answered.text(2)
            )?;
        }
        Ok(())
    }
}

fn columns(figures: &Figures) -> String {
    let pair = |p50: f64, p99: f64| format!("{p50:.2}, {p99:.2}");
    format!(
        "{:>6.2} {:>16} {:>16} {:>8.1}% {:>7}",
        figures.share,
        pair(figures.delivered_p50_ms, figures.delivered_p99_ms),
        pair(figures.answered_p50_ms, figures.answered_p99_ms),
        figures.answered * 100.0,
        figures.ends.refused
    )
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "until the answer of a fallback: {} messages one after the other, medians of {} rounds with ranges, ms",
            self.answers, self.rounds
        )?;
        writeln!(f, "{:<32} {:>24} {:>24}", "", "p50", "p99")?;
        for row in &self.rows {
            let what = format!("{}, {:?} links", row.why, row.links);
            let [p50, p99] = [row.p50_ms, row.p99_ms].map(|spread| spread.text(3));
            writeln!(f, "{what:<32} {p50:>24} {p99:>24}")?;
        }
        Ok(())
    }
}
