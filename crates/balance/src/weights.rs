//! Drawing an index with a probability proportional to its weight.

/// Weights prepared for drawing in logarithmic time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weights {
    /// Running sums: index i owns the range from the sum before it to its own.
    sums: Vec<u64>,
}

impl Weights {
    /// Prepares the weights in the order of their indices.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let sums = weights.into_iter().scan(0u64, |sum, weight| {
            *sum = sum.saturating_add(u64::from(weight));
            Some(*sum)
        });
        Self { sums: sums.collect() }
    }

    /// How many weights there are, zeros included.
    pub fn len(&self) -> usize {
        self.sums.len()
    }

    /// Whether there is no weight at all.
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// The sum of all weights.
    pub fn total(&self) -> u64 {
        self.sums.last().copied().unwrap_or(0)
    }

    /// The weight of an index; 0 beyond the end.
    pub fn weight(&self, index: usize) -> u64 {
        let Some(&sum) = self.sums.get(index) else { return 0 };
        sum - index.checked_sub(1).map_or(0, |before| self.sums[before])
    }

    /// The weight relative to the mean of the weights above 0: 1 when all are equal, 0 beyond the end.
    pub fn relative(&self, index: usize) -> f64 {
        let total = self.total();
        if total == 0 {
            return 0.0;
        }
        let weighted = (0..self.len()).filter(|&other| self.weight(other) > 0).count();
        self.weight(index) as f64 * weighted as f64 / total as f64
    }

    /// [`Weights::relative`] of every index.
    pub fn relatives(&self) -> Vec<f64> {
        let weighted = (0..self.len()).filter(|&index| self.weight(index) > 0).count() as f64;
        let mean = (self.total() as f64 / weighted).max(f64::MIN_POSITIVE);
        (0..self.len()).map(|index| self.weight(index) as f64 / mean).collect()
    }

    /// The index that `random`, uniform over all `u64`, falls on. None when every weight is 0.
    pub fn draw(&self, random: u64) -> Option<usize> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        let point = below(random, total);
        Some(self.sums.partition_point(|&sum| sum <= point))
    }
}

/// A value below `bound` from a uniform `u64`.
pub(crate) fn below(random: u64, bound: u64) -> u64 {
    ((u128::from(random) * u128::from(bound)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extreme_draws_fall_on_the_first_and_the_last_weighted_index() {
        let weights = Weights::new([0, 3, 0, 1, 0]);
        assert_eq!(weights.draw(0), Some(1));
        assert_eq!(weights.draw(u64::MAX), Some(3));
        assert_eq!(weights.draw(u64::MAX / 4 * 3 + 4), Some(3));
        assert_eq!((weights.weight(1), weights.weight(2), weights.weight(9)), (3, 0, 0));
    }

    #[test]
    fn nothing_is_drawn_when_every_weight_is_zero() {
        assert_eq!(Weights::new([0, 0]).draw(7), None);
        assert_eq!(Weights::new([]).draw(7), None);
    }

    #[test]
    fn relative_weights_ignore_targets_without_weight() {
        let weights = Weights::new([1000, 0, 1000]);
        assert_eq!(weights.relative(0), 1.0);
        assert_eq!(weights.relative(1), 0.0);
    }
}
