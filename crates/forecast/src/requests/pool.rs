//! What the endpoints of a workload teach a new one: how widely costs scatter, in what shape, and which layers are good.

use serde::{Deserialize, Serialize};

use super::choice::{ALIKE, LAYERS, PARTS};
use super::levels::{GRID, Levels, MEDIAN, shrink, weighted};

/// What all endpoints of a workload teach a new one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pool {
    /// Quantiles of the distance from the median in units of the typical one; the median is zero.
    shape: Levels,
    /// Log of the typical distance.
    spread: f64,
    /// Mean relative losses of the layers.
    pub(crate) losses: [[f64; LAYERS]; PARTS],
    /// Latest distances in units of the typical one, of which the shape is made.
    distances: Vec<f32>,
    next: usize,
}

impl Default for Pool {
    /// Before any request: costs mostly within a third of each other, tails as of a logistic distribution.
    fn default() -> Pool {
        let shape = GRID.map(|tau| 0.72 * (tau / (1.0 - tau)).ln());
        Pool { shape, spread: 0.3f64.ln(), losses: ALIKE, distances: Vec::new(), next: 0 }
    }
}

impl Pool {
    /// Typical distance of `n` costs from their median, whose log was found to be `spread`: drawn to the pool's,
    /// geometrically.
    pub(crate) fn typical(&self, n: f64, spread: f64) -> f64 {
        // One cost has no spread.
        let n = (n - 1.0).max(0.0);
        ((n * spread + SPREAD_PRIOR * self.spread) / (n + SPREAD_PRIOR)).exp()
    }

    /// Draws the quantiles of `n` costs to the pool's shape as far as they are few.
    pub(crate) fn shrink(&self, levels: &mut Levels, n: f64, spread: f64) {
        let typical = self.typical(n, spread);
        shrink(levels, n, &self.shape.map(|shape| shape * typical));
    }

    /// Learns from a request at an endpoint: its distance from the median in units of the typical one, the log of that,
    /// and the endpoint's losses.
    pub(crate) fn learn(&mut self, distance: f64, spread: f64, losses: &[[f64; LAYERS]; PARTS]) {
        let rate = 1.0 / (self.distances.len() as f64 + 1.0);
        self.spread += rate * (spread - self.spread);
        for (pooled, endpoint) in self.losses.iter_mut().flatten().zip(losses.iter().flatten()) {
            *pooled += LOSS_RATE * (endpoint - *pooled);
        }
        let distance = distance.clamp(-DISTANCE_MAX, DISTANCE_MAX) as f32;
        if self.distances.len() < MEMORY {
            self.distances.push(distance);
        } else {
            self.distances[self.next] = distance;
        }
        self.next = (self.next + 1) % MEMORY;
        if self.next.is_multiple_of(REFRESH) {
            self.refresh();
        }
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.distances.capacity() * size_of::<f32>()
    }

    fn refresh(&mut self) {
        let mut sorted = self.distances.clone();
        sorted.sort_by(f32::total_cmp);
        if let Some((mut shape, worth)) = weighted(sorted.iter().map(|&distance| (f64::from(distance), 1.0)))
        {
            shrink(&mut shape, worth, &Pool::default().shape);
            self.shape = shape.map(|level| level - shape[MEDIAN]);
        }
    }
}

/// Log of the mean size.
pub(crate) fn typical(distances: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = distances.fold((0.0, 0.0), |(sum, n), distance| (sum + distance.abs(), n + 1.0));
    (sum / f64::max(n, 1.0)).max(SPREAD_MIN).ln()
}

/// Samples that the pool's spread counts for.
const SPREAD_PRIOR: f64 = 3.0;
/// A ten-thousandth: costs that vary less are the same.
const SPREAD_MIN: f64 = 1e-4;
/// Distances that the shape is made of.
const MEMORY: usize = 1024;
/// It is made anew after as many.
const REFRESH: usize = 32;
const LOSS_RATE: f64 = 0.01;
const DISTANCE_MAX: f64 = 50.0;
