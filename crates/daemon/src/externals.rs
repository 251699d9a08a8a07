//! Users' own models in the running ensemble: each has a thread of the lowest priority that speaks to its command.
//!
//! At the end of each step the control loop leaves the history of the demand, and takes in later what the model said of the
//! steps after it. A model that is slow is asked about the newest history when it is done, one that fails is out of the
//! forecasts at once; the journal says why, and when it is back. Nothing here is waited for.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use forecast::{Job, Values};
use tokio::sync::mpsc;

use crate::config::{Config, ModelConfig};
use crate::external_model::{ExternalModel, ExternalModelConfig, Follower};

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
    threads: Vec<JoinHandle<()>>,
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
    pub(crate) fn start(
        config: &Config,
        tether: &[OsString],
        heard: &mpsc::Sender<Heard>,
    ) -> std::io::Result<Externals> {
        let mut externals = Externals::default();
        for (index, workload) in config.workloads.iter().enumerate() {
            for name in &workload.external {
                let Some(model) = config.models.get(name) else { continue };
                let model = ExternalModel::new(settings(model, tether));
                let desk = Arc::new(Desk {
                    workload: index,
                    name: seat(name),
                    waiting: Mutex::default(),
                    changed: Condvar::new(),
                    stop: model.stopper(),
                });
                externals.desks.push(desk.clone());
                let heard = heard.clone();
                let work = move || Runner(Follower::new(Arc::new(model))).work(&desk, &heard);
                let thread = std::thread::Builder::new().name(format!("model-{name}")).spawn(work)?;
                externals.threads.push(thread);
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

    /// The same, and waits for it: whoever becomes another program as this process would leave them behind.
    pub(crate) async fn end(&self) {
        self.stop();
        let begun = Instant::now();
        while !self.threads.iter().all(JoinHandle::is_finished) && begun.elapsed() < END_PATIENCE {
            tokio::time::sleep(END_LOOK).await;
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
struct Runner(Follower);

impl Runner {
    fn work(mut self, desk: &Desk, heard: &mpsc::Sender<Heard>) {
        // The command inherits it.
        if let Err(error) = rustix::process::nice(NICE) {
            tracing::debug!(%error, "a user's model runs with the usual priority");
        }
        while let Some(job) = desk.next() {
            let from = job.history().end();
            let said = self.0.turn(&job.history());
            if desk.stop.load(Ordering::Relaxed) {
                return;
            }
            let news = Heard { workload: desk.workload, name: desk.name.clone(), from, said };
            if heard.blocking_send(news).is_err() {
                return;
            }
        }
    }
}

/// The name under which the ensemble knows a model of the configuration.
pub(crate) fn seat(name: &str) -> String {
    format!("external:{name}")
}

fn settings(model: &ModelConfig, tether: &[OsString]) -> ExternalModelConfig {
    ExternalModelConfig {
        tether: tether.to_vec(),
        environment: model.env.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        working_dir: Some(model.working_dir.clone()),
        answer_within: model.answer_within,
        fit_within: model.fit_within,
        pause: PAUSE,
        ..ExternalModelConfig::new(model.command.clone())
    }
}

const NICE: i32 = 19;
/// How long the end of the commands is waited for.
const END_PATIENCE: Duration = Duration::from_secs(2);
const END_LOOK: Duration = Duration::from_millis(10);
const PAUSE: Duration = Duration::from_secs(1);
