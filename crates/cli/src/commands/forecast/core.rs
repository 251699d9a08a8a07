//! The forecaster of one series behind `--model`: what learns at every step, or a batch model that is fitted to everything
//! known at the moment of a forecast.

use std::sync::Arc;

use daemon::external_model::ExternalModel;
use forecast::calendar::{self, Event, Window};
use forecast::covariates::Covariates;
use forecast::effects::{Effect, Note};
use forecast::grid::Grid;
use forecast::models::external::External;
use forecast::models::{self, FitError, History, Kind, Model, Pace};
use forecast::{Config, Ensemble, Forecast, Forecaster, ObserveError, Timestamp, Trust};

use super::joint::{Joint, JointArgs};
use crate::failure::{Failure, OrFail};

/// One series, forecast.
#[derive(Clone, Debug)]
pub(super) enum Core {
    /// What learns at every step: the online core, and batch models that are retrained as the history grows.
    Learning(Box<Ensemble>),
    /// One batch model.
    Batch(Box<Batch>),
}

/// Which model is asked.
#[derive(Clone, Debug)]
pub(super) enum Chosen {
    /// One of ours, and what `auto` combines.
    Named(Kind, Vec<Kind>),
    /// A command.
    Own(Arc<ExternalModel>),
}

/// What a batch model will be fitted to.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    model: Chosen,
    grid: Grid,
    values: Vec<f32>,
    /// Finds the seasons, and knows how steps hang together.
    core: Forecaster,
    horizon: usize,
    covariates: Arc<Covariates>,
}

/// What was assumed and learned of effects.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) notes: Vec<Note>,
    pub(super) effects: Vec<Effect>,
}

/// All that a model says at one moment.
pub(super) struct Answer {
    pub(super) forecast: Forecast,
    pub(super) trust: Trust,
    pub(super) known: Known,
    pub(super) joint: Joint,
}

/// The online core with what is known beside the series, combined with batch models.
pub(in crate::commands) fn ensemble(
    kind: Kind,
    combined: &[Kind],
    config: &Config,
    (events, covariates): (&[Event], &Arc<Covariates>),
) -> Result<Ensemble, Failure> {
    let combined = if kind == Kind::Auto { combined } else { &[] };
    let mut ensemble =
        Ensemble::new(config.clone(), combined).or_usage("cannot forecast with these settings")?;
    ensemble.announce(events);
    if covariates.width() > 0 {
        ensemble.know(Arc::clone(covariates));
    }
    Ok(ensemble)
}

impl Core {
    pub(super) fn new(
        model: &Chosen,
        config: &Config,
        origin: Timestamp,
        (events, covariates): (&[Event], &Arc<Covariates>),
    ) -> Result<Core, Failure> {
        if let Chosen::Named(kind, combined) = model
            && !kind.is_batch()
        {
            let ensemble = ensemble(*kind, combined, config, (events, covariates))?;
            return Ok(Core::Learning(Box::new(ensemble)));
        }
        let core = Forecaster::new(config.clone()).or_usage("cannot forecast with these settings")?;
        let grid = Grid { origin, step: config.step, zone: config.time_zone.clone() };
        let horizon = config.horizon_max.as_millis().div_ceil(config.step.as_millis().max(1)) as usize;
        let covariates = Arc::new(columns(&grid, events, covariates)?);
        let model = model.clone();
        Ok(Core::Batch(Box::new(Batch { model, grid, values: Vec::new(), core, horizon, covariates })))
    }

    pub(super) fn observe(&mut self, at: Timestamp, value: Option<f64>) -> Result<(), ObserveError> {
        match self {
            Core::Learning(ensemble) => {
                ensemble.observe(at, value)?;
                ensemble.train_if_due();
                Ok(())
            }
            Core::Batch(batch) => batch.observe(at, value),
        }
    }

    /// # Errors
    /// Why a batch model cannot be fitted to this history.
    pub(super) fn answer(
        &self,
        steps: usize,
        quantiles: &[f64],
        asked: &JointArgs,
    ) -> Result<Answer, FitError> {
        match self {
            Core::Learning(ensemble) => Ok(Answer {
                forecast: ensemble.forecast(steps, quantiles),
                trust: ensemble.trust(),
                known: Known { notes: ensemble.notes(steps), effects: ensemble.effects() },
                joint: asked.of_ensemble(ensemble, steps, quantiles),
            }),
            Core::Batch(batch) => batch.answer(steps, quantiles, asked),
        }
    }
}

impl Batch {
    fn observe(&mut self, at: Timestamp, value: Option<f64>) -> Result<(), ObserveError> {
        self.core.observe(at, value)?;
        let step = self.grid.step_of(at).unwrap_or(0) as usize;
        self.values.resize(step.max(self.values.len()), f32::NAN);
        self.values.push(value.map_or(f32::NAN, |value| value as f32));
        Ok(())
    }

    fn answer(&self, steps: usize, quantiles: &[f64], asked: &JointArgs) -> Result<Answer, FitError> {
        let seasons: Vec<usize> = self.core.seasons().iter().map(|season| season.period).collect();
        let history = History {
            grid: &self.grid,
            first: 0,
            values: &self.values,
            seasons: &seasons,
            covariates: &self.covariates,
            horizon: self.horizon,
            non_negative: true,
        };
        let trust = models::trust(&history, &self.core, &mut |history| match &self.model {
            Chosen::Named(kind, _) => Ok(Box::new(kind.train(history, &mut Pace::free())?)),
            Chosen::Own(model) => {
                Ok(Box::new(External::fit(Box::new(model.clone()), history, &mut Pace::free())?))
            }
        });
        // A command has one state: it learns last what it is asked about.
        let said = match &self.model {
            Chosen::Named(kind, _) => {
                let model = kind.train(&history, &mut Pace::free())?;
                let said = |quantiles: &[f64]| model.forecast(steps, quantiles, &self.covariates);
                (said(quantiles), asked.needs_grid().then(|| said(Ensemble::GUEST_QUANTILES)))
            }
            Chosen::Own(model) => {
                let model = External::fit(Box::new(model.clone()), &history, &mut Pace::free())?;
                let said = |quantiles: &[f64]| {
                    let said = model.try_forecast(steps, quantiles, &self.covariates);
                    said.map_err(|error| FitError::Unsuitable(error.to_string()))
                };
                let grid = asked.needs_grid().then(|| said(Ensemble::GUEST_QUANTILES)).transpose()?;
                (said(quantiles)?, grid)
            }
        };
        let (values, grid) = said;
        let joint = grid.map(|grid| asked.of_distributions(&self.core, &grid, quantiles));
        let forecast = Forecast { values, ..self.core.forecast(steps, quantiles) };
        Ok(Answer { forecast, trust, known: Known::default(), joint: joint.unwrap_or_default() })
    }
}

/// Events as columns, beside those that were given.
pub(in crate::commands) fn columns(
    grid: &Grid,
    events: &[Event],
    given: &Covariates,
) -> Result<Covariates, Failure> {
    if events.is_empty() {
        return Ok(given.clone());
    }
    let last = events.iter().map(|event| event.end).max().and_then(|end| grid.step_of(end)).unwrap_or(0);
    let steps = given.end().max(last + 1).min(STEPS_MAX);
    let column = |place| (0..steps).map(|step| given.at(place, step)).collect::<Vec<f32>>();
    let known: Vec<Vec<f32>> = (0..given.width()).map(column).collect();
    let named: Vec<(&str, &[f32])> =
        given.names().iter().map(String::as_str).zip(known.iter().map(Vec::as_slice)).collect();
    calendar::columns(grid, 0..steps, events, &[Window::During], &named).or_usage("the events cannot be used")
}

/// Most steps that events are laid out over.
const STEPS_MAX: u64 = 50_000_000;
