//! What a training of batch models is: plain data that can run on any thread.

use super::contest::{Contest, Rival, contest};
use super::known::Known;
use super::panel::Panel;
use super::rehearsal;
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
    pub(super) known: Known,
    pub(super) horizon: usize,
    pub(super) non_negative: bool,
    /// What is combined, in the order of the seats.
    pub(super) combined: Vec<Kind>,
    /// What of it is to be trained.
    pub(super) kinds: Vec<Kind>,
    /// Those of them that have no model yet, or one that has not been scored.
    pub(super) unproven: Vec<Kind>,
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

    /// Whether a kind is one of those that are combined, to be trained now or not.
    pub fn combines(&self, kind: Kind) -> bool {
        self.combined.contains(&kind)
    }

    /// The history that models are fitted to, freed of the effects of events and covariates that were known.
    pub fn history(&self) -> History<'_> {
        History {
            grid: &self.grid,
            first: self.first,
            values: &self.values,
            seasons: &self.seasons,
            covariates: &self.known.columns,
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
        rehearsal::stands(&self.history(), rival)
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

    /// Fits one model after the other. Kinds that cannot be fitted say why; after a call-off the rest are not tried. Kinds
    /// that are new are fitted to a part of the history first, and earn their weight in a rehearsal of the rest. What is dear
    /// to train takes part as it went through that.
    pub fn run(&self, pace: &mut Pace<'_>) -> Trained {
        let proved = self.prove(pace);
        let (mut proved, rehearsed) = proved.map_or_else(Default::default, |t| (t.models, t.rehearsed));
        proved.retain(|(kind, _)| kind.is_dear());
        let history = self.history();
        let mut models = Vec::new();
        for &kind in &self.kinds {
            let found = proved.iter().position(|(known, _)| *known == kind);
            let outcome =
                found.map_or_else(|| kind.train(&history, pace), |place| proved.swap_remove(place).1);
            let called_off = matches!(outcome, Err(FitError::CalledOff));
            models.push((kind, outcome));
            if called_off {
                break;
            }
        }
        Trained { end: history.end(), models, rehearsed }
    }

    fn prove(&self, pace: &mut Pace<'_>) -> Option<Trained> {
        let history = self.history();
        let held_out = (2 * history.horizon).max(history.values.len() / HELD_OUT_PART);
        let begin = history.values.len() - held_out.min(history.values.len() / 2);
        let next = history.grid.begins_at(history.first + begin as u64);
        let mut early = Vec::new();
        for &kind in &self.unproven {
            match kind.train(&self.history().until(begin), pace) {
                Ok(model) => early.push((kind, Rival { model, next })),
                Err(FitError::CalledOff) => return None,
                Err(FitError::TooLittleHistory { .. } | FitError::Unsuitable(_)) => {}
            }
        }
        if early.is_empty() {
            return None;
        }
        self.rehearse(early, false, pace).ok()
    }
}

/// A model is proved on at least this part of the history.
const HELD_OUT_PART: usize = 4;
