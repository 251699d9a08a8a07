//! A series of a file laid out on its grid of steps as a whole: to be evaluated on, or to be learned from beside another one.

use std::sync::Arc;
use std::time::Duration;

use forecast::calendar::Event;
use forecast::covariates::Covariates;
use forecast::evaluate::Subject;
use forecast::grid::Grid;
use forecast::models::{History, Kind};
use forecast::trace::Series;
use forecast::{Config, Ensemble, LeftOut};
use jiff::tz::TimeZone;

use super::forecast::Grid as CliGrid;
use super::forecast::core::{columns, ensemble};
use super::known::KnownArgs;
use crate::failure::{Failure, OrFail};

/// One series, with what is known beside it.
pub(super) struct Laid {
    pub(super) name: String,
    pub(super) grid: Grid,
    /// NaN where there is none.
    pub(super) values: Vec<f32>,
    pub(super) non_negative: bool,
    /// What was given beside the series.
    pub(super) given: Arc<Covariates>,
    /// The same with events as further columns.
    columns: Covariates,
    /// What models must not learn.
    pub(super) left_out: LeftOut,
}

/// How the series of a file are laid out.
pub(super) struct Layout<'a> {
    pub(super) step: Duration,
    pub(super) zone: Option<TimeZone>,
    /// Whether values below zero are impossible.
    pub(super) non_negative: bool,
    pub(super) known: &'a KnownArgs,
    pub(super) events: &'a [Event],
}

impl Layout<'_> {
    /// Lays a series out; `None` when it has no rows, or spans too many steps.
    ///
    /// # Errors
    /// What is known beside the series cannot be used.
    pub(super) fn lay(&self, series: &Series, beside: &[Vec<f32>]) -> Result<Option<Laid>, Failure> {
        let Some(&(origin, _)) = series.points.first() else { return Ok(None) };
        let grid = Grid { origin, step: self.step, zone: self.zone.clone() };
        let Some(values) = values(series, &grid) else { return Ok(None) };
        let given = self.known.covariates(series, beside, &CliGrid { origin, step: self.step })?;
        let columns = columns(&grid, self.events, &given)?;
        let name = series.name.clone().unwrap_or_default();
        let (given, left_out) = (Arc::new(given), LeftOut::default());
        let non_negative = self.non_negative;
        let mut laid = Laid { name, grid, values, non_negative, given, columns, left_out };
        laid.left_out = self.left_out(&laid)?;
        Ok(Some(laid))
    }

    /// Anomalies and outages.
    fn left_out(&self, laid: &Laid) -> Result<LeftOut, Failure> {
        let mut sieve = sieve(&laid.config(), (self.events, &laid.given))?;
        for (step, &value) in laid.values.iter().enumerate() {
            let at = laid.grid.begins_at(step as u64);
            let value = Some(f64::from(value)).filter(|value| value.is_finite());
            sieve.observe(at, value).or_usage("the series cannot be followed")?;
        }
        Ok(left_out(&sieve, &laid.given, &laid.columns))
    }
}

/// Follows a series for what models must not learn.
pub(super) fn sieve(config: &Config, known: (&[Event], &Arc<Covariates>)) -> Result<Ensemble, Failure> {
    Ok(ensemble(Kind::Online, &[], config, known)?.noting_what_is_left_out())
}

/// What it has found. What models are told of, as of the events among the columns, is no anomaly to them.
pub(super) fn left_out(sieve: &Ensemble, given: &Covariates, columns: &Covariates) -> LeftOut {
    let mut left_out = sieve.left_out().cloned().unwrap_or_default();
    left_out.keep(|step| of_events(given, columns).any(|place| columns.at(place, step) > 0.0));
    left_out
}

/// Places of the columns of events, which come before those that were given.
pub(super) fn of_events(given: &Covariates, columns: &Covariates) -> std::ops::Range<usize> {
    0..columns.width() - given.width()
}

impl Laid {
    /// Of what follows it.
    pub(super) fn config(&self) -> Config {
        let mut config = Config::new(self.grid.step);
        (config.time_zone, config.non_negative) = (self.grid.zone.clone(), self.non_negative);
        config
    }

    /// All of it, for a model with these seasons.
    pub(super) fn history<'a>(&'a self, seasons: &'a [usize], horizon: usize) -> History<'a> {
        History {
            grid: &self.grid,
            first: 0,
            values: &self.values,
            seasons,
            covariates: &self.columns,
            horizon,
            non_negative: self.non_negative,
        }
    }

    /// The same, and what of it must not be learned.
    pub(super) fn subject<'a>(&'a self, seasons: &'a [usize], horizon: usize) -> Subject<'a> {
        Subject { history: self.history(seasons, horizon), left_out: &self.left_out }
    }
}

/// Those of several series that one of them is learned together with: the next ones, after the last the first.
pub(super) fn others<T>(all: &[T], at: usize) -> impl Iterator<Item = &T> {
    all.iter().cycle().skip(at + 1).take(others_of(all.len()))
}

/// How many others one of so many series is learned together with.
pub(super) fn others_of(all: usize) -> usize {
    all.saturating_sub(1).min(Kind::OTHERS_MAX)
}

fn values(series: &Series, grid: &Grid) -> Option<Vec<f32>> {
    let mut values = Vec::new();
    for (at, value) in series.on_grid(grid.step) {
        let slot = usize::try_from(grid.step_of(at)?).ok().filter(|&slot| slot <= VALUES_MAX)?;
        values.resize(slot, f32::NAN);
        values.push(value.map_or(f32::NAN, |value| value as f32));
    }
    Some(values)
}

/// Longer series are not laid out.
const VALUES_MAX: usize = 20_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_series_has_all_others_beside_it_up_to_a_limit_and_never_itself() {
        let beside = |all: &[usize], at| others(all, at).copied().collect::<Vec<_>>();
        assert_eq!(beside(&[0, 1, 2], 1), [2, 0]);
        assert!(beside(&[0], 0).is_empty());
        let many: Vec<usize> = (0..40).collect();
        assert_eq!(beside(&many, 30).len(), Kind::OTHERS_MAX);
        assert!(!beside(&many, 30).contains(&30));
    }
}
