//! What is known of one endpoint: its latest requests, the layers that speak from them, how far each is believed, and the
//! offset that keeps its coverage.

use serde::{Deserialize, Serialize};

use super::choice::{ALIKE, Choice, LAYERS, Layer, PARTS, Said};
use super::levels::{Levels, MEDIAN, shrink, weighted};
use super::line::{Affine, Power, main_number};
use super::offset::Offset;
use super::parameters::Row;
use super::window::{Sample, Window};

/// What all endpoints of a workload teach a new one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pool {
    /// Quantiles of the distance from the median in units of the typical one; the median is zero.
    pub(crate) shape: Levels,
    /// Log of the typical distance.
    pub(crate) spread: f64,
    /// Mean relative losses of the layers.
    pub(crate) losses: [[f64; LAYERS]; PARTS],
}

impl Default for Pool {
    /// Before any request: costs mostly within a third of each other, tails as of a logistic distribution.
    fn default() -> Pool {
        let shape = super::levels::GRID.map(|tau| 0.72 * (tau / (1.0 - tau)).ln());
        Pool { shape, spread: 0.3f64.ln(), losses: ALIKE }
    }
}

/// One endpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    window: Window,
    /// Quantiles of the window, and their worth.
    tracked: Option<(Levels, f64)>,
    /// Log of the typical distance from the median.
    spread: f64,
    /// The number that similar size is measured by, and the width of "similar".
    near: Option<(usize, f64)>,
    power: Option<(Power, Levels, f64)>,
    affine: Option<(Affine, Levels, f64)>,
    pub(crate) choice: Choice,
    pub(crate) offset: Offset,
    seen: u64,
    fitted_at: u64,
}

impl Endpoint {
    pub(crate) fn new(window: usize) -> Endpoint {
        Endpoint {
            window: Window::new(window),
            tracked: None,
            spread: 0.0,
            near: None,
            power: None,
            affine: None,
            choice: Choice::new(),
            offset: Offset::new(),
            seen: 0,
            fitted_at: 0,
        }
    }

    /// Requests learned.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// What each layer but the pooled one and the trees says.
    pub(crate) fn say(&self, row: &Row, pool: &Pool, said: &mut Said) {
        let Some((tracked, worth)) = &self.tracked else { return };
        let scale = blend(self.spread, *worth, pool);
        let mut endpoint = *tracked;
        shrink(&mut endpoint, *worth, &pool.shape.map(|shape| shape * scale));
        said[Layer::Near as usize] = self.near(row, &endpoint);
        said[Layer::Endpoint as usize] = Some(endpoint);
        if let Some((power, residuals, spread)) = &self.power {
            let n = power.residuals().len() as f64;
            said[Layer::Power as usize] = Some(around(power.middle(row), residuals, n, *spread, pool));
        }
        if let Some((affine, residuals, spread)) = &self.affine {
            let n = affine.residuals().len() as f64;
            said[Layer::Affine as usize] =
                affine.middle(row).map(|middle| around(middle, residuals, n, *spread, pool));
        }
    }

    /// How far the latest cost was from the endpoint's median, in units of the typical distance; with the log of that
    /// distance. `None` at the first request.
    pub(crate) fn standardised(&self, cost: f64, pool: &Pool) -> Option<(f64, f64)> {
        let (tracked, worth) = self.tracked.as_ref()?;
        let scale = blend(self.spread, *worth, pool);
        Some(((cost - tracked[MEDIAN]) / scale, self.spread))
    }

    /// Takes a request into the window, and fits again now and then.
    pub(crate) fn learn(&mut self, sample: Sample) {
        self.window.push(sample);
        self.seen += 1;
        let costs = || self.window.by_cost().map(|sample| f64::from(sample.cost));
        self.tracked = weighted(costs().map(|cost| (cost, 1.0)));
        if let Some((levels, _)) = &self.tracked {
            self.spread = typical(costs().map(|cost| cost - levels[MEDIAN]));
        }
        let n = self.window.len() as u64;
        if self.seen - self.fitted_at >= (n / REFITS_PER_WINDOW).max(1) {
            self.fitted_at = self.seen;
            self.fit();
        }
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.window.bytes()
            + self.power.as_ref().map_or(0, |(power, ..)| power.bytes())
            + self.affine.as_ref().map_or(0, |(affine, ..)| affine.bytes())
    }

    fn fit(&mut self) {
        let samples = self.window.samples();
        let n = samples.len() as f64;
        let main = main_number(samples);
        self.near = main.map(|(number, deviation)| (number, NEAR_WIDTH * deviation * n.powf(-0.2)));
        self.power = Power::fit(samples).and_then(|power| {
            let (levels, spread) = summary(power.residuals())?;
            Some((power, levels, spread))
        });
        self.affine = main.and_then(|(number, _)| Affine::fit(samples, number)).and_then(|affine| {
            let (levels, spread) = summary(affine.residuals())?;
            Some((affine, levels, spread))
        });
    }

    /// Requests of similar size, drawn to the endpoint's as far as they are few.
    fn near(&self, row: &Row, endpoint: &Levels) -> Option<Levels> {
        let (number, width) = self.near?;
        let size = row.numeric[number];
        if !size.is_finite() {
            return None;
        }
        let width = width as f32;
        let similar = self.window.by_cost().map(|sample| {
            let distance = (sample.row.numeric[number] - size) / width;
            // Epanechnikov's kernel; a missing number is similar to none.
            (f64::from(sample.cost), f64::from((1.0 - distance * distance).max(0.0)))
        });
        let Some((mut levels, worth)) = weighted(similar) else { return Some(*endpoint) };
        let middle = endpoint[MEDIAN];
        shrink(&mut levels, worth, &endpoint.map(|level| level - middle));
        let belief = worth / (worth + NEAR_NEEDED);
        for (level, endpoint) in levels.iter_mut().zip(endpoint) {
            *level = belief * *level + (1.0 - belief) * endpoint;
        }
        Some(levels)
    }
}

/// Residual quantiles around a middle.
fn around(middle: f64, residuals: &Levels, n: f64, spread: f64, pool: &Pool) -> Levels {
    let scale = blend(spread, n, pool);
    let mut levels = *residuals;
    shrink(&mut levels, n, &pool.shape.map(|shape| shape * scale));
    levels.map(|level| middle + level)
}

/// Typical distance from `n` samples and from the pool, geometrically.
fn blend(log_spread: f64, n: f64, pool: &Pool) -> f64 {
    // One sample has no spread.
    let n = (n - 1.0).max(0.0);
    ((n * log_spread + SPREAD_PRIOR * pool.spread) / (n + SPREAD_PRIOR)).exp()
}

/// Quantiles of rising residuals and the log of their typical size.
fn summary(residuals: &[f32]) -> Option<(Levels, f64)> {
    let (levels, _) = weighted(residuals.iter().map(|&residual| (f64::from(residual), 1.0)))?;
    let spread = typical(residuals.iter().map(|&residual| f64::from(residual) - levels[MEDIAN]));
    Some((levels, spread))
}

/// Log of the mean size.
fn typical(distances: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = distances.fold((0.0, 0.0), |(sum, n), distance| (sum + distance.abs(), n + 1.0));
    (sum / f64::max(n, 1.0)).max(SPREAD_MIN).ln()
}


/// How often the regressions are fitted while the window is turned over once.
const REFITS_PER_WINDOW: u64 = 12;
/// Width of "similar" in deviations of the size, for one sample; falls with the fifth root of the samples.
const NEAR_WIDTH: f64 = 1.5;
/// As many similar requests count half.
const NEAR_NEEDED: f64 = 3.0;
/// Samples that the pool's spread counts for.
const SPREAD_PRIOR: f64 = 3.0;
/// A ten-thousandth: costs that vary less are the same.
const SPREAD_MIN: f64 = 1e-4;
