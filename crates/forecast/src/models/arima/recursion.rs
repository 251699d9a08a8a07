//! The running form of an ARIMA: one sparse recursion in the values and the errors, differences multiplied out. Needs a
//! few operations for each value, however long the season.

use serde::{Deserialize, Serialize};

use super::css::Arma;
use super::polynomial::Sparse;

/// `u[t] = constant + sum c u[t - lag] + sum m e[t - lag] + e[t]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Recursion {
    constant: f64,
    values: Vec<(u32, f64)>,
    errors: Vec<(u32, f64)>,
    /// Errors beyond this are drawn in.
    limit: f64,
}

/// The last values and errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Memory {
    values: Ring,
    errors: Ring,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Ring {
    kept: Vec<f32>,
    next: usize,
}

impl Recursion {
    /// Multiplies out an ARMA of the series that was differenced `d` times and once at `season`, less its `mean`.
    /// `typical` is the mean size of its errors.
    pub(super) fn new(arma: &Arma, d: usize, season: Option<usize>, mean: f64, typical: f64) -> Recursion {
        let orders = arma.orders;
        let seasonal_ar = Sparse::minus(&[arma.seasonal_ar][..orders.seasonal_ar], orders.season);
        let stationary = Sparse::minus(&arma.ar, 1).times(&seasonal_ar);
        let constant = mean * stationary.0.iter().map(|term| term.1).sum::<f64>();
        let mut whole = stationary;
        for _ in 0..d {
            whole = whole.times(&Sparse::minus(&[1.0], 1));
        }
        if let Some(season) = season {
            whole = whole.times(&Sparse::minus(&[1.0], season));
        }
        let negated: Vec<f64> = arma.ma.iter().map(|c| -c).collect();
        let seasonal_ma = Sparse::minus(&[-arma.seasonal_ma][..orders.seasonal_ma], orders.season);
        let moving = Sparse::minus(&negated, 1).times(&seasonal_ma);
        let terms = |sparse: &Sparse, sign: f64| {
            sparse.0[1..]
                .iter()
                .map(|&(lag, c)| (lag as u32, sign * c))
                .filter(|term| term.1 != 0.0)
                .collect()
        };
        Recursion {
            constant,
            values: terms(&whole, -1.0),
            errors: terms(&moving, 1.0),
            limit: WILD * typical.max(1e-6),
        }
    }

    /// How far back it looks.
    pub(super) fn reach(&self) -> usize {
        let longest = |terms: &[(u32, f64)]| terms.last().map_or(0, |term| term.0 as usize);
        longest(&self.values).max(longest(&self.errors))
    }

    /// The memory after a history; NaN is missing.
    pub(super) fn run(&self, history: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (mut u, mut e) = (Vec::with_capacity(history.len()), Vec::with_capacity(history.len()));
        let reach = self.reach();
        let mut last = 0.0;
        for (t, &value) in history.iter().enumerate() {
            if t < reach {
                // Nothing to say yet: what is missing is taken to be as before.
                last = if value.is_finite() { value } else { last };
                u.push(last);
                e.push(0.0);
                continue;
            }
            let said = self.next(|lag| u[t - lag], |lag| e[t - lag]);
            let error = self.drawn(value - said);
            u.push(said + error);
            e.push(error);
        }
        (u, e)
    }

    /// Forecasts from the moment before place `t` of a run.
    pub(super) fn path(&self, u: &[f64], e: &[f64], t: usize, said: &mut Vec<f64>, steps: usize) {
        said.clear();
        for h in 0..steps {
            let next = self.next(
                |lag| {
                    if lag <= h {
                        said[h - lag]
                    } else {
                        (t + h).checked_sub(lag).map_or(0.0, |place| u[place])
                    }
                },
                |lag| if lag <= h { 0.0 } else { (t + h).checked_sub(lag).map_or(0.0, |place| e[place]) },
            );
            said.push(if next.is_finite() { next } else { 0.0 });
        }
    }

    #[inline]
    fn next(&self, value: impl Fn(usize) -> f64, error: impl Fn(usize) -> f64) -> f64 {
        let mut said = self.constant;
        for &(lag, c) in &self.values {
            said += c * value(lag as usize);
        }
        for &(lag, c) in &self.errors {
            said += c * error(lag as usize);
        }
        said
    }

    /// A missing value has no error, and a wild one only that of a large one.
    fn drawn(&self, error: f64) -> f64 {
        if error.is_finite() { error.clamp(-self.limit, self.limit) } else { 0.0 }
    }

    /// Bytes of memory held.
    pub(super) fn bytes(&self) -> usize {
        (self.values.len() + self.errors.len()) * size_of::<(u32, f64)>()
    }
}

impl Memory {
    /// What a recursion needs of a run.
    pub(super) fn new(recursion: &Recursion, u: &[f64], e: &[f64]) -> Memory {
        let reach = recursion.reach().max(1);
        let ring = |all: &[f64]| {
            let from = all.len().saturating_sub(reach);
            let mut kept = vec![0.0; reach - (all.len() - from)];
            kept.extend(all[from..].iter().map(|&x| x as f32));
            Ring { kept, next: 0 }
        };
        Memory { values: ring(u), errors: ring(e) }
    }

    /// Takes the next value; NaN when it is missing.
    pub(super) fn observe(&mut self, value: f64, recursion: &Recursion) {
        let said = recursion.next(|lag| self.values.back(lag), |lag| self.errors.back(lag));
        let said = if said.is_finite() { said } else { 0.0 };
        let error = recursion.drawn(value - said);
        self.values.push(said + error);
        self.errors.push(error);
    }

    /// Forecasts of the next steps.
    pub(super) fn path(&self, recursion: &Recursion, steps: usize) -> Vec<f64> {
        let mut said: Vec<f64> = Vec::with_capacity(steps);
        for h in 0..steps {
            let next = recursion.next(
                |lag| if lag <= h { said[h - lag] } else { self.values.back(lag - h) },
                |lag| if lag <= h { 0.0 } else { self.errors.back(lag - h) },
            );
            said.push(if next.is_finite() { next } else { 0.0 });
        }
        said
    }

    /// Bytes of memory held.
    pub(super) fn bytes(&self) -> usize {
        (self.values.kept.len() + self.errors.kept.len()) * 4
    }
}

impl Ring {
    /// The one `lag` ago; 1 is the last.
    #[inline]
    fn back(&self, lag: usize) -> f64 {
        let n = self.kept.len();
        let place = self.next + n - lag.min(n);
        f64::from(self.kept[if place >= n { place - n } else { place }])
    }

    fn push(&mut self, value: f64) {
        let value = value.clamp(-f64::from(f32::MAX), f64::from(f32::MAX)) as f32;
        self.kept[self.next] = if value.is_finite() { value } else { 0.0 };
        self.next = (self.next + 1) % self.kept.len();
    }
}

/// Errors beyond this many typical ones are drawn in.
const WILD: f64 = 6.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::arima::css::Orders;

    fn arma() -> Arma {
        let orders = Orders { ar: 1, ma: 1, seasonal_ar: 0, seasonal_ma: 1, season: 12 };
        Arma { orders, ar: vec![0.5], ma: vec![-0.3], seasonal_ar: 0.0, seasonal_ma: -0.4 }
    }

    #[test]
    fn a_repeated_season_with_a_slope_goes_on_for_ever() {
        let recursion = Recursion::new(&arma(), 1, Some(12), 0.0, 1.0);
        let wave = |t: usize| 5.0 + 0.1 * t as f64 + (t as f64 * std::f64::consts::TAU / 12.0).sin();
        let history: Vec<f64> = (0..120).map(wave).collect();
        let (u, e) = recursion.run(&history);
        let mut said = Vec::new();
        recursion.path(&u, &e, 120, &mut said, 30);
        assert!(said.iter().enumerate().all(|(h, said)| (said - wave(120 + h)).abs() < 1e-6), "{said:?}");
    }

    #[test]
    fn observing_one_by_one_is_the_same_as_running_over_all() {
        let recursion = Recursion::new(&arma(), 0, Some(12), 0.2, 0.5);
        let mut rng = fastrand::Rng::with_seed(8);
        let mut history: Vec<f64> = (0..300).map(|t| f64::from(t % 12) + rng.f64()).collect();
        history[200] = f64::NAN;
        history[210] = 1e4;
        let (u, e) = recursion.run(&history[..150]);
        let mut memory = Memory::new(&recursion, &u, &e);
        history[150..].iter().for_each(|&value| memory.observe(value, &recursion));
        let (u, e) = recursion.run(&history);
        let mut said = Vec::new();
        recursion.path(&u, &e, 300, &mut said, 20);
        let other = memory.path(&recursion, 20);
        assert!(said.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-3), "{said:?} {other:?}");
    }

    #[test]
    fn the_constant_is_the_one_whose_mean_was_asked_for() {
        let recursion = Recursion::new(&arma(), 0, None, 3.0, 1.0);
        let (u, e) = recursion.run(&[3.0; 50]);
        let mut said = Vec::new();
        recursion.path(&u, &e, 50, &mut said, 100);
        assert!((said[99] - 3.0).abs() < 1e-6);
    }
}
