//! A few measurements of one thing: median and range.

/// Measurements of one thing in the order in which they were made.
#[derive(Clone, Debug, Default)]
pub struct Series(Vec<f64>);

impl Series {
    /// Adds a measurement.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The middle one, or the mean of the two in the middle; not a number when there is none.
    #[must_use]
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    /// The smallest one that at least this part of all, from 0 to 1, does not exceed; not a number when there is none.
    #[must_use]
    pub fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() as f64 * part).ceil() as usize;
        let last = sorted.len().checked_sub(1);
        last.map_or(f64::NAN, |last| sorted[rank.saturating_sub(1).min(last)])
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The lowest one; infinite when there is none.
    #[must_use]
    pub fn lowest(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The highest one; negative infinite when there is none.
    #[must_use]
    pub fn highest(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// Each measurement divided by the other's of the same round. Drift of the machine that lasts longer than a round
    /// cancels out.
    #[must_use]
    pub fn ratio_to(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[f64]) -> Series {
        Series(values.to_vec())
    }

    #[test]
    fn the_median_stands_in_the_middle() {
        assert_eq!(series(&[9.0, 1.0, 5.0]).median(), 5.0);
        assert_eq!(series(&[9.0, 1.0, 5.0, 3.0]).median(), 4.0);
        assert!(series(&[]).median().is_nan());
    }

    #[test]
    fn a_quantile_is_one_of_them() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(series(&hundred).quantile(0.5), 50.0);
        assert_eq!(series(&hundred).quantile(0.99), 99.0);
        assert_eq!(series(&[7.0]).quantile(0.99), 7.0);
        assert_eq!(series(&[7.0]).quantile(0.0), 7.0);
        assert!(series(&[]).quantile(0.5).is_nan());
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let ratio = series(&[2.0, 30.0]).ratio_to(&series(&[4.0, 10.0]));
        assert_eq!((ratio.lowest(), ratio.highest()), (0.5, 3.0));
    }
}
