//! Trains batch models in the background: one thread of the lowest priority that works a quarter of the time.
//!
//! Each kind's newly trained model is a challenger in the model repository. It competes with the champion on the last
//! part of the history, and only by a measured gain takes over; only champions take part in forecasts. Champions of an
//! earlier daemon, and those that an operator put in charge since the last training, are brought back from the
//! repository when the next training begins.
//!
//! The control loop never waits for this: it leaves a job and finds an outcome among its inputs.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use forecast::models::{FitError, Fitted, Kind, Pace};
use forecast::{Contest, Job, Rival, Timestamp, Trained};
use history::models::{By, Description, ModelId, ModelRecord, Trial, TrialError};
use tokio::sync::mpsc;

use crate::error::chain;
use crate::models::Repository;
use crate::recorder::clock;

/// What came of a training.
#[derive(Debug)]
pub(crate) struct TrainingDone {
    pub(crate) workload: usize,
    /// The champions, caught up to the end of the job's history.
    pub(crate) trained: Trained,
    /// What happened, for the journal.
    pub(crate) message: String,
}

/// Where jobs are left. Dropping it calls the training under way off and ends the thread.
#[derive(Debug)]
pub(crate) struct Trainer {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    /// At most one for each workload: a later one knows all that an earlier one knew.
    jobs: BTreeMap<usize, Job>,
    stop: bool,
}

impl Trainer {
    /// Starts the thread. `names`: those of the workloads, in their order.
    pub(crate) fn start(
        names: Vec<String>,
        repository: Repository,
        done: mpsc::Sender<TrainingDone>,
    ) -> std::io::Result<Trainer> {
        let queue = Arc::new(Queue::default());
        let mut worker = Worker { names, repository, done, queue: queue.clone(), in_charge: BTreeMap::new() };
        let thread = std::thread::Builder::new().name("trainer".to_owned()).spawn(move || worker.work())?;
        Ok(Trainer { queue, thread: Some(thread) })
    }

    /// Leaves a job, in place of one of the same workload that still waits.
    pub(crate) fn submit(&self, workload: usize, job: Job) {
        self.queue.lock().jobs.insert(workload, job);
        self.queue.changed.notify_all();
    }

    /// Calls off what is under way and what waits.
    pub(crate) fn stop(&self) {
        self.queue.lock().stop = true;
        self.queue.changed.notify_all();
    }
}

impl Drop for Trainer {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job, as soon as there is one; `None` when it is over.
    fn next(&self) -> Option<(usize, Job)> {
        let mut waiting = self.lock();
        loop {
            if waiting.stop {
                return None;
            }
            if let Some(job) = waiting.jobs.pop_first() {
                return Some(job);
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Rests for a time, or until it is over; whether it is.
    fn rest(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut waiting = self.lock();
        while !waiting.stop {
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            else {
                return false;
            };
            waiting = self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// The thread's own.
struct Worker {
    names: Vec<String>,
    repository: Repository,
    done: mpsc::Sender<TrainingDone>,
    queue: Arc<Queue>,
    /// Champions by workload and kind, as they stood at the end of the last training.
    in_charge: BTreeMap<(usize, Kind), (ModelId, Rival)>,
}

impl Worker {
    fn work(&mut self) {
        // On Linux this concerns the calling thread alone. Without it the share of time still bounds the training.
        if let Err(error) = rustix::process::nice(NICE) {
            tracing::debug!(%error, "the trainer keeps the usual priority");
        }
        while let Some((workload, job)) = self.queue.next() {
            if !self.train(workload, &job) {
                return;
            }
        }
    }

    /// Trains every kind of a job; whether to go on.
    fn train(&mut self, workload: usize, job: &Job) -> bool {
        let queue = self.queue.clone();
        let mut began = Instant::now();
        let mut step = || {
            let rest = began.elapsed() * RESTS;
            // Shorter rests would cost more than they give back.
            if rest >= REST_MIN {
                let over = queue.rest(rest.min(REST_MAX));
                began = Instant::now();
                if over {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        };
        let mut pace = Pace::controlled(&mut step);
        let end = job.history().end();
        let next = job.history().grid.begins_at(end);
        let (mut models, mut said) = (Vec::new(), Vec::new());
        for &kind in job.kinds() {
            match self.compete(workload, job, kind, &mut pace) {
                Ok((id, model, what)) => {
                    let rival = Rival { model: model.clone(), next };
                    self.in_charge.insert((workload, kind), (id, rival));
                    models.push((kind, Ok(model)));
                    said.push(what);
                }
                Err(Failure::Fit(FitError::CalledOff)) => return false,
                Err(failure) => {
                    let name = &self.names[workload];
                    tracing::warn!(workload = name, model = kind.name(), "no model was trained: {failure}");
                    said.push(format!("no {kind} model: {failure}"));
                }
            }
        }
        let message = format!("{}: {}", job.reason, said.join("; "));
        let trained = Trained::new(end, models);
        self.done.blocking_send(TrainingDone { workload, trained, message }).is_ok()
    }

    /// Trains one kind and keeps it; the champion afterwards, and what happened in words.
    fn compete(
        &mut self,
        workload: usize,
        job: &Job,
        kind: Kind,
        pace: &mut Pace<'_>,
    ) -> Result<(ModelId, Fitted, String), Failure> {
        let name = self.names[workload].clone();
        let champion = self.repository.champion(&name, kind.name())?;
        let rival = champion.as_ref().and_then(|record| self.rival(workload, kind, record));
        let contest = job.contest(kind, rival, pace)?;
        let body = postcard::to_stdvec(&contest.fitted)?;
        let parent = champion.as_ref().map(|record| record.id);
        let by = By::new(AUTHOR, job.reason.clone());
        let added = self.repository.add(&by, &describe(&name, kind, job, &contest, parent), &body)?;
        let id = added.id;
        let (Some(champion), Some(follower)) = (champion, contest.rival.clone()) else {
            // The first of its kind, or the champion cannot be used any more: other code, too long a gap.
            let lost = parent.map(|parent| format!("version {parent} cannot follow the history any more"));
            let by = By::new(AUTHOR, lost.clone().unwrap_or_else(|| job.reason.clone()));
            self.repository.promote(&by, id, lost.is_some(), None)?;
            return Ok((id, contest.challenger, format!("{kind} version {id} is the champion")));
        };
        let trial = trial(champion.id, &contest)?;
        let gain = trial.gain() * 100.0;
        self.repository.measured(&by, id, trial)?;
        match self.repository.promote(&by, id, false, None) {
            Ok(_) => {
                let what = format!("{kind} version {id} took over with a gain of {gain:.1} %");
                Ok((id, contest.challenger, what))
            }
            Err(history::HistoryError::Model(why)) => {
                Ok((champion.id, follower, format!("{kind} stays with version {}: {why}", champion.id)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The champion as it stands: as it was left here, or from the repository.
    fn rival(&self, workload: usize, kind: Kind, record: &ModelRecord) -> Option<Rival> {
        if let Some((_, rival)) = self.in_charge.get(&(workload, kind)).filter(|(id, _)| *id == record.id) {
            return Some(rival.clone());
        }
        if record.described.code_version != CODE_VERSION {
            return None;
        }
        let body = self.repository.body(record.id);
        let body = body.inspect_err(|error| tracing::warn!(error = chain(error), "a model cannot be read"));
        let model: Fitted = postcard::from_bytes(&body.ok()?).ok()?;
        Some(Rival { model, next: record.described.data_to })
    }
}

fn describe(
    workload: &str,
    kind: Kind,
    job: &Job,
    contest: &Contest,
    parent: Option<ModelId>,
) -> Description {
    let history = job.history();
    let mut features = vec!["demand".to_owned()];
    features.extend(history.seasons.iter().map(|period| format!("season_{period}")));
    features.extend(history.covariates.names().iter().cloned());
    let scores = [("pinball", contest.pinball()), ("coverage_90", contest.coverage)];
    Description {
        workload: workload.to_owned(),
        model: kind.name().to_owned(),
        trained_at: clock(),
        data_from: contest.data_from,
        data_to: contest.data_to,
        features,
        scores: scores.into_iter().filter_map(|(name, score)| Some((name.to_owned(), score?))).collect(),
        parent,
        code_version: CODE_VERSION.to_owned(),
    }
}

type Losses = Vec<(Timestamp, f64)>;

fn trial(champion: ModelId, contest: &Contest) -> Result<Trial, TrialError> {
    let both = contest.outcomes.iter().filter_map(|o| Some((o.at, o.rival?, o.challenger)));
    let (rivals, own): (Losses, Losses) =
        both.map(|(at, rival, challenger)| ((at, rival), (at, challenger))).unzip();
    Trial::measure(champion, "pinball", &rivals, &own)
}

/// Why a kind has no new model.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Fit(#[from] FitError),
    #[error("it cannot be kept: {}", chain(.0))]
    Repository(#[from] history::HistoryError),
    #[error("it cannot be written down: {0}")]
    Encoding(#[from] postcard::Error),
    #[error("it was not compared: {0}")]
    Trial(#[from] TrialError),
}

const AUTHOR: &str = "trainer";
const CODE_VERSION: &str = env!("CARGO_PKG_VERSION");
/// Training works at most a quarter of one core: after each stretch of work it rests three times as long.
const RESTS: u32 = 3;
const REST_MIN: Duration = Duration::from_millis(6);
/// Longest rest at once; a stretch of work is some milliseconds long.
const REST_MAX: Duration = Duration::from_secs(10);
const NICE: i32 = 19;
