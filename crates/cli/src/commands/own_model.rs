//! A user's own model on the command line: `--model-command` starts it, and it is asked like any other model.

use std::sync::Arc;

use daemon::external_model::{ExternalModel, ExternalModelConfig};
use forecast::Values;
use forecast::models::external::External;
use forecast::models::{FitError, History, Pace};

/// The command, to be started when it is first asked. The shell reads it, so that it can be written as usual.
pub(crate) fn of(command: &str) -> Arc<ExternalModel> {
    let words = ["/bin/sh", "-c", command].map(str::to_owned).to_vec();
    Arc::new(ExternalModel::new(ExternalModelConfig::new(words)))
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
