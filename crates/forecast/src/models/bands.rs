//! Intervals for models that only say what is most likely: the errors they made in the past, by distance ahead.

use serde::{Deserialize, Serialize};

use crate::paths::Values;

/// Errors of a point forecast at a grid of distances, as quantiles.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bands {
    /// Distances ahead in steps, rising.
    aheads: Vec<usize>,
    /// Sorted errors (actual minus said) for each of them.
    errors: Vec<Vec<f32>>,
}

impl Bands {
    /// No errors yet; distances up to `horizon`, dense near and doubling farther out.
    pub fn new(horizon: usize) -> Bands {
        let horizon = horizon.max(1);
        let mut aheads: Vec<usize> = [1, 2, 3, 4, 6, 8, 12, 18, 24, 36, 48, 72, 96]
            .into_iter()
            .chain((0..).map(|k| 144 << k).take_while(|&ahead| ahead < 1 << 20))
            .take_while(|&ahead| ahead < horizon)
            .collect();
        aheads.push(horizon);
        Bands { errors: vec![Vec::new(); aheads.len()], aheads }
    }

    /// The distances that errors are kept for: only these need to be scored.
    pub fn aheads(&self) -> &[usize] {
        &self.aheads
    }

    /// Keeps one error made at the distance `aheads()[place]`. Errors that are not finite are not kept.
    pub fn add(&mut self, place: usize, error: f32) {
        if error.is_finite() {
            let errors = &mut self.errors[place];
            let at = errors.partition_point(|&known| known < error);
            errors.insert(at, error);
            if errors.len() > KEPT {
                // Thins out evenly: every quantile stays where it was.
                let mut keep = false;
                errors.retain(|_| {
                    keep = !keep;
                    keep
                });
            }
        }
    }

    /// What to add to the forecast `ahead` steps ahead for its `tau` quantile. Zero when no error is known.
    pub fn offset(&self, ahead: usize, tau: f64) -> f64 {
        let upper = self.aheads.partition_point(|&known| known < ahead).min(self.aheads.len() - 1);
        let lower = if self.aheads[upper] > ahead { upper.saturating_sub(1) } else { upper };
        let (low, high) = (self.at(lower, tau), self.at(upper, tau));
        match (low, high) {
            (Some(low), Some(high)) if lower != upper => {
                let (near, far) = (self.aheads[lower] as f64, self.aheads[upper] as f64);
                low + (high - low) * (ahead as f64 - near) / (far - near)
            }
            (_, Some(value)) | (Some(value), None) => value,
            (None, None) => (0..self.aheads.len()).rev().find_map(|place| self.at(place, tau)).unwrap_or(0.0),
        }
    }

    fn at(&self, place: usize, tau: f64) -> Option<f64> {
        let errors = &self.errors[place];
        let rank = tau.clamp(0.0, 1.0) * errors.len() as f64 - 0.5;
        let below = rank.floor().max(0.0) as usize;
        let first = f64::from(*errors.get(below.min(errors.len().saturating_sub(1)))?);
        let second = errors.get(below + 1).map_or(first, |&error| f64::from(error));
        Some(first + (second - first) * (rank - below as f64).clamp(0.0, 1.0))
    }

    /// A table of quantiles around `middle`, whose errors are `scale` times those that were kept. Never below `floor`,
    /// never falling in the quantile where `quantiles` rises.
    pub fn around(
        &self,
        middle: &[f64],
        scale: impl Fn(usize) -> f64,
        quantiles: &[f64],
        floor: f64,
    ) -> Values {
        let mut values = Values::zeros(middle.len(), quantiles.len());
        for (h, &middle) in middle.iter().enumerate() {
            let scale = scale(h);
            // The last quantile and its value: of errors that differ by many magnitudes, rounding may turn the order.
            let mut below = (f64::INFINITY, floor);
            for (value, &tau) in values.row_mut(h).iter_mut().zip(quantiles) {
                let said = middle + scale * self.offset(h + 1, tau);
                let said = if said.is_finite() { said } else { 0.0 };
                *value = said.max(if tau >= below.0 { below.1 } else { floor });
                below = (tau, *value);
            }
        }
        values
    }
}

/// Most errors kept for each distance.
const KEPT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_the_quantiles_of_past_errors_and_lie_between_neighbouring_distances() {
        let mut bands = Bands::new(24);
        let place = |bands: &Bands, ahead| bands.aheads().iter().position(|&known| known == ahead).unwrap();
        for error in -50..=50 {
            let (near, far) = (place(&bands, 1), place(&bands, 24));
            bands.add(near, error as f32);
            bands.add(far, 3.0 * error as f32);
        }
        assert!((bands.offset(1, 0.9) - 40.4).abs() < 0.5);
        assert!((bands.offset(24, 0.9) - 121.0).abs() < 1.5);
        assert!((bands.offset(24, 0.5)).abs() < 1e-9);
        assert_eq!(Bands::new(10).offset(5, 0.99), 0.0);
    }
}
