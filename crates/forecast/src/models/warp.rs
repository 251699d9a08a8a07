//! The scale on which a model works: values centred and in units of their typical deviation, optionally logarithms,
//! so that parameters mean the same for every series and shares multiply where they should.
//!
//! Going back is bounded: nothing is ever said that lies farther outside of the values seen than these are apart.

use serde::{Deserialize, Serialize};

/// A monotone map from values to standard units and back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Warp {
    /// What is added before the logarithm is taken; `None` takes none.
    shift: Option<f64>,
    centre: f64,
    unit: f64,
    /// Extremes seen, in standard units.
    low: f64,
    high: f64,
}

impl Warp {
    /// Values as they are.
    pub(super) fn plain(values: &[f32]) -> Warp {
        Warp { shift: None, centre: 0.0, unit: 1.0, low: 0.0, high: 0.0 }.fitted(values)
    }

    /// Logarithms; `None` where values may be negative, or are all zero. Small values are lifted by a part of the mean, so
    /// that zeros neither fail nor dominate.
    pub(super) fn logarithmic(values: &[f32]) -> Option<Warp> {
        let present = || values.iter().filter(|value| value.is_finite()).map(|&value| f64::from(value));
        let (n, sum) = present().fold((0.0, 0.0), |(n, sum), value| (n + 1.0, sum + value));
        let shift = LIFT * sum / f64::max(n, 1.0);
        let possible = shift > f64::from(f32::MIN_POSITIVE) && present().all(|value| value >= 0.0);
        let warp = Warp { shift: Some(shift), centre: 0.0, unit: 1.0, low: 0.0, high: 0.0 };
        possible.then(|| warp.fitted(values))
    }

    fn fitted(mut self, values: &[f32]) -> Warp {
        let mut warped: Vec<f64> = values
            .iter()
            .filter(|value| value.is_finite())
            .map(|&value| self.bent(f64::from(value)))
            .collect();
        if warped.is_empty() {
            return self;
        }
        let middle = warped.len() / 2;
        self.centre = *warped.select_nth_unstable_by(middle, f64::total_cmp).1;
        let deviation =
            warped.iter().map(|value| (value - self.centre).abs()).sum::<f64>() / warped.len() as f64;
        // A constant series has no deviation; any unit does.
        self.unit = if deviation > 1e-9 * self.centre.abs() && deviation > 1e-300 {
            deviation
        } else {
            self.centre.abs().max(1.0)
        };
        for value in warped {
            self.extend((value - self.centre) / self.unit);
        }
        self
    }

    fn bent(&self, value: f64) -> f64 {
        match self.shift {
            None => value,
            Some(shift) => (value.max(0.0) + shift).ln(),
        }
    }

    /// In standard units; NaN where the value is missing.
    #[inline]
    pub(super) fn there(&self, value: f32) -> f64 {
        if value.is_finite() { (self.bent(f64::from(value)) - self.centre) / self.unit } else { f64::NAN }
    }

    /// All of a history in standard units.
    pub(super) fn all(&self, values: &[f32]) -> Vec<f64> {
        values.iter().map(|&value| self.there(value)).collect()
    }

    /// Widens what may be said by a value seen, in standard units.
    pub(super) fn extend(&mut self, standard: f64) {
        if standard.is_finite() {
            self.low = self.low.min(standard);
            self.high = self.high.max(standard);
        }
    }

    /// The value; always finite.
    #[inline]
    pub(super) fn back(&self, standard: f64) -> f64 {
        // In logarithms a distance is a factor, and one as large as all seen is already a lot.
        let beyond = (self.high - self.low) * if self.shift.is_some() { 0.25 } else { 1.0 };
        let standard =
            if standard.is_finite() { standard.clamp(self.low - beyond, self.high + beyond) } else { 0.0 };
        let bent = self.centre + self.unit * standard;
        match self.shift {
            None => bent,
            Some(shift) => (bent.exp() - shift).max(0.0),
        }
    }
}

/// What is added before a logarithm, in parts of the mean.
const LIFT: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_is_the_same_value() {
        let values = [3.0, 0.0, 5.5, f32::NAN, 1e6];
        for warp in [Some(Warp::plain(&values)), Warp::logarithmic(&values)] {
            let warp = warp.unwrap();
            for value in values.into_iter().filter(|value| value.is_finite()) {
                let again = warp.back(warp.there(value));
                assert!(
                    (again - f64::from(value)).abs() <= 1e-9 * f64::from(value).max(1e3),
                    "{again} {value}"
                );
            }
        }
        assert_eq!(Warp::logarithmic(&[-1.0, 2.0]), None);
        assert_eq!(Warp::logarithmic(&[0.0; 3]), None);
    }

    #[test]
    fn what_is_said_stays_near_what_was_seen() {
        let warp = Warp::plain(&[10.0, 20.0]);
        assert!((warp.back(f64::MAX) - 30.0).abs() < 1e-9 && warp.back(f64::NAN).is_finite());
        assert_eq!(Warp::plain(&[7.0; 9]).back(1e9), 7.0);
        let huge = Warp::plain(&[f32::MAX, -f32::MAX, 0.0]);
        assert!(huge.back(f64::INFINITY).is_finite());
    }
}
