//! A logarithmic scale from values to places.

/// From values to places along one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// A scale between two places that has room for all of these values, from one step of 1, 2, 5, 10, … to another.
    pub(crate) fn around(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| *value > 0.0) {
            least = least.min(value);
            most = most.max(value);
        }
        if least > most {
            (least, most) = (1.0, 10.0);
        }
        // A bar of the least value is still to be seen.
        let low = steps_from(least * 0.8).rfind(|step| *step <= least * 0.8);
        let high = steps_from(most).find(|step| *step >= most);
        Self {
            low: low.unwrap_or(least / 2.0),
            high: high.unwrap_or(most * 2.0),
            from,
            to,
        }
    }

    /// Where a value stands; outside of the scale at its end.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let inside = value.clamp(self.low, self.high);
        let share = (inside / self.low).ln() / (self.high / self.low).ln();
        self.from + share * (self.to - self.from)
    }

    /// The values that have a line in the grid.
    pub(crate) fn steps(&self) -> Vec<f64> {
        let bounds = self.low * 0.999..=self.high * 1.001;
        steps_from(self.low)
            .chain(steps_from(self.high))
            .chain(steps_from((self.low * self.high).sqrt()))
            .filter(|step| bounds.contains(step))
            .fold(Vec::new(), |mut steps, step| {
                if !steps
                    .iter()
                    .any(|other: &f64| (other / step - 1.0).abs() < 1e-6)
                {
                    steps.push(step);
                }
                steps
            })
    }
}

/// 1, 2, 5, 10, … from four decades below a value to four above it.
fn steps_from(value: f64) -> impl DoubleEndedIterator<Item = f64> {
    let decade = value.log10().floor() as i32;
    (decade - 4..=decade + 4)
        .flat_map(|exponent| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(exponent)))
}

/// A step as it is written at its line.
pub(crate) fn label(step: f64) -> String {
    if step >= 1000.0 {
        mcpbus_peers::report::tables::thousands(step)
    } else {
        let text = format!("{step:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_has_room_for_all_and_begins_and_ends_at_a_step() {
        let scale = Scale::around([0.9, 85.0].into_iter(), 0.0, 100.0);
        assert_eq!((scale.low, scale.high), (0.5, 100.0));
        assert_eq!((scale.at(0.5), scale.at(100.0)), (0.0, 100.0));
        assert!(scale.at(5.0) < scale.at(10.0));
        assert_eq!(scale.at(1e9), 100.0);
        assert_eq!(scale.steps().len(), 8);
    }

    #[test]
    fn steps_are_written_without_noise() {
        let written = [0.05, 0.1, 2.0, 50.0, 10_000.0].map(label);
        assert_eq!(written, ["0.05", "0.1", "2", "50", "10,000"]);
    }
}
