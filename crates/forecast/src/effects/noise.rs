//! How uncertain demand is, effects aside: by hour of the day, where effects are large, and how long errors last.

use serde::{Deserialize, Serialize};

use super::usual::HOURS;

/// How far demand is from what was expected, effects aside, by hour of the day.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Noise {
    variances: Vec<(f64, f64)>,
    /// Sum and number of errors of the day so far, in standard deviations.
    block: (f64, f64),
    /// Mean squared sum of a day's errors over their number, and how many days it is known from.
    together: f64,
    blocks: f64,
    /// Mean squared error over the variance, where effects are large.
    ratio: f64,
    large: f64,
    steps_an_hour: f64,
}

impl Noise {
    pub(super) fn new(steps_an_hour: f32) -> Noise {
        let steps_an_hour = f64::from(steps_an_hour);
        Noise {
            variances: vec![(0.09, 3.0); HOURS],
            block: (0.0, 0.0),
            together: 6.0 * steps_an_hour,
            blocks: 3.0,
            ratio: 1.0,
            large: 24.0 * steps_an_hour,
            steps_an_hour,
        }
    }

    pub(super) fn variance(&self, slot: usize) -> f64 {
        self.variances[slot].0
    }

    pub(super) fn learn(&mut self, slot: usize, error: f64, explained: f64, effect: f64) {
        if effect.abs() >= LARGE {
            self.large += 1.0;
            let ratio = (error * error - explained).max(0.0) / self.variance(slot);
            let memory = NOISE_DAYS * 24.0 * self.steps_an_hour;
            self.ratio += (ratio - self.ratio) / self.large.min(memory);
        }
        let (variance, count) = &mut self.variances[slot];
        let standard = error / (*variance + explained).sqrt();
        *count = (*count + 1.0).min(NOISE_DAYS * self.steps_an_hour.max(1.0));
        let seen = (error * error - explained).max(0.2 * *variance);
        *variance = (*variance + (seen - *variance) / *count).max(1e-6);
        self.block.0 += standard;
        self.block.1 += 1.0;
        if self.block.1 >= 24.0 * self.steps_an_hour {
            let together =
                (self.block.0 * self.block.0 / self.block.1).min(4.0 * REPETITION_MAX * self.steps_an_hour);
            self.blocks = (self.blocks + 1.0).min(NOISE_DAYS);
            self.together += (together - self.together) / self.blocks;
            self.block = (0.0, 0.0);
        }
    }

    /// Variance that large effects bring with them, beyond that of ordinary steps: demand in rain is less certain than in
    /// sunshine, even when the effect of rain is well known.
    pub(super) fn surplus(&self, slot: usize, effect: f64) -> f64 {
        self.variance(slot) * (self.ratio - 1.0).clamp(0.0, 8.0) * (effect.abs() / LARGE).powi(2).min(1.0)
    }

    /// How many errors say the same: the variance of a day's sum over what it would be, were they independent.
    pub(super) fn repetition(&self) -> f64 {
        self.together.min(REPETITION_MAX * self.steps_an_hour).max(1.0)
    }
}

/// More than so many hours of errors are not taken to say the same.
const REPETITION_MAX: f64 = 24.0;
/// An effect counts as large from here on, as a logarithm.
const LARGE: f64 = 0.4;
const NOISE_DAYS: f64 = 30.0;
