//! A picture of a run as SVG: how latency is distributed, or how throughput went over time.

use std::fmt::Write as _;

use super::report::Report;
use crate::bench::latency::Latencies;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
/// The room of the curve: left, right, top, bottom.
const FRAME: (f64, f64, f64, f64) = (80.0, 730.0, 60.0, 340.0);
const INK: &str = "#1f2328";
const GRID: &str = "#d0d7de";
const CURVE: &str = "#0969da";

/// A line of the grid: where, and what is written at it.
type Mark = (f64, String);

/// A curve between the lines of a grid, everything from 0 to 1.
struct Curve {
    title: String,
    across: &'static str,
    up: &'static str,
    columns: Vec<Mark>,
    rows: Vec<Mark>,
    points: Vec<(f64, f64)>,
}

impl Report {
    /// The picture: latencies where they were measured, throughput otherwise.
    pub fn to_svg(&self) -> String {
        match self.latencies() {
            Some(latencies) => distribution(self.title(), &latencies),
            None => throughput(self.title(), &self.rates()),
        }
        .draw()
    }

    /// Seconds since the beginning, and the messages a second until then since the sample before.
    fn rates(&self) -> Vec<(f64, f64)> {
        let samples = self.outcome.samples.get(&self.plan.counted());
        let samples = samples.map(Vec::as_slice).unwrap_or_default();
        let begin = samples.first().map_or(0, |sample| sample.at);
        let pairs = samples.windows(2).filter_map(|pair| match pair {
            [earlier, later] if later.at > earlier.at => {
                let seconds = (later.at - earlier.at) as f64 / 1e9;
                let count = later.count.saturating_sub(earlier.count) as f64;
                Some(((later.at - begin) as f64 / 1e9, count / seconds))
            }
            _ => None,
        });
        pairs.collect()
    }
}

/// Latency by percentile, where each step to the right is a tenth of what was left.
fn distribution(title: String, latencies: &Latencies) -> Curve {
    let least = (latencies.min().max(1) as f64 / 1000.0).log10().floor();
    let most = (latencies.max().max(1) as f64 / 1000.0).log10().ceil();
    let most = most.max(least + 1.0);
    let up = |nanoseconds: u64| {
        let decade = (nanoseconds.max(1) as f64 / 1000.0).log10();
        ((decade - least) / (most - least)).clamp(0.0, 1.0)
    };
    // Beyond a percentile of which fewer than one message is left there is nothing to see.
    let nines = (latencies.len().max(10) as f64).log10().min(6.0);
    let points = (0..=200).map(|step| {
        let place = f64::from(step) / 200.0;
        let quantile = 1.0 - 10_f64.powf(-place * nines);
        (place, up(latencies.value_at_quantile(quantile)))
    });
    let names = ["0", "90", "99", "99.9", "99.99", "99.999", "99.9999"];
    let columns = names.iter().enumerate().filter_map(|(nine, name)| {
        let place = nine as f64 / nines;
        (place <= 1.0).then(|| (place, format!("{name} %")))
    });
    let decades = (most - least) as i32;
    let rows = (0..=decades).map(|decade| {
        let microseconds = 10_f64.powf(least + f64::from(decade));
        (
            f64::from(decade) / f64::from(decades.max(1)),
            number(microseconds),
        )
    });
    Curve {
        title,
        across: "percentile",
        up: "microseconds",
        columns: columns.collect(),
        rows: rows.collect(),
        points: points.collect(),
    }
}

fn throughput(title: String, rates: &[(f64, f64)]) -> Curve {
    let last = rates.last().map_or(1.0, |(seconds, _)| *seconds).max(1e-3);
    let most = rates.iter().map(|(_, rate)| *rate).fold(1.0, f64::max);
    let step = 10_f64.powf(most.log10().floor());
    // One of 1, 2, 5 and 10 steps is above everything.
    let top = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * step);
    let top = top.into_iter().find(|top| *top >= most).unwrap_or(most);
    let points = rates
        .iter()
        .map(|(seconds, rate)| (seconds / last, rate / top));
    let marks = |most: f64| {
        (0..=5).map(move |mark| {
            let place = f64::from(mark) / 5.0;
            (place, number(place * most))
        })
    };
    Curve {
        title,
        across: "seconds since the beginning",
        up: "a second",
        columns: marks(last).collect(),
        rows: marks(top).collect(),
        points: points.collect(),
    }
}

/// A number as it stands at a line of the grid.
fn number(value: f64) -> String {
    let text = match value {
        1e6.. => return format!("{} M", number(value / 1e6)),
        1000.0.. => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

impl Curve {
    fn draw(&self) -> String {
        let (left, right, top, bottom) = FRAME;
        let x = |place: f64| left + place * (right - left);
        let y = |place: f64| bottom - place * (bottom - top);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" font-family=\"system-ui, 'DejaVu Sans', sans-serif\" role=\"img\">\n\
             <title>{title}</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n",
            title = escaped(&self.title),
        );
        let text = |svg: &mut String, (x, y): (f64, f64), anchor: &str, size: u32, text: &str| {
            let _always_fits = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"{INK}\">{}</text>",
                escaped(text)
            );
        };
        let line = |svg: &mut String, from: (f64, f64), to: (f64, f64)| {
            let _always_fits = writeln!(
                svg,
                "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{GRID}\"/>",
                from.0, from.1, to.0, to.1
            );
        };
        text(&mut svg, (20.0, 28.0), "start", 14, &self.title);
        text(&mut svg, (20.0, 48.0), "start", 12, self.up);
        for (place, name) in &self.columns {
            line(&mut svg, (x(*place), top), (x(*place), bottom));
            text(&mut svg, (x(*place), bottom + 20.0), "middle", 12, name);
        }
        for (place, name) in &self.rows {
            line(&mut svg, (left, y(*place)), (right, y(*place)));
            text(&mut svg, (left - 8.0, y(*place) + 4.0), "end", 12, name);
        }
        let across = ((left + right) / 2.0, bottom + 42.0);
        text(&mut svg, across, "middle", 12, self.across);
        let points: Vec<String> = self
            .points
            .iter()
            .map(|(across, up)| format!("{:.1},{:.1}", x(*across), y(*up)))
            .collect();
        let _always_fits = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{CURVE}\" stroke-width=\"2\"/>\n</svg>",
            points.join(" ")
        );
        svg
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::report::tests::report;
    use super::super::talk::Counts;
    use super::*;
    use crate::bench::latency;

    fn points(svg: &str) -> Vec<(f64, f64)> {
        let points = svg.split("points=\"").nth(1).unwrap();
        let points = points.split('"').next().unwrap().split(' ');
        let pair = |text: &str| {
            let (x, y) = text.split_once(',').unwrap();
            (x.parse().unwrap(), y.parse().unwrap())
        };
        points.map(pair).collect()
    }

    #[test]
    fn throughput_stands_at_its_height() {
        let svg = report().to_svg();
        // 100 messages in 0.25 s, then twice 500 in half a second: 400 and 1,000 a second below a top of 1,000.
        let heights: Vec<_> = points(&svg).iter().map(|(_, y)| *y).collect();
        assert_eq!(heights, [228.0, 60.0, 60.0]);
        assert!(svg.contains("publisher -&gt; router") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches('<').count(), svg.matches('>').count());
    }

    #[test]
    fn latency_rises_with_the_percentile_and_stays_in_its_frame() {
        let mut latencies = latency::none_yet();
        for value in 1..=10_000_u64 {
            latencies.record(value * 900).unwrap();
        }
        let mut report = report();
        report.outcome.received.latencies = Counts::from(&latencies);
        let svg = report.to_svg();
        let points = points(&svg);
        assert!(
            points
                .windows(2)
                .all(|pair| pair[1].1 <= pair[0].1 && pair[1].0 > pair[0].0)
        );
        let (x, y) = *points.last().unwrap();
        // The most is 9 ms, just below the line of 10.
        assert_eq!((x, y.round()), (FRAME.1, 63.0));
        assert!(
            svg.contains("99.99 %") && !svg.contains("99.999 %"),
            "10,000 messages"
        );
    }

    #[test]
    fn nothing_at_all_is_drawn_too() {
        let mut report = report();
        report.outcome.samples.clear();
        assert!(!report.to_svg().contains("NaN"));
    }
}
