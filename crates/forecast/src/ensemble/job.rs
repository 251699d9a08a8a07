//! When batch models are trained again, and what such a training is: plain data that can run on any thread.

use std::sync::Arc;

use super::contest::{Contest, Rival, contest};
use super::panel::Panel;
use super::rehearsal;
use crate::covariates::Covariates;
use crate::grid::Grid;
use crate::models::{FitError, Fitted, History, Kind, Pace};
use crate::online::Config;

/// A training to be run.
#[derive(Clone, Debug)]
pub struct Job {
    pub(super) grid: Grid,
    pub(super) first: u64,
    pub(super) values: Vec<f32>,
    pub(super) config: Config,
    pub(super) seasons: Vec<usize>,
    pub(super) covariates: Arc<Covariates>,
    pub(super) horizon: usize,
    pub(super) non_negative: bool,
    pub(super) kinds: Vec<Kind>,
    pub(super) guests: Vec<String>,
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
    /// How the models did in a rehearsal, and whether that replaces what is known of the models before them.
    pub(super) rehearsed: Option<(Vec<Panel>, bool)>,
}

impl Trained {
    /// Models that have followed the series up to the step before `end`.
    pub fn new(end: u64, models: Vec<(Kind, Result<Fitted, FitError>)>) -> Trained {
        Trained { end, models, rehearsed: None }
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
        contest(&self.history(), kind, &[], rival, pace)
    }

    /// The same with a challenger that is learned from the histories of other jobs as well, as far as they were known
    /// then; those of another step are left out. `None` when nothing is left, or the kind learns from one series only.
    ///
    /// # Errors
    /// As [`contest`](Self::contest).
    pub fn contest_together(
        &self,
        kind: Kind,
        others: &[&Job],
        rival: Option<Rival>,
        pace: &mut Pace<'_>,
    ) -> Result<Option<(Contest, usize)>, FitError> {
        let alike = others.iter().filter(|other| other.grid.step == self.grid.step);
        let beside: Vec<History<'_>> = alike.map(|other| other.history()).collect();
        if beside.is_empty() || !kind.is_global() {
            return Ok(None);
        }
        let met = contest(&self.history(), kind, &beside, rival, pace)?;
        Ok(Some((met, 1 + beside.len())))
    }

    /// Where in the history a model stands that expects the step beginning at `next`, in steps from the first; `None`
    /// when it has lost the thread: values that it would need are gone, or it knows more than the history.
    pub fn stands(&self, rival: &Rival) -> Option<usize> {
        rehearsal::stands(&self.history(), rival.next)
    }

    /// Lets models of earlier moments follow the history to its end and be scored on the way beside the online core, so
    /// that they have earned a weight when they are admitted. Models that have lost the thread are left out. `anew`: the
    /// weights replace those of the models before them, where there are any.
    ///
    /// # Errors
    /// [`FitError::CalledOff`].
    pub fn rehearse(
        &self,
        models: Vec<(Kind, Rival)>,
        anew: bool,
        pace: &mut Pace<'_>,
    ) -> Result<Trained, FitError> {
        rehearsal::rehearse(self, models, anew, pace)
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
        Trained { end: history.end(), models, rehearsed: None }
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
