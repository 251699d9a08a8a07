//! What a training of batch models is: plain data that can run on any thread.

use std::sync::Arc;

use super::contest::{Contest, Rival, contest};
use crate::covariates::Covariates;
use crate::grid::Grid;
use crate::models::{FitError, Fitted, History, Kind, Pace};

/// A training to be run.
#[derive(Clone, Debug)]
pub struct Job {
    pub(super) grid: Grid,
    pub(super) first: u64,
    pub(super) values: Vec<f32>,
    pub(super) seasons: Vec<usize>,
    pub(super) covariates: Arc<Covariates>,
    pub(super) horizon: usize,
    pub(super) non_negative: bool,
    pub(super) kinds: Vec<Kind>,
    /// Why it is run, in words.
    pub reason: String,
}

/// What came of a [`Job`].
#[derive(Debug)]
pub struct Trained {
    /// The step after the last one that was learned from.
    pub(super) end: u64,
    /// A model of each kind, or why there is none.
    pub models: Vec<(Kind, Result<Fitted, FitError>)>,
}

impl Trained {
    /// Models that have followed the series up to the step before `end`.
    pub fn new(end: u64, models: Vec<(Kind, Result<Fitted, FitError>)>) -> Trained {
        Trained { end, models }
    }
}

impl Job {
    /// What is to be trained.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// The history that models are fitted to.
    pub fn history(&self) -> History<'_> {
        History {
            grid: &self.grid,
            first: self.first,
            values: &self.values,
            seasons: &self.seasons,
            covariates: &self.covariates,
            horizon: self.horizon,
            non_negative: self.non_negative,
        }
    }

    /// Trains one kind and lets it compete with the model in charge; see [`Contest`].
    ///
    /// # Errors
    /// [`FitError`] says why there is no such model.
    pub fn contest(
        &self,
        kind: Kind,
        rival: Option<Rival>,
        pace: &mut Pace<'_>,
    ) -> Result<Contest, FitError> {
        contest(&self.history(), kind, rival, pace)
    }

    /// Fits one model after the other. Kinds that cannot be fitted say why; after a call-off the rest are not tried.
    pub fn run(&self, pace: &mut Pace<'_>) -> Trained {
        let history = self.history();
        let mut models = Vec::new();
        for &kind in &self.kinds {
            let outcome = kind.train(&history, pace);
            let called_off = matches!(outcome, Err(FitError::CalledOff));
            models.push((kind, outcome));
            if called_off {
                break;
            }
        }
        Trained { end: history.end(), models }
    }
}
