//! A user's own model on the command line: `--model-command` starts it, and it is asked like any other model, alone or as one
//! of those that `auto` combines.

use std::sync::Arc;

use daemon::external_model::{ExternalModel, ExternalModelConfig, Follower};
use forecast::models::external::External;
use forecast::models::{FitError, History, Pace};
use forecast::{Ensemble, Values};

/// The command, to be started when it is first asked. The shell reads it, so that it can be written as usual; it ends with this
/// process, however that ends.
pub(crate) fn of(command: &str) -> Arc<ExternalModel> {
    let tether = std::env::current_exe().map_or(Vec::new(), |this| vec![this.into(), "tether".into()]);
    let words = ["/bin/sh", "-c", command].map(str::to_owned).to_vec();
    Arc::new(ExternalModel::new(ExternalModelConfig { tether, ..ExternalModelConfig::new(words) }))
}

/// Lets the command learn from a history and asks for the steps after it.
///
/// # Errors
/// What it said, or what is wrong with what it said.
pub(crate) fn forecast(
    model: &Arc<ExternalModel>,
    history: &History<'_>,
    steps: usize,
    quantiles: &[f64],
) -> Result<Values, FitError> {
    let fitted = External::fit(Box::new(model.clone()), history, &mut Pace::free())?;
    let said = fitted.try_forecast(steps, quantiles, history.covariates);
    said.map_err(|error| FitError::Unsuitable(error.to_string()))
}

/// A command that takes part in an ensemble: it is told what the ensemble observes, and what it says is brought there, to be
/// scored and weighed like what the other members say.
#[derive(Clone, Debug)]
pub(crate) struct Companion {
    follower: Follower,
    /// The step that it was last asked before.
    asked: Option<u64>,
    /// Why it says nothing, where it does not.
    trouble: Option<String>,
}

impl Companion {
    pub(crate) fn new(model: &Arc<ExternalModel>) -> Companion {
        Companion { follower: Follower::new(Arc::clone(model)), asked: None, trouble: None }
    }

    /// The ensemble with a seat for it. To be called before the first observation.
    pub(crate) fn seated(ensemble: Ensemble) -> Ensemble {
        ensemble.with_guests(&[SEAT.to_owned()])
    }

    /// To be called before step `step` is observed. The ensemble scores whole paths every few steps only: asking in between
    /// would cost as much again and teach nothing.
    pub(crate) fn before(&mut self, step: u64, ensemble: &mut Ensemble) {
        if self.asked.is_none_or(|asked| (asked + 1..=step).any(|step| ensemble.scores_at(step))) {
            self.asked = Some(step);
            self.ask(ensemble);
        }
    }

    /// Asks about the steps to come, and lets the ensemble know.
    pub(crate) fn ask(&mut self, ensemble: &mut Ensemble) {
        let Some(job) = ensemble.job(String::new()) else { return };
        let history = job.history();
        let said = self.follower.turn(&history);
        self.trouble = said.as_ref().err().cloned();
        ensemble.hear(SEAT, history.end(), said.ok());
    }

    /// What part it has in the ensemble's forecasts, in words.
    pub(crate) fn part(&self, ensemble: &Ensemble, steps: usize) -> String {
        if let Some(why) = &self.trouble {
            return format!("your own model has no part in this forecast: {why}");
        }
        let share = |ahead: usize| {
            let weights = ensemble.weights(ahead);
            100.0 * weights.iter().find(|(name, _)| *name == SEAT).map_or(0.0, |(_, weight)| *weight)
        };
        format!(
            "your own model has {:.0} % of the weight one step ahead, {:.0} % at the end of the horizon",
            share(1),
            share(steps)
        )
    }
}

/// Its name in the ensemble.
const SEAT: &str = "external";
