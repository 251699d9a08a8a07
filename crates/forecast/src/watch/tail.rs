//! Values so large that none like them has been seen: the tail beyond a high threshold follows a generalised Pareto law
//! (Pickands 1975), which tells how rare a value beyond it is. Used on a stream as in SPOT (Siffer et al., KDD 2017): the
//! law is fitted to the peaks over the threshold, values beyond the alarm are kept out of it.
//!
//! The law is fitted by probability-weighted moments (Hosking and Wallis 1987): two sums over a few sorted peaks, no search,
//! and better than likelihood for few of them.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// A generalised Pareto law for the excess over a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pareto {
    /// Above zero for heavy tails, zero for exponential ones, below for tails that end.
    pub shape: f64,
    /// In the unit of the values.
    pub scale: f64,
}

impl Pareto {
    /// The law of a sample of excesses, each at least zero. `None` for fewer than eight or when all are zero.
    pub fn fit(excesses: &[f64]) -> Option<Pareto> {
        let mut sorted: Vec<f64> = excesses.iter().copied().filter(|x| x.is_finite() && *x >= 0.0).collect();
        if sorted.len() < PEAKS_MIN {
            return None;
        }
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len() as f64;
        let first = sorted.iter().sum::<f64>() / n;
        let weighted =
            sorted.iter().enumerate().map(|(i, x)| (1.0 - (i as f64 + 0.65) / n) * x).sum::<f64>() / n;
        let apart = first - 2.0 * weighted;
        // Infinite spread, or none at all.
        if !(first > 0.0 && apart.is_finite()) {
            return None;
        }
        if apart <= 0.0 {
            return Some(Pareto { shape: SHAPE_MIN, scale: first * (1.0 - SHAPE_MIN) });
        }
        let shape = 2.0 - first / apart;
        if (SHAPE_MIN..=SHAPE_MAX).contains(&shape) {
            return Some(Pareto { shape, scale: 2.0 * first * weighted / apart });
        }
        // The mean of the law is the scale over one minus the shape.
        let shape = shape.clamp(SHAPE_MIN, SHAPE_MAX);
        Some(Pareto { shape, scale: first * (1.0 - shape) })
    }

    /// The chance that an excess is larger than this.
    pub fn beyond(&self, excess: f64) -> f64 {
        let excess = excess.max(0.0) / self.scale;
        if self.shape.abs() < 1e-6 {
            return (-excess).exp();
        }
        (1.0 + self.shape * excess).max(0.0).powf(-1.0 / self.shape)
    }

    /// The excess that is exceeded with this chance.
    pub fn excess(&self, chance: f64) -> f64 {
        let chance = chance.clamp(1e-12, 1.0);
        if self.shape.abs() < 1e-6 {
            return -self.scale * chance.ln();
        }
        self.scale / self.shape * (chance.powf(-self.shape) - 1.0)
    }
}

/// How a tail is learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TailConfig {
    /// Values that set the threshold. Default 400, at least 100.
    pub calibration: usize,
    /// Which quantile of them it is. Default 0.95: one value in twenty is a peak.
    pub start: f64,
    /// Peaks that the law is fitted to, the latest ones. Default 256, 16 to 1024.
    pub peaks: usize,
    /// So many values are weighed alike; older ones fade. Default 10,000.
    pub memory: f64,
}

impl Default for TailConfig {
    fn default() -> TailConfig {
        TailConfig { calibration: 400, start: 0.95, peaks: 256, memory: 10_000.0 }
    }
}

/// The upper tail of a stream. For the lower one, feed it negated values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tail {
    config: TailConfig,
    waiting: Vec<f64>,
    /// Where the tail begins, once calibrated.
    threshold: Option<f64>,
    peaks: VecDeque<f64>,
    /// Values and peaks seen, faded alike.
    seen: f64,
    over: f64,
    law: Option<Pareto>,
    /// Peaks since the law was fitted.
    fresh: usize,
}

impl Tail {
    /// Nothing known yet.
    pub fn new(config: TailConfig) -> Tail {
        let config = TailConfig {
            calibration: config.calibration.clamp(100, 100_000),
            start: if config.start.is_finite() { config.start.clamp(0.5, 0.995) } else { 0.95 },
            peaks: config.peaks.clamp(16, 1024),
            memory: if config.memory.is_finite() { config.memory.max(1000.0) } else { 10_000.0 },
        };
        let (waiting, peaks) = (Vec::new(), VecDeque::new());
        Tail { config, waiting, threshold: None, peaks, seen: 0.0, over: 0.0, law: None, fresh: 0 }
    }

    /// Whether enough was seen to judge.
    pub fn is_ready(&self) -> bool {
        self.law.is_some()
    }

    /// The chance that a value is larger than this; `None` before the tail is known. Below the threshold it is only said that
    /// the chance is at least that of being a peak.
    pub fn chance(&self, value: f64) -> Option<f64> {
        let (law, threshold) = (self.law?, self.threshold?);
        value.is_finite().then(|| self.over / self.seen * law.beyond(value - threshold))
    }

    /// The chance that a value is larger than this, if it lies in the tail at all. Cheap where it does not.
    pub fn chance_of_peak(&self, value: f64) -> Option<f64> {
        if value > self.threshold? { self.chance(value) } else { None }
    }

    /// The value that is exceeded with this chance; `None` before the tail is known.
    pub fn threshold(&self, chance: f64) -> Option<f64> {
        let (law, threshold) = (self.law?, self.threshold?);
        Some(threshold + law.excess((chance * self.seen / self.over).min(1.0)))
    }

    /// Takes a value that is no anomaly: those would widen the tail until nothing is one. Of a lone anomaly, take what it
    /// would have been at most instead: leaving out all that are far makes the tail too short.
    pub fn observe(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        let Some(threshold) = self.threshold else {
            let held = self.waiting.len();
            if held == self.waiting.capacity() {
                self.waiting.reserve_exact(held.max(GROWS_BY).min(self.config.calibration - held));
            }
            self.waiting.push(value);
            if self.waiting.len() == self.config.calibration {
                self.calibrate();
            }
            return;
        };
        self.seen += 1.0;
        if value > threshold {
            self.over += 1.0;
            if self.peaks.len() == self.config.peaks {
                self.peaks.pop_front();
            } else if self.peaks.len() == self.peaks.capacity() {
                let held = self.peaks.len();
                self.peaks.reserve_exact(held.max(GROWS_BY).min(self.config.peaks - held));
            }
            self.peaks.push_back(value - threshold);
            self.fresh += 1;
            // A fit sorts the peaks: one for each sixteenth of them that is new costs a step next to nothing.
            if self.law.is_none() || self.fresh * FRESH_PART >= self.peaks.len() {
                self.refit();
            }
        }
        if self.seen > self.config.memory {
            self.seen /= 2.0;
            self.over /= 2.0;
        }
    }

    /// Bytes held beside its own size.
    pub fn bytes(&self) -> usize {
        (self.waiting.capacity() + self.peaks.capacity()) * size_of::<f64>()
    }

    fn calibrate(&mut self) {
        let mut sorted = self.waiting.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (self.config.start * sorted.len() as f64) as usize;
        let threshold = sorted[rank.min(sorted.len() - 1)];
        let peaks = self.waiting.iter().filter(|&&value| value > threshold).map(|value| value - threshold);
        self.peaks = peaks.collect();
        while self.peaks.len() > self.config.peaks {
            self.peaks.pop_front();
        }
        self.seen = self.waiting.len() as f64;
        // At least half a peak, so that no chance is ever nought.
        self.over = self.waiting.iter().filter(|&&value| value > threshold).count().max(1) as f64;
        self.threshold = Some(threshold);
        self.waiting = Vec::new();
        self.refit();
    }

    fn refit(&mut self) {
        self.fresh = 0;
        if let Some(law) = Pareto::fit(self.peaks.make_contiguous()) {
            // Few peaks tell little about the shape: it is drawn to a slightly heavy one. The mean stays.
            let count = self.peaks.len() as f64;
            let shape = (count * law.shape + SHAPE_COUNTS * SHAPE_USUAL) / (count + SHAPE_COUNTS);
            let scale = law.scale / (1.0 - law.shape) * (1.0 - shape);
            self.law = Some(Pareto { shape, scale });
        }
    }
}

/// Lists double until they are as long as they may be, and are never longer.
const GROWS_BY: usize = 16;
/// The law is fitted again when one peak in so many is new.
const FRESH_PART: usize = 16;
/// Fewer peaks say nothing about a tail.
const PEAKS_MIN: usize = 8;
/// Shapes outside are artefacts of few peaks.
const SHAPE_MIN: f64 = -0.5;
const SHAPE_MAX: f64 = 0.7;

/// What is taken for the shape before anything is known, and how many peaks that counts as.
const SHAPE_USUAL: f64 = 0.1;
const SHAPE_COUNTS: f64 = 24.0;

/// A standard normal number (Box and Muller), for tests.
#[cfg(test)]
pub(super) fn normal(random: &mut fastrand::Rng) -> f64 {
    (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_law_of_a_sample_is_found_again() {
        let mut random = fastrand::Rng::with_seed(6);
        for law in [(0.0, 1.0), (0.3, 2.0), (-0.3, 5.0)].map(|(shape, scale)| Pareto { shape, scale }) {
            let sample: Vec<f64> = (0..20_000).map(|_| law.excess(1.0 - random.f64())).collect();
            let found = Pareto::fit(&sample).unwrap();
            assert!((found.shape - law.shape).abs() < 0.04, "{found:?} for {law:?}");
            assert!((found.scale / law.scale - 1.0).abs() < 0.04, "{found:?} for {law:?}");
            for chance in [0.9, 0.1, 1e-3] {
                assert!((law.beyond(law.excess(chance)) / chance - 1.0).abs() < 1e-9);
            }
        }
        assert_eq!(Pareto::fit(&[0.0; 20]), None);
        assert_eq!(Pareto::fit(&[1.0; 7]), None);
        assert!(Pareto::fit(&[1.0; 20]).is_some_and(|law| law.scale.is_finite()));
    }

    #[test]
    fn thresholds_at_small_risks_are_those_of_the_normal_law() {
        // What a standard normal number exceeds once in a thousand, in ten thousand, in a hundred thousand times.
        let known = [(1e-3, 3.090), (1e-4, 3.719), (1e-5, 4.265)];
        let mut random = fastrand::Rng::with_seed(9);
        let mut tail = Tail::new(TailConfig::default());
        let mut alarms = 0;
        let steps = 300_000;
        let mut sums = [0.0; 3];
        for _ in 0..steps {
            let value = normal(&mut random);
            alarms += usize::from(tail.chance(value).is_some_and(|chance| chance < 1e-3));
            tail.observe(value);
            for (sum, (risk, _)) in sums.iter_mut().zip(known) {
                *sum += tail.threshold(risk).unwrap_or(4.0) / f64::from(steps);
            }
        }
        for (mean, (risk, exact)) in sums.into_iter().zip(known) {
            assert!((mean - exact).abs() < 0.1 * exact, "{mean} for {exact} at {risk}");
        }
        let share = alarms as f64 / f64::from(steps);
        assert!((5e-4..2e-3).contains(&share), "{share} instead of 1e-3");
    }

    #[test]
    fn strange_streams_get_an_answer() {
        let mut tail = Tail::new(TailConfig { start: f64::NAN, memory: f64::NAN, calibration: 0, peaks: 0 });
        for i in 0..3000 {
            tail.observe(if i % 100 == 7 { f64::NAN } else { 5.0 });
        }
        assert!(!tail.is_ready() && tail.chance(9.0).is_none(), "a constant stream has no tail");
        for i in 0..3000 {
            tail.observe(if i % 9 == 0 { 1e300 } else { 5.0 });
        }
        assert!(tail.chance(f64::MAX).is_none_or(|chance| (0.0..=1.0).contains(&chance)));
        assert_eq!(tail.chance(f64::NAN), None);
    }
}
