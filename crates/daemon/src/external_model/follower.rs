//! A user's model beside a history that grows: told what is new, fitted anew where that is due, and asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use forecast::models::external::External;
use forecast::models::{FitError, History, Model, Pace};
use forecast::{Ensemble, Values};

use super::ExternalModel;

/// Follows one series. Copies share the command, and whichever is asked lets it learn anew what another has told it beyond.
#[derive(Clone, Debug)]
pub struct Follower {
    model: Arc<ExternalModel>,
    fitted: Option<Fitted>,
    /// The step after the last one that the command was told, by this or by a copy of it.
    told: Arc<AtomicU64>,
}

#[derive(Clone, Debug)]
struct Fitted {
    model: External,
    at: u64,
    /// The step after the last one it was told.
    next: u64,
}

impl Follower {
    /// Nothing is started or told yet.
    pub fn new(model: Arc<ExternalModel>) -> Follower {
        Follower { model, fitted: None, told: Arc::default() }
    }

    /// What it says of the steps after this history, at [`Ensemble::GUEST_QUANTILES`]. The first call fits it, a later one tells
    /// it what has come since. Blocks as long as the command takes.
    ///
    /// # Errors
    /// What it said, or what is wrong with what it said.
    pub fn turn(&mut self, history: &History<'_>) -> Result<Values, String> {
        let end = history.end();
        let told = self.told.load(Ordering::Relaxed);
        let due = |fitted: &Fitted| {
            let since = end - fitted.at.min(end);
            let lost = fitted.next != told || fitted.next < history.first || fitted.next > end;
            lost || since >= (history.values.len() as u64 / REFIT_PART).max(REFIT_MIN)
        };
        if self.fitted.as_ref().is_none_or(due) {
            // The one before goes first: they speak to the same command.
            self.fitted = None;
            let fitted = External::fit(Box::new(self.model.clone()), history, &mut Pace::free());
            let model = fitted.map_err(|error| match error {
                FitError::Unsuitable(why) => why,
                FitError::TooLittleHistory { .. } | FitError::CalledOff => error.to_string(),
            })?;
            self.fitted = Some(Fitted { model, at: end, next: end });
        }
        let Some(fitted) = &mut self.fitted else { return Err("it was not fitted".to_owned()) };
        for step in fitted.next..end {
            let place = usize::try_from(step - history.first).ok();
            let value = place.and_then(|place| history.values.get(place)).copied().unwrap_or(f32::NAN);
            fitted.model.observe(value, history.covariates);
        }
        fitted.next = end;
        self.told.store(end, Ordering::Relaxed);
        let said = fitted.model.try_forecast(history.horizon, Ensemble::GUEST_QUANTILES, history.covariates);
        said.map_err(|error| error.to_string())
    }
}

/// Steps after which a model learns anew: a part of its history, and not all too often.
const REFIT_PART: u64 = 4;
const REFIT_MIN: u64 = 192;
