//! Scores of forecasts, as the literature defines them. Smaller is better except for coverage.
//!
//! All functions skip nothing and clean nothing: pairs go in, a number comes out, `None` when there is nothing to average
//! or nothing to divide by.

/// Pinball (quantile) loss of predicting `predicted` as the `tau` quantile of `actual` (Koenker and Bassett 1978).
pub fn pinball(tau: f64, actual: f64, predicted: f64) -> f64 {
    if actual >= predicted { tau * (actual - predicted) } else { (1.0 - tau) * (predicted - actual) }
}

/// Sums for the weighted pinball loss: 2 * sum(pinball) / sum(|actual|), averaged over quantiles (the M5 and GluonTS
/// "wQuantileLoss"). Feed every (actual, quantile, prediction) once and every actual's weight once per quantile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WeightedPinball {
    loss: f64,
    weight: f64,
}

impl WeightedPinball {
    /// Adds one prediction of one quantile.
    pub fn add(&mut self, tau: f64, actual: f64, predicted: f64) {
        self.loss += 2.0 * pinball(tau, actual, predicted);
        self.weight += actual.abs();
    }

    /// The score so far.
    pub fn value(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.loss / self.weight)
    }
}

/// Mean absolute error of (actual, predicted) pairs.
pub fn mae(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<f64> {
    mean(pairs.into_iter().map(|(actual, predicted)| (actual - predicted).abs()))
}

/// Mean absolute error of the seasonal naive forecast inside a series: mean `|y(t) - y(t - period)|`. The scale of MASE.
pub fn naive_mae(series: &[f64], period: usize) -> Option<f64> {
    mean(series.iter().skip(period).zip(series).map(|(later, earlier)| (later - earlier).abs()))
}

/// Mean absolute scaled error (Hyndman and Koehler 2006): error of the pairs over the in-sample seasonal naive error.
pub fn mase(pairs: impl IntoIterator<Item = (f64, f64)>, history: &[f64], period: usize) -> Option<f64> {
    let scale = naive_mae(history, period).filter(|&scale| scale > 0.0)?;
    mae(pairs).map(|error| error / scale)
}

/// Share of actual values inside their closed interval, from (actual, lower, upper).
pub fn coverage(triples: impl IntoIterator<Item = (f64, f64, f64)>) -> Option<f64> {
    mean(
        triples
            .into_iter()
            .map(|(actual, lower, upper)| f64::from(u8::from((lower..=upper).contains(&actual)))),
    )
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0u64), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinball_charges_each_side_by_its_probability() {
        assert!((pinball(0.9, 10.0, 8.0) - 1.8).abs() < 1e-12);
        assert!((pinball(0.9, 8.0, 10.0) - 0.2).abs() < 1e-12);
        assert_eq!(pinball(0.3, 5.0, 5.0), 0.0);
    }

    #[test]
    fn weighted_pinball_at_the_median_is_the_relative_absolute_error() {
        let mut wpl = WeightedPinball::default();
        assert_eq!(wpl.value(), None);
        wpl.add(0.5, 10.0, 8.0);
        wpl.add(0.5, 30.0, 36.0);
        assert!((wpl.value().unwrap() - 8.0 / 40.0).abs() < 1e-12);
    }

    #[test]
    fn mase_of_the_naive_forecast_itself_is_one() {
        let history = [1.0, 3.0, 2.0, 4.0, 3.0, 5.0];
        // |y[t] - y[t-2]| is 1 everywhere.
        assert_eq!(naive_mae(&history, 2), Some(1.0));
        assert_eq!(mase([(4.0, 3.0), (6.0, 5.0)], &history, 2), Some(1.0));
        assert_eq!(mase([(4.0, 3.0)], &[7.0, 7.0], 1), None);
    }

    #[test]
    fn coverage_counts_the_ends_of_the_interval_as_inside() {
        let triples = [(1.0, 1.0, 2.0), (2.0, 1.0, 2.0), (3.0, 1.0, 2.0), (0.0, 1.0, 2.0)];
        assert_eq!(coverage(triples), Some(0.5));
        assert_eq!(coverage([]), None);
    }
}
