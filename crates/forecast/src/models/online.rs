//! What learns at every step, with the face of a model: for evaluation beside the others.

use std::sync::Arc;

use crate::covariates::Covariates;
use crate::ensemble::Ensemble;
use crate::online::{Config, Forecaster};
use crate::paths::Values;

use super::{FitError, History, Kind, Model, Pace};

/// The online core alone.
#[derive(Clone, Debug)]
pub(super) struct Online {
    core: Forecaster,
    next: u64,
    history: Origin,
}

/// The online core combined with batch models, which are retrained as the history grows.
#[derive(Clone, Debug)]
pub(super) struct Combined {
    ensemble: Ensemble,
    next: u64,
    history: Origin,
}

/// Where steps are counted from.
#[derive(Clone, Debug)]
struct Origin(crate::grid::Grid);

impl Online {
    pub(super) fn fit(history: &History<'_>, pace: &mut Pace<'_>) -> Result<Online, FitError> {
        let core = Forecaster::new(config(history)).map_err(unsuitable)?;
        let mut online = Online { core, next: history.first, history: Origin(history.grid.clone()) };
        for (i, &value) in history.values.iter().enumerate() {
            online.observe(value, history.covariates);
            if i % CHECK_EVERY == 0 {
                pace.checkpoint()?;
            }
        }
        Ok(online)
    }
}

impl Model for Online {
    fn name(&self) -> &'static str {
        Kind::Online.name()
    }

    fn observe(&mut self, value: f32, _: &Covariates) {
        let at = self.history.0.begins_at(self.next);
        self.next += 1;
        let value = f64::from(value);
        // Refused values (infinite, negative where that cannot be) are missing ones here.
        if self.core.observe(at, Some(value)).is_err() {
            self.core.observe(at, None).ok();
        }
    }

    fn forecast(&self, steps: usize, quantiles: &[f64], _: &Covariates) -> Values {
        self.core.forecast(steps, quantiles).values
    }

    fn bytes(&self) -> usize {
        self.core.bytes()
    }
}

impl Combined {
    pub(super) fn fit(
        history: &History<'_>,
        kinds: &[Kind],
        pace: &mut Pace<'_>,
    ) -> Result<Combined, FitError> {
        let mut ensemble = Ensemble::new(config(history), kinds).map_err(unsuitable)?;
        ensemble.know(Arc::new(history.covariates.clone()));
        let mut combined = Combined { ensemble, next: history.first, history: Origin(history.grid.clone()) };
        for (i, &value) in history.values.iter().enumerate() {
            combined.observe(value, history.covariates);
            if i % CHECK_EVERY == 0 {
                pace.checkpoint()?;
            }
        }
        Ok(combined)
    }
}

impl Model for Combined {
    fn name(&self) -> &'static str {
        Kind::Auto.name()
    }

    fn observe(&mut self, value: f32, _: &Covariates) {
        let at = self.history.0.begins_at(self.next);
        self.next += 1;
        if self.ensemble.observe(at, Some(f64::from(value))).is_err() {
            self.ensemble.observe(at, None).ok();
        }
        self.ensemble.train_if_due();
    }

    fn forecast(&self, steps: usize, quantiles: &[f64], _: &Covariates) -> Values {
        self.ensemble.forecast(steps, quantiles).values
    }

    fn bytes(&self) -> usize {
        self.ensemble.bytes()
    }
}

pub(super) fn config(history: &History<'_>) -> Config {
    let mut config = Config::new(history.grid.step);
    config.time_zone = history.grid.zone.clone();
    config.non_negative = history.non_negative;
    let steps = u32::try_from(history.horizon.max(1)).unwrap_or(u32::MAX);
    config.horizon_max = history.grid.step.saturating_mul(steps);
    config
}

pub(super) fn unsuitable(error: impl std::fmt::Display) -> FitError {
    FitError::Unsuitable(error.to_string())
}

const CHECK_EVERY: usize = 256;
