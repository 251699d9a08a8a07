//! The online member: the forecaster alone or, where anything is known beside the series, one that knows its effects.

use std::sync::Arc;

use crate::calibration::{Curve, GRID};
use crate::covariates::Covariates;
use crate::effects::{Ahead, Informed};
use crate::online::{Forecaster, ObserveError, Records, Surprise};
use crate::paths::{self, Forecast, Values, WindowMax};
use crate::season::Season;
use crate::timestamp::Timestamp;
use crate::trust::Trust;

/// What learns at every step.
#[derive(Clone, Debug)]
pub(super) enum Core {
    /// Nothing is known beside the series.
    Plain(Box<Forecaster>),
    /// Events or covariates are known.
    Informed(Box<Informed>, Arc<Covariates>),
}

impl Core {
    pub(super) fn observe(&mut self, at: Timestamp, value: Option<f64>) -> Result<(), ObserveError> {
        match self {
            Core::Plain(forecaster) => forecaster.observe(at, value),
            Core::Informed(informed, covariates) => informed.observe(at, value, covariates),
        }
    }

    pub(super) fn forecast(&self, steps: usize, quantiles: &[f64]) -> Forecast {
        match self {
            Core::Plain(forecaster) => forecaster.forecast(steps, quantiles),
            Core::Informed(informed, covariates) => informed.forecast(steps, quantiles, covariates).forecast,
        }
    }

    /// The value observed last as it would have been without effects, when there are any.
    pub(super) fn freed(&self) -> Option<Option<f64>> {
        match self {
            Core::Plain(_) => None,
            Core::Informed(informed, _) => Some(informed.freed()),
        }
    }

    /// What effects do to the next steps; empty where none are known.
    pub(super) fn ahead(&self, steps: usize) -> Vec<Ahead> {
        match self {
            Core::Plain(_) => Vec::new(),
            Core::Informed(informed, covariates) => informed.ahead(steps, covariates),
        }
    }

    /// Gives the quantiles of undisturbed demand at a step its effect.
    pub(super) fn disturb(&self, ahead: &Ahead, row: &mut [f64]) {
        match self {
            Core::Plain(_) => {}
            Core::Informed(informed, _) => informed.disturb(ahead, row),
        }
    }

    pub(super) fn window_max(&self, steps: usize) -> WindowMax {
        match self {
            Core::Plain(forecaster) => forecaster.window_max(steps),
            Core::Informed(informed, covariates) => informed.window_max(steps, covariates),
        }
    }

    /// Paths whose every step has the distribution that `said` gives it at the grid.
    pub(super) fn paths_through(&self, said: &Values, samples: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut paths = self.paths(said.len(), samples, seed);
        paths::recast(&mut paths, &self.forecast(said.len(), &GRID).values, said, seed);
        paths
    }

    pub(super) fn window_curves(&self, steps: usize) -> Vec<Curve> {
        match self {
            Core::Plain(forecaster) => forecaster.window_curves(steps),
            Core::Informed(informed, covariates) => informed.window_curves(steps, covariates),
        }
    }

    pub(super) fn paths(&self, steps: usize, samples: usize, seed: u64) -> Vec<Vec<f64>> {
        match self {
            Core::Plain(forecaster) => forecaster.paths(steps, samples, seed),
            Core::Informed(informed, covariates) => informed.paths(steps, samples, seed, covariates),
        }
    }

    /// Whether forecasts may be relied upon that have these records, or the core's own.
    pub(super) fn trust(&self, records: Option<&Records>, ahead: usize) -> Trust {
        self.undisturbed().trust_in(records, ahead)
    }

    /// Of demand freed of its effects: an event is no shift, and hides no season.
    pub(super) fn seasons(&self) -> &[Season] {
        self.undisturbed().seasons()
    }

    pub(super) fn shifts(&self) -> u64 {
        self.undisturbed().shifts()
    }

    /// Medians from here on claim that a series which is mostly idle will be busy.
    pub(super) fn claimed_from(&self) -> f64 {
        self.undisturbed().claimed_from()
    }

    /// A silence that is expected, such as of a shop that is closed, is none.
    pub(super) fn outage_suspected(&self) -> bool {
        self.undisturbed().outage_suspected()
    }

    /// How far the last value was from what was said of it, without effects on either.
    pub(super) fn surprise(&self) -> Option<Surprise> {
        self.undisturbed().surprise()
    }

    fn undisturbed(&self) -> &Forecaster {
        match self {
            Core::Plain(forecaster) => forecaster,
            Core::Informed(informed, _) => informed.undisturbed(),
        }
    }

    /// Of demand as it is.
    pub(super) fn plain(&self) -> &Forecaster {
        match self {
            Core::Plain(forecaster) => forecaster,
            Core::Informed(informed, _) => informed.plain(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Core::Plain(forecaster) => forecaster.bytes(),
            Core::Informed(informed, _) => informed.bytes(),
        }
    }
}
