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

/// Requests by their size.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Near {
    /// The number that size is measured by.
    number: usize,
    /// Width of "similar".
    width: f32,
    smallest: f32,
    largest: f32,
    /// Sizes and costs of requests, cheapest first; thinned out evenly when they are many.
    known: Vec<(f32, f32)>,
}

/// One endpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    window: Window,
    /// Quantiles of the window, and their worth.
    tracked: Option<(Levels, f64)>,
    /// Log of the typical distance from the median.
    spread: f64,
    near: Option<Near>,
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
        let beyond = self.beyond(row);
        let at_the_edge = beyond.map_or(*row, |(edge, _)| edge);
        let excess = beyond.map_or(0.0, |(_, excess)| excess);
        let grown = |mut levels: Levels, already: f64| {
            grow(&mut levels, excess, already);
            Some(levels)
        };
        said[Layer::Near as usize] = self.near(&at_the_edge, &endpoint).and_then(|levels| grown(levels, 0.0));
        said[Layer::Endpoint as usize] = grown(endpoint, 0.0);
        if let Some((power, residuals, spread)) = &self.power {
            let n = power.residuals().len() as f64;
            let middle = power.middle(row);
            let already = if excess > 0.0 { middle - power.middle(&at_the_edge) } else { 0.0 };
            said[Layer::Power as usize] = grown(around(middle, residuals, n, *spread, pool), already);
        }
        if let Some((affine, residuals, spread)) = &self.affine {
            let n = affine.residuals().len() as f64;
            said[Layer::Affine as usize] = affine.middle(row).and_then(|middle| {
                let already = if excess > 0.0 { middle - affine.middle(&at_the_edge)? } else { 0.0 };
                grown(around(middle, residuals, n, *spread, pool), already)
            });
        }
    }

    /// When a request is larger than all that were seen: the same at the largest size seen, and the log of how many times
    /// larger it is, as far as that makes it unknown.
    fn beyond(&self, row: &Row) -> Option<(Row, f64)> {
        let near = self.near.as_ref()?;
        let excess = f64::from(row.numeric[near.number] - near.largest);
        (excess > 0.0).then(|| {
            let mut edge = *row;
            edge.numeric[near.number] = near.largest;
            // What was learned over a wide range of sizes may be believed as far again.
            let seen = f64::from(near.largest - near.smallest).max(f64::MIN_POSITIVE);
            (edge, excess.min(EXCESS_MAX) * (excess / seen).min(1.0))
        })
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
            + self.near.as_ref().map_or(0, |near| near.known.capacity() * 8)
            + self.power.as_ref().map_or(0, |(power, ..)| power.bytes())
            + self.affine.as_ref().map_or(0, |(affine, ..)| affine.bytes())
    }

    fn fit(&mut self) {
        let samples = self.window.samples();
        let n = samples.len() as f64;
        let main = main_number(samples);
        // While no number varies, the first is taken for the size.
        let size = main.or_else(|| samples.first()?.row.numeric[0].is_finite().then_some((0, 0.0)));
        self.near = size.map(|(number, deviation)| {
            let known = || {
                let all = self.window.by_cost().map(|sample| (sample.row.numeric[number], sample.cost));
                all.filter(|(size, _)| size.is_finite())
            };
            let (smallest, largest) = known()
                .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), (size, _)| (low.min(size), high.max(size)));
            let width = (NEAR_WIDTH * deviation * n.powf(-0.2)).max(NEAR_WIDTH_MIN) as f32;
            let thinning = known().count().div_ceil(NEAR_KNOWN).max(1);
            let known = known().skip(thinning / 2).step_by(thinning).collect();
            Near { number, width, smallest, largest, known }
        });
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
        let near = self.near.as_ref()?;
        let size = row.numeric[near.number];
        if !size.is_finite() {
            return None;
        }
        let similar = near.known.iter().map(|&(known, cost)| {
            let distance = (known - size) / near.width;
            // Epanechnikov's kernel.
            (f64::from(cost), f64::from((1.0 - distance * distance).max(0.0)))
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

/// Beyond the largest size seen nobody knows how the cost goes on: thought to be somewhere between not at all and in
/// proportion to the size. Raises the upper quantiles to that unless they have grown so much `already`.
fn grow(levels: &mut Levels, excess: f64, already: f64) {
    if excess > 0.0 {
        for (level, tau) in levels.iter_mut().zip(super::levels::GRID).skip(MEDIAN + 1) {
            *level += (tau * excess - already).max(0.0);
        }
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
/// Sizes beyond the largest by more than this (in log) count as this.
const EXCESS_MAX: f64 = 3.0;
/// Sizes that differ by less are the same.
const NEAR_WIDTH_MIN: f64 = 1e-3;
/// Most requests that similar ones are looked for among: keeps a prediction cheap.
const NEAR_KNOWN: usize = 256;
/// As many similar requests count half.
const NEAR_NEEDED: f64 = 3.0;
/// Samples that the pool's spread counts for.
const SPREAD_PRIOR: f64 = 3.0;
/// A ten-thousandth: costs that vary less are the same.
const SPREAD_MIN: f64 = 1e-4;
