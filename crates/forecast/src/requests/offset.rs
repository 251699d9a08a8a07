//! Online conformal offset: keeps each quantile's coverage at one endpoint whatever the layers do.
//!
//! Quantile tracking (Angelopoulos, Candes and Tibshirani 2023) on the log ratio of cost and prediction: a miss lifts a
//! quantile by a step times `tau`, every other request lowers it by a step times `1 - tau`. Several steps run side by side
//! and are mixed by their losses (as AgACI, Zaffran et al. 2022), one of them zero.

use serde::{Deserialize, Serialize};

use super::levels::{GRID, LEVELS, Levels, make_monotone};
use crate::score::pinball;

/// Offsets of one endpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Offset {
    /// In units of `scale`.
    tracks: [[f32; STEPS.len()]; LEVELS],
    losses: [[f32; STEPS.len()]; LEVELS],
    /// Fading sum of the distances of the cost from the median, and its count.
    distance: f64,
    count: f64,
}

impl Offset {
    pub(crate) fn new() -> Offset {
        let none = [[0.0; STEPS.len()]; LEVELS];
        Offset { tracks: none, losses: none, distance: 0.0, count: 0.0 }
    }

    /// Moves a prediction.
    pub(crate) fn apply(&self, levels: &mut Levels) {
        if self.count == 0.0 {
            return;
        }
        for (k, level) in levels.iter_mut().enumerate() {
            *level += self.scale() * self.at(k);
        }
        make_monotone(levels);
    }

    /// Takes what came. `levels` are what was predicted without the offset.
    pub(crate) fn learn(&mut self, levels: &Levels, cost: f64) {
        let distance = (cost - levels[super::levels::MEDIAN]).abs();
        self.distance = self.distance * FADING + distance;
        self.count = self.count * FADING + 1.0;
        let scale = self.scale();
        for (k, &tau) in GRID.iter().enumerate() {
            let beyond = ((cost - levels[k]) / scale).clamp(-BEYOND_MAX, BEYOND_MAX);
            for (j, &step) in STEPS.iter().enumerate() {
                let track = &mut self.tracks[k][j];
                let loss = pinball(tau, beyond, f64::from(*track)) as f32;
                self.losses[k][j] = self.losses[k][j] * FADING as f32 + loss;
                let moved = if beyond > f64::from(*track) { tau } else { tau - 1.0 };
                *track = (f64::from(*track) + step * moved).clamp(-BEYOND_MAX, BEYOND_MAX) as f32;
            }
        }
    }

    fn scale(&self) -> f64 {
        (self.distance / self.count.max(1.0)).max(SCALE_MIN)
    }

    fn at(&self, level: usize) -> f64 {
        let best = self.losses[level].iter().copied().fold(f32::INFINITY, f32::min);
        // Pinball losses of far quantiles are small: compared with the least of them plus a little.
        let little = f64::from(best) + LITTLE * GRID[level].min(1.0 - GRID[level]);
        let (mut sum, mut total) = (0.0, 0.0);
        for (&track, &loss) in self.tracks[level].iter().zip(&self.losses[level]) {
            let weight = (little / (little + f64::from(loss - best))).powi(SHARPNESS);
            sum += weight * f64::from(track);
            total += weight;
        }
        sum / total
    }
}

/// Steps in units of the typical distance from the median.
const STEPS: [f64; 4] = [0.0, 0.03, 0.1, 0.4];
const FADING: f64 = 0.99;
const SHARPNESS: i32 = 8;
const LITTLE: f64 = 1.0;
const BEYOND_MAX: f64 = 50.0;
/// A ten-thousandth: costs that vary less are the same.
const SCALE_MIN: f64 = 1e-4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_comes_back_after_a_jump_that_the_layers_do_not_follow() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut offset = Offset::new();
        let levels = GRID.map(|tau| 0.2 * (tau / (1.0 - tau)).ln());
        let (mut covered, mut counted) = (0.0, 0.0);
        for i in 0..4000 {
            let u = rng.f64().clamp(1e-9, 1.0 - 1e-9);
            let cost = 0.2 * (u / (1.0 - u)).ln() + if i >= 1000 { 0.47 } else { 0.0 };
            let mut moved = levels;
            offset.apply(&mut moved);
            if i >= 1100 {
                covered += f64::from(u8::from(cost <= moved[6]));
                counted += 1.0;
            }
            offset.learn(&levels, cost);
        }
        let coverage = covered / counted;
        assert!((coverage - 0.95f64).abs() < 0.012, "{coverage}");
    }
}
