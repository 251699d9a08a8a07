//! Online conformal calibration of one target.
//!
//! Standardised residuals are counted in a fading histogram, which gives any quantile at once and monotone; above the
//! part that enough residuals support, a generalised Pareto tail is fitted to the exceedances. On top of it each tracked
//! quantile adapts the *probability* it reads (adaptive conformal inference, Gibbs and Candes 2021), in log odds so that a
//! quantile of 0.999 adapts as naturally as the median: a miss raises it at once, the absence of misses lowers it slowly.
//! So coverage returns to nominal whatever the residuals do, and far quantiles need no thousands of exceedances.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::curve::{GRID, MEDIAN, Tail, make_monotone};
use crate::narrow::{exponential, larger, pack, smaller, unpack};

/// Standardised residuals of one target and the quantiles read from them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Residuals {
    /// Weights by bin, in whole numbers: all together always fit into 16 bits.
    #[serde(with = "bins")]
    bins: [u16; BINS],
    total: u32,
    count: u16,
    /// Weight of the next residual; grows so that old ones fade.
    gain: f32,
    growth: f32,
    /// Step of adaptation, in log odds per unit of miscoverage.
    pace: f32,
    /// Correction of the probability read for each adapted grid point, in log odds.
    nudges: [f32; ADAPTED],
    /// The same for each side, quick to come and to go: misses that come together, as after a shift of the level, are
    /// answered at once, and the slow ones need not make up for it (the proportional part of conformal PID control,
    /// Angelopoulos, Candes and Tibshirani 2023).
    surges: [f32; 2],
    values: [f32; GRID.len()],
    /// The adapted ones among them.
    issued: Issued,
    tail_scale: f32,
    tail_shape: f32,
    since_refresh: u8,
    /// Width of what was expected before the first residual, in parts of [`SPREAD_UNIT`].
    prior_spread: u8,
}

/// Adapted quantiles as they are kept with a forecast.
pub(crate) type Issued = [u16; ADAPTED];

impl Residuals {
    /// Expects residuals of a target so many steps `ahead` at first, which wander farther the farther it is; `memory` is
    /// how many residuals count fully. `overlap` is how many forecasts are under way at any time: their misses come
    /// together and say the same, so each counts less.
    pub(crate) fn new(ahead: usize, memory: f64, overlap: f64) -> Residuals {
        let spread = PRIOR_SPREAD * (ahead as f64 / WANDERS_FROM).sqrt().clamp(1.0, 4.0);
        let prior_spread = (spread / SPREAD_UNIT).round() as u8;
        let mut residuals = Residuals {
            bins: std::array::from_fn(|bin| prior_weight(bin, prior_spread, PRIOR_WEIGHT)),
            prior_spread,
            pace: (PACE / overlap.max(1.0)) as f32,
            gain: GAIN_FIRST,
            growth: (1.0 + 1.0 / memory) as f32,
            total: 0,
            count: 0,
            nudges: [0.0; ADAPTED],
            surges: [0.0; 2],
            values: [0.0; GRID.len()],
            issued: [0; ADAPTED],
            tail_scale: 0.0,
            tail_shape: 0.0,
            since_refresh: 0,
        };
        residuals.count_total();
        residuals.refresh();
        residuals
    }

    /// Takes over what another model of the same series learned about its errors, but holds it lightly.
    pub(crate) fn inherit(&mut self, other: &Residuals) {
        if other.count > INHERITED_FROM {
            let held = (other.total as f32 / other.gain).min(INHERITED);
            *self = Residuals { gain: other.total as f32 / held, ..other.clone() };
        }
    }

    /// How many residuals were learned.
    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    /// Quantiles of the standardised residual at the grid.
    pub(crate) fn values(&self) -> [f64; GRID.len()] {
        self.values.map(f64::from)
    }

    /// The tail above the last of them.
    pub(crate) fn tail(&self) -> Tail {
        Tail { scale: f64::from(self.tail_scale), shape: f64::from(self.tail_shape) }
    }

    /// Answers a residual at once, before it is [learned](Self::learn).
    pub(crate) fn surge(&mut self, residual: f32, issued: &Issued) {
        for (surge, k) in self.surges.iter_mut().zip([LOWER, UPPER]) {
            let step = ADAPTED_TAU[k] - if residual > unpack(issued[k]) { 0.0 } else { 1.0 };
            *surge = (SURGE_KEPT * *surge + SURGE * self.pace * step).clamp(-SURGE_MAX, SURGE_MAX);
        }
    }

    /// Learns one standardised residual. `issued` is what was said when its forecast was made: only that can have been
    /// missed. Whether it was inside the 90 % interval.
    pub(crate) fn learn(&mut self, residual: f32, issued: &Issued) -> bool {
        if !residual.is_finite() {
            return false;
        }
        let said = issued.map(unpack);
        for k in 0..ADAPTED {
            let step = ADAPTED_TAU[k] - if residual > said[k] { 0.0 } else { 1.0 };
            self.nudges[k] = smaller(larger(self.nudges[k] + self.pace * step, -NUDGE_MAX), NUDGE_MAX);
        }
        // Below one unit of weight a residual would leave no trace.
        let weight = (self.gain + 0.5) as u32;
        if self.total + weight > u32::from(u16::MAX) {
            self.halve();
        }
        let weight = ((self.gain + 0.5) as u16).max(1);
        self.bins[bin_of(residual)] += weight;
        self.total += u32::from(weight);
        self.gain *= self.growth;
        self.count = self.count.saturating_add(1);
        if PRIOR_FADES.contains(&self.count) {
            self.fade_prior();
        }
        self.since_refresh += 1;
        let urgent = residual > said[URGENT];
        if urgent || u16::from(self.since_refresh) >= (1 + self.count / REFRESH_SHARE).min(REFRESH_EVERY) {
            self.refresh();
        }
        Residuals::is_inside(residual, issued)
    }

    /// Whether a residual is inside the 90 % interval that was said.
    #[inline]
    pub(crate) fn is_inside(residual: f32, issued: &Issued) -> bool {
        (unpack(issued[LOWER])..=unpack(issued[UPPER])).contains(&residual)
    }

    /// The adapted quantiles as they are to be kept with a forecast.
    #[inline]
    pub(crate) fn issue(&self) -> Issued {
        self.issued
    }

    /// Takes away a part of what was expected before the first residual: by now the data speaks for itself.
    fn fade_prior(&mut self) {
        let weight = PRIOR_WEIGHT / PRIOR_FADES.len() as f64;
        for (i, bin) in self.bins.iter_mut().enumerate() {
            *bin = bin.saturating_sub(prior_weight(i, self.prior_spread, weight));
        }
        self.count_total();
    }

    /// Halves every weight, so that there is room for more.
    fn halve(&mut self) {
        for bin in &mut self.bins {
            *bin /= 2;
        }
        self.gain *= 0.5;
        self.count_total();
    }

    fn count_total(&mut self) {
        self.total = self.bins.iter().map(|&bin| u32::from(bin)).sum::<u32>().max(1);
    }

    /// Reads the grid's quantiles anew.
    fn refresh(&mut self) {
        self.since_refresh = 0;
        let total = f64::from(self.total);
        // Residuals that the histogram still holds: it fades, so no more than its memory.
        let held = total / f64::from(self.gain);
        let supported = 1.0 - (SUPPORT / held).min(0.25);
        let wanted = self.wanted();
        let threshold_share = supported.min(0.95);
        let mut values = [f64::from(EDGES[BINS]); GRID.len()];
        let (mut below, mut k) = (0, 0);
        let mut target = wanted[0] * total;
        let filled = self.filled();
        'bins: for (i, &weight) in filled.clone().zip(&self.bins[filled.clone()]) {
            let upto = below + u32::from(weight);
            while target <= f64::from(upto) {
                values[k] = inside(i, target - f64::from(below), f64::from(weight));
                k += 1;
                if k == GRID.len() {
                    break 'bins;
                }
                target = wanted[k] * total;
            }
            below = upto;
        }
        let (threshold, tail) = self.tail_above(threshold_share, filled);
        for (k, &share) in wanted.iter().enumerate().skip(MEDIAN + 1) {
            if share > supported.max(threshold_share) {
                values[k] = threshold + tail.beyond(1.0 - threshold_share, 1.0 - share);
            }
        }
        make_monotone(&mut values);
        self.values = values.map(|value| value as f32);
        self.issued = ADAPTED_AT.map(|k| pack(self.values[k]));
        let last = wanted[GRID.len() - 1];
        let reached = (1.0 - threshold_share) / (1.0 - last).max(1e-9);
        self.tail_scale = (tail.scale * reached.max(1.0).powf(tail.shape)) as f32;
        self.tail_shape = tail.shape as f32;
    }

    /// The probability to be read for each grid point. Those between adapted ones are moved as their neighbours are.
    fn wanted(&self) -> [f64; GRID.len()] {
        let [a, b, c, d, e, f, g, h] = self.nudges;
        let [low, high] = self.surges;
        let (a, b, d, e, f, g, h) = (a + low, b + low, d + high, e + high, f + high, g + high, h + high);
        let nudges = [a, a, a, b, (b + c) / 2.0, c, (c + d) / 2.0, d, e, f, g, (g + h) / 2.0, h];
        let factors = nudges.map(exponential);
        let mut wanted = [0.0; GRID.len()];
        for (k, tau) in GRID.iter().enumerate() {
            let odds = tau / (1.0 - tau) * f64::from(factors[k]);
            wanted[k] = odds / (1.0 + odds);
        }
        make_monotone(&mut wanted);
        wanted
    }

    /// From the first bin that holds something to the last.
    fn filled(&self) -> Range<usize> {
        let holds = |weight: &u16| *weight > 0;
        let first = self.bins.iter().position(holds).unwrap_or(0);
        first..self.bins.iter().rposition(holds).map_or(first, |last| last + 1)
    }

    /// The value with `share` of the residuals below it, and the tail fitted to what exceeds it; only these bins hold
    /// something.
    fn tail_above(&self, share: f64, filled: Range<usize>) -> (f64, Tail) {
        let wanted = (1.0 - share) * f64::from(self.total);
        let (mut above, mut first) = (0.0, 0);
        for i in filled.clone().rev() {
            let weight = f64::from(self.bins[i]);
            if above + weight >= wanted {
                first = i;
                break;
            }
            above += weight;
        }
        let weight = f64::from(self.bins[first]);
        let threshold = inside(first, weight - (wanted - above), weight);
        let (mut sum, mut squares) = (0.0, 0.0);
        let mut add = |weight: f64, excess: f64| {
            sum += weight * excess;
            squares += weight * excess * excess;
        };
        add(wanted - above, (f64::from(EDGES[first + 1]) - threshold) / 2.0);
        for i in first + 1..filled.end {
            let weight = f64::from(self.bins[i]);
            add(weight, f64::from(EDGES[i] + EDGES[i + 1]) / 2.0 - threshold);
        }
        (threshold, fit_tail(sum, squares, wanted))
    }
}

/// Bins are written down as a list: arrays of this length are not known to serde.
mod bins {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    use super::BINS;

    pub(super) fn serialize<S: Serializer>(bins: &[u16; BINS], to: S) -> Result<S::Ok, S::Error> {
        bins.as_slice().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u16; BINS], D::Error> {
        let bins: Vec<u16> = Vec::deserialize(from)?;
        let found = bins.len();
        bins.try_into().map_err(|_| de::Error::invalid_length(found, &"as many weights as there are bins"))
    }
}

/// The value inside a bin that has `part` of its `weight` below it.
fn inside(bin: usize, part: f64, weight: f64) -> f64 {
    let (left, right) = (f64::from(EDGES[bin]), f64::from(EDGES[bin + 1]));
    if weight > 0.0 { left + (right - left) * (part / weight).clamp(0.0, 1.0) } else { left }
}

/// Generalised Pareto tail by the method of moments from weighted sums of exceedances.
fn fit_tail(excess: f64, squares: f64, above: f64) -> Tail {
    if above <= 0.0 || excess <= 0.0 {
        return Tail { scale: 0.0, shape: 0.0 };
    }
    let mean = excess / above;
    let variance = (squares / above - mean * mean).max(1e-12 * mean * mean);
    let shape = (0.5 * (1.0 - mean * mean / variance)).clamp(0.0, Tail::SHAPE_MAX);
    Tail { scale: mean * (1.0 - shape), shape }
}

/// Bins are symmetric around zero, with one across it; each side has [`SIDE`] of them, eight per doubling of 1 + 2|z|,
/// which makes them fine near zero and proportional far out. The bits of a float already count in that way.
fn bin_of(residual: f32) -> usize {
    let magnitude = 1.0 + 2.0 * residual.abs();
    let step = (magnitude.to_bits() >> 20).saturating_sub(127 << 3) as usize;
    let step = step.min(SIDE - 1);
    if residual >= 0.0 || step == 0 { SIDE + step } else { SIDE - 1 - step }
}

/// Lower edge of every bin, and the end of the last.
const EDGES: [f32; BINS + 1] = {
    let mut edges = [0.0; BINS + 1];
    let mut step = 0;
    while step <= SIDE {
        let octave = (1u64 << (step / 8)) as f32;
        let edge = (octave * (1.0 + (step % 8) as f32 / 8.0) - 1.0) / 2.0;
        edges[SIDE + step] = edge;
        edges[SIDE - step] = -edge;
        step += 1;
    }
    // One bin around zero, so that a residual that is always zero is inside every interval.
    edges[SIDE] = edges[SIDE - 1];
    edges
};

/// What `weight` residuals that nobody has seen put into a bin: a double exponential far wider than residuals usually are,
/// so that intervals begin wide.
fn prior_weight(bin: usize, spread: u8, weight: f64) -> u16 {
    let spread = SPREAD_UNIT * f64::from(spread);
    let below = |z: f64| {
        let tail = 0.5 * (-z.abs() / spread).exp();
        if z < 0.0 { tail } else { 1.0 - tail }
    };
    let share = below(f64::from(EDGES[bin + 1])) - below(f64::from(EDGES[bin]));
    (f64::from(GAIN_FIRST) * weight * share) as u16
}

const SIDE: usize = 64;
const BINS: usize = 2 * SIDE;
const PRIOR_SPREAD: f64 = 2.5;
const SPREAD_UNIT: f64 = 1.0 / 16.0;
/// Targets farther ahead than this are expected to wander as a random walk does.
const WANDERS_FROM: f64 = 24.0;
const PRIOR_WEIGHT: f64 = 6.0;
/// After so many residuals a part of the prior is taken away, each time an equal one.
const PRIOR_FADES: [u16; 3] = [24, 48, 96];
/// Exceedances below which the tail is extrapolated rather than counted.
const SUPPORT: f64 = 8.0;
/// Step of adaptation of one forecast that overlaps with no other.
const PACE: f64 = 0.05;
/// How much more quickly surges follow, and what a step leaves of one.
const SURGE: f32 = 4.0;
const SURGE_KEPT: f32 = 0.97;
const SURGE_MAX: f32 = 1.5;
const NUDGE_MAX: f32 = 3.0;
const REFRESH_EVERY: u16 = 64;
/// Sooner while they are few: whenever one in so many is new.
const REFRESH_SHARE: u16 = 8;
/// Grid points that adapt: 0.05, 0.1, 0.5, 0.9, 0.95, 0.975, 0.99 and 0.999.
const ADAPTED_AT: [usize; ADAPTED] = [2, 3, MEDIAN, 7, 8, 9, 10, 12];
const ADAPTED_TAU: [f32; ADAPTED] = [0.05, 0.1, 0.5, 0.9, 0.95, 0.975, 0.99, 0.999];
const ADAPTED: usize = 8;
/// Which of them bound the 90 % interval, and which (0.99) is learned at once when it was missed.
const LOWER: usize = 0;
const UPPER: usize = 4;
const URGENT: usize = 6;
/// So many residuals are worth taking over, and count as so many at most.
const INHERITED_FROM: u16 = 200;
const INHERITED: f32 = 100.0;
/// Weight of the first residual: large enough to tell apart what was expected of rare ones.
const GAIN_FIRST: f32 = 256.0;

#[cfg(test)]
mod tests {
    use super::super::curve::Place;
    use super::*;

    #[test]
    fn every_residual_falls_between_the_edges_of_its_bin() {
        for i in -2000..2000 {
            let z = i as f32 * 0.0503;
            let bin = bin_of(z);
            assert!(EDGES[bin] <= z + 1e-6 && z <= EDGES[bin + 1] + 1e-6, "{z} in {bin}");
        }
        assert_eq!(bin_of(1e30), BINS - 1);
        assert_eq!(bin_of(-1e30), 0);
    }

    #[test]
    fn quantiles_of_a_known_distribution_are_found_and_its_tail_extrapolated() {
        let mut residuals = Residuals::new(1, 4000.0, 1.0);
        // Exponential with mean one, by a golden-ratio sequence: quantile(tau) = -ln(1 - tau).
        for i in 0..8000u32 {
            let u = (f64::from(i) * 0.618_033_988_749_894_9).fract();
            let issued = residuals.issue();
            residuals.learn(-(1.0 - u).ln() as f32, &issued);
        }
        for (k, tau) in GRID.iter().enumerate() {
            let expected = -(1.0 - tau).ln();
            let got = residuals.values()[k];
            assert!((got - expected).abs() < 0.12 + 0.06 * expected, "{tau}: {got} for {expected}");
        }
        let far = Place::of(0.9999).read(&residuals.values(), &residuals.tail());
        assert!((far - 9.2).abs() < 2.0, "{far}");
    }

    #[test]
    fn coverage_returns_after_residuals_become_three_times_wider() {
        let mut residuals = Residuals::new(1, 4000.0, 1.0);
        let noise = |i: u32| (f64::from(i) * 0.618_033_988_749_894_9).fract() * 2.0 - 1.0;
        for i in 0..4000 {
            let issued = residuals.issue();
            residuals.learn(noise(i) as f32, &issued);
        }
        let mut misses = 0;
        for i in 4000..5000 {
            let z = 3.0 * noise(i);
            if i >= 4300 {
                misses += u32::from(z > residuals.values()[8]);
            }
            let issued = residuals.issue();
            residuals.learn(z as f32, &issued);
        }
        let share = f64::from(misses) / 700.0;
        assert!((0.03..=0.07).contains(&share), "{share}");
    }

    #[test]
    fn before_the_first_residual_intervals_are_wide() {
        let residuals = Residuals::new(1, 1000.0, 1.0);
        assert!(residuals.values()[8] > 3.0 && residuals.values()[2] < -3.0);
        assert!(residuals.values().windows(2).all(|pair| pair[0] <= pair[1]));
    }
}
