//! Online conformal calibration of one target.
//!
//! Standardised residuals are counted in a fading histogram, which gives any quantile at once and monotone; above the
//! part that enough residuals support, a generalised Pareto tail is fitted to the exceedances. On top of it each tracked
//! quantile adapts the *probability* it reads (adaptive conformal inference, Gibbs and Candes 2021), in log odds so that a
//! quantile of 0.999 adapts as naturally as the median: a miss raises it at once, the absence of misses lowers it slowly.
//! So coverage returns to nominal whatever the residuals do, and far quantiles need no thousands of exceedances.

use super::curve::{GRID, MEDIAN, Tail, make_monotone};

/// Standardised residuals of one target and the quantiles read from them.
#[derive(Clone, Debug)]
pub(crate) struct Residuals {
    bins: Box<[f32; BINS]>,
    /// Step of adaptation, in log odds per unit of miscoverage.
    pace: f64,
    /// Width of what was expected before the first residual.
    prior_spread: f64,
    /// Weight of the next residual; grows so that old ones fade.
    gain: f64,
    growth: f64,
    total: f64,
    count: u32,
    /// Correction of the probability read for each grid point, in log odds.
    nudges: [f64; GRID.len()],
    values: [f64; GRID.len()],
    tail: Tail,
    since_refresh: u32,
}

impl Residuals {
    /// Expects residuals of a target so many steps `ahead` at first, which wander farther the farther it is; `memory` is how many residuals count fully. `overlap` is how many
    /// forecasts are under way at any time: their misses come together and say the same, so each counts less.
    pub(crate) fn new(ahead: usize, memory: f64, overlap: f64) -> Residuals {
        let spread = PRIOR_SPREAD * (ahead as f64 / WANDERS_FROM).sqrt().clamp(1.0, 4.0);
        let mut bins = Box::new([0.0; BINS]);
        for (bin, share) in bins.iter_mut().enumerate().map(|(i, bin)| (bin, prior_share(i, spread))) {
            *bin = (PRIOR_WEIGHT * share) as f32;
        }
        let mut residuals = Residuals {
            bins,
            prior_spread: spread,
            pace: PACE / overlap.max(1.0),
            gain: 1.0,
            growth: 1.0 + 1.0 / memory,
            total: PRIOR_WEIGHT,
            count: 0,
            nudges: [0.0; GRID.len()],
            values: [0.0; GRID.len()],
            tail: Tail { scale: 0.0, shape: 0.0 },
            since_refresh: 0,
        };
        residuals.refresh();
        residuals
    }

    /// How many residuals were learned.
    #[cfg(test)]
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Quantiles of the standardised residual at the grid.
    pub(crate) fn values(&self) -> &[f64; GRID.len()] {
        &self.values
    }

    /// The tail above the last of them.
    pub(crate) fn tail(&self) -> Tail {
        self.tail
    }

    /// Learns one standardised residual. `issued` are the grid's values when its forecast was made: only they can have
    /// been missed.
    pub(crate) fn learn(&mut self, residual: f64, issued: &[f32; GRID.len()]) {
        if !residual.is_finite() {
            return;
        }
        let seen = residual as f32;
        for (k, tau) in GRID.iter().enumerate() {
            let step = if seen > issued[k] { *tau } else { tau - 1.0 };
            self.nudges[k] = (self.nudges[k] + self.pace * step).clamp(-NUDGE_MAX, NUDGE_MAX);
        }
        let bin = bin_of(residual);
        self.bins[bin] += self.gain as f32;
        self.total += self.gain;
        self.gain *= self.growth;
        self.count = self.count.saturating_add(1);
        if PRIOR_FADES.contains(&self.count) {
            self.fade_prior();
        }
        if self.gain > GAIN_MAX {
            self.rescale();
        }
        self.since_refresh += 1;
        let urgent = seen > issued[URGENT];
        if urgent || self.since_refresh >= REFRESH_EVERY || self.count < REFRESH_ALWAYS {
            self.refresh();
        }
    }

    /// The grid's values as they are to be kept with a forecast.
    pub(crate) fn issue(&self) -> [f32; GRID.len()] {
        self.values.map(|value| value as f32)
    }

    /// Takes away a part of what was expected before the first residual: by now the data speaks for itself.
    fn fade_prior(&mut self) {
        let weight = PRIOR_WEIGHT / PRIOR_FADES.len() as f64;
        for (i, bin) in self.bins.iter_mut().enumerate() {
            *bin = (*bin - (weight * prior_share(i, self.prior_spread)) as f32).max(0.0);
        }
        self.total = self.bins.iter().map(|&bin| f64::from(bin)).sum();
    }

    fn rescale(&mut self) {
        let scale = 1.0 / self.gain;
        for bin in self.bins.iter_mut() {
            *bin *= scale as f32;
        }
        self.total = self.bins.iter().map(|&bin| f64::from(bin)).sum();
        self.gain = 1.0;
    }

    /// Reads the grid's quantiles anew.
    fn refresh(&mut self) {
        self.since_refresh = 0;
        // Residuals that the histogram still holds: it fades, so no more than its memory.
        let held = self.total / self.gain;
        let supported = 1.0 - (SUPPORT / held).min(0.25);
        let mut wanted = [0.0; GRID.len()];
        for (k, tau) in GRID.iter().enumerate() {
            let odds = tau / (1.0 - tau) * self.nudges[k].exp();
            wanted[k] = odds / (1.0 + odds);
        }
        make_monotone(&mut wanted);
        let threshold_share = supported.min(0.95);
        let (mut below, mut k) = (0.0, 0);
        for (i, &weight) in self.bins.iter().enumerate() {
            let weight = f64::from(weight);
            let upto = below + weight;
            while k < GRID.len() && wanted[k] * self.total <= upto {
                self.values[k] = inside(i, wanted[k] * self.total - below, weight);
                k += 1;
            }
            below = upto;
        }
        for value in &mut self.values[k..] {
            *value = EDGES[BINS];
        }
        let (threshold, tail) = self.tail_above(threshold_share);
        for (k, &share) in wanted.iter().enumerate().skip(MEDIAN + 1) {
            if share > supported.max(threshold_share) {
                self.values[k] = threshold + tail.beyond(1.0 - threshold_share, 1.0 - share);
            }
        }
        make_monotone(&mut self.values);
        let last = wanted[GRID.len() - 1];
        let reached = (1.0 - threshold_share) / (1.0 - last).max(1e-9);
        self.tail = Tail { scale: tail.scale * reached.max(1.0).powf(tail.shape), shape: tail.shape };
    }
}

impl Residuals {
    /// The value with `share` of the residuals below it, and the tail fitted to what exceeds it.
    fn tail_above(&self, share: f64) -> (f64, Tail) {
        let wanted = (1.0 - share) * self.total;
        let (mut above, mut first) = (0.0, 0);
        for i in (0..BINS).rev() {
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
        add(wanted - above, (EDGES[first + 1] - threshold) / 2.0);
        for i in first + 1..BINS {
            add(f64::from(self.bins[i]), (EDGES[i] + EDGES[i + 1]) / 2.0 - threshold);
        }
        (threshold, fit_tail(sum, squares, wanted))
    }
}

/// The value inside a bin that has `part` of its `weight` below it.
fn inside(bin: usize, part: f64, weight: f64) -> f64 {
    let (left, right) = (EDGES[bin], EDGES[bin + 1]);
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

/// Bins are symmetric around zero, with one across it; each side has [`SIDE`] of them, eight per doubling of 1 + 2|z|, which makes them fine
/// near zero and proportional far out. The bits of a float already count in that way.
fn bin_of(residual: f64) -> usize {
    let magnitude = (1.0 + 2.0 * residual.abs()) as f32;
    let step = (magnitude.to_bits() >> 20).saturating_sub(127 << 3) as usize;
    let step = step.min(SIDE - 1);
    if residual >= 0.0 || step == 0 { SIDE + step } else { SIDE - 1 - step }
}

/// Lower edge of every bin, and the end of the last.
const EDGES: [f64; BINS + 1] = {
    let mut edges = [0.0; BINS + 1];
    let mut step = 0;
    while step <= SIDE {
        let octave = (1u64 << (step / 8)) as f64;
        let edge = (octave * (1.0 + (step % 8) as f64 / 8.0) - 1.0) / 2.0;
        edges[SIDE + step] = edge;
        edges[SIDE - step] = -edge;
        step += 1;
    }
    // One bin around zero, so that a residual that is always zero is inside every interval.
    edges[SIDE] = edges[SIDE - 1];
    edges
};

/// Before anything is known: a double exponential far wider than residuals usually are. Intervals begin wide.
fn prior_share(bin: usize, spread: f64) -> f64 {
    let below = |z: f64| {
        let tail = 0.5 * (-z.abs() / spread).exp();
        if z < 0.0 { tail } else { 1.0 - tail }
    };
    below(EDGES[bin + 1]) - below(EDGES[bin])
}

const SIDE: usize = 64;
const BINS: usize = 2 * SIDE;
const PRIOR_SPREAD: f64 = 2.5;
/// Targets farther ahead than this are expected to wander as a random walk does.
const WANDERS_FROM: f64 = 24.0;
const PRIOR_WEIGHT: f64 = 6.0;
/// After so many residuals a part of the prior is taken away, each time an equal one.
const PRIOR_FADES: [u32; 3] = [24, 48, 96];
/// Exceedances below which the tail is extrapolated rather than counted.
const SUPPORT: f64 = 8.0;
/// Step of adaptation of one forecast that overlaps with no other.
const PACE: f64 = 0.05;
const NUDGE_MAX: f64 = 3.0;
const REFRESH_EVERY: u32 = 32;
/// So many residuals are learned at once each.
const REFRESH_ALWAYS: u32 = 48;
/// A miss of this grid point (0.99) is learned at once.
const URGENT: usize = 10;
const GAIN_MAX: f64 = 1e6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_residual_falls_between_the_edges_of_its_bin() {
        for i in -2000..2000 {
            let z = f64::from(i) * 0.0503;
            let bin = bin_of(z);
            assert!(EDGES[bin] <= z + 1e-6 && z <= EDGES[bin + 1] + 1e-6, "{z} in {bin}");
        }
        assert_eq!(bin_of(1e300), BINS - 1);
        assert_eq!(bin_of(-1e300), 0);
    }

    #[test]
    fn quantiles_of_a_known_distribution_are_found_and_its_tail_extrapolated() {
        let mut residuals = Residuals::new(1, 4000.0, 1.0);
        // Exponential with mean one, by a golden-ratio sequence: quantile(tau) = -ln(1 - tau).
        for i in 0..8000u32 {
            let u = (f64::from(i) * 0.618_033_988_749_894_9).fract();
            let issued = residuals.issue();
            residuals.learn(-(1.0 - u).ln(), &issued);
        }
        for (k, tau) in GRID.iter().enumerate() {
            let expected = -(1.0 - tau).ln();
            let got = residuals.values()[k];
            assert!((got - expected).abs() < 0.12 + 0.06 * expected, "{tau}: {got} for {expected}");
        }
        let far = super::super::curve::at(residuals.values(), &residuals.tail(), 0.9999);
        assert!((far - 9.2).abs() < 2.0, "{far}");
    }

    #[test]
    fn coverage_returns_after_residuals_become_three_times_wider() {
        let mut residuals = Residuals::new(1, 4000.0, 1.0);
        let noise = |i: u32| (f64::from(i) * 0.618_033_988_749_894_9).fract() * 2.0 - 1.0;
        for i in 0..4000 {
            let issued = residuals.issue();
            residuals.learn(noise(i), &issued);
        }
        let mut misses = 0;
        for i in 4000..5000 {
            let z = 3.0 * noise(i);
            if i >= 4300 {
                misses += u32::from(z > residuals.values()[8]);
            }
            let issued = residuals.issue();
            residuals.learn(z, &issued);
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
