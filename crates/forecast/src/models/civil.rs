//! Lets a model that counts seasons in steps follow the wall clock.
//!
//! Where clocks are changed twice a year, "the same time yesterday" is an hour off for a day, and a season learned over
//! weeks for weeks. So such a model is given the series as the wall clock counts it: the hour that is left out in spring
//! is missing, of the hour that comes twice in autumn only the first is seen, and what is asked of a step is read at its
//! place on the wall clock.
//!
//! Promises: as [`Model`]'s. Where clocks are never changed nothing of this takes part.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Fitted, History, Model};
use crate::covariates::Covariates;
use crate::grid::Grid;
use crate::online::Clock;
use crate::paths::Values;

/// A model that lives on the wall clock, for one who counts steps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Civil {
    model: Fitted,
    wall: Wall,
    /// The next step, and the next one on the wall clock that the model expects.
    next: u64,
    expected: u64,
    horizon: u64,
}

/// Steps as the wall clock counts them: as they are until it is changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Wall {
    clock: Clock,
    /// What the clock was ahead of UTC by, in steps, when counting began.
    base: i64,
}

impl Wall {
    /// `None` where clocks are never changed.
    fn of(history: &History<'_>) -> Option<Wall> {
        let grid = history.grid;
        let zone = grid.zone.as_ref().filter(|zone| zone.iana_name().is_some())?;
        let begin = jiff::Timestamp::from_millisecond(grid.begins_at(history.first).as_millis()).ok()?;
        zone.following(begin).next()?;
        let mut clock = Clock::new(grid.origin, grid.step, Some(zone.clone()));
        clock.look_ahead(history.end() + history.horizon as u64);
        Some(Wall { base: clock.shift(history.first), clock })
    }

    fn count(&self, step: u64) -> u64 {
        step.saturating_add_signed(self.clock.shift(step) - self.base)
    }

    /// The columns for one who counts on the wall clock.
    fn columns(&self, given: &Covariates) -> Covariates {
        if given.width() == 0 {
            return given.clone();
        }
        let mut before = 0;
        let shifts = self.clock.shifts().iter().map(|&(from, shift)| {
            let (ahead, last) = (shift - self.base, before);
            before = ahead;
            // Of an hour that comes twice the first is meant.
            (from.saturating_add_signed(ahead.max(last)), ahead)
        });
        given.shifted(shifts.collect::<Arc<[_]>>())
    }
}

/// A history on the wall clock.
pub(super) struct Laid<'a> {
    given: History<'a>,
    wall: Option<Wall>,
    grid: Cow<'a, Grid>,
    values: Cow<'a, [f32]>,
    covariates: Cow<'a, Covariates>,
}

impl<'a> Laid<'a> {
    /// Lays a history out on the wall clock of its place.
    pub(super) fn out(given: &History<'a>) -> Laid<'a> {
        let plain = Laid {
            given: *given,
            wall: None,
            grid: Cow::Borrowed(given.grid),
            values: Cow::Borrowed(given.values),
            covariates: Cow::Borrowed(given.covariates),
        };
        let Some(wall) = Wall::of(given) else { return plain };
        let mut values = Vec::with_capacity(given.values.len());
        for (step, &value) in (given.first..).zip(given.values) {
            let place = (wall.count(step) - given.first) as usize;
            if place >= values.len() {
                values.resize(place, f32::NAN);
                values.push(value);
            }
        }
        let columns = wall.columns(given.covariates);
        let grid = Grid { origin: wall.clock.origin_on_wall(given.first), zone: None, ..given.grid.clone() };
        Laid {
            grid: Cow::Owned(grid),
            values: Cow::Owned(values),
            covariates: Cow::Owned(columns),
            wall: Some(wall),
            ..plain
        }
    }

    /// What a model is to be fitted to.
    pub(super) fn history(&self) -> History<'_> {
        History { grid: &self.grid, values: &self.values, covariates: &self.covariates, ..self.given }
    }

    /// A model fitted to it, for one who counts steps.
    pub(super) fn follow(self, model: Fitted) -> Fitted {
        let expected = self.history().end();
        let Some(wall) = self.wall else { return model };
        let (next, horizon) = (self.given.end(), self.given.horizon as u64);
        Fitted::Civil(Box::new(Civil { model, wall, next, expected, horizon }))
    }
}

impl Civil {
    /// The model's answers for some distances ahead, in any order.
    fn answers(
        &self,
        aheads: impl Iterator<Item = usize> + Clone,
        covariates: &Covariates,
        ask: impl FnOnce(&[usize], &Covariates) -> Values,
        width: usize,
    ) -> Values {
        // In the hour that comes again nothing nearer can be asked than what comes after it.
        let place = |ahead: usize| {
            let count = self.wall.count(self.next + ahead as u64 - 1);
            count.saturating_sub(self.expected) as usize + 1
        };
        let mut wanted: Vec<usize> = aheads.clone().map(place).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let said = ask(&wanted, &self.wall.columns(covariates));
        let mut values = Values::zeros(aheads.clone().count(), width);
        for (row, ahead) in aheads.enumerate() {
            let found = wanted.partition_point(|&other| other < place(ahead));
            values.row_mut(row).copy_from_slice(&said[found]);
        }
        values
    }
}

impl Model for Civil {
    fn name(&self) -> &'static str {
        self.model.name()
    }

    fn observe(&mut self, value: f32, covariates: &Covariates) {
        let count = self.wall.count(self.next);
        let columns = self.wall.columns(covariates);
        while self.expected < count {
            self.model.observe(f32::NAN, &columns);
            self.expected += 1;
        }
        if count == self.expected {
            self.model.observe(value, &columns);
            self.expected += 1;
        }
        self.next += 1;
        self.wall.clock.look_ahead(self.next + self.horizon);
    }

    fn forecast(&self, steps: usize, quantiles: &[f64], covariates: &Covariates) -> Values {
        let path = |wanted: &[usize], columns: &Covariates| {
            let path = self.model.forecast(wanted.last().copied().unwrap_or(0), quantiles, columns);
            if wanted.len() == path.len() {
                return path;
            }
            let mut values = Values::zeros(wanted.len(), quantiles.len());
            for (row, &ahead) in wanted.iter().enumerate() {
                values.row_mut(row).copy_from_slice(&path[ahead - 1]);
            }
            values
        };
        self.answers(1..=steps, covariates, path, quantiles.len())
    }

    fn forecast_at(&self, aheads: &[usize], quantiles: &[f64], covariates: &Covariates) -> Values {
        let ask = |wanted: &[usize], columns: &Covariates| self.model.forecast_at(wanted, quantiles, columns);
        self.answers(aheads.iter().copied(), covariates, ask, quantiles.len())
    }

    fn next_step(&self) -> Option<u64> {
        self.model.next_step().map(|_| self.next)
    }

    fn bytes(&self) -> usize {
        size_of::<Civil>() + self.model.bytes()
    }
}

#[cfg(test)]
mod tests;
