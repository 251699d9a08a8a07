//! When batch models are trained again, and what such a training is: plain data that can run on any thread.

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

    /// The history that models are fitted to, freed of the effects of events and covariates that were known.
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

/// When the next training is due.
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    trained_at: u64,
    alarms: u64,
}

impl Schedule {
    /// The reason why a training is due at step `now`, if it is; counts as done then. `alarms`: shifts of the series so far.
    pub(super) fn due(&mut self, now: u64, alarms: u64) -> Option<String> {
        let since = now - self.trained_at;
        let reason = if now >= FIRST && since * GROWTH >= now.min(SPAN) {
            format!("{since} new steps since the last training")
        } else if alarms > self.alarms && now >= FIRST && since >= AFTER_ALARM {
            "the series has shifted".to_owned()
        } else {
            return None;
        };
        (self.trained_at, self.alarms) = (now, alarms);
        Some(reason)
    }
}

/// Steps before the first training.
const FIRST: u64 = 192;
/// A training follows when a history has grown by one part in so many, or, once longer than `SPAN` steps, by that part of it.
const GROWTH: u64 = 4;
const SPAN: u64 = 8192;
/// Least steps between two trainings because of shifts.
const AFTER_ALARM: u64 = 288;
