//! A forecaster that knows the calendar: events and covariates on top of the online core.

mod joint;

use std::time::Duration;

use super::guard::{Guard, JUDGED};
use super::learner::{Learner, Situation};
use super::report::{Assumed, Effect, Note};
use crate::calendar::Event;
use crate::calibration::{GRID, probit};
use crate::covariates::Covariates;
use crate::grid::Grid;
use crate::{
    Config, ConfigError, FORECAST_STEPS_MAX, Forecast, Forecaster, ObserveError, Timestamp, Trust, Values,
};

/// Forecasts one series online, knowing events and covariates of its future.
///
/// Each observation is freed of what events and covariates did to it before the [`Forecaster`] inside learns from it; its
/// forecasts are given their expected effects back, and are wider by as much as those are uncertain.
///
/// Effects are multiplicative, so they are not learned where a series is below zero. Nothing observed later, and no
/// covariate that was not given, is ever used.
#[derive(Clone, Debug)]
pub struct Informed {
    /// Of demand freed of its effects.
    forecaster: Forecaster,
    /// Of demand as it is.
    plain: Forecaster,
    /// Whether each kind of event matters.
    kinds: Guard,
    /// Whether effects are of use at all: at ordinary steps, and at those of events.
    whole: Guard,
    grid: Grid,
    non_negative: bool,
    learner: Learner,
    names: Vec<String>,
    /// The step that comes next.
    next: u64,
    /// The last value, freed of its effects.
    freed: Option<f64>,
    /// With effects taken away, and as it is.
    bases: [Bases; 2],
}

/// A forecast, and what had to be assumed for it.
#[derive(Clone, Debug, PartialEq)]
pub struct InformedForecast {
    /// Quantiles of demand with all known effects.
    pub forecast: Forecast,
    /// Expected effect of each step, as a factor.
    pub factors: Vec<f64>,
    /// What was assumed.
    pub notes: Vec<Note>,
}

impl Informed {
    /// For a series whose first step begins at `origin`, with these covariates. The horizon is learned to half a day (at most
    /// 1024 steps) even when a shorter one is configured.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that cannot work.
    pub fn new(
        mut config: Config,
        origin: Timestamp,
        covariates: &[String],
    ) -> Result<Informed, ConfigError> {
        let grid = Grid { origin, step: config.step, zone: config.time_zone.clone() };
        let non_negative = config.non_negative;
        let day = grid.steps_in(Duration::from_secs(24 * 3600)).unwrap_or(0);
        let every = (day / 4).clamp(1, BASE_STEPS_MAX);
        config.validate()?;
        // Effects are learned from forecasts so far ahead, whatever is asked for.
        let needed = config.step.saturating_mul(2 * every as u32);
        config.horizon_max = config.horizon_max.max(needed);
        let forecaster = Forecaster::new(config)?;
        let names = covariates[..covariates.len().min(COVARIATES_MAX)].to_vec();
        Ok(Informed {
            plain: forecaster.clone(),
            forecaster,
            kinds: Guard::default(),
            whole: Guard::default(),
            learner: Learner::new(grid.step, &names),
            names,
            grid,
            non_negative,
            next: 0,
            freed: None,
            bases: [Bases::new(every), Bases::new(every)],
        })
    }

    /// As [`new`](Self::new), for a series that `core` has followed up to the step before `next`. The levels of the hours
    /// are taken from what it remembers; effects are learned from here on.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that cannot work.
    pub fn over(
        core: Forecaster,
        config: Config,
        origin: Timestamp,
        next: u64,
        covariates: &[String],
    ) -> Result<Informed, ConfigError> {
        let mut informed = Informed::new(config, origin, covariates)?;
        for (at, value) in core.remembered() {
            if let Some(step) = informed.grid.step_of(at).filter(|_| value >= 0.0) {
                informed.learner.acquaint(&informed.grid.local(step), value.min(VALUE_MAX));
            }
        }
        informed.plain = core.clone();
        informed.forecaster = core;
        informed.next = next;
        Ok(informed)
    }

    /// Calls all events off. What was learned of their kinds is kept.
    pub fn clear_events(&mut self) {
        self.learner.clear_events();
    }

    /// Makes events known, past or future; an event of the same name and time as a known one replaces it. At most
    /// [`EVENTS_MAX`] are kept; what is long over is dropped first. Events without a magnitude above zero are passed over.
    pub fn announce(&mut self, events: &[Event]) {
        self.learner.announce(events, self.grid.begins_at(self.next), self.grid.step, EVENTS_MAX);
    }

    /// The value of the step that begins at `at`; `None` or NaN when it is missing. Covariates are looked up by the step of
    /// [`grid`](Self::grid), in the order of the names given at the beginning.
    ///
    /// # Errors
    /// [`ObserveError`] as of [`Forecaster::observe`]; nothing is learned then.
    pub fn observe(
        &mut self,
        at: Timestamp,
        value: Option<f64>,
        covariates: &Covariates,
    ) -> Result<(), ObserveError> {
        let value = value.filter(|value| !value.is_nan());
        let is_legal = value.is_none_or(|value| value.is_finite() && !(self.non_negative && value < 0.0));
        let Some(step) = self.grid.step_of(at).filter(|&step| step >= self.next && is_legal) else {
            // To be refused, in the forecaster's own words.
            return self.forecaster.observe(at, value);
        };
        let situation = self.learner.meet(&self.grid, step, covariates);
        let freed = match value {
            Some(value) if value >= 0.0 => {
                let value = value.min(VALUE_MAX);
                self.judge(step, value, covariates);
                let base = self.bases[0].at(step).map(|said| said.row[MEDIAN]);
                let weight = self.event_weight(&situation);
                Some(self.learner.learn(&situation, value, base, weight))
            }
            Some(_) | None => value,
        };
        self.learner.look(&situation, step, covariates);
        self.forecaster.observe(at, freed)?;
        self.plain.observe(at, value)?;
        self.freed = freed;
        self.next = step + 1;
        self.bases[0].renew(&self.forecaster, self.next, self.learner.means());
        self.bases[1].renew(&self.plain, self.next, &[]);
        Ok(())
    }

    /// Compares what would have been said of a step, some hours before it, with and without effects.
    fn judge(&mut self, step: u64, value: f64, covariates: &Covariates) {
        let both = self.bases[0].at(step).zip(self.bases[1].at(step));
        let Some((base, without)) = both.filter(|_| self.learner.is_warm()) else { return };
        let then = self.grid.begins_at(base.made_at);
        let situation = self.learner.situation(&self.grid, step, covariates, then);
        let expected = self.learner.expected(&situation, Some(base.means));
        let kind = self.learner.kind(&situation);
        let said = |weight: f64| {
            let mut row = [0.0; JUDGED.len()];
            self.put_back(expected.weighted(weight), base.row, &SCORES, &mut row);
            row
        };
        let (gated, with, none) = (said(self.event_weight(&situation)), said(1.0), said(0.0));
        let repetition = self.learner.repetition();
        self.whole.judge(usize::from(kind.is_some()), value, &gated, without.row, repetition);
        if let Some((kind, _)) = kind.filter(|_| self.learner.is_on(&situation)) {
            self.kinds.judge(kind, value, &with, &none, repetition);
        }
    }

    /// Probability that the event felt at a step matters.
    fn event_weight(&self, situation: &Situation) -> f64 {
        self.learner.kind(situation).map_or(0.0, |(kind, prior)| self.kinds.weight(kind, prior))
    }

    /// Quantiles of the next `steps` steps (at most [`FORECAST_STEPS_MAX`]), with the effects of all announced events and
    /// of the covariates as far as they are given. Finite, monotone, and not below zero, as of [`Forecaster::forecast`].
    pub fn forecast(&self, steps: usize, quantiles: &[f64], covariates: &Covariates) -> InformedForecast {
        let steps = steps.min(FORECAST_STEPS_MAX);
        let mut asked = quantiles.to_vec();
        asked.push(0.5);
        let base = self.forecaster.forecast(steps, &asked);
        let plain = self.plain.forecast(steps, quantiles);
        let scores: Vec<f64> = quantiles.iter().map(|&tau| score(tau)).collect();
        let mut values = Values::zeros(steps, quantiles.len());
        let ahead = self.ahead(steps, covariates);
        let factors = ahead.iter().map(|ahead| (ahead.weight * ahead.effect.0).exp()).collect();
        for (h, ahead) in ahead.iter().enumerate().filter(|_| !quantiles.is_empty()) {
            let row = values.row_mut(h);
            self.put_back(ahead.effect, &base.values[h], &scores, row);
            for (value, &without) in row.iter_mut().zip(&plain.values[h]) {
                *value = without + ahead.weight * (*value - without);
            }
        }
        let forecast = Forecast { quantiles: quantiles.to_vec(), values, ..base };
        InformedForecast { forecast, factors, notes: self.notes(steps, covariates) }
    }

    /// What effects are expected to do to the next steps.
    pub(crate) fn ahead(&self, steps: usize, covariates: &Covariates) -> Vec<Ahead> {
        let now = self.grid.begins_at(self.next.saturating_sub(1));
        let of = |h: usize| {
            let situation = self.learner.situation(&self.grid, self.next + h as u64, covariates, now);
            let effect = self.learner.expected(&situation, None).weighted(self.event_weight(&situation));
            let sort = usize::from(self.learner.kind(&situation).is_some());
            Ahead { effect, weight: self.whole.weight(sort, WHOLE_ODDS[sort]) }
        };
        (0..steps).map(of).collect()
    }

    /// One step's quantiles with the effect, wider by its uncertainty. `base` has the median behind the quantiles.
    fn put_back(&self, (mean, sd): (f64, f64), base: &[f64], scores: &[f64], row: &mut [f64]) {
        if mean == 0.0 && sd == 0.0 {
            row.copy_from_slice(&base[..row.len()]);
            return;
        }
        let (small, factor) = (self.learner.small(), mean.exp());
        let median = base.last().copied().unwrap_or(0.0);
        let size = median.max(0.0) + small;
        for ((value, &base), &score) in row.iter_mut().zip(base).zip(scores) {
            let unsure = size * ((score * sd).exp() - 1.0);
            let off = (base - median).hypot(unsure).copysign(score);
            let wide = median + if score == 0.0 { base - median } else { off };
            let with =
                if wide >= 0.0 { (wide + small) * factor - small } else { wide + small * (factor - 1.0) };
            *value = if self.non_negative { with.max(0.0) } else { with };
        }
    }

    /// What a forecast of the next `steps` steps has to assume.
    pub fn notes(&self, steps: usize, covariates: &Covariates) -> Vec<Note> {
        let mut notes =
            Note::unknown(&self.names, covariates, (&self.grid, self.next), steps, Assumed::Usual);
        let due = self.next..self.next + steps as u64;
        notes.extend(self.learner.unseen(&self.grid, due).into_iter().map(|kind| Note::KindUnseen { kind }));
        notes
    }

    /// What was learned of events and covariates so far.
    pub fn effects(&self) -> Vec<Effect> {
        self.learner.effects()
    }

    /// Whether forecasts of this series may be relied upon now.
    pub fn trust(&self) -> Trust {
        self.forecaster.trust()
    }

    /// The steps that covariates are looked up by.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The step that comes next.
    pub fn next_step(&self) -> u64 {
        self.next
    }

    /// The value observed last, as it would have been without effects; `None` when it was missing.
    pub(crate) fn freed(&self) -> Option<f64> {
        self.freed
    }

    /// Gives undisturbed quantiles of a step, those of the grid, its effect.
    pub(crate) fn disturb(&self, ahead: &Ahead, row: &mut [f64]) {
        let mut base = [0.0; GRID.len() + 1];
        base[..GRID.len()].copy_from_slice(row);
        base[GRID.len()] = base[GRID_MEDIAN];
        self.put_back(ahead.effect, &base, &GRID.map(score), row);
        for (value, &without) in row.iter_mut().zip(&base) {
            *value = without + ahead.weight * (*value - without);
        }
    }

    /// The forecaster of demand as it is.
    pub fn plain(&self) -> &Forecaster {
        &self.plain
    }

    /// Names of the covariates, in the order in which they are looked up.
    pub fn covariates(&self) -> &[String] {
        &self.names
    }

    /// The forecaster of undisturbed demand.
    pub fn undisturbed(&self) -> &Forecaster {
        &self.forecaster
    }

    /// Bytes of memory held for this series.
    pub fn bytes(&self) -> usize {
        let rows: usize = self.bases.iter().map(|bases| bases.now.rows.len() + bases.later.rows.len()).sum();
        self.forecaster.bytes() + self.plain.bytes() + self.learner.bytes() + 8 * (JUDGED.len() + 1) * rows
    }
}

/// What effects do to a step to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    /// Mean and standard deviation, as logarithms.
    effect: (f64, f64),
    /// Of the forecast with effects, beside the one without.
    weight: f64,
}

impl Ahead {
    /// Nobody knows what comes to within a tenth.
    pub(crate) fn is_unsure(&self) -> bool {
        self.weight * self.effect.1 > UNSURE
    }
}

/// The quantile of the standard normal distribution; exactly zero for the median.
fn score(tau: f64) -> f64 {
    if tau == 0.5 { 0.0 } else { probit(tau.clamp(1e-6, 1.0 - 1e-6)) }
}

/// Quantiles forecast from a quarter to half a day before: late enough to know the level, early enough not to have
/// followed the effect that is to be learned.
#[derive(Clone, Debug)]
struct Bases {
    /// Forecasts are made every so many steps, for twice as many; the second half is kept.
    every: usize,
    now: Stretch,
    later: Stretch,
}

/// Quantiles of consecutive steps.
#[derive(Clone, Debug, Default)]
struct Stretch {
    first: u64,
    made_at: u64,
    /// Those that are judged, then the median.
    rows: Vec<[f64; JUDGED.len() + 1]>,
    /// What was known of effects when they were made.
    means: Vec<f64>,
}

/// What was said of a step.
struct Said<'a> {
    made_at: u64,
    row: &'a [f64; JUDGED.len() + 1],
    means: &'a [f64],
}

impl Bases {
    fn new(every: usize) -> Bases {
        Bases { every, now: Stretch::default(), later: Stretch::default() }
    }

    fn at(&self, step: u64) -> Option<Said<'_>> {
        let place = usize::try_from(step.checked_sub(self.now.first)?).ok()?;
        let row = self.now.rows.get(place)?;
        Some(Said { made_at: self.now.made_at, row, means: &self.now.means })
    }

    fn renew(&mut self, forecaster: &Forecaster, next: u64, means: &[f64]) {
        if next < self.later.first {
            return;
        }
        let made = forecaster.forecast(2 * self.every, &JUDGED);
        let rows = made.values.iter().skip(self.every).map(|row| [row[0], row[1], row[2], row[1]]).collect();
        let first = next + self.every as u64;
        let later = Stretch { first, made_at: next.saturating_sub(1), rows, means: means.to_vec() };
        self.now = std::mem::replace(&mut self.later, later);
    }
}

/// Most events kept.
pub const EVENTS_MAX: usize = 100_000;
/// Most covariates used.
pub(crate) const COVARIATES_MAX: usize = 32;
/// Log odds that effects are of use, before anything was seen: at ordinary steps, and at those of events.
const WHOLE_ODDS: [f64; 2] = [1.0, 2.0];
const MEDIAN: usize = 3;
/// Place of the median on the grid of quantiles.
const GRID_MEDIAN: usize = 5;
/// The judged quantiles of the standard normal distribution.
const SCORES: [f64; JUDGED.len()] = [-1.644_853_6, 0.0, 1.644_853_6];
const BASE_STEPS_MAX: usize = 512;
/// Standard deviation, as a logarithm, from which on an effect is not known.
const UNSURE: f64 = 0.1;
/// Magnitudes beyond this are not demand.
const VALUE_MAX: f64 = 1e30;
