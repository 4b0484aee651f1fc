//! A bar per candidate on a logarithmic scale, with its range as a line.

use mcpbus_peers::measure::series::Spread;
use mcpbus_peers::report::tables::number;

use super::scale::{self, Scale};
use super::svg::{Anchor, FAINT, INK, Picture, QUIET};

const WIDTH: f64 = 860.0;
/// Where bars begin, and where they end at most: values stand beside them.
const LEFT: f64 = 190.0;
const RIGHT: f64 = 770.0;
const TOP: f64 = 72.0;
const ROW: f64 = 22.0;
const THICK: f64 = 14.0;

/// One bar.
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) colour: &'static str,
    pub(crate) value: Spread,
}

/// A chart of bars.
pub(crate) struct Bars {
    pub(crate) title: &'static str,
    /// What is measured in which unit.
    pub(crate) axis: &'static str,
    /// What the colours mean.
    pub(crate) key: Vec<(&'static str, &'static str)>,
    pub(crate) bars: Vec<Bar>,
}

impl Bars {
    /// The chart as a document.
    pub(crate) fn draw(&self) -> String {
        let bottom = TOP + ROW * self.bars.len() as f64;
        let mut picture = Picture::new(WIDTH, bottom + 50.0, self.title);
        let values = self.bars.iter();
        let values = values.flat_map(|bar| [bar.value.low, bar.value.median, bar.value.high]);
        let scale = Scale::around(values, LEFT, RIGHT);
        self.draw_key(&mut picture);
        for step in scale.steps() {
            let x = scale.at(step);
            picture.line((x, TOP - 4.0), (x, bottom), FAINT, 1.0);
            let label = scale::label(step);
            picture.text(x, bottom + 16.0, Anchor::Middle, 11, QUIET, &label);
        }
        picture.line((LEFT, TOP - 4.0), (LEFT, bottom), QUIET, 1.0);
        for (index, bar) in self.bars.iter().enumerate() {
            let middle = TOP + ROW * (index as f64 + 0.5);
            let (low, at, high) = (
                scale.at(bar.value.low),
                scale.at(bar.value.median),
                scale.at(bar.value.high),
            );
            let corner = (LEFT, middle - THICK / 2.0);
            picture.bar(corner, at - LEFT, THICK, bar.colour);
            picture.line((low, middle), (high, middle), INK, 1.5);
            for end in [low, high] {
                picture.line((end, middle - 4.0), (end, middle + 4.0), INK, 1.5);
            }
            picture.text(LEFT - 8.0, middle + 4.0, Anchor::End, 12, INK, &bar.name);
            let value = number(bar.value.median);
            let beside = high.max(at) + 8.0;
            picture.text(beside, middle + 4.0, Anchor::Start, 12, INK, &value);
        }
        picture.text(LEFT, bottom + 36.0, Anchor::Start, 12, QUIET, self.axis);
        picture.finish()
    }

    fn draw_key(&self, picture: &mut Picture) {
        let mut x = 20.0;
        for (colour, name) in &self.key {
            picture.bar((x, 43.0), 12.0, 12.0, colour);
            picture.text(x + 18.0, 53.0, Anchor::Start, 12, QUIET, name);
            // The width of a letter at this size, about.
            x += 44.0 + 6.6 * name.len() as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bar_has_its_name_and_value() {
        let bar = |name: &str, median: f64| Bar {
            name: name.to_owned(),
            colour: "#000000",
            value: Spread {
                median,
                low: median / 2.0,
                high: median * 2.0,
            },
        };
        let chart = Bars {
            title: "title",
            axis: "unit",
            key: vec![("#000000", "family")],
            bars: vec![bar("first", 1.5), bar("second", 75.25)],
        };
        let text = chart.draw();
        for wanted in ["first", "second", "1.50", "75.2", "unit", "family"] {
            assert!(text.contains(&format!(">{wanted}<")), "{wanted}");
        }
    }
}
