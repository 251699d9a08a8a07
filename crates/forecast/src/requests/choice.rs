//! How far each layer is believed for an endpoint, by the pinball losses it would have had.
//!
//! Losses are counted relative to the endpoint's own average loss, so that what other endpoints taught is a prior for a
//! new one. Weights are a power of the inverse loss: free of scale, and no rate to tune.

use serde::{Deserialize, Serialize};

use super::levels::{LEVELS, Levels, MEDIAN, losses};

/// Where a prediction comes from, coarse to fine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(usize)]
pub(crate) enum Layer {
    /// All requests of the workload.
    Pooled,
    /// Those of the endpoint.
    Endpoint,
    /// Those of the endpoint of similar size.
    Near,
    /// A power law of the parameters.
    Power,
    /// A fixed part and a rate.
    Affine,
    /// Boosted trees.
    Trees,
}

/// Number of layers.
pub(crate) const LAYERS: usize = 6;

/// What each layer says; `None` where it has nothing to say yet.
pub(crate) type Said = [Option<Levels>; LAYERS];

/// Losses of the layers at one endpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Choice {
    /// Fading sums of relative losses.
    losses: [[f32; LAYERS]; PARTS],
    /// Fading counts of them.
    counts: [f32; LAYERS],
    /// Fading sums of the average loss over the layers, and their count.
    scale: [f32; PARTS],
    scale_count: f32,
}

impl Choice {
    pub(crate) fn new() -> Choice {
        Choice {
            losses: [[0.0; LAYERS]; PARTS],
            counts: [0.0; LAYERS],
            scale: [0.0; PARTS],
            scale_count: 0.0,
        }
    }

    /// Mean relative loss of each layer, or what is expected of it.
    pub(crate) fn means(&self, expected: &[[f64; LAYERS]; PARTS]) -> [[f64; LAYERS]; PARTS] {
        std::array::from_fn(|part| {
            std::array::from_fn(|layer| {
                let count = f64::from(self.counts[layer]);
                (f64::from(self.losses[part][layer]) + EXPECTED_COUNT * expected[part][layer])
                    / (count + EXPECTED_COUNT)
            })
        })
    }

    /// Takes what came. `said` must have been said before.
    pub(crate) fn learn(&mut self, said: &Said, cost: f64) {
        let mut parts = [[0.0; LAYERS]; PARTS];
        for (layer, levels) in said.iter().enumerate() {
            if let Some(levels) = levels {
                for (k, loss) in losses(levels, cost).into_iter().enumerate() {
                    parts[part_of(k)][layer] += loss * IMPORTANCE[k];
                }
            }
        }
        let speaking = said.iter().filter(|levels| levels.is_some()).count() as f64;
        if speaking == 0.0 {
            return;
        }
        self.scale_count = self.scale_count * FADING + 1.0;
        for (part, losses) in parts.iter().enumerate() {
            let average = losses.iter().sum::<f64>() / speaking;
            self.scale[part] = self.scale[part] * FADING + average as f32;
            let scale = f64::from(self.scale[part] / self.scale_count).max(SCALE_MIN);
            for (layer, &loss) in losses.iter().enumerate().filter(|(layer, _)| said[*layer].is_some()) {
                // A single loss never counts more than a few average ones.
                let relative = (loss / scale).min(RELATIVE_MAX);
                self.losses[part][layer] = self.losses[part][layer] * FADING + relative as f32;
            }
        }
        for (count, _) in self.counts.iter_mut().zip(said).filter(|(_, levels)| levels.is_some()) {
            *count = *count * FADING + 1.0;
        }
    }

    /// One prediction from all that is said. `None` when nothing is.
    pub(crate) fn mix(&self, said: &Said, expected: &[[f64; LAYERS]; PARTS]) -> Option<Levels> {
        let means = self.means(expected);
        let (mut mixed, mut any) = ([0.0; LEVELS], false);
        let weights: [[f64; LAYERS]; PARTS] = means.map(|means| {
            let weights: [f64; LAYERS] = std::array::from_fn(|layer| match said[layer] {
                Some(_) => means[layer].max(MEAN_MIN).powi(-SHARPNESS),
                None => 0.0,
            });
            let sum: f64 = weights.iter().sum();
            weights.map(|weight| if sum > 0.0 { weight / sum } else { 0.0 })
        });
        for (layer, levels) in said.iter().enumerate() {
            if let Some(levels) = levels {
                any = true;
                for (k, mixed) in mixed.iter_mut().enumerate() {
                    *mixed += weights[part_of(k)][layer] * levels[k];
                }
            }
        }
        any.then(|| {
            super::levels::make_monotone(&mut mixed);
            mixed
        })
    }
}

/// What is expected of layers before anything is known: all alike.
pub(crate) const ALIKE: [[f64; LAYERS]; PARTS] = [[1.0; LAYERS]; PARTS];

/// Below, at and above the median: a layer may be good at one and bad at another.
pub(crate) const PARTS: usize = 3;

fn part_of(level: usize) -> usize {
    match level.cmp(&MEDIAN) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => 1,
        std::cmp::Ordering::Greater => 2,
    }
}

/// Far quantiles have small losses; these make the losses of a normal distribution about alike.
const IMPORTANCE: Levels = [4.6, 3.3, 2.3, 2.0, 2.3, 3.3, 4.6, 6.4, 10.0, 14.2, 31.6];
/// A loss a hundred requests ago counts about a third.
const FADING: f32 = 0.99;
/// Losses that an expectation counts for.
const EXPECTED_COUNT: f64 = 4.0;
const SHARPNESS: i32 = 16;
const RELATIVE_MAX: f64 = 20.0;
const MEAN_MIN: f64 = 1e-3;
const SCALE_MIN: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layer_with_the_smaller_losses_is_believed() {
        let mut choice = Choice::new();
        let mut said: Said = [None; LAYERS];
        said[Layer::Endpoint as usize] = Some([0.0; LEVELS]);
        said[Layer::Power as usize] = Some([1.0; LEVELS]);
        for _ in 0..50 {
            choice.learn(&said, 1.05);
        }
        let mixed = choice.mix(&said, &ALIKE).unwrap();
        assert!(mixed.iter().all(|&level| level > 0.95), "{mixed:?}");
        assert_eq!(choice.mix(&[None; LAYERS], &ALIKE), None);
    }
}
