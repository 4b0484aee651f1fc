//! Percentiles of latencies: a line per candidate on a logarithmic scale, with ranges.

use mcpbus_peers::measure::series::Spread;
use mcpbus_peers::report::tables::number;

use super::scale::{self, Scale};
use super::svg::{Anchor, FAINT, INK, Picture, QUIET};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 800.0;
const TOP: f64 = 76.0;
const BOTTOM: f64 = 390.0;
/// Between the lines' places at one percentile, so that their ranges can be told apart.
const APART: f64 = 14.0;

/// One line.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) colour: &'static str,
    pub(crate) points: Vec<(&'static str, Spread)>,
}

/// A chart of lines over the same percentiles.
pub(crate) struct Lines {
    pub(crate) title: String,
    /// What is measured in which unit.
    pub(crate) axis: &'static str,
    pub(crate) lines: Vec<Line>,
}

impl Lines {
    /// The chart as a document.
    pub(crate) fn draw(&self) -> String {
        let mut picture = Picture::new(WIDTH, HEIGHT, &self.title);
        let spreads = self.lines.iter().flat_map(|line| &line.points);
        let values = spreads.flat_map(|(_, spread)| [spread.low, spread.high]);
        let scale = Scale::around(values, BOTTOM, TOP);
        for step in scale.steps() {
            let y = scale.at(step);
            picture.line((LEFT, y), (RIGHT, y), FAINT, 1.0);
            let label = scale::label(step);
            picture.text(LEFT - 8.0, y + 4.0, Anchor::End, 11, QUIET, &label);
        }
        let names: Vec<&str> = self.lines.first().map_or_else(Vec::new, |line| {
            line.points.iter().map(|(name, _)| *name).collect()
        });
        let width = (RIGHT - LEFT) / names.len().max(1) as f64;
        let middle = |index: usize| LEFT + width * (index as f64 + 0.5);
        for (index, name) in names.iter().enumerate() {
            picture.text(middle(index), BOTTOM + 20.0, Anchor::Middle, 12, INK, name);
        }
        for (number, line) in self.lines.iter().enumerate() {
            let aside = APART * (number as f64 - (self.lines.len() as f64 - 1.0) / 2.0);
            self.draw_line(&mut picture, line, number, |index, value| {
                (middle(index) + aside, scale.at(value))
            });
        }
        picture.text(20.0, HEIGHT - 18.0, Anchor::Start, 12, QUIET, self.axis);
        picture.finish()
    }

    fn draw_line(
        &self,
        picture: &mut Picture,
        line: &Line,
        number_of_line: usize,
        place: impl Fn(usize, f64) -> (f64, f64),
    ) {
        let points: Vec<(f64, f64)> = line
            .points
            .iter()
            .enumerate()
            .map(|(index, (_, spread))| place(index, spread.median))
            .collect();
        picture.path(&points, line.colour);
        for (index, (_, spread)) in line.points.iter().enumerate() {
            let (low, high) = (place(index, spread.low), place(index, spread.high));
            picture.line(low, high, line.colour, 1.5);
            picture.dot(place(index, spread.median), line.colour);
        }
        let x = 20.0 + 205.0 * number_of_line as f64;
        picture.bar((x, 43.0), 12.0, 12.0, line.colour);
        let median = line.points.first().map_or(0.0, |(_, spread)| spread.median);
        let text = format!("{} (p50 {})", line.name, number(median));
        picture.text(x + 18.0, 53.0, Anchor::Start, 12, QUIET, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_its_name_and_its_points() {
        let spread = |median| Spread {
            median,
            low: median,
            high: median,
        };
        let line = |name: &str| Line {
            name: name.to_owned(),
            colour: "#000000",
            points: vec![("p50", spread(12.0)), ("p99", spread(90.0))],
        };
        let chart = Lines {
            title: "title".to_owned(),
            axis: "unit",
            lines: vec![line("one"), line("two")],
        };
        let text = chart.draw();
        assert!(text.contains("one (p50 12.0)") && text.contains("two (p50 12.0)"));
        assert_eq!(text.matches("<circle").count(), 4);
        assert_eq!(text.matches(">p99<").count(), 1);
    }
}
