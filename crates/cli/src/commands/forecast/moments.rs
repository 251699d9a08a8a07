//! The moments of one series at which a forecast is asked for: what was known then, and what is said.

use std::sync::Arc;
use std::time::Duration;

use forecast::Config;
use forecast::Timestamp;
use forecast::calendar::Event;
use forecast::models::FitError;
use forecast::trace::Series;

use super::super::laid::{Laid, others};
use super::core::{Alone, Answer, Beside, Chosen, Core};
use super::{ForecastArgs, Issued};
use crate::failure::{Failure, OrFail};
use crate::trace_file::Clock;

/// What is asked of every series.
pub(super) struct Asked<'a> {
    pub(super) args: &'a ForecastArgs,
    pub(super) chosen: &'a Chosen,
    pub(super) config: &'a Config,
    pub(super) events: &'a [Event],
    /// Name of the column that is forecast.
    pub(super) column: &'a str,
    /// The series that are learned from together; none when each is learned from alone.
    pub(super) together: &'a [Laid],
}

/// One series on its way through the file.
struct Way<'a> {
    series: &'a Series,
    grid: Grid,
    core: Core,
    open: Option<Slot>,
    /// When the step begins that the last row of the past belongs to.
    ends: Timestamp,
    clock: Clock,
}

impl Asked<'_> {
    /// Streams one series and forecasts at each moment asked for.
    pub(super) fn issue(
        &self,
        series: &Series,
        beside: &[Vec<f32>],
        clock: Clock,
    ) -> Result<Vec<Issued>, Failure> {
        let Some(&(origin, _)) = series.points.first() else { return Ok(Vec::new()) };
        let grid = Grid { origin, step: self.config.step };
        // Rows that have covariates only are the future.
        let is_past = |point: &&(Timestamp, Option<f64>)| beside.is_empty() || point.1.is_some();
        let last = series.points.iter().rev().find(is_past).map_or(origin, |point| point.0);
        let ends = grid.start(grid.slot(last));
        let moments = self.moments(&grid, ends);
        let covariates = Arc::new(self.args.known.covariates(series, beside, &grid)?);
        let core = Core::new(self.chosen, self.config, origin, (self.events, &covariates))?;
        let mut way = Way { series, grid, core, open: None, ends, clock };
        let mut issued = Vec::new();
        let mut rest = series.points.as_slice();
        for as_of in moments {
            self.check(&way, as_of)?;
            let (before, later) = rest.split_at(rest.partition_point(|point| point.0 < as_of));
            rest = later;
            way.follow(before)?;
            let answer = self.at_moment(&way, as_of)?;
            issued.push(Issued { as_of, series: series.name.clone(), answer });
        }
        Ok(issued)
    }

    fn moments(&self, grid: &Grid, ends: Timestamp) -> Vec<Timestamp> {
        let mut moments = self.args.as_of.clone();
        moments.sort_unstable();
        moments.dedup();
        if moments.is_empty() {
            moments.push(grid.start(grid.slot(ends) + 1));
        }
        moments
    }

    /// Refuses a moment at which nothing is known.
    fn check(&self, way: &Way<'_>, as_of: Timestamp) -> Result<(), Failure> {
        let (at, begins) = (way.clock.write(as_of), way.clock.write(way.grid.origin));
        let name = way.series.name.as_deref().unwrap_or("the series");
        if as_of <= way.grid.origin {
            return Err(Failure::usage(format!(
                "there are no rows before --as-of {at}: {name} begins at {begins}"
            )));
        }
        let known = way.series.points.iter().take_while(|point| point.0 < as_of);
        if known.filter_map(|point| point.1).next().is_none() {
            return Err(Failure::usage(format!(
                "{}: {name} has no value before {at}: every cell of column `{}` from {begins} on is empty, so there is nothing to \
                 forecast from; fill some, or name another column with --column",
                self.args.file.display(),
                self.column,
            )));
        }
        let silent = way.silent(as_of);
        if silent > SILENT_MAX {
            return Err(Failure::usage(format!(
                "--as-of {at} is {silent} steps after {name} ends, with the step of {}; beyond {SILENT_MAX} steps nothing that was \
                 learned holds: give an earlier moment, or newer rows",
                way.clock.write(way.ends),
            )));
        }
        Ok(())
    }

    /// Forecasts from a copy, so that the step still being filled and the missing ones before `as_of` are not kept.
    fn at_moment(&self, way: &Way<'_>, as_of: Timestamp) -> Result<Answer, Failure> {
        let (args, grid) = (self.args, &way.grid);
        let mut copy = way.core.clone();
        let mut next = 0;
        if let Some(slot) = &way.open {
            slot.observe(grid, &mut copy)?;
            next = slot.number + 1;
        }
        let first_future = grid.slot_from(as_of);
        if first_future > next {
            copy.observe(grid.start(first_future - 1), None)
                .or_failed("cannot skip the missing steps before --as-of")?;
        }
        let beside = Beside { series: self.beside(way.series), as_of };
        let said = copy.answer(steps(args.horizon, grid.step), &args.quantiles.0, &args.joint, &beside);
        let mut answer = said.map_err(|why| self.refused(why, &way.clock.write(as_of)))?;
        let silent = way.silent(as_of);
        if silent > 0 {
            answer.known.said.push(format!(
                "the data ends with the step of {}, {silent} steps before --as-of {}: those count as missing, and what was \
                 known before them is carried on",
                way.clock.write(way.ends),
                way.clock.write(as_of),
            ));
        }
        Ok(answer)
    }

    /// The series that this one is learned together with.
    fn beside(&self, series: &Series) -> Vec<&Laid> {
        let name = series.name.as_deref().unwrap_or_default();
        let at = self.together.iter().position(|laid| laid.name == name);
        at.map_or(Vec::new(), |at| others(self.together, at).collect())
    }

    /// A model of ours that cannot be fitted is the wrong one for the data; a command that fails is broken.
    fn refused(&self, why: FitError, as_of: &str) -> Failure {
        let file = self.args.file.display();
        match self.chosen {
            Chosen::Batch(Alone::Own(_)) => {
                let command = self.args.model_command.as_deref().unwrap_or_default();
                let what = format!("the model `{command}` has no forecast as of {as_of}");
                Failure::Failed(anyhow::Error::new(why).context(what))
            }
            Chosen::Learning(kind, ..) | Chosen::Batch(Alone::Named(kind)) => Failure::Usage(anyhow::Error::new(why).context(format!(
                "the model `{kind}` has no forecast of column `{}` of {file} as of {as_of}; give more of the series, or leave \
                 --model out: `auto` forecasts any series",
                self.column
            ))),
        }
    }
}

impl Way<'_> {
    /// Takes in the rows up to the next moment.
    fn follow(&mut self, rows: &[(Timestamp, Option<f64>)]) -> Result<(), Failure> {
        for &(at, value) in rows {
            let slot = self.grid.slot(at);
            if let Some(full) = self.open.take_if(|open| open.number != slot) {
                full.observe(&self.grid, &mut self.core)?;
            }
            self.open.get_or_insert(Slot { number: slot, sum: 0.0, count: 0 }).add(value);
        }
        Ok(())
    }

    /// Steps before a moment that begin after the data ends.
    fn silent(&self, as_of: Timestamp) -> i64 {
        (self.grid.slot_from(as_of) - self.grid.slot(self.ends) - 1).max(0)
    }
}

/// Steps counted from the first row.
pub(in crate::commands) struct Grid {
    pub(in crate::commands) origin: Timestamp,
    pub(in crate::commands) step: Duration,
}

impl Grid {
    /// The step a row belongs to: the nearest beginning, so that a recorder's jitter does not matter.
    pub(in crate::commands) fn slot(&self, at: Timestamp) -> i64 {
        let step = self.step_ms();
        (at.as_millis().saturating_sub(self.origin.as_millis()).saturating_add(step / 2)).div_euclid(step)
    }

    /// The first step that does not begin before `at`.
    fn slot_from(&self, at: Timestamp) -> i64 {
        let offset = at.as_millis().saturating_sub(self.origin.as_millis());
        -(offset.saturating_neg().div_euclid(self.step_ms()))
    }

    fn start(&self, slot: i64) -> Timestamp {
        Timestamp::from_millis(self.origin.as_millis().saturating_add(slot.saturating_mul(self.step_ms())))
    }

    fn step_ms(&self) -> i64 {
        i64::try_from(self.step.as_millis()).unwrap_or(i64::MAX).max(1)
    }
}

/// A step that is being filled; several rows in one step become their mean.
struct Slot {
    number: i64,
    sum: f64,
    count: u32,
}

impl Slot {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.sum += value;
            self.count += 1;
        }
    }

    fn observe(&self, grid: &Grid, core: &mut Core) -> Result<(), Failure> {
        let value = (self.count > 0).then(|| self.sum / f64::from(self.count));
        core.observe(grid.start(self.number), value).or_usage("the series cannot be followed")
    }
}

/// Steps of a horizon, the last one counted whole.
pub(super) fn steps(horizon: Duration, step: Duration) -> usize {
    usize::try_from(horizon.as_millis().div_ceil(step.as_millis().max(1))).unwrap_or(usize::MAX)
}

/// What is farther after the data than this has nothing to do with it; the online core forgets as well.
const SILENT_MAX: i64 = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forecast_begins_at_the_first_step_that_is_not_before_the_moment() {
        let grid = Grid { origin: Timestamp::from_secs(100), step: Duration::from_secs(10) };
        assert_eq!(grid.slot_from(Timestamp::from_secs(120)), 2);
        assert_eq!(grid.slot_from(Timestamp::from_secs(121)), 3);
        assert_eq!(grid.slot_from(Timestamp::from_secs(95)), 0);
        assert_eq!(grid.slot(Timestamp::from_secs(124)), 2);
        assert_eq!(grid.start(3), Timestamp::from_secs(130));
    }
}
