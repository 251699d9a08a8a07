//! Naive forecasts: the last value, the value a day or a week ago, the last value with the mean slope.
//!
//! They are what any model has to beat, the first forecasts of a young series, and the last resort of one that nothing
//! else describes. Their intervals are the errors that the same rule made in the history.

use serde::{Deserialize, Serialize};

use super::realised::{Origin, Realised};
use super::{Bands, FitError, History, Model, Pace};
use crate::covariates::Covariates;
use crate::paths::Values;

/// What is said about the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Rule {
    /// The last value.
    Last,
    /// The last value, moved on by the mean change per step of the history.
    Drift,
    /// The value one period earlier.
    Season,
}

/// One of the naive forecasts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Naive {
    name: Name,
    state: State,
    realised: Realised,
    non_negative: bool,
}

/// The names that naive forecasts are asked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Name {
    Last,
    Day,
    Week,
    Drift,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct State {
    rule: Rule,
    /// The next step.
    step: u64,
    /// The last value known at each phase of the period; a single one for rules without a season.
    memory: Vec<f32>,
    /// The last value known, in case a phase was never seen.
    last: f32,
    /// Sum of changes, and the steps in which they came about.
    change: f64,
    steps: f64,
    /// Steps since `last`.
    age: u32,
}

impl Naive {
    /// Persistence: the last value.
    ///
    /// # Errors
    /// [`FitError`] when there is not a single value.
    pub fn last(history: &History<'_>, pace: &mut Pace<'_>) -> Result<Naive, FitError> {
        Naive::fit(Name::Last, Rule::Last, 1, history, pace)
    }

    /// The last value and the mean slope of the history (Hyndman and Athanasopoulos, section 5.2).
    ///
    /// # Errors
    /// [`FitError`] when there are not two values.
    pub fn drift(history: &History<'_>, pace: &mut Pace<'_>) -> Result<Naive, FitError> {
        Naive::fit(Name::Drift, Rule::Drift, 1, history, pace)
    }

    /// The value of the same time on the day before.
    ///
    /// # Errors
    /// [`FitError`] when a day is no whole number of steps, or less than a day is known.
    pub fn day(history: &History<'_>, pace: &mut Pace<'_>) -> Result<Naive, FitError> {
        Naive::calendar(Name::Day, DAY_SECS, history, pace)
    }

    /// The value of the same time in the week before.
    ///
    /// # Errors
    /// [`FitError`] when a week is no whole number of steps, or less than a week is known.
    pub fn week(history: &History<'_>, pace: &mut Pace<'_>) -> Result<Naive, FitError> {
        Naive::calendar(Name::Week, 7 * DAY_SECS, history, pace)
    }

    fn calendar(
        name: Name,
        secs: u64,
        history: &History<'_>,
        pace: &mut Pace<'_>,
    ) -> Result<Naive, FitError> {
        let span = std::time::Duration::from_secs(secs);
        let period = history.grid.steps_in(span).filter(|&period| period > 1 && period <= PERIOD_MAX);
        let Some(period) = period else {
            return Err(FitError::Unsuitable("the period is not a whole number of steps".into()));
        };
        Naive::fit(name, Rule::Season, period, history, pace)
    }

    fn fit(
        name: Name,
        rule: Rule,
        period: usize,
        history: &History<'_>,
        pace: &mut Pace<'_>,
    ) -> Result<Naive, FitError> {
        let needed = if rule == Rule::Last { 1 } else { period + 1 };
        let present = history.present();
        if present == 0 || history.values.len() < needed {
            return Err(FitError::TooLittleHistory { present, needed });
        }
        let mut state = State {
            rule,
            step: history.first,
            memory: vec![f32::NAN; period],
            last: f32::NAN,
            change: 0.0,
            steps: 0.0,
            age: 0,
        };
        let bands = Bands::new(history.horizon);
        let every = ((history.values.len() - needed) / ORIGINS_MAX).max(1);
        let mut origins = Vec::new();
        for (i, &value) in history.values.iter().enumerate() {
            state.observe(value);
            if i + 1 >= needed && (i + 1 - needed).is_multiple_of(every) {
                let said = bands.aheads().iter().map(|&ahead| state.at(ahead) as f32).collect();
                origins.push(Origin { next: i + 1, said });
            }
            if i.is_multiple_of(4096) {
                pace.checkpoint()?;
            }
        }
        let season = history.grid.steps_in(std::time::Duration::from_secs(DAY_SECS));
        let realised = Realised::new(&origins, history.values, history.first, season, bands);
        Ok(Naive { name, state, realised, non_negative: history.non_negative })
    }
}

impl Model for Naive {
    fn name(&self) -> &'static str {
        match self.name {
            Name::Last => "last",
            Name::Day => "naive-day",
            Name::Week => "naive-week",
            Name::Drift => "drift",
        }
    }

    fn observe(&mut self, value: f32, _covariates: &Covariates) {
        self.state.observe(value);
    }

    fn forecast(&self, steps: usize, quantiles: &[f64], _covariates: &Covariates) -> Values {
        let middle: Vec<f64> = (1..=steps).map(|ahead| self.state.at(ahead)).collect();
        self.realised.around(&middle, self.state.step, quantiles, self.non_negative)
    }

    fn bytes(&self) -> usize {
        size_of::<Naive>() + self.state.memory.len() * 4 + self.realised.bytes()
    }
}

impl State {
    fn observe(&mut self, value: f32) {
        let phase = (self.step % self.memory.len() as u64) as usize;
        self.step += 1;
        self.age = self.age.saturating_add(1);
        if !value.is_finite() {
            return;
        }
        if self.last.is_finite() {
            self.change += f64::from(value) - f64::from(self.last);
            self.steps += f64::from(self.age);
        }
        self.memory[phase] = value;
        self.last = value;
        self.age = 0;
    }

    /// The middle of what is said about the `ahead`th next step; finite.
    fn at(&self, ahead: usize) -> f64 {
        let last = if self.last.is_finite() { f64::from(self.last) } else { 0.0 };
        match self.rule {
            Rule::Last => last,
            Rule::Drift => {
                let slope = if self.steps > 0.0 { self.change / self.steps } else { 0.0 };
                last + slope * (ahead as f64 + f64::from(self.age))
            }
            Rule::Season => {
                let phase = ((self.step + ahead as u64 - 1) % self.memory.len() as u64) as usize;
                Some(self.memory[phase]).filter(|value| value.is_finite()).map_or(last, f64::from)
            }
        }
    }
}

const DAY_SECS: u64 = 86_400;
/// Moments of the history that forecasts are made at, to see their errors.
const ORIGINS_MAX: usize = 1000;
/// A week of ten-second steps: a longer memory costs more than this model is worth.
const PERIOD_MAX: usize = 60_480;
