//! Models that are fitted to a history in the background, each usable alone, each a competitor in the
//! ensemble.
//!
//! A model is fitted once in a while from a [`History`], then follows the series with [`Model::observe`] without being
//! refitted, and answers with quantiles of the next steps. Fitting is pure, deterministic and can be paused or called off
//! at any [`Pace::checkpoint`].

mod additive;
mod arima;
mod bands;
pub mod boosted;
mod civil;
mod dsp;
pub mod external;
mod kind;
mod least_squares;
pub mod lstm;
mod naive;
mod online;
mod part;
mod place;
mod pooled;
mod realised;
mod recent;
mod recounted;
mod smoothing;
pub mod sparse;
mod warp;
mod waves;

use std::fmt;
use std::ops::ControlFlow;

use crate::covariates::Covariates;
use crate::grid::Grid;
use crate::paths::Values;
use crate::timestamp::Timestamp;

pub use additive::Additive;
pub use arima::Arima;
pub use bands::Bands;
pub use civil::Civil;
pub use dsp::Dsp;
pub use kind::{Fitted, Kind, UnknownModel};
pub use naive::Naive;
pub use part::Partial;
pub use pooled::{Pool, PoolSettings, Pooled};
pub use recent::{Fit, trust};
pub use recounted::Recounted;
pub use smoothing::Smoothing;

/// What a model is fitted to.
#[derive(Clone, Copy, Debug)]
pub struct History<'a> {
    /// The steps of the series.
    pub grid: &'a Grid,
    /// Step of `values[0]`.
    pub first: u64,
    /// One value for each step; NaN where it is missing or must not be learned from.
    pub values: &'a [f32],
    /// Periods of the series in steps, shortest first; empty when it has none.
    pub seasons: &'a [usize],
    /// What is known beside the series. May have no columns, or end before the horizon: NaN is "not known".
    pub covariates: &'a Covariates,
    /// How many steps ahead the model will be asked for.
    pub horizon: usize,
    /// Whether values below zero are impossible.
    pub non_negative: bool,
}

impl<'a> History<'a> {
    /// The step after the last value.
    pub fn end(&self) -> u64 {
        self.first + self.values.len() as u64
    }

    /// How many values are present.
    pub fn present(&self) -> usize {
        self.values.iter().filter(|value| value.is_finite()).count()
    }

    /// Whether no value that is present is other than zero.
    pub fn is_idle(&self) -> bool {
        self.values.iter().all(|&value| value == 0.0 || !value.is_finite())
    }

    /// The same history with only its first `len` values: what was known then.
    pub fn until(&self, len: usize) -> History<'_> {
        History { values: &self.values[..len.min(self.values.len())], ..*self }
    }

    /// What was known of it at a moment: the steps that were over then.
    pub fn before(self, moment: Timestamp) -> History<'a> {
        let whole = moment.since(self.grid.begins_at(self.first)).as_millis();
        let steps = whole / self.grid.step.as_millis().max(1);
        let len = usize::try_from(steps).unwrap_or(usize::MAX).min(self.values.len());
        History { values: &self.values[..len], ..self }
    }
}

/// A fitted model of one series. Its next step is the one after the last value it was fitted to or has observed.
pub trait Model: fmt::Debug + Send + Sync + CloneModel {
    /// The name it is asked for by.
    fn name(&self) -> &'static str;

    /// Takes the value of the next step; NaN when it is missing. Cheap: moves the state, never refits.
    fn observe(&mut self, value: f32, covariates: &Covariates);

    /// Quantiles of the next `steps` steps, one row for each: finite, never falling from a lower quantile to a higher
    /// one, not below zero where that is impossible.
    fn forecast(&self, steps: usize, quantiles: &[f64], covariates: &Covariates) -> Values;

    /// Quantiles at some distances ahead only (from 1, rising), one row for each. Worth its own code where a whole path is
    /// dear.
    fn forecast_at(&self, aheads: &[usize], quantiles: &[f64], covariates: &Covariates) -> Values {
        let path = self.forecast(aheads.last().copied().unwrap_or(0), quantiles, covariates);
        let mut values = Values::zeros(aheads.len(), quantiles.len());
        for (row, &ahead) in aheads.iter().enumerate() {
            values.row_mut(row).copy_from_slice(&path[ahead - 1]);
        }
        values
    }

    /// The step it expects next, for a model that looks covariates up by it: steps of another count would be others.
    fn next_step(&self) -> Option<u64> {
        None
    }

    /// Bytes of memory held.
    fn bytes(&self) -> usize;
}

/// Every [`Model`] that is `Clone`: a boxed one can be cloned too.
pub trait CloneModel {
    /// A copy in a box of its own.
    fn boxed(&self) -> Box<dyn Model>;
}

impl<T: Model + Clone + 'static> CloneModel for T {
    fn boxed(&self) -> Box<dyn Model> {
        Box::new(self.clone())
    }
}

impl Clone for Box<dyn Model> {
    fn clone(&self) -> Box<dyn Model> {
        (**self).boxed()
    }
}

/// Raised whenever a [`Fitted`] that was written down before would be read as something else.
pub const FORMAT: u32 = 7;

/// Why a model could not be fitted. A legal answer: the ensemble goes on without it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FitError {
    /// Too few values.
    #[error("too little history: {present} values, {needed} are needed")]
    TooLittleHistory {
        /// Values present.
        present: usize,
        /// Values needed.
        needed: usize,
    },
    /// The series has nothing that this model could describe.
    #[error("{0}")]
    Unsuitable(String),
    /// Called off at a checkpoint.
    #[error("training was called off")]
    CalledOff,
}

impl FitError {
    /// For models that learn from what is not zero.
    fn nothing_but_zeros() -> FitError {
        FitError::Unsuitable("every value is zero: there is nothing to learn from".to_owned())
    }
}

/// Lets whoever runs a training pause it, slow it down or call it off, without the training knowing a clock.
pub struct Pace<'a>(Option<&'a mut dyn FnMut() -> ControlFlow<()>>);

impl<'a> Pace<'a> {
    /// As fast as possible, never called off.
    pub fn free() -> Pace<'static> {
        Pace(None)
    }

    /// Calls `step` at every checkpoint; it may sleep, and breaks to call the training off.
    pub fn controlled(step: &'a mut dyn FnMut() -> ControlFlow<()>) -> Pace<'a> {
        Pace(Some(step))
    }

    /// To be called at least every few milliseconds of work.
    ///
    /// # Errors
    /// [`FitError::CalledOff`], to be passed on.
    pub fn checkpoint(&mut self) -> Result<(), FitError> {
        match self.0.as_mut().map(|step| step()) {
            Some(ControlFlow::Break(())) => Err(FitError::CalledOff),
            Some(ControlFlow::Continue(())) | None => Ok(()),
        }
    }
}

impl fmt::Debug for Pace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pace").field(&self.0.is_some()).finish()
    }
}
