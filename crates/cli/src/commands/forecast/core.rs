//! The forecaster of one series behind `--model`: what learns at every step, or a batch model that is fitted to everything
//! known at the moment of a forecast.

use std::sync::Arc;

use daemon::external_model::ExternalModel;
use forecast::calendar::{self, Event, Window};
use forecast::covariates::Covariates;
use forecast::effects::{Effect, Informed, Note};
use forecast::grid::Grid;
use forecast::models::{FitError, History, Kind, Model, Pace};
use forecast::{Config, Ensemble, Forecast, Forecaster, ObserveError, Timestamp, Trust};

use crate::commands::own_model;
use crate::failure::{Failure, OrFail};

/// One series, forecast.
#[derive(Clone, Debug)]
pub(in crate::commands) enum Core {
    /// The online core alone.
    Plain(Box<Forecaster>),
    /// The online core and what is known beside the series.
    Informed(Box<Informed>),
    /// The online core combined with batch models, retrained as the history grows.
    Combined(Box<Ensemble>),
    /// One batch model.
    Batch(Box<Batch>),
}

/// Which model is asked.
#[derive(Clone, Debug)]
pub(in crate::commands) enum Chosen {
    /// One of ours.
    Named(Kind),
    /// A command.
    Own(Arc<ExternalModel>),
}

/// What a batch model will be fitted to.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Batch {
    model: Chosen,
    grid: Grid,
    values: Vec<f32>,
    /// Finds the seasons.
    core: Forecaster,
    horizon: usize,
    covariates: Arc<Covariates>,
}

/// What was assumed and learned of effects.
#[derive(Debug, Default)]
pub(in crate::commands) struct Known {
    pub(in crate::commands) notes: Vec<Note>,
    pub(in crate::commands) effects: Vec<Effect>,
}

impl Core {
    pub(in crate::commands) fn new(
        model: &Chosen,
        knows: bool,
        config: &Config,
        origin: Timestamp,
        events: &[Event],
        covariates: &Arc<Covariates>,
    ) -> Result<Core, Failure> {
        let cannot = "cannot forecast with these settings";
        if matches!(model, Chosen::Named(Kind::Online)) && knows {
            let mut informed = Informed::new(config.clone(), origin, covariates.names()).or_usage(cannot)?;
            informed.announce(events);
            return Ok(Core::Informed(Box::new(informed)));
        }
        let core = Forecaster::new(config.clone()).or_usage(cannot)?;
        Ok(match model {
            Chosen::Named(Kind::Online) => Core::Plain(Box::new(core)),
            Chosen::Named(Kind::Auto) => {
                let mut ensemble = Ensemble::new(config.clone(), Kind::COMBINED).or_usage(cannot)?;
                ensemble.announce(events);
                if covariates.width() > 0 {
                    ensemble.know(Arc::clone(covariates));
                }
                Core::Combined(Box::new(ensemble))
            }
            Chosen::Named(_) | Chosen::Own(_) => {
                let model = model.clone();
                let grid = Grid { origin, step: config.step, zone: config.time_zone.clone() };
                let horizon =
                    config.horizon_max.as_millis().div_ceil(config.step.as_millis().max(1)) as usize;
                let covariates = Arc::new(columns(&grid, events, covariates)?);
                Core::Batch(Box::new(Batch { model, grid, values: Vec::new(), core, horizon, covariates }))
            }
        })
    }

    pub(in crate::commands) fn observe(
        &mut self,
        at: Timestamp,
        value: Option<f64>,
        covariates: &Covariates,
    ) -> Result<(), ObserveError> {
        match self {
            Core::Plain(forecaster) => forecaster.observe(at, value),
            Core::Informed(informed) => informed.observe(at, value, covariates),
            Core::Combined(ensemble) => {
                ensemble.observe(at, value)?;
                ensemble.train_if_due();
                Ok(())
            }
            Core::Batch(batch) => batch.observe(at, value),
        }
    }

    /// # Errors
    /// Why a batch model cannot be fitted to this history.
    pub(in crate::commands) fn forecast(
        &self,
        steps: usize,
        quantiles: &[f64],
        covariates: &Covariates,
    ) -> Result<(Forecast, Known), FitError> {
        Ok(match self {
            Core::Plain(forecaster) => (forecaster.forecast(steps, quantiles), Known::default()),
            Core::Combined(ensemble) => {
                let known = Known { notes: ensemble.notes(steps), effects: ensemble.effects() };
                (ensemble.forecast(steps, quantiles), known)
            }
            Core::Informed(informed) => {
                let said = informed.forecast(steps, quantiles, covariates);
                (said.forecast, Known { notes: said.notes, effects: informed.effects() })
            }
            Core::Batch(batch) => (batch.forecast(steps, quantiles)?, Known::default()),
        })
    }

    /// For each level, the probability that it has been exceeded by the end of each of the next steps; `None` from models
    /// that only say single steps.
    pub(super) fn crossings(&self, levels: &[f64], steps: usize) -> Option<Vec<Vec<f64>>> {
        match self {
            Core::Plain(forecaster) => Some(forecaster.crossings(levels, steps)),
            Core::Combined(ensemble) => Some(ensemble.crossings(levels, steps)),
            Core::Informed(_) | Core::Batch(_) => None,
        }
    }

    pub(in crate::commands) fn trust(&self) -> Trust {
        match self {
            Core::Plain(forecaster) => forecaster.trust(),
            Core::Informed(informed) => informed.trust(),
            Core::Combined(ensemble) => ensemble.trust(),
            Core::Batch(batch) => batch.core.trust(),
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

    fn forecast(&self, steps: usize, quantiles: &[f64]) -> Result<Forecast, FitError> {
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
        let mut forecast = self.core.forecast(steps, quantiles);
        forecast.values = match &self.model {
            Chosen::Named(kind) => {
                kind.train(&history, &mut Pace::free())?.forecast(steps, quantiles, &self.covariates)
            }
            Chosen::Own(model) => own_model::forecast(model, &history, steps, quantiles)?,
        };
        Ok(forecast)
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
