//! Intervals from realised errors: what a model that only says a middle said in the past, and what came.
//!
//! Beside [`Bands`], which keep errors by distance ahead, this knows that some hours are wilder than others: errors are
//! divided by a scale before they are kept, and multiplied by the scale of their hour when they are used. Which scale
//! describes the errors best (none, the hour of the season, the level that was said) is decided by likelihood.
//!
//! The errors must come from forecasts that knew nothing of what they forecast; this module cannot check that.

use serde::{Deserialize, Serialize};

use super::Bands;
use crate::paths::Values;

/// What was said at one moment of the past, at each of the distances of [`Bands::aheads`].
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// Place in the history of the first step that was not known.
    pub(super) next: usize,
    /// The middle said for `next + ahead - 1`, for each distance.
    pub(super) said: Vec<f32>,
}

/// Realised errors, and how their size depends on the moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Realised {
    bands: Bands,
    scale: Scale,
    /// Steps of the history that forecasts were made in.
    span: usize,
}

/// What the size of errors depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Scale {
    /// Nothing.
    Even,
    /// The place in a season: one size for each of evenly long parts of it.
    Phase { period: usize, sizes: Vec<f32> },
    /// The level: (what is said + `base`) to the `power`.
    Level { base: f32, power: f32 },
}

/// One error with what its scale may depend on.
struct Case {
    place: usize,
    step: u64,
    said: f32,
    error: f32,
}

impl Realised {
    /// Compares what was said with what came. `values[0]` is at step `first`; `period` is the season whose hours may
    /// differ; `bands` are empty and give the distances.
    pub(super) fn new(
        origins: &[Origin],
        values: &[f32],
        first: u64,
        period: Option<usize>,
        mut bands: Bands,
    ) -> Realised {
        let mut cases = Vec::with_capacity(origins.len() * bands.aheads().len());
        for origin in origins {
            for (place, (&ahead, &said)) in bands.aheads().iter().zip(&origin.said).enumerate() {
                let index = origin.next + ahead - 1;
                let Some(&value) = values.get(index) else { break };
                let error = value - said;
                if error.is_finite() {
                    cases.push(Case { place, step: first + index as u64, said, error });
                }
            }
        }
        let scale = Scale::choose(&cases, period);
        for case in &cases {
            let size = scale.at(case.step, f64::from(case.said));
            bands.add(case.place, (f64::from(case.error) / size) as f32);
        }
        let span = origins.last().zip(origins.first()).map_or(0, |(last, first)| last.next - first.next);
        Realised { bands, scale, span }
    }

    /// Quantiles around a path that begins at `step`; not below zero where `non_negative`.
    pub(super) fn around(&self, middle: &[f64], step: u64, quantiles: &[f64], non_negative: bool) -> Values {
        let floor = if non_negative { 0.0 } else { f64::NEG_INFINITY };
        let size = |h: usize| {
            let said = middle.get(h).copied().unwrap_or(0.0);
            self.scale.at(step + h as u64, said) * self.unseen(h + 1)
        };
        self.bands.around(middle, size, quantiles, floor)
    }

    /// How much wider than the errors seen an interval must be, because few were: errors of far forecasts that overlap are
    /// one error seen often. About the ratio of Student's quantile to the normal one, one degree of freedom for each time
    /// the distance fits into the history.
    fn unseen(&self, ahead: usize) -> f64 {
        let independent = (self.span / ahead).max(1) as f64;
        if self.span == 0 { 1.0 } else { 1.0 + 1.1 / (independent + 0.5) }
    }

    /// Bytes of memory held, at most.
    pub(super) fn bytes(&self) -> usize {
        let sizes = match &self.scale {
            Scale::Even | Scale::Level { .. } => 0,
            Scale::Phase { sizes, .. } => sizes.len() * 4,
        };
        self.bands.aheads().len() * ERRORS_KEPT * 4 + sizes
    }
}

impl Scale {
    /// Size of errors at a step where `said` is said; above zero.
    fn at(&self, step: u64, said: f64) -> f64 {
        match self {
            Scale::Even => 1.0,
            Scale::Phase { period, sizes } => {
                f64::from(sizes[place_of(step, *period, sizes.len())]).max(f64::MIN_POSITIVE)
            }
            Scale::Level { base, power } => {
                (said.max(0.0) + f64::from(*base)).powf(f64::from(*power)).max(f64::MIN_POSITIVE)
            }
        }
    }

    /// The scale under which the errors are likeliest, as Laplace errors whose common size is free.
    fn choose(cases: &[Case], period: Option<usize>) -> Scale {
        let n = cases.len() as f64;
        let mean_size = cases.iter().map(|case| f64::from(case.error.abs())).sum::<f64>() / n.max(1.0);
        let mean_said = cases.iter().map(|case| f64::from(case.said.max(0.0))).sum::<f64>() / n.max(1.0);
        let known = mean_size > f64::from(f32::MIN_POSITIVE) && mean_size < f64::from(f32::MAX) / 1e3;
        if cases.len() < CASES_MIN || !known {
            return Scale::Even;
        }
        let mut scales = vec![Scale::Even];
        if let Some(period) = period.filter(|&period| period >= 2 * PARTS_MIN) {
            scales.push(Scale::by_phase(cases, period, mean_size));
        }
        let base = (0.1 * mean_said).max(0.01 * mean_size) as f32;
        scales.extend([0.5, 1.0].map(|power| Scale::Level { base, power }));
        let cost = |scale: &Scale| {
            let (mut logs, mut sizes) = (0.0, 0.0);
            for case in cases {
                let size = scale.at(case.step, f64::from(case.said));
                logs += size.ln();
                sizes += f64::from(case.error.abs()) / size;
            }
            let cost = logs / n + (sizes / n).ln();
            let by_chance = if *scale == Scale::Even { 0.0 } else { BY_CHANCE };
            if cost.is_finite() { cost + by_chance } else { f64::INFINITY }
        };
        let costs: Vec<f64> = scales.iter().map(cost).collect();
        let best = (0..scales.len()).min_by(|&a, &b| costs[a].total_cmp(&costs[b])).unwrap_or(0);
        scales.swap_remove(best)
    }

    fn by_phase(cases: &[Case], period: usize, mean_size: f64) -> Scale {
        let parts = (cases.len() / CASES_PER_PART).clamp(PARTS_MIN, PARTS_MAX).min(period);
        let mut sums = vec![(0.0, 0.0); parts];
        for case in cases {
            let (sum, n) = &mut sums[place_of(case.step, period, parts)];
            *sum += f64::from(case.error.abs());
            *n += 1.0;
        }
        // Drawn to the common size, so that a part of few errors is not believed too much.
        let sizes = sums.iter().map(|(sum, n)| {
            let drawn = (sum + PRIOR * mean_size) / (n + PRIOR);
            drawn.max(SIZE_MIN * mean_size) as f32
        });
        Scale::Phase { period, sizes: sizes.collect() }
    }
}

fn place_of(step: u64, period: usize, parts: usize) -> usize {
    let phase = (step % period.max(1) as u64) as usize;
    (phase * parts / period.max(1)).min(parts.saturating_sub(1))
}

/// Errors that [`Bands`] keep for each distance.
const ERRORS_KEPT: usize = 1024;
/// With fewer errors no scale can be told from another.
const CASES_MIN: usize = 200;
const CASES_PER_PART: usize = 60;
const PARTS_MIN: usize = 6;
const PARTS_MAX: usize = 24;
/// Errors of the common size that each part begins with.
const PRIOR: f64 = 20.0;
/// Smallest size of a part, in common sizes.
const SIZE_MIN: f64 = 0.05;
/// Gain in mean log likelihood that a scale shows by chance: errors of neighbouring origins are alike.
const BY_CHANCE: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(n: usize, bands: &Bands, said: impl Fn(usize) -> f32) -> Vec<Origin> {
        (0..n)
            .map(|next| Origin {
                next,
                said: bands.aheads().iter().map(|ahead| said(next + ahead - 1)).collect(),
            })
            .collect()
    }

    #[test]
    fn wild_hours_get_wide_intervals_and_quiet_ones_narrow_ones() {
        let mut rng = fastrand::Rng::with_seed(1);
        let values: Vec<f32> =
            (0..4000).map(|i| 10.0 + if i % 48 < 24 { 4.0 } else { 0.5 } * (rng.f32() - 0.5)).collect();
        let bands = Bands::new(12);
        let said = origins(3900, &bands, |_| 10.0);
        let realised = Realised::new(&said, &values, 0, Some(48), bands);
        let paths = realised.around(&[10.0; 48], 0, &[0.05, 0.95], true);
        assert!((paths[10][1] - paths[10][0] - 3.6).abs() < 0.5, "{:?}", &paths[10]);
        assert!((paths[40][1] - paths[40][0] - 0.45).abs() < 0.1, "{:?}", &paths[40]);
    }

    #[test]
    fn errors_that_grow_with_the_level_are_scaled_by_it() {
        let mut rng = fastrand::Rng::with_seed(2);
        let level = |i: usize| if (i / 100).is_multiple_of(2) { 10.0 } else { 100.0 };
        let values: Vec<f32> = (0..4000).map(|i| level(i) * (0.75 + 0.5 * rng.f32())).collect();
        let bands = Bands::new(4);
        let said = origins(3900, &bands, level);
        let realised = Realised::new(&said, &values, 0, None, bands);
        let paths = realised.around(&[10.0, 100.0], 0, &[0.95], true);
        assert!((paths[0][0] - 12.2).abs() < 1.0 && (paths[1][0] - 122.5).abs() < 4.0, "{paths:?}");
    }

    #[test]
    fn without_errors_the_middle_is_all_there_is() {
        let realised = Realised::new(&[], &[], 0, Some(24), Bands::new(10));
        assert_eq!(realised.around(&[3.0, -1.0], 5, &[0.1, 0.9], true)[0], [3.0, 3.0]);
        assert_eq!(realised.around(&[3.0, -1.0], 5, &[0.1, 0.9], true)[1], [0.0, 0.0]);
    }
}
