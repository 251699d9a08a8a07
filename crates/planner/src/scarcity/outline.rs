//! The coming day of a workload in coarse strokes: how many cores it will use in each hour, and how sure that is.
//!
//! Sums of outlines say how high a node's use may peak. What is summed are medians and variances, so that the answer is a
//! quantile of the sum; the sum of quantiles would count every workload's bad luck at once. Workloads are taken as
//! independent given their medians (a shared daily pattern is in the medians); instances of one workload rise together.

use std::time::Duration;

use forecast::{Ensemble, Timestamp};

use super::resources::Resources;

/// Hours of the day, counted in UTC; each stands for its next occurrence.
pub(crate) const HOURS: usize = 24;

/// Use of cores by a whole workload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outline {
    pub(crate) median: [f64; HOURS],
    pub(crate) deviation: [f64; HOURS],
}

impl Outline {
    /// The same at every hour.
    pub(crate) fn flat(cores: f64, deviation: f64) -> Outline {
        Outline { median: [cores; HOURS], deviation: [deviation; HOURS] }
    }

    /// What a forecast says: `per_unit` is the cores that one unit of demand takes, `most` the cores of all instances that
    /// there may be.
    pub(crate) fn of(forecaster: &Ensemble, demand_now: Option<f64>, per_unit: f64, most: f64) -> Outline {
        if forecaster.observed() == 0 || !forecaster.trust().is_trusted() {
            let cores = (demand_now.unwrap_or(0.0) * per_unit).min(most);
            return Outline::flat(cores, cores * UNSURE);
        }
        let step = forecaster.step();
        let day = (DAY.as_secs_f64() / step.as_secs_f64()).ceil() as usize;
        let forecast = forecaster.forecast(day.clamp(1, STEPS_MAX), &[0.5, UPPER]);
        let mut outline = Outline::flat(0.0, 0.0);
        let mut known = [false; HOURS];
        for (h, row) in forecast.values.iter().enumerate() {
            let median = (row[0] * per_unit).clamp(0.0, most);
            let deviation = ((row[1] - row[0]) * per_unit / UPPER_Z).max(0.0);
            let first = hour_of(forecast.begins_at(h));
            let last = first + (step.as_secs() / 3600).clamp(1, HOURS as u64) as usize;
            for hour in (first..last).map(|hour| hour % HOURS) {
                known[hour] = true;
                if median >= outline.median[hour] {
                    (outline.median[hour], outline.deviation[hour]) = (median, deviation);
                }
            }
        }
        outline.fill(&known);
        outline
    }

    /// Hours beyond a forecast of short steps are taken to be like its highest.
    fn fill(&mut self, known: &[bool; HOURS]) {
        let highest = (0..HOURS).max_by(|a, b| self.median[*a].total_cmp(&self.median[*b])).unwrap_or(0);
        for hour in (0..HOURS).filter(|hour| !known[*hour]) {
            self.median[hour] = self.median[highest];
            self.deviation[hour] = self.deviation[highest];
        }
    }

    /// Correlation of two patterns over the day; `None` where one has none.
    pub(crate) fn likeness(&self, other: &Outline) -> Option<f64> {
        let mean = |of: &Outline| of.median.iter().sum::<f64>() / HOURS as f64;
        let (mine, theirs) = (mean(self), mean(other));
        let mut sums = [0.0; 3];
        for hour in 0..HOURS {
            let (a, b) = (self.median[hour] - mine, other.median[hour] - theirs);
            sums = [sums[0] + a * a, sums[1] + b * b, sums[2] + a * b];
        }
        let flat = |sum: f64, mean: f64| sum <= (FLAT * mean).powi(2) * HOURS as f64;
        let none = flat(sums[0], mine) || flat(sums[1], theirs);
        (!none).then(|| sums[2] / (sums[0] * sums[1]).sqrt())
    }
}

/// The hour of the day of a moment.
pub(crate) fn hour_of(at: Timestamp) -> usize {
    at.as_millis().div_euclid(3_600_000).rem_euclid(HOURS as i64) as usize
}

/// A sum of parts of outlines.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sum {
    median: [f64; HOURS],
    variance: [f64; HOURS],
}

impl Sum {
    pub(crate) fn empty() -> Sum {
        Sum { median: [0.0; HOURS], variance: [0.0; HOURS] }
    }

    /// Adds a share of a workload. The shares of one workload must be added in one call: they rise together.
    pub(crate) fn add(&mut self, outline: &Outline, share: f64) {
        for hour in 0..HOURS {
            self.median[hour] += share * outline.median[hour];
            self.variance[hour] += (share * outline.deviation[hour]).powi(2);
        }
    }

    /// The cores that are hardly exceeded in an hour.
    pub(crate) fn at(&self, hour: usize) -> f64 {
        self.median[hour % HOURS] + PEAK_Z * self.variance[hour % HOURS].max(0.0).sqrt()
    }

    /// The same for the highest of all hours.
    pub(crate) fn peak(&self) -> f64 {
        self.highest(0, HOURS).1
    }

    /// The highest of some hours from one on, and which it is.
    pub(crate) fn highest(&self, from: usize, hours: usize) -> (usize, f64) {
        let each = (from..from + hours).map(|hour| (hour % HOURS, self.at(hour)));
        each.fold((from % HOURS, 0.0), |best, next| if next.1 > best.1 { next } else { best })
    }
}

/// Cores that one unit of demand takes, where one instance of this size serves `capacity` units.
pub(crate) fn per_unit(needs: Resources, capacity: f64) -> f64 {
    if capacity > 0.0 { needs.cores() / capacity } else { 0.0 }
}

const DAY: Duration = Duration::from_secs(86_400);
/// A day of minutes; with shorter steps the forecast covers less than a day.
const STEPS_MAX: usize = 1_440;
const UPPER: f64 = 0.9;
/// The standard normal deviate of [`UPPER`].
const UPPER_Z: f64 = 1.2816;
/// That of the 99 % quantile: a node's use exceeds its forecast peak about that rarely.
const PEAK_Z: f64 = 2.3263;
/// Relative deviation of a workload whose forecast is not trusted.
const UNSURE: f64 = 0.3;
/// A pattern that deviates less than this share of its mean is none.
const FLAT: f64 = 0.02;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A wave that peaks at an hour.
    pub(crate) fn wave(mean: f64, swing: f64, peak: usize, deviation: f64) -> Outline {
        let mut outline = Outline::flat(mean, deviation);
        for hour in 0..HOURS {
            let phase = (hour as f64 - peak as f64) / HOURS as f64 * std::f64::consts::TAU;
            outline.median[hour] = mean + swing * phase.cos();
        }
        outline
    }

    #[test]
    fn the_quantile_of_a_sum_is_less_than_the_sum_of_quantiles() {
        let alone = |outline: &Outline| {
            let mut sum = Sum::empty();
            sum.add(outline, 1.0);
            sum.peak()
        };
        let (day, night) = (wave(2.0, 1.0, 14, 0.2), wave(2.0, 1.0, 2, 0.2));
        let mut both = Sum::empty();
        both.add(&day, 1.0);
        both.add(&night, 1.0);
        assert!((both.peak() - (4.0 + PEAK_Z * 0.2 * 2f64.sqrt())).abs() < 1e-9);
        assert!(both.peak() < 0.7 * (alone(&day) + alone(&night)));
        let mut twice = Sum::empty();
        twice.add(&day, 2.0);
        assert!((twice.peak() - 2.0 * alone(&day)).abs() < 1e-9, "one workload's instances rise together");
    }

    #[test]
    fn patterns_are_alike_whatever_their_height_and_flat_ones_are_like_none() {
        let likeness = |a: &Outline, b: &Outline| a.likeness(b);
        assert!(likeness(&wave(2.0, 1.0, 14, 0.1), &wave(50.0, 9.0, 14, 3.0)).unwrap() > 0.999);
        assert!(likeness(&wave(2.0, 1.0, 14, 0.1), &wave(2.0, 1.0, 2, 0.1)).unwrap() < -0.999);
        assert_eq!(likeness(&wave(2.0, 1.0, 14, 0.1), &Outline::flat(2.0, 0.1)), None);
    }
}
