//! What a forecaster answers: quantile paths, and the distribution of a window's maximum.
//!
//! Both are plain values. They promise to be finite and monotone in the quantile whatever was observed.

use std::ops::{Index, Range};
use std::time::Duration;

use crate::Timestamp;
use crate::calibration::{Curve, GRID, Place, Tail};

/// Quantiles of demand for consecutive future steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// End of the last observed step, which is the beginning of the first forecast step.
    pub issued_at: Timestamp,
    /// Length of one step.
    pub step: Duration,
    /// The quantiles asked for, each inside (0, 1), in the order asked.
    pub quantiles: Vec<f64>,
    /// `values[h][q]`: quantile `quantiles[q]` of step `h`, which begins at `issued_at + h * step`.
    pub values: Values,
    /// Which model made it: changes when the found seasons change.
    pub model_version: u64,
}

impl Forecast {
    /// When step `h` (from 0) begins.
    pub fn begins_at(&self, h: usize) -> Timestamp {
        self.issued_at + self.step.saturating_mul(u32::try_from(h).unwrap_or(u32::MAX))
    }

    /// Number of steps.
    pub fn steps(&self) -> usize {
        self.values.len()
    }
}

/// A table of `steps x quantiles` in one allocation; `values[h]` is the row of step `h`.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    width: usize,
    flat: Vec<f64>,
}

impl Values {
    /// All zero.
    pub fn zeros(steps: usize, width: usize) -> Values {
        Values { width, flat: vec![0.0; steps * width] }
    }

    /// The row of step `h`, to be filled.
    pub fn row_mut(&mut self, h: usize) -> &mut [f64] {
        &mut self.flat[h * self.width..(h + 1) * self.width]
    }

    /// Number of steps; zero when no quantile was asked for.
    pub fn len(&self) -> usize {
        self.flat.len().checked_div(self.width).unwrap_or(0)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.flat.is_empty()
    }

    /// One row per step.
    pub fn iter(&self) -> impl Iterator<Item = &[f64]> {
        self.flat.chunks_exact(self.width.max(1))
    }
}

impl Index<usize> for Values {
    type Output = [f64];

    fn index(&self, h: usize) -> &[f64] {
        &self.flat[h * self.width..(h + 1) * self.width]
    }
}

/// The largest value of the first step, of the first two and so on.
pub(crate) fn windows(curves: Vec<Curve>) -> Vec<WindowMax> {
    curves.into_iter().enumerate().map(|(h, curve)| WindowMax { steps: h + 1, curve }).collect()
}

/// Gives each step of paths that were drawn from the distributions `from` the distribution `to` has for it; both have a row
/// for each step with values at the grid. What is as improbable under the one becomes what is as improbable under the other.
///
/// Where much of a distribution is one value, such as zero, a path's place within that is drawn, and kept while the path stays
/// there: whoever is idle all night by one forecast is not busy at every other step by another.
pub(crate) fn recast(paths: &mut [Vec<f64>], from: &Values, to: &Values, seed: u64) {
    for (number, path) in paths.iter_mut().enumerate() {
        let mut dice = fastrand::Rng::with_seed(seed.wrapping_add(number as u64));
        let mut place: Option<f64> = None;
        for h in 0..from.len().min(to.len()) {
            let (from, to) = (&from[h], &to[h]);
            path[h] = match alike(path[h], from) {
                Some(range) => {
                    let place = *place.get_or_insert_with(|| dice.f64());
                    read(range.start + place * (range.end - range.start), to)
                }
                None => {
                    place = None;
                    recast_one(path[h], from, to)
                }
            };
        }
    }
}

/// The probabilities at which a distribution has this value, if they are more than one.
fn alike(value: f64, from: &[f64]) -> Option<Range<f64>> {
    let (least, most) = (from.partition_point(|&x| x < value), from.partition_point(|&x| x <= value));
    if most <= least + 1 {
        return None;
    }
    let below = if least == 0 { 0.0 } else { GRID[least] };
    let above = if most == GRID.len() { 1.0 } else { GRID[most - 1] };
    Some(below..above)
}

/// The quantile at `tau`, of values at the grid; nothing beyond its ends.
fn read(tau: f64, values: &[f64]) -> f64 {
    let within = tau.clamp(GRID[0], GRID[GRID.len() - 1]);
    Place::of(within).read(&std::array::from_fn(|k| values[k]), &Tail { scale: 0.0, shape: 0.0 })
}

/// Beyond the grid distances keep their proportion to the outermost known one.
fn recast_one(value: f64, from: &[f64], to: &[f64]) -> f64 {
    let last = from.len() - 1;
    let least = from.partition_point(|&x| x < value);
    if from.get(least) == Some(&value) {
        return to[least];
    }
    let upper = least.clamp(1, last);
    let width = from[upper] - from[upper - 1];
    let share = if width > 0.0 { ((value - from[upper - 1]) / width).clamp(-FAR, FAR) } else { 0.0 };
    let said = to[upper - 1] + share * (to[upper] - to[upper - 1]);
    if to[0] >= 0.0 { said.max(0.0) } else { said }
}

/// Nothing lies farther out than so many widths of the outermost stretch of the grid.
const FAR: f64 = 1e3;

/// A quantile whose place among those that are kept was worked out beforehand, for who reads the same one again and again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile(Place);

impl Quantile {
    /// Of `tau`; values outside (0, 1) are drawn in to the nearest quantile that exists.
    pub fn new(tau: f64) -> Quantile {
        Quantile(Place::of(tau))
    }
}

/// Distribution of the largest demand over the next few steps.
///
/// Held as values at fixed quantiles plus a generalised Pareto tail above the last of them, so that any quantile can be
/// read without asking the forecaster again.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowMax {
    pub(crate) steps: usize,
    pub(crate) curve: Curve,
}

impl WindowMax {
    /// Length of the window in steps.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The value that the maximum stays below with probability `tau`. Monotone in `tau`, always finite. Values outside
    /// (0, 1) are drawn in to the nearest quantile that exists.
    pub fn quantile(&self, tau: f64) -> f64 {
        self.curve.quantile(tau)
    }

    /// The same for a quantile whose place is known.
    pub fn at(&self, quantile: Quantile) -> f64 {
        self.curve.read(quantile.0)
    }

    /// The value that the maximum exceeds half of the time.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_improbable_here_is_as_improbable_there() {
        let from = [0.0, 10.0, 20.0];
        let to = [100.0, 101.0, 105.0];
        let moved = |value: f64| recast_one(value, &from, &to);
        assert_eq!([0.0, 5.0, 10.0, 15.0, 20.0].map(moved), [100.0, 100.5, 101.0, 103.0, 105.0]);
        assert_eq!(moved(30.0), 109.0);
        assert!(recast_one(1e300, &[0.0, 1.0, 1.0], &[0.0, 1.0, 5.0]).is_finite());
        assert_eq!(recast_one(-50.0, &from, &[0.0, 1.0, 2.0]), 0.0, "demand is never below zero");
    }
    #[test]
    fn who_is_idle_for_one_forecast_is_busy_for_another_as_often_as_that_says_and_for_as_long() {
        let rows = |row: [f64; GRID.len()]| {
            let mut rows = Values::zeros(8, GRID.len());
            (0..8).for_each(|h| rows.row_mut(h).copy_from_slice(&row));
            rows
        };
        let (idle, often_busy) =
            (rows([0.0; GRID.len()]), rows(GRID.map(|tau| if tau > 0.7 { 5.0 } else { 0.0 })));
        let mut paths = vec![vec![0.0; 8]; 2000];
        recast(&mut paths, &idle, &often_busy, 1);
        let busy = paths.iter().filter(|path| path[0] > 4.9).count();
        assert!((400..700).contains(&busy), "{busy}");
        assert!(paths.iter().all(|path| path.iter().all(|value| *value == path[0])));
    }
}
