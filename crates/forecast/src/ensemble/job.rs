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
    /// The values freed of effects, for models that know none; empty where there are none.
    pub(super) freed: Vec<f32>,
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

    /// The history as it was. Models of a kind are fitted to [`history_of`](Self::history_of) it.
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

    /// The history that models of a kind are fitted to: freed of the effects of events, where they do not look at them.
    pub fn history_of(&self, kind: Kind) -> History<'_> {
        let history = self.history();
        if kind.sees_covariates() || self.freed.is_empty() {
            return history;
        }
        History { values: &self.freed, ..history }
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
        contest(&self.history_of(kind), kind, rival, pace)
    }

    /// Fits one model after the other. Kinds that cannot be fitted say why; after a call-off the rest are not tried.
    pub fn run(&self, pace: &mut Pace<'_>) -> Trained {
        let mut models = Vec::new();
        for &kind in &self.kinds {
            let outcome = kind.train(&self.history_of(kind), pace);
            let called_off = matches!(outcome, Err(FitError::CalledOff));
            models.push((kind, outcome));
            if called_off {
                break;
            }
        }
        Trained { end: self.history().end(), models }
    }
}
