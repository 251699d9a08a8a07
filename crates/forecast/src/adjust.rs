//! Forecasts that somebody has overridden: scaled, raised by an amount or replaced for some time.
//!
//! The forecaster itself never hears of it, so nothing that it learns about its own accuracy is touched. What it says is
//! changed afterwards: quantile paths and drawn paths step by step; windows by what that does to the highest point of each
//! quantile path, while what the maximum of several steps lies above that point is scaled along.

use crate::Ensemble;
use crate::calibration::{Curve, GRID, Tail, crossed};
use crate::paths::{self, Forecast, WindowMax};
use crate::timestamp::Timestamp;

/// What is done to the demand that is forecast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// Multiplied by this factor.
    Scale(f64),
    /// Raised by this amount; below zero, lowered.
    Add(f64),
    /// Exactly this demand, without uncertainty.
    Replace(f64),
}

impl Change {
    /// Whether it is a change of a demand that could be: a factor from 0 to [`SCALE_MAX`](Self::SCALE_MAX), a demand of at most
    /// [`DEMAND_MAX`](Self::DEMAND_MAX).
    pub fn is_sound(self) -> bool {
        match self {
            Change::Scale(factor) => (0.0..=Change::SCALE_MAX).contains(&factor),
            Change::Add(amount) => amount.abs() <= Change::DEMAND_MAX,
            Change::Replace(demand) => (0.0..=Change::DEMAND_MAX).contains(&demand),
        }
    }

    /// The largest factor.
    pub const SCALE_MAX: f64 = 1_000.0;
    /// The largest demand.
    pub const DEMAND_MAX: f64 = 1e15;
}

/// A change of the steps that lie in a time, in whole or in part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adjustment {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end, which does not belong to it.
    pub to: Timestamp,
    /// What is done.
    pub change: Change,
}

impl Adjustment {
    /// Whether it has a part in the time from `from` to `to`.
    pub fn touches(&self, from: Timestamp, to: Timestamp) -> bool {
        self.from < to && from < self.to
    }
}

/// Several changes one after the other: a demand is multiplied, then raised.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Affine {
    factor: f64,
    offset: f64,
}

impl Affine {
    const IDENTITY: Affine = Affine { factor: 1.0, offset: 0.0 };

    fn then(self, change: Change) -> Affine {
        let Affine { factor, offset } = self;
        match change {
            Change::Scale(by) => Affine { factor: factor * by, offset: offset * by },
            Change::Add(amount) => Affine { factor, offset: offset + amount },
            Change::Replace(demand) => Affine { factor: 0.0, offset: demand },
        }
    }

    /// Demand is never negative, and always finite.
    fn of(self, demand: f64) -> f64 {
        (demand * self.factor + self.offset).clamp(0.0, LARGEST)
    }
}

/// What a forecaster says, with adjustments, applied in their order.
#[derive(Clone, Copy, Debug)]
pub struct Adjusted<'a> {
    forecaster: &'a Ensemble,
    adjustments: &'a [Adjustment],
}

impl<'a> Adjusted<'a> {
    /// The forecaster as these adjustments let it be seen.
    pub fn new(forecaster: &'a Ensemble, adjustments: &'a [Adjustment]) -> Adjusted<'a> {
        Adjusted { forecaster, adjustments }
    }

    /// As [`Ensemble::forecast`].
    pub fn forecast(&self, steps: usize, quantiles: &[f64]) -> Forecast {
        let mut forecast = self.forecaster.forecast(steps, quantiles);
        if self.adjustments.is_empty() {
            return forecast;
        }
        for h in 0..forecast.steps() {
            let change = self.at(forecast.begins_at(h));
            for value in forecast.values.row_mut(h) {
                *value = change.of(*value);
            }
        }
        forecast
    }

    /// As [`Ensemble::paths`].
    pub fn paths(&self, steps: usize, samples: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut paths = self.forecaster.paths(steps, samples, seed);
        if self.adjustments.is_empty() {
            return paths;
        }
        let grid = self.forecaster.forecast(0, &[]);
        let changes: Vec<Affine> = (0..steps).map(|h| self.at(grid.begins_at(h))).collect();
        for path in &mut paths {
            for (value, change) in path.iter_mut().zip(&changes) {
                *value = change.of(*value);
            }
        }
        paths
    }

    /// As [`Ensemble::window_max`].
    pub fn window_max(&self, steps: usize) -> WindowMax {
        let mut window = self.forecaster.window_max(steps);
        let mut crests = Crests::default();
        if self.changes(steps) {
            self.forecast_crests(steps, |_, crest| crests = crest);
            window.curve = crests.change(&window.curve);
        }
        window
    }

    /// As [`Ensemble::window_maxima`].
    pub fn window_maxima(&self, steps: usize) -> Vec<WindowMax> {
        paths::windows(self.windows(steps))
    }

    /// As [`Ensemble::crossings`].
    pub fn crossings(&self, levels: &[f64], steps: usize) -> Vec<Vec<f64>> {
        crossed(&self.windows(steps), levels)
    }

    fn windows(&self, steps: usize) -> Vec<Curve> {
        let mut curves = self.forecaster.windows(steps);
        if self.changes(steps) {
            self.forecast_crests(curves.len(), |h, crests| curves[h] = crests.change(&curves[h]));
        }
        curves
    }

    /// The most that a demand, if it went on as it is, would be made to within the next `steps` steps from `origin` on.
    pub fn persisting(&self, demand: f64, origin: Timestamp, steps: usize) -> f64 {
        let step = self.forecaster.step();
        let begins = |h: usize| origin + step.saturating_mul(u32::try_from(h).unwrap_or(u32::MAX));
        (0..steps.max(1)).map(|h| self.at(begins(h)).of(demand)).fold(0.0, f64::max)
    }

    /// Whether one of the next `steps` steps is changed.
    fn changes(&self, steps: usize) -> bool {
        let grid = self.forecaster.forecast(0, &[]);
        self.adjustments.iter().any(|adjustment| adjustment.touches(grid.issued_at, grid.begins_at(steps)))
    }

    /// What is done to the step that begins at `start`.
    fn at(&self, start: Timestamp) -> Affine {
        let end = start + self.forecaster.step();
        let here = self.adjustments.iter().filter(|adjustment| adjustment.touches(start, end));
        here.fold(Affine::IDENTITY, |all, adjustment| all.then(adjustment.change))
    }

    /// Tells of the highest points of the quantile paths up to each step.
    fn forecast_crests(&self, steps: usize, mut tell: impl FnMut(usize, Crests)) {
        let forecast = self.forecaster.forecast(steps, &GRID);
        let mut crests = Crests::default();
        for (h, row) in forecast.values.iter().enumerate() {
            crests.rise(row, self.at(forecast.begins_at(h)));
            tell(h, crests);
        }
    }
}

/// The highest point so far of the path of each quantile of [`GRID`], before and after it is changed.
#[derive(Clone, Copy, Debug)]
struct Crests {
    before: [f64; GRID.len()],
    after: [f64; GRID.len()],
    /// By what the path was multiplied at its highest point after the change.
    factor: [f64; GRID.len()],
}

impl Default for Crests {
    fn default() -> Self {
        let none = [f64::MIN; GRID.len()];
        Crests { before: none, after: none, factor: [1.0; GRID.len()] }
    }
}

impl Crests {
    fn rise(&mut self, row: &[f64], change: Affine) {
        for (k, &value) in row.iter().take(GRID.len()).enumerate() {
            self.before[k] = self.before[k].max(value);
            if change.of(value) > self.after[k] {
                (self.after[k], self.factor[k]) = (change.of(value), change.factor);
            }
        }
    }

    /// The window's distribution after the change.
    fn change(&self, curve: &Curve) -> Curve {
        let (values, tail) = curve.parts();
        let changed = std::array::from_fn(|k| {
            let beyond = (values[k] - self.before[k]) * self.factor[k];
            (self.after[k] + beyond).clamp(0.0, LARGEST)
        });
        let scale = (tail.scale * self.factor[GRID.len() - 1]).min(LARGEST);
        Curve::new(changed, Tail { scale, ..tail }, 0.0)
    }
}

/// Far beyond any demand, and far from overflow.
const LARGEST: f64 = 1e300;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Config, Values};

    const STEP: Duration = Duration::from_secs(60);

    /// A day of a wave with noise.
    fn forecaster() -> Ensemble {
        let mut forecaster = Ensemble::new(Config::new(STEP), &[]).expect("a sound configuration");
        for n in 0..1440i64 {
            let noise = f64::from((n * 7919 % 41) as i32 - 20);
            let demand = 300.0 + 100.0 * (n as f64 / 40.0).sin() + noise;
            forecaster.observe(Timestamp::from_secs(n * 60), Some(demand)).expect("in order");
        }
        forecaster
    }

    fn minutes(n: i64) -> Timestamp {
        Timestamp::from_secs((1440 + n) * 60)
    }

    fn adjustment(from: i64, to: i64, change: Change) -> Adjustment {
        Adjustment { from: minutes(from), to: minutes(to), change }
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
    }

    #[test]
    fn only_the_steps_in_its_time_are_changed_and_later_changes_add_to_earlier_ones() {
        let forecaster = forecaster();
        let changes = [
            adjustment(2, 4, Change::Scale(2.0)),
            adjustment(3, 4, Change::Add(-10.0)),
            adjustment(8, 9, Change::Replace(7.0)),
        ];
        let (plain, adjusted) = (
            forecaster.forecast(10, &[0.1, 0.9]),
            Adjusted::new(&forecaster, &changes).forecast(10, &[0.1, 0.9]),
        );
        let row = |values: &Values, h: usize| values[h].to_vec();
        for h in [0, 1, 4, 7, 9] {
            assert_eq!(row(&adjusted.values, h), row(&plain.values, h), "{h}");
        }
        assert!(near(adjusted.values[2][1], plain.values[2][1] * 2.0));
        assert!(near(adjusted.values[3][0], plain.values[3][0] * 2.0 - 10.0));
        assert_eq!(row(&adjusted.values, 8), [7.0, 7.0]);
        let cut = [adjustment(0, 10, Change::Add(-1e9))];
        assert!(Adjusted::new(&forecaster, &cut).forecast(10, &[0.5]).values.iter().all(|row| row[0] == 0.0));
    }

    #[test]
    fn windows_in_one_change_are_changed_as_a_whole() {
        let forecaster = forecaster();
        let plain = forecaster.window_max(6);
        let window = |change| {
            let changes = [adjustment(-5, 99, change)];
            Adjusted::new(&forecaster, &changes).window_max(6)
        };
        for tau in [0.05, 0.5, 0.9, 0.999, 0.9999] {
            assert!(near(window(Change::Scale(3.0)).quantile(tau), 3.0 * plain.quantile(tau)), "{tau}");
            assert!(near(window(Change::Add(50.0)).quantile(tau), plain.quantile(tau) + 50.0), "{tau}");
            assert_eq!(window(Change::Replace(50.0)).quantile(tau), 50.0);
        }
    }

    #[test]
    fn a_change_ahead_shows_in_the_windows_that_reach_it_and_in_the_drawn_paths() {
        let forecaster = forecaster();
        let changes = [adjustment(5, 6, Change::Scale(4.0))];
        let adjusted = Adjusted::new(&forecaster, &changes);
        assert_eq!(adjusted.window_max(5), forecaster.window_max(5));
        let (reached, plain) = (adjusted.window_max(6), forecaster.window_max(6));
        assert!(reached.median() > 3.0 * plain.median(), "{} {}", reached.median(), plain.median());
        let maxima = |paths: Vec<Vec<f64>>| {
            let mut maxima: Vec<f64> =
                paths.iter().map(|path| path.iter().copied().fold(0.0, f64::max)).collect();
            maxima.sort_by(f64::total_cmp);
            maxima[maxima.len() / 2]
        };
        let drawn = maxima(adjusted.paths(6, 501, 1));
        assert!((drawn / reached.median() - 1.0).abs() < 0.05, "{drawn} {}", reached.median());
    }

    #[test]
    fn levels_are_crossed_when_the_change_comes_and_never_uncrossed() {
        let forecaster = forecaster();
        let level = 2.0 * forecaster.window_max(12).quantile(0.999);
        let changes = [adjustment(6, 8, Change::Replace(level * 1.1))];
        let crossed = Adjusted::new(&forecaster, &changes).crossings(&[level], 12).remove(0);
        assert!(crossed[5] < 0.01 && crossed[6] > 0.999 && crossed[11] > 0.999, "{crossed:?}");
        assert!(crossed.is_sorted());
        let none = Adjusted::new(&forecaster, &[]).crossings(&[level], 12);
        assert_eq!(none, forecaster.crossings(&[level], 12));
    }

    #[test]
    fn however_large_the_changes_all_stays_finite() {
        let mut forecaster = forecaster();
        forecaster.observe(minutes(0), Some(1e290)).expect("in order");
        let changes = [adjustment(0, 99, Change::Scale(Change::SCALE_MAX)); 32];
        let adjusted = Adjusted::new(&forecaster, &changes);
        let window = adjusted.window_max(9);
        let quantiles = [1e-6, 0.1, 0.5, 0.9, 0.999].map(|tau| window.quantile(tau));
        assert!(quantiles.iter().all(|value| value.is_finite() && *value >= 0.0), "{quantiles:?}");
        assert!(quantiles.is_sorted());
        assert!(adjusted.forecast(9, &GRID).values.iter().flatten().all(|value| value.is_finite()));
        assert!(adjusted.crossings(&[10.0], 9)[0].iter().all(|p| (0.0..=1.0).contains(p)));
        for bad in
            [Change::Scale(f64::NAN), Change::Scale(-1.0), Change::Add(f64::INFINITY), Change::Replace(-1.0)]
        {
            assert!(!bad.is_sound());
        }
    }

    #[test]
    fn a_demand_that_goes_on_is_changed_where_the_change_is() {
        let forecaster = forecaster();
        let changes = [adjustment(2, 3, Change::Add(40.0)), adjustment(9, 10, Change::Scale(0.1))];
        let adjusted = Adjusted::new(&forecaster, &changes);
        assert_eq!(adjusted.persisting(100.0, minutes(0), 2), 100.0);
        assert_eq!(adjusted.persisting(100.0, minutes(0), 3), 140.0);
        assert!(near(adjusted.persisting(100.0, minutes(9), 1), 10.0));
    }
}
