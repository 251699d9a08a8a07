//! How much larger errors are where the forecast is bold (far from the last value, in typical errors) or high (above what
//! the series seldom exceeds).
//!
//! A series that rests most of the day and jumps on the hour is forecast almost without error at rest, and badly where a
//! jump is expected. Slots of a season are too coarse to tell the two apart; what is forecast tells it. Boldness scales by
//! the mean size of errors; high forecasts, which are the ones that cost most, are conformal as a group of their own (group
//! coverage as in Gibbs, Cherian and Candes 2023, adapted online).

use serde::{Deserialize, Serialize};

/// Sizes of errors at one horizon, by what was forecast.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Doubt {
    /// Mean errors by boldness, and of all.
    sizes: [f32; KNOTS],
    counts: [u8; KNOTS],
    all: f32,
    /// By how much intervals of high forecasts must be wider for as many outcomes to be inside as of all.
    high: f32,
}

/// What a forecast claims, as far as doubt goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    /// Distance of the median from the last value, in typical errors.
    pub(crate) boldness: f32,
    /// Whether the median is high for the series.
    pub(crate) is_high: bool,
}

/// Factors of the usual error: at whole numbers of boldness, and for high forecasts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Factors {
    knots: [f32; KNOTS],
    high: f32,
}

impl Default for Doubt {
    fn default() -> Doubt {
        Doubt { sizes: [1.0; KNOTS], counts: [0; KNOTS], all: 1.0, high: 1.0 }
    }
}

impl Doubt {
    /// Learns the size of one error, in typical errors, and whether the outcome was inside the 90 % interval.
    pub(crate) fn learn(&mut self, claim: Claim, size: f32, covered: bool) {
        let size = if size < SIZE_MAX { size } else { SIZE_MAX };
        self.all += PACE * (size - self.all);
        let knot = if claim.boldness < LAST { (claim.boldness + 0.5) as usize } else { KNOTS - 1 };
        self.counts[knot] = self.counts[knot].saturating_add(1).min(KEPT);
        self.sizes[knot] += (size - self.sizes[knot]) / f32::from(self.counts[knot]);
        if claim.is_high {
            let step = HIGH_PACE * if covered { -0.1 } else { 0.9 };
            self.high = (self.high + step).clamp(HIGH_MIN, HIGH_MAX);
        }
    }

    /// The factor for one claim.
    pub(crate) fn factor(&self, claim: Claim) -> f32 {
        let (knot, share) = between(claim.boldness);
        let (near, far) = (self.at_knot(knot), self.at_knot(knot + 1));
        let bold = near + share * (far - near);
        if claim.is_high { bold * self.high } else { bold }
    }

    /// The factors for all of them.
    pub(crate) fn factors(&self) -> Factors {
        Factors { knots: std::array::from_fn(|knot| self.at_knot(knot)), high: self.high }
    }

    #[inline(always)]
    fn at_knot(&self, knot: usize) -> f32 {
        let all = if self.all > SIZE_MIN { self.all } else { SIZE_MIN };
        let count = f32::from(self.counts[knot]);
        let factor = (count * self.sizes[knot] + PRIOR * all) / ((count + PRIOR) * all);
        factor.clamp(FACTOR_MIN, FACTOR_MAX)
    }
}

impl Factors {
    /// Between the two nearest knots.
    #[inline(always)]
    pub(crate) fn at(&self, claim: Claim) -> f32 {
        let (knot, share) = between(claim.boldness);
        let bold = self.knots[knot] + share * (self.knots[knot + 1] - self.knots[knot]);
        if claim.is_high { bold * self.high } else { bold }
    }
}

/// The knot below, and how far it is to the next one.
#[inline(always)]
fn between(boldness: f32) -> (usize, f32) {
    let place = if boldness < LAST { boldness } else { LAST };
    let knot = (place as usize).min(KNOTS - 2);
    (knot, place - knot as f32)
}

const KNOTS: usize = 5;
const LAST: f32 = (KNOTS - 1) as f32;
/// One wild error counts at most so many typical ones.
const SIZE_MAX: f32 = 12.0;
const SIZE_MIN: f32 = 1e-6;
const PACE: f32 = 0.005;
/// Errors that the mean of a knot remembers, and those that it needs to count for half.
const KEPT: u8 = 200;
const PRIOR: f32 = 10.0;
const FACTOR_MIN: f32 = 0.3;
const FACTOR_MAX: f32 = 6.0;
const HIGH_PACE: f32 = 0.05;
const HIGH_MIN: f32 = 0.8;
const HIGH_MAX: f32 = 2.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(boldness: f32) -> Claim {
        Claim { boldness, is_high: false }
    }

    #[test]
    fn bold_forecasts_that_err_more_are_doubted_more_and_timid_ones_less() {
        let mut doubt = Doubt::default();
        assert_eq!(doubt.factor(claim(3.3)), 1.0);
        for i in 0..2000 {
            let bold = i % 5 == 0;
            doubt.learn(claim(if bold { 4.0 } else { 0.0 }), if bold { 3.0 } else { 0.5 }, true);
        }
        // The mean of all is one, about.
        let (timid, bold) = (doubt.factor(claim(0.0)), doubt.factor(claim(4.0)));
        assert!((0.4..0.7).contains(&timid) && (2.4..3.4).contains(&bold), "{timid} {bold}");
        assert!((doubt.factor(claim(3.5)) - (1.0 + bold) / 2.0).abs() < 0.2);
        assert!(doubt.factor(claim(f32::INFINITY)).is_finite() && doubt.factor(claim(f32::NAN)).is_finite());
    }

    #[test]
    fn high_forecasts_that_are_missed_too_often_become_wider_until_they_are_not() {
        let mut doubt = Doubt::default();
        let high = Claim { boldness: 0.0, is_high: true };
        // Errors uniform in (0, 2), of which an interval of half width one covers half at first.
        let mut covered = 0;
        for i in 0..4000u32 {
            let error = 2.0 * (f64::from(i) * 0.618_033_988_749_894_9).fract() as f32;
            let inside = error <= doubt.factor(high) / doubt.factor(claim(0.0));
            covered += u32::from(inside && i >= 2000);
            doubt.learn(high, error, inside);
        }
        assert!((1720..1880).contains(&covered), "{covered}");
        assert_eq!(doubt.factor(claim(0.0)), doubt.factor(Claim { is_high: false, ..high }));
    }
}
