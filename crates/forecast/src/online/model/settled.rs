//! What is said while wild values are under way: they are followed for a few steps, and far ahead the series is as it was.
//!
//! Nobody knows yet whether a wild value is a mistake or the beginning of a surge. Shortly after it the surge has to be
//! served; a day later one value is no evidence of it. When it goes on it is soon taken for real, and followed everywhere.

use super::Model;
use crate::calibration::Curve;
use crate::online::wild::Wild;
use crate::paths::Values;

impl Model {
    /// The series as though the wild values under way had been as expected; `None` when there are none.
    fn settled(&self) -> Option<Model> {
        let wild = self.wild.as_deref()?;
        let mut settled = self.clone();
        settled.wild = None;
        settled.put_back(wild, |_| wild.expected());
        Some(settled)
    }

    /// Quantiles of the next steps; see [`fill_as_now`](Self::fill_as_now).
    pub(crate) fn fill(&self, quantiles: &[f64], values: &mut Values) {
        self.fill_as_now(quantiles, values);
        let Some(settled) = self.settled() else { return };
        let mut calm = Values::zeros(values.len(), quantiles.len());
        settled.fill_as_now(quantiles, &mut calm);
        for (h, calm) in calm.iter().enumerate() {
            draw_in(values.row_mut(h), calm, Wild::followed(h + 1));
        }
    }

    /// Paths of the next steps; see [`draw_as_now`](Self::draw_as_now).
    pub(crate) fn draw(&self, steps: usize, samples: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut paths = self.draw_as_now(steps, samples, seed);
        let Some(settled) = self.settled() else { return paths };
        for (path, calm) in paths.iter_mut().zip(settled.draw_as_now(steps, samples, seed)) {
            for (h, (value, calm)) in path.iter_mut().zip(calm).enumerate() {
                draw_in(std::slice::from_mut(value), &[calm], Wild::followed(h + 1));
            }
        }
        paths
    }

    /// Distribution of the largest value of the next `steps` steps.
    pub(crate) fn window_max(&self, steps: usize) -> Curve {
        match self.settled() {
            None => self.window_max_as_now(steps),
            Some(settled) => {
                let near = self.window_curves_as_now(steps.clamp(1, Wild::FOLLOWED));
                near.iter().fold(settled.window_max_as_now(steps), |curve, near| curve.or_higher(near))
            }
        }
    }

    /// The largest value of the first step, of the first two, and so on.
    pub(crate) fn window_curves(&self, steps: usize) -> Vec<Curve> {
        let Some(settled) = self.settled() else { return self.window_curves_as_now(steps) };
        let near = self.window_curves_as_now(steps.min(Wild::FOLLOWED));
        let mut curves = settled.window_curves_as_now(steps);
        let mut highest = None;
        for (k, curve) in curves.iter_mut().enumerate() {
            let so_far = near.get(k).map(|near| highest.map_or(*near, |highest| near.or_higher(&highest)));
            highest = so_far.or(highest);
            *curve = highest.map_or(*curve, |highest| curve.or_higher(&highest));
        }
        curves
    }
}

/// Draws values toward calm ones, as far as they are not followed.
fn draw_in(values: &mut [f64], calm: &[f64], followed: f64) {
    for (value, calm) in values.iter_mut().zip(calm) {
        *value = if followed == 0.0 { *calm } else { calm + followed * (*value - calm) };
    }
}
