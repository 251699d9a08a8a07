//! Keeps effects from doing harm: a forecast without them runs beside, and both are judged by what came.
//!
//! The weight of the forecast with effects is the probability that it is the better one, by their pinball losses (Bayesian
//! model averaging with the asymmetric Laplace likelihood behind that loss). Steps of each kind of event are judged apart
//! from ordinary ones: an event that does nothing must not take the credit that rain has earned.

use serde::{Deserialize, Serialize};

use crate::score::pinball;

/// What both forecasts are judged by.
pub(super) const JUDGED: [f64; 3] = [0.05, 0.5, 0.95];

/// Log odds that effects help, for each sort of step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Guard {
    sorts: Vec<Sort>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Sort {
    gain: f64,
    /// Mean loss without effects.
    loss: f64,
    count: f64,
}

impl Guard {
    /// Takes in an outcome. `repetition` is how many neighbouring outcomes say the same.
    pub(super) fn judge(&mut self, sort: usize, value: f64, with: &[f64], without: &[f64], repetition: f64) {
        if self.sorts.len() <= sort {
            self.sorts.resize_with(sort + 1, Sort::default);
        }
        let loss = |said: &[f64]| -> f64 {
            JUDGED.iter().zip(said).map(|(&tau, &said)| pinball(tau, value, said)).sum()
        };
        let (with, without) = (loss(with), loss(without));
        let sort = &mut self.sorts[sort];
        sort.count = (sort.count + 1.0).min(COUNT_MAX);
        sort.loss += (with.min(without) - sort.loss) / sort.count;
        let gain = JUDGED.len() as f64 * (without - with) / sort.loss / repetition.max(1.0);
        if gain.is_finite() {
            sort.gain = (sort.gain + gain.clamp(-1.0, 1.0)).clamp(-GAIN_MAX, GAIN_MAX);
        }
    }

    /// Weight of the forecast with effects, when the odds were `prior` (as a logarithm) before anything was seen.
    pub(super) fn weight(&self, sort: usize, prior: f64) -> f64 {
        let odds = prior + self.sorts.get(sort).map_or(0.0, |sort| sort.gain);
        1.0 / (1.0 + (-odds).exp())
    }
}

/// However good the record, it can be lost within weeks.
const GAIN_MAX: f64 = 6.0;
const COUNT_MAX: f64 = 2000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_forecast_gains_the_weight_of_its_sort_of_step_only() {
        let mut guard = Guard::default();
        assert!((guard.weight(1, 0.0) - 0.5).abs() < 1e-12);
        for i in 0..200 {
            let value = 10.0 + f64::from(i % 7) - 3.0;
            guard.judge(1, value, &[6.0, 10.0, 14.0], &[8.0, 14.0, 20.0], 6.0);
        }
        assert!(guard.weight(1, 0.0) > 0.95);
        assert!((guard.weight(0, 0.0) - 0.5).abs() < 1e-12);
        guard.judge(0, f64::MAX, &[0.0; 3], &[f64::MAX; 3], 1.0);
        assert!(guard.weight(0, 0.0).is_finite());
    }
}
