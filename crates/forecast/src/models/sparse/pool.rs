//! What all applications teach about when a use follows an idle time: a hazard by time since the last use, and a logistic
//! regression that weighs what speaks for a use at the next step.
//!
//! Learned online from every idle step of every application, and only from the past: the regression takes second-order
//! steps (the extended Kalman filter of a logistic observation), so no rate is tuned.

use serde::{Deserialize, Serialize};

use super::occurrence::{FEATURES, Occurrence, View};

/// Shared between the applications of one platform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// (uses, idle steps) by [`known`] and time since the last use.
    hazards: Vec<[(f32, f32); HAZARD_BINS]>,
    weights: [f64; FEATURES],
    covariance: [[f64; FEATURES]; FEATURES],
}

impl Default for Pool {
    fn default() -> Pool {
        Pool::new()
    }
}

impl Pool {
    /// Knows nothing: expects uses to become rarer the longer none came.
    pub fn new() -> Pool {
        let mut covariance = [[0.0; FEATURES]; FEATURES];
        for (j, row) in covariance.iter_mut().enumerate() {
            row[j] = PRIOR_VARIANCE;
        }
        let mut hazards = vec![[(0.0, 0.0); HAZARD_BINS]; KNOWN];
        for by_gap in &mut hazards {
            for (place, (uses, steps)) in by_gap.iter_mut().enumerate() {
                // One use in three times the time waited so far.
                *steps = PRIOR_STEPS;
                *uses = PRIOR_STEPS / (3.0 * 2f32.powf(place as f32 / 2.0));
            }
        }
        Pool { hazards, weights: [0.0, 1.0, 0.6, 0.0, 0.6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], covariance }
    }

    /// Probability that the application is used at the step `ahead` steps ahead (1 is the next) if it stays idle until
    /// then.
    pub(crate) fn probability(&self, of: &Occurrence, ahead: u32) -> f64 {
        self.judge(&self.view(of, ahead))
    }

    /// Learns whether a use came at an idle application's next step; to be called before it is observed.
    pub(crate) fn learn(&mut self, of: &Occurrence, busy: bool) {
        let view = self.view(of, 1);
        let said = self.judge(&view);
        let mut moved = [0.0; FEATURES];
        for (moved, row) in moved.iter_mut().zip(&self.covariance) {
            *moved = row.iter().zip(&view.features).map(|(c, x)| c * x).sum();
        }
        let spread: f64 = moved.iter().zip(&view.features).map(|(m, x)| m * x).sum();
        let information = said * (1.0 - said);
        let gain = 1.0 / (1.0 + information * spread);
        let error = f64::from(u8::from(busy)) - said;
        for (j, weight) in self.weights.iter_mut().enumerate() {
            *weight = (*weight + gain * moved[j] * error).clamp(-WEIGHT_MAX, WEIGHT_MAX);
        }
        for (j, row) in self.covariance.iter_mut().enumerate() {
            for (k, c) in row.iter_mut().enumerate() {
                *c -= information * gain * moved[j] * moved[k];
            }
            row[j] += DRIFT;
        }
        let (uses, steps) = &mut self.hazards[known(of.starts())][hazard_bin(of.since())];
        *uses += f32::from(u8::from(busy));
        *steps += 1.0;
        if *steps > STEPS_MAX {
            (*uses, *steps) = (*uses / 2.0, *steps / 2.0);
        }
    }

    fn view(&self, of: &Occurrence, ahead: u32) -> View {
        let gap = of.since().saturating_add(ahead.saturating_sub(1));
        let (uses, steps) = self.hazards[known(of.starts())][hazard_bin(gap)];
        of.view(ahead, f64::from(uses / steps))
    }

    fn judge(&self, view: &View) -> f64 {
        let sum: f64 = self.weights.iter().zip(&view.features).map(|(w, x)| w * x).sum();
        1.0 / (1.0 + (-sum.clamp(-20.0, 20.0)).exp())
    }
}

/// Applications that were started about as often.
fn known(starts: u32) -> usize {
    match starts {
        0..=1 => 0,
        2..=3 => 1,
        4..=7 => 2,
        8..=20 => 3,
        21.. => 4,
    }
}

/// Two bins for each doubling.
fn hazard_bin(gap: u32) -> usize {
    ((2.0 * f64::from(gap.max(1)).log2()) as usize).min(HAZARD_BINS - 1)
}

const KNOWN: usize = 5;
const HAZARD_BINS: usize = 32;
const PRIOR_STEPS: f32 = 20.0;
/// Older steps fade by halves after as many in a bin.
const STEPS_MAX: f32 = 1e6;
const PRIOR_VARIANCE: f64 = 0.05;
const DRIFT: f64 = 1e-7;
const WEIGHT_MAX: f64 = 20.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_become_those_of_what_came() {
        let mut rng = fastrand::Rng::with_seed(9);
        let mut pool = Pool::new();
        let mut apps = vec![Occurrence::new(); 10];
        let (mut said, mut came) = (0.0, 0.0);
        for t in 0..3000 {
            for (i, app) in apps.iter_mut().enumerate() {
                let busy = rng.f64() < 0.02 * (1.0 + i as f64);
                if app.since() > 1 {
                    if t > 1000 {
                        said += pool.probability(app, 1);
                        came += f64::from(u8::from(busy));
                    }
                    pool.learn(app, busy);
                }
                app.observe(busy);
            }
        }
        assert!((said / came - 1.0f64).abs() < 0.05, "{said} {came}");
    }
}
