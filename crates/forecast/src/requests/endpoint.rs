//! What is known of one endpoint: its latest requests, the layers that speak from them, how far each is believed, and the
//! offset that keeps its coverage.

use serde::{Deserialize, Serialize};

use super::boosted::Boosted;
use super::choice::{Choice, Layer, Said};
use super::levels::{Levels, MEDIAN, shrink, weighted};
use super::line::{Line, main_number};
use super::offset::Offset;
use super::parameters::Row;
use super::pool::{Pool, typical};
use super::window::{Sample, Window};

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
    power: Option<Line>,
    affine: Option<Line>,
    /// The line with the smaller residuals.
    better: Option<Layer>,
    trees: Option<Boosted>,
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
            better: None,
            trees: None,
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

    /// What each layer but the pooled one says.
    pub(crate) fn say(&self, row: &Row, pool: &Pool, said: &mut Said) {
        let Some((tracked, worth)) = &self.tracked else { return };
        let mut endpoint = *tracked;
        pool.shrink(&mut endpoint, *worth, self.spread);
        let beyond = self.beyond(row);
        let at_the_edge = beyond.map_or(*row, |(edge, _)| edge);
        let excess = beyond.map_or(0.0, |(_, excess)| excess);
        let grown = |mut levels: Levels, already: f64| {
            grow(&mut levels, excess, already);
            Some(levels)
        };
        said[Layer::Endpoint as usize] = grown(endpoint, 0.0);
        let (mut middle, mut more, mut all) = (0.0, 0.0, endpoint);
        let lines = [self.power.as_ref(), self.affine.as_ref()];
        for (line, layer) in lines.into_iter().zip([Layer::Power, Layer::Affine]) {
            let Some(line) = line else { continue };
            let (Some(there), Some(edge)) = (line.middle(row), line.middle(&at_the_edge)) else { continue };
            let around = line.around(pool);
            said[layer as usize] = grown(around.map(|level| there + level), there - edge);
            // Similar requests are looked for at the edge, and the better line goes on from there.
            if self.better == Some(layer) {
                (middle, more, all) = (edge, there - edge, around.map(|level| edge + level));
            }
        }
        if let Some(trees) = &self.trees {
            let already = trees.middle(row) - trees.middle(&at_the_edge);
            said[Layer::Trees as usize] = grown(trees.levels(row), already);
        }
        let near = self.near.as_ref().and_then(|near| near.say(&at_the_edge, middle, &all));
        said[Layer::Near as usize] = near.and_then(|levels| grown(levels.map(|level| level + more), more));
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
        Some(((cost - tracked[MEDIAN]) / pool.typical(*worth, self.spread), self.spread))
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

    /// Puts trees in place.
    pub(crate) fn install(&mut self, trees: Boosted) {
        self.trees = Some(trees);
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.window.bytes()
            + self.near.as_ref().map_or(0, |near| near.known.capacity() * 8)
            + self.trees.as_ref().map_or(0, Boosted::bytes)
            + self.power.as_ref().map_or(0, Line::bytes)
            + self.affine.as_ref().map_or(0, Line::bytes)
    }

    fn fit(&mut self) {
        let samples = self.window.samples();
        let main = main_number(samples);
        self.power = Line::power(samples);
        self.affine = main.and_then(|(number, _)| Line::affine(samples, number));
        let spread = |line: &Option<Line>| line.as_ref().map_or(f64::INFINITY, |line| line.spread);
        let (power, affine) = (spread(&self.power), spread(&self.affine));
        let (line, better) = match (power <= affine, power.min(affine).is_finite()) {
            (_, false) => (None, None),
            (true, true) => (self.power.as_ref(), Some(Layer::Power)),
            (false, true) => (self.affine.as_ref(), Some(Layer::Affine)),
        };
        self.better = better;
        // While no number varies, the first is taken for the size.
        let size = main.or_else(|| samples.first()?.row.numeric[0].is_finite().then_some((0, 0.0)));
        self.near = size.map(|(number, deviation)| Near::new(samples, number, deviation, line));
    }
}

impl Near {
    /// Sizes by one number, which deviates so much.
    fn new(samples: &[Sample], number: usize, deviation: f64, line: Option<&Line>) -> Near {
        let mut known: Vec<(f32, f32)> = samples
            .iter()
            .filter(|sample| sample.row.numeric[number].is_finite())
            .filter_map(|sample| {
                let middle = line.map_or(Some(0.0), |line| line.middle(&sample.row))?;
                Some((sample.row.numeric[number], sample.cost - middle as f32))
            })
            .collect();
        known.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (smallest, largest) =
            known.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &(size, _)| {
                (low.min(size), high.max(size))
            });
        let width = (NEAR_WIDTH * deviation * (samples.len() as f64).powf(-0.2)).max(NEAR_WIDTH_MIN) as f32;
        let thinning = known.len().div_ceil(NEAR_KNOWN).max(1);
        let known = known.into_iter().skip(thinning / 2).step_by(thinning).collect();
        Near { number, width, smallest, largest, known }
    }

    /// Quantiles over the requests of similar size, drawn to those over all as far as they are few. `None` when the size
    /// is not known.
    fn say(&self, row: &Row, middle: f64, all: &Levels) -> Option<Levels> {
        let size = row.numeric[self.number];
        if !size.is_finite() {
            return None;
        }
        let similar = self.known.iter().map(|&(known, cost)| {
            let distance = (known - size) / self.width;
            // Epanechnikov's kernel.
            (f64::from(cost), f64::from((1.0 - distance * distance).max(0.0)))
        });
        let Some((mut levels, worth)) = weighted(similar) else { return Some(*all) };
        shrink(&mut levels, worth, &all.map(|level| level - all[MEDIAN]));
        let belief = worth / (worth + NEAR_NEEDED);
        for (level, all) in levels.iter_mut().zip(all) {
            *level = belief * (middle + *level) + (1.0 - belief) * all;
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
