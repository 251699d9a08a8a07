//! What depends on several steps at once, with effects: the largest value of a window, whole paths, first crossings.
//!
//! A window's maximum is calibrated for undisturbed demand. Each of its steps is given that distribution, lowered by how far
//! the step's median lies under the highest one, and then its own effect; the window's quantile is the largest of its
//! steps'. Without effects that is the undisturbed distribution again; where all steps have one factor it is that
//! distribution times the factor; where a step has an effect that few others have, it is that step which decides. The steps
//! are taken to miss in the same direction, for which the width of the window's distribution already allows.

use super::{Ahead, GRID_MEDIAN, Informed, score};
use crate::calibration::{Curve, GRID, Tail, crossed};
use crate::covariates::Covariates;
use crate::{FORECAST_STEPS_MAX, PATH_VALUES_MAX, WindowMax};

/// Values at the grid and at one quantile beyond it, by which the tail is measured.
type Points = [f64; GRID.len() + 1];

impl Informed {
    /// Distribution of the largest value of the next `steps` steps (at least one), with their effects; see
    /// [`Forecaster::window_max`](crate::Forecaster::window_max).
    pub fn window_max(&self, steps: usize, covariates: &Covariates) -> WindowMax {
        let steps = steps.clamp(1, FORECAST_STEPS_MAX);
        let ahead = self.ahead(steps, covariates);
        let (with, without) = (self.forecaster.window_max(steps).curve, self.plain.window_max(steps).curve);
        WindowMax { steps, curve: self.largest(&ahead, &self.medians(steps), &with, &without) }
    }

    /// Draws joint paths as [`Forecaster::paths`](crate::Forecaster::paths) does, with effects. What an effect turns out to be is
    /// drawn once for each path.
    pub fn paths(&self, steps: usize, samples: usize, seed: u64, covariates: &Covariates) -> Vec<Vec<f64>> {
        let steps = steps.min(FORECAST_STEPS_MAX);
        let samples = samples.min(PATH_VALUES_MAX / steps.max(1));
        let ahead = self.ahead(steps, covariates);
        let mut paths = self.forecaster.paths(steps, samples, seed);
        // The same seed draws the same surprises, so that the two are averaged as quantiles are.
        let plain = self.plain.paths(steps, samples, seed);
        let mut random = fastrand::Rng::with_seed(seed ^ SEED_OF_EFFECTS);
        let small = self.learner.small();
        for (path, plain) in paths.iter_mut().zip(&plain) {
            let z = crate::calibration::probit(random.f64());
            for ((value, &without), ahead) in path.iter_mut().zip(plain).zip(&ahead) {
                let (mean, sd) = ahead.effect;
                let factor = (mean + sd * z).exp();
                let with = if *value >= 0.0 {
                    (*value + small) * factor - small
                } else {
                    *value + small * (factor - 1.0)
                };
                *value = self.bounded(without + ahead.weight * (with - without));
            }
        }
        paths
    }

    /// Probabilities of first crossings as [`Forecaster::crossings`](crate::Forecaster::crossings) gives them, with effects. The work grows
    /// with the square of `steps`.
    pub fn crossings(&self, levels: &[f64], steps: usize, covariates: &Covariates) -> Vec<Vec<f64>> {
        crossed(&self.window_curves(steps, covariates), levels)
    }

    /// The largest value of the first step, of the first two, and so on.
    pub(crate) fn window_curves(&self, steps: usize, covariates: &Covariates) -> Vec<Curve> {
        let steps = steps.min(FORECAST_STEPS_MAX);
        let (ahead, medians) = (self.ahead(steps, covariates), self.medians(steps));
        let with = self.forecaster.window_curves(steps);
        let without = self.plain.window_curves(steps);
        let both = with.iter().zip(&without).enumerate();
        both.map(|(k, (with, without))| self.largest(&ahead[..=k], &medians[..=k], with, without)).collect()
    }

    /// Medians of the next steps, undisturbed and as they are.
    fn medians(&self, steps: usize) -> Vec<[f64; 2]> {
        let (with, without) = (self.forecaster.forecast(steps, &[0.5]), self.plain.forecast(steps, &[0.5]));
        with.values.iter().zip(without.values.iter()).map(|(with, without)| [with[0], without[0]]).collect()
    }

    fn largest(&self, ahead: &[Ahead], medians: &[[f64; 2]], with: &Curve, without: &Curve) -> Curve {
        let crest = |side: usize| medians.iter().map(|both| both[side]).fold(f64::MIN, f64::max);
        let (crest_with, crest_without) = (crest(0), crest(1));
        let (points_with, points_without) = (points(with), points(without));
        let scores = scores();
        let mut largest = [f64::MIN; GRID.len() + 1];
        for (ahead, &[median, plain]) in ahead.iter().zip(medians) {
            let mut row = points_with.map(|value| value - crest_with + median);
            if ahead.effect != (0.0, 0.0) {
                let mut base = [row[GRID_MEDIAN]; GRID.len() + 2];
                base[..row.len()].copy_from_slice(&row);
                self.put_back(ahead.effect, &base, &scores, &mut row);
            }
            for ((largest, value), without) in largest.iter_mut().zip(row).zip(points_without) {
                let without = without - crest_without + plain;
                *largest = largest.max(without + ahead.weight * (value - without));
            }
        }
        self.curve(largest, with.parts().1, points_with)
    }

    /// A curve through these points, whose tail was `tail` before they were moved from `before`.
    fn curve(&self, points: Points, tail: Tail, before: Points) -> Curve {
        let last = GRID.len() - 1;
        let (was, is) = (before[last + 1] - before[last], points[last + 1] - points[last]);
        let stretch = if was > 0.0 && is.is_finite() { (is / was).max(0.0) } else { 1.0 };
        let mut values = [0.0; GRID.len()];
        values.copy_from_slice(&points[..GRID.len()]);
        let tail = Tail { scale: tail.scale * stretch, ..tail };
        Curve::new(values, tail, if self.non_negative { 0.0 } else { f64::MIN })
    }

    fn bounded(&self, value: f64) -> f64 {
        if self.non_negative { value.max(0.0) } else { value }
    }
}

fn points(curve: &Curve) -> Points {
    let (values, _) = curve.parts();
    let mut points = [curve.quantile(BEYOND); GRID.len() + 1];
    points[..GRID.len()].copy_from_slice(values);
    points
}

fn scores() -> Points {
    std::array::from_fn(|k| score(GRID.get(k).copied().unwrap_or(BEYOND)))
}

/// A quantile in the tail.
const BEYOND: f64 = 0.9999;
/// Effects are drawn apart from everything else.
const SEED_OF_EFFECTS: u64 = 0x6566_6665_6374_7321;
