//! A series of a file laid out on its grid of steps as a whole: to be evaluated on, or to be learned from beside another one.

use std::sync::Arc;
use std::time::Duration;

use forecast::calendar::Event;
use forecast::covariates::Covariates;
use forecast::grid::Grid;
use forecast::models::{History, Kind};
use forecast::trace::Series;
use jiff::tz::TimeZone;

use super::forecast::Grid as CliGrid;
use super::forecast::core::columns;
use super::known::KnownArgs;
use crate::failure::Failure;

/// One series, with what is known beside it.
pub(super) struct Laid {
    pub(super) name: String,
    pub(super) grid: Grid,
    /// NaN where there is none.
    pub(super) values: Vec<f32>,
    /// What was given beside the series.
    pub(super) given: Arc<Covariates>,
    /// The same with events as further columns.
    columns: Covariates,
}

/// How the series of a file are laid out.
pub(super) struct Layout<'a> {
    pub(super) step: Duration,
    pub(super) zone: Option<TimeZone>,
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
        Ok(Some(Laid { name, grid, values, given: Arc::new(given), columns }))
    }
}

impl Laid {
    /// All of it, for a model with these seasons.
    pub(super) fn history<'a>(&'a self, seasons: &'a [usize], horizon: usize) -> History<'a> {
        History {
            grid: &self.grid,
            first: 0,
            values: &self.values,
            seasons,
            covariates: &self.columns,
            horizon,
            non_negative: true,
        }
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
