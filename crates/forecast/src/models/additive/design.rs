//! The columns of the additive model: trend with hinges, waves, covariates and their interplay with the day.
//!
//! Rows are blocks of neighbouring steps, averaged: a trend and a dozen waves a day need no finer view, and it is what makes
//! the fit cheap.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::covariates::Covariates;
use crate::grid::Grid;
use crate::models::History;
use crate::models::waves::{Wave, waves};

/// Where a step stands in each season. Days and weeks follow the wall clock where the place is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Calendar {
    origin_ms: i64,
    step_ms: u64,
    /// Name of the zone whose days are counted.
    zone: Option<String>,
    /// Periods in steps, shortest first.
    pub(super) seasons: Vec<usize>,
}

/// A covariate as the model uses it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Regressor {
    /// Name of the covariate; others may come to stand before it later.
    pub(super) name: String,
    mean: f64,
    unit: f64,
    /// Whether it is only ever zero or one: then its effect may differ by the hour.
    pub(super) flag: bool,
}

/// What each column of the design is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Column {
    /// One everywhere.
    Offset,
    /// From 0 to 1 over the history.
    Slope,
    /// Zero up to a changepoint, then rising as the slope does.
    Hinge(usize),
    /// Cosine or sine of a wave.
    Wave(usize, bool),
    /// A covariate, centred, in units of its deviation.
    Regressor(usize),
    /// A flag times cosine or sine of a wave of the day.
    Interplay(usize, usize, bool),
}

/// The columns of one history.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) calendar: Calendar,
    pub(super) columns: Vec<Column>,
    pub(super) waves: Vec<Wave>,
    pub(super) tables: Vec<Vec<(f64, f64)>>,
    pub(super) regressors: Vec<Regressor>,
    /// Where each stands among the covariates of the history.
    places: Vec<usize>,
    /// Step of time 0, and steps to time 1.
    pub(super) first: u64,
    pub(super) span: f64,
    /// Times of the changepoints.
    pub(super) hinges: Vec<f64>,
}

impl Calendar {
    fn new(grid: &Grid, seasons: Vec<usize>) -> Calendar {
        Calendar {
            origin_ms: grid.origin.as_millis(),
            step_ms: u64::try_from(grid.step.as_millis()).unwrap_or(u64::MAX).max(1),
            zone: grid.zone.as_ref().and_then(|zone| zone.iana_name()).map(str::to_owned),
            seasons,
        }
    }

    /// Phases of consecutive steps in each season, handed to `each` with the place of the step.
    pub(super) fn phases(
        &self,
        steps: impl Iterator<Item = u64>,
        mut each: impl FnMut(usize, u64, &[usize]),
    ) {
        let zone = self.zone.as_deref().and_then(|name| jiff::tz::TimeZone::get(name).ok());
        let grid = Grid {
            origin: Timestamp::from_millis(self.origin_ms),
            step: Duration::from_millis(self.step_ms),
            zone,
        };
        let day = grid.steps_in(DAY).unwrap_or(0);
        let mut phases = vec![0; self.seasons.len()];
        for (i, step) in steps.enumerate() {
            let local = grid.zone.is_some().then(|| grid.local(step));
            for (phase, &period) in phases.iter_mut().zip(&self.seasons) {
                *phase = match local {
                    Some(local) if day > 0 && (period == day || period == 7 * day) => {
                        let days = if period == day { 0 } else { usize::from(local.weekday) };
                        (days * day + usize::from(local.minute) * day / 1440) % period
                    }
                    Some(_) | None => (step % period as u64) as usize,
                };
            }
            each(i, step, &phases);
        }
    }
}

impl Regressor {
    /// How a column is used; `None` when it is constant or unknown over the history.
    fn new(
        column: usize,
        covariates: &Covariates,
        steps: impl Iterator<Item = u64> + Clone,
    ) -> Option<Regressor> {
        let known =
            || steps.clone().map(|step| f64::from(covariates.at(column, step))).filter(|x| x.is_finite());
        let (n, sum) = known().fold((0.0, 0.0), |(n, sum), x| (n + 1.0, sum + x));
        let mean = sum / f64::max(n, 1.0);
        let unit = (known().map(|x| (x - mean) * (x - mean)).sum::<f64>() / f64::max(n, 1.0)).sqrt();
        let flag = known().all(|x| x == 0.0 || x == 1.0);
        (unit.is_finite() && unit > 1e-9 * mean.abs().max(1e-9)).then(|| Regressor {
            name: covariates.names().get(column).cloned().unwrap_or_default(),
            mean,
            unit,
            flag,
        })
    }

    /// Its place among covariates; beyond all of them where it is not there.
    pub(super) fn column(&self, covariates: &Covariates) -> usize {
        covariates.names().iter().position(|name| *name == self.name).unwrap_or(usize::MAX)
    }

    /// In standard units; zero (no effect) where it is not known. `column` is its place there.
    #[inline]
    pub(super) fn at(&self, column: usize, covariates: &Covariates, step: u64) -> f64 {
        let value = f64::from(covariates.at(column, step));
        if value.is_finite() { ((value - self.mean) / self.unit).clamp(-REACH, REACH) } else { 0.0 }
    }
}

impl Layout {
    /// All columns that a history admits.
    pub(super) fn new(history: &History<'_>) -> Layout {
        let n = history.values.len();
        let mut seasons: Vec<usize> = history
            .seasons
            .iter()
            .copied()
            .filter(|&period| period >= 2 && period + period / 8 < n)
            .collect();
        seasons.sort_unstable();
        seasons.dedup();
        seasons.truncate(SEASONS_MAX);
        let year = history.grid.steps_in(DAY).map(|day| (day as f64 * 365.25).round() as usize);
        seasons.extend(
            year.filter(|&year| n > year + year / 2 && seasons.iter().all(|&other| other < year / 2)),
        );
        let waves = waves(&seasons);
        let steps = history.first..history.end();
        let regressors: Vec<Regressor> = (0..history.covariates.width().min(REGRESSORS_MAX))
            .filter_map(|column| Regressor::new(column, history.covariates, steps.clone()))
            .collect();
        let hinges: Vec<f64> = (1..=HINGES).map(|k| k as f64 / (HINGES + 1) as f64).collect();
        let mut columns = vec![Column::Offset, Column::Slope];
        columns.extend((0..HINGES).map(Column::Hinge));
        columns.extend((0..waves.len()).flat_map(|i| [Column::Wave(i, false), Column::Wave(i, true)]));
        columns.extend((0..regressors.len()).map(Column::Regressor));
        let daily = waves.iter().filter(|wave| wave.season == 0 && wave.times <= WAVES_OF_FLAGS).count();
        for (r, _) in regressors.iter().enumerate().filter(|(_, regressor)| regressor.flag).take(FLAGS_MAX) {
            columns.extend(
                (0..daily).flat_map(|w| [Column::Interplay(r, w, false), Column::Interplay(r, w, true)]),
            );
        }
        let tables = waves.iter().map(Wave::table).collect();
        let calendar = Calendar::new(history.grid, seasons);
        Layout {
            calendar,
            columns,
            waves,
            tables,
            places: regressors.iter().map(|regressor| regressor.column(history.covariates)).collect(),
            regressors,
            first: history.first,
            span: n.max(1) as f64,
            hinges,
        }
    }

    /// Time of a step: 0 to 1 over the history.
    pub(super) fn time(&self, step: u64) -> f64 {
        (step as f64 - self.first as f64) / self.span
    }

    /// Fills the row of a step.
    pub(super) fn fill(&self, row: &mut [f64], step: u64, phases: &[usize], covariates: &Covariates) {
        let time = self.time(step);
        let wave = |wave: usize, sine: bool| {
            let (cosine, sinus) = self.tables[wave][phases[self.waves[wave].season]];
            if sine { sinus } else { cosine }
        };
        for (x, &column) in row.iter_mut().zip(&self.columns) {
            *x = match column {
                Column::Offset => 1.0,
                Column::Slope => time,
                Column::Hinge(k) => (time - self.hinges[k]).max(0.0),
                Column::Wave(which, sine) => wave(which, sine),
                Column::Regressor(r) => self.regressors[r].at(self.places[r], covariates, step),
                Column::Interplay(r, which, sine) => {
                    self.regressors[r].at(self.places[r], covariates, step) * wave(which, sine)
                }
            };
        }
    }

    /// Steps averaged into one row.
    pub(super) fn block(&self) -> usize {
        (self.calendar.seasons.first().copied().unwrap_or(1) / BLOCKS).max(1)
    }
}

const DAY: Duration = Duration::from_secs(86_400);
const SEASONS_MAX: usize = 2;
/// Possible changepoints, evenly spread (as many as Prophet).
const HINGES: usize = 25;
const REGRESSORS_MAX: usize = 16;
/// Flags whose effect may differ by the hour, and waves of the day by which it may.
const FLAGS_MAX: usize = 4;
const WAVES_OF_FLAGS: usize = 4;
/// A covariate is never taken to be farther from its mean than this many deviations.
const REACH: f64 = 20.0;
/// Rows of the shortest season.
const BLOCKS: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_follow_the_wall_clock_of_the_place_over_a_change_of_time() {
        let zone = jiff::tz::TimeZone::get("Europe/Berlin").ok();
        // 26 March 2023, 00:00 UTC, an hour before the change.
        let grid =
            Grid { origin: Timestamp::from_secs(1_679_788_800), step: Duration::from_secs(3600), zone };
        let calendar = Calendar::new(&grid, vec![24, 168]);
        let mut seen = Vec::new();
        calendar.phases(0..3, |_, _, phases| seen.push(phases.to_vec()));
        assert_eq!(seen, [[1, 6 * 24 + 1], [3, 6 * 24 + 3], [4, 6 * 24 + 4]]);
    }

    #[test]
    fn a_constant_covariate_is_left_out_and_an_unknown_value_has_no_effect() {
        let mut covariates = Covariates::beginning(0);
        covariates.add("constant", vec![3.0; 10]).unwrap();
        covariates.add("flag", vec![0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]).unwrap();
        assert_eq!(Regressor::new(0, &covariates, 0..10), None);
        let flag = Regressor::new(1, &covariates, 0..10).unwrap();
        assert!(flag.flag && flag.at(1, &covariates, 1) == 1.0 && flag.at(1, &covariates, 99) == 0.0);
    }
}
