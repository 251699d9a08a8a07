//! Users' own models in the running ensemble: each has a thread of the lowest priority that speaks to its command.
//!
//! At the end of each step the control loop leaves the history of the demand, and takes in later what the model said of the
//! steps after it. A model that is slow is asked about the newest history when it is done, one that fails is out of the
//! forecasts at once; the journal says why, and when it is back. Nothing here is waited for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use forecast::models::external::External;
use forecast::models::{FitError, Model, Pace};
use forecast::{Ensemble, Job, Values};
use tokio::sync::mpsc;

use crate::config::{Config, ModelConfig};
use crate::external_model::{ExternalModel, ExternalModelConfig};

/// What a model said, or why it says nothing.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) workload: usize,
    /// As the ensemble knows it.
    pub(crate) name: String,
    /// The step that the forecast begins with.
    pub(crate) from: u64,
    pub(crate) said: Result<Values, String>,
}

/// All of them. Dropping it ends their commands.
#[derive(Debug, Default)]
pub(crate) struct Externals {
    desks: Vec<Arc<Desk>>,
}

/// Where the control loop leaves histories for one model.
#[derive(Debug)]
struct Desk {
    workload: usize,
    name: String,
    waiting: Mutex<Option<Job>>,
    changed: Condvar,
    stop: Arc<AtomicBool>,
}

impl Externals {
    /// Starts a thread for each model of each workload. The commands are started when they are asked first.
    pub(crate) fn start(config: &Config, heard: &mpsc::Sender<Heard>) -> std::io::Result<Externals> {
        let mut externals = Externals::default();
        for (index, workload) in config.workloads.iter().enumerate() {
            for name in &workload.external {
                let Some(model) = config.models.get(name) else { continue };
                let model = ExternalModel::new(settings(model));
                let desk = Arc::new(Desk {
                    workload: index,
                    name: seat(name),
                    waiting: Mutex::default(),
                    changed: Condvar::new(),
                    stop: model.stopper(),
                });
                externals.desks.push(desk.clone());
                let heard = heard.clone();
                let work = move || Runner { model: Arc::new(model), following: None }.work(&desk, &heard);
                std::thread::Builder::new().name(format!("model-{name}")).spawn(work)?;
            }
        }
        Ok(externals)
    }

    /// Whether a workload has any.
    pub(crate) fn has(&self, workload: usize) -> bool {
        self.desks.iter().any(|desk| desk.workload == workload)
    }

    /// Leaves a workload's history, in place of one that nobody has looked at yet.
    pub(crate) fn ask(&self, workload: usize, job: &Job) {
        for desk in self.desks.iter().filter(|desk| desk.workload == workload) {
            *desk.waiting() = Some(job.clone());
            desk.changed.notify_all();
        }
    }

    /// Ends the commands, in the middle of an answer if need be. Their threads end by themselves.
    pub(crate) fn stop(&self) {
        for desk in &self.desks {
            desk.stop.store(true, Ordering::Relaxed);
            let _waiting = desk.waiting();
            desk.changed.notify_all();
        }
    }
}

impl Drop for Externals {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Desk {
    fn waiting(&self) -> MutexGuard<'_, Option<Job>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest history, as soon as there is one; `None` when it is over.
    fn next(&self) -> Option<Job> {
        let mut waiting = self.waiting();
        while !self.stop.load(Ordering::Relaxed) {
            if let Some(job) = waiting.take() {
                return Some(job);
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }
}

/// The thread's own.
struct Runner {
    model: Arc<ExternalModel>,
    following: Option<Following>,
}

/// A model that has been fitted.
struct Following {
    model: External,
    fitted_at: u64,
    /// The step after the last one it was told.
    next: u64,
}

impl Runner {
    fn work(mut self, desk: &Desk, heard: &mpsc::Sender<Heard>) {
        // The command inherits it.
        if let Err(error) = rustix::process::nice(NICE) {
            tracing::debug!(%error, "a user's model runs with the usual priority");
        }
        while let Some(job) = desk.next() {
            let from = job.history().end();
            let said = self.turn(&job);
            if desk.stop.load(Ordering::Relaxed) {
                return;
            }
            let news = Heard { workload: desk.workload, name: desk.name.clone(), from, said };
            if heard.blocking_send(news).is_err() {
                return;
            }
        }
    }

    /// Tells the model what is new, or lets it learn anew where that is due, and asks it.
    fn turn(&mut self, job: &Job) -> Result<Values, String> {
        let history = job.history();
        let end = history.end();
        let due = |following: &Following| {
            let since = end - following.fitted_at.min(end);
            let lost = following.next < history.first || following.next > end;
            lost || since >= (history.values.len() as u64 / REFIT_PART).max(REFIT_MIN)
        };
        if self.following.as_ref().is_none_or(due) {
            // The one before goes first: they speak to the same command.
            self.following = None;
            let fitted = External::fit(Box::new(self.model.clone()), &history, &mut Pace::free());
            let model = fitted.map_err(|error| match error {
                FitError::Unsuitable(why) => why,
                FitError::TooLittleHistory { .. } | FitError::CalledOff => error.to_string(),
            })?;
            self.following = Some(Following { model, fitted_at: end, next: end });
        }
        let Some(following) = &mut self.following else { return Err("it was not fitted".to_owned()) };
        for step in following.next..end {
            let value =
                usize::try_from(step - history.first).ok().and_then(|place| history.values.get(place));
            following.model.observe(value.copied().unwrap_or(f32::NAN), history.covariates);
            following.next = step + 1;
        }
        let steps = history.horizon;
        let said = following.model.try_forecast(steps, Ensemble::GUEST_QUANTILES, history.covariates);
        said.map_err(|error| error.to_string())
    }
}

/// The name under which the ensemble knows a model of the configuration.
pub(crate) fn seat(name: &str) -> String {
    format!("external:{name}")
}

fn settings(model: &ModelConfig) -> ExternalModelConfig {
    ExternalModelConfig {
        environment: model.env.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        working_dir: Some(model.working_dir.clone()),
        answer_within: model.answer_within,
        fit_within: model.fit_within,
        pause: PAUSE,
        ..ExternalModelConfig::new(model.command.clone())
    }
}

const NICE: i32 = 19;
/// Steps after which a model learns anew: a part of its history, and not all too often.
const REFIT_PART: u64 = 4;
const REFIT_MIN: u64 = 192;
const PAUSE: Duration = Duration::from_secs(1);
