//! Trains batch models in the background: one thread of the lowest priority that works a part of the time, a quarter unless
//! told otherwise, and not at all while an operator has paused it.
//!
//! Each kind's newly trained model is a challenger in the model repository. It competes with the champion on the last
//! part of the history, and only by a measured gain takes over; only champions take part in forecasts. Champions of an
//! earlier daemon, and those that an operator put in charge, are brought in by the loader, on a thread of its own that
//! waits for no training.
//!
//! The control loop never waits for this: it leaves a job and finds an outcome among its inputs.

mod desk;
mod loader;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use forecast::models::{FitError, Fitted, Kind, Pace};
use forecast::{Contest, Job, Rival, Timestamp, Trained, Worth};
use history::models::{By, Description, ModelId, ModelRecord, Trial, TrialError};
use tokio::sync::mpsc;

use self::desk::Desk;
use self::queue::{Queue, Work};
use crate::error::chain;
use crate::models::Repository;
use crate::recorder::clock;

/// Models that take part in a workload's forecasts from now on, after a training or because they were put in charge.
#[derive(Debug)]
pub(crate) struct TrainingDone {
    pub(crate) workload: usize,
    /// The champions, caught up to the end of the job's history.
    pub(crate) trained: Trained,
    /// Where that history ends: when the step after its last one begins.
    pub(crate) next: Timestamp,
    /// Kinds that have no champion any more.
    pub(crate) removed: Vec<Kind>,
    /// Kind of the event in the journal: `trained` or `models_loaded`.
    pub(crate) kind: &'static str,
    /// What happened, for the journal.
    pub(crate) message: String,
}

/// Where jobs are left. Dropping it calls the work under way off and ends the threads.
#[derive(Debug)]
pub(crate) struct Trainer {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

impl Trainer {
    /// Starts the threads. `names`: those of the workloads, in their order. `cpu_max`: how much of one core training uses.
    pub(crate) fn start(
        names: Vec<String>,
        repository: Repository,
        cpu_max: f64,
        done: mpsc::Sender<TrainingDone>,
    ) -> std::io::Result<Trainer> {
        let mut trainer = Trainer { queue: Arc::new(Queue::default()), threads: Vec::new() };
        let desk = Arc::new(Desk::new(names, repository, done));
        let mut worker = Worker::new(desk.clone(), trainer.queue.clone(), cpu_max);
        let queue = trainer.queue.clone();
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        trainer.threads.push(named("trainer").spawn(move || worker.work())?);
        trainer.threads.push(named("model-loader").spawn(move || loader::work(&desk, &queue))?);
        Ok(trainer)
    }

    /// Leaves a job, in place of one of the same workload that still waits.
    pub(crate) fn submit(&self, workload: usize, job: Job) {
        self.queue.submit(workload, job);
    }

    /// Asks for the champions of a workload as the repository has them now, to follow the job's history. Goes before
    /// trainings.
    pub(crate) fn load(&self, workload: usize, job: Job) {
        self.queue.load(workload, job);
    }

    /// Holds trainings, the one under way at its next checkpoint, or lets them go on. Nothing is lost meanwhile.
    pub(crate) fn pause(&self, paused: bool) {
        self.queue.pause(paused);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.queue.is_paused()
    }

    /// The workloads whose trainings wait to be begun, each with its reason.
    pub(crate) fn not_begun(&self) -> Vec<(usize, String)> {
        self.queue.not_begun()
    }

    /// Calls off what is under way and what waits.
    pub(crate) fn stop(&self) {
        self.queue.stop();
    }
}

impl Drop for Trainer {
    fn drop(&mut self) {
        self.stop();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The thread's own.
struct Worker {
    desk: Arc<Desk>,
    queue: Arc<Queue>,
    /// How much of one core it uses at most.
    cpu_max: f64,
    /// The last training of each workload, for those of others to learn from as well.
    seen: BTreeMap<usize, Job>,
}

/// What came of one kind's contest.
struct Verdict {
    id: ModelId,
    /// The champion, caught up.
    model: Fitted,
    /// The champion as it stood before the contest's outcomes, where it is a new one.
    fresh: Option<Rival>,
    /// What happened, in words.
    what: String,
}

impl Worker {
    fn new(desk: Arc<Desk>, queue: Arc<Queue>, cpu_max: f64) -> Worker {
        Worker { desk, queue, cpu_max, seen: BTreeMap::new() }
    }

    fn work(&mut self) {
        self.desk.step_back();
        while let Some((workload, job)) = self.queue.next_training() {
            if !self.turn(workload, job) {
                return;
            }
        }
    }

    /// Trains, and remembers the job for others; whether to go on.
    fn turn(&mut self, workload: usize, job: Job) -> bool {
        let on = self.train(workload, &job);
        self.seen.insert(workload, job);
        on
    }

    /// Trains every kind of a job; whether to go on.
    fn train(&self, workload: usize, job: &Job) -> bool {
        let mut step = self.queue.paced(self.cpu_max, Work::Training);
        let mut pace = Pace::controlled(&mut step);
        let end = job.history().end();
        let (mut kept, mut fresh, mut ids) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut said = Vec::new();
        for &kind in job.kinds() {
            match self.compete(workload, job, kind, &mut pace) {
                Ok(verdict) => {
                    ids.insert(kind, verdict.id);
                    match verdict.fresh {
                        Some(model) => fresh.push((kind, model)),
                        None => kept.push((kind, Ok(verdict.model))),
                    }
                    said.push(verdict.what);
                }
                Err(Failure::Fit(FitError::CalledOff)) => return false,
                Err(failure) => {
                    self.tell(workload, kind, &failure);
                    said.push(format!("no {kind} model: {failure}"));
                }
            }
        }
        // New champions have weight as soon as they take part, from what they said of values they were not fitted to.
        let mut trained = if fresh.is_empty() {
            Trained::new(end, Vec::new())
        } else {
            let Ok(trained) = job.rehearse(fresh, false, &mut pace) else { return false };
            trained
        };
        trained.models.extend(kept);
        let message = format!("{}: {}", job.reason, said.join("; "));
        let next = job.history().grid.begins_at(end);
        let done = TrainingDone { workload, trained, next, removed: Vec::new(), kind: "trained", message };
        self.desk.hand_over(done, &ids)
    }

    /// That a model is not made for a series, or not yet, is no fault.
    fn tell(&self, workload: usize, kind: Kind, failure: &Failure) {
        let (workload, model) = (&self.desk.names[workload], kind.name());
        match failure {
            Failure::Fit(_) => tracing::info!(workload, model, "no model was trained: {failure}"),
            _ => tracing::warn!(workload, model, "no model was trained: {failure}"),
        }
    }

    /// Trains one kind, on this workload alone and then, where there are others with this kind, together with theirs.
    fn compete(
        &self,
        workload: usize,
        job: &Job,
        kind: Kind,
        pace: &mut Pace<'_>,
    ) -> Result<Verdict, Failure> {
        let alone = self.challenge(workload, job, kind, &[], pace);
        let others: Vec<&Job> = self
            .seen
            .iter()
            .filter(|(other, job)| **other != workload && job.combines(kind))
            .map(|(_, job)| job)
            .take(Kind::OTHERS_MAX)
            .collect();
        let together = match &alone {
            Err(Failure::Fit(FitError::CalledOff)) => None,
            _ if others.is_empty() || !kind.is_global() => None,
            _ => self.challenge(workload, job, kind, &others, pace).transpose(),
        };
        let alone = alone.and_then(|alone| alone.ok_or(Failure::Fit(FitError::CalledOff)));
        match (alone, together) {
            (alone, None) => alone,
            (Ok(alone), Some(Ok(together))) => {
                let what = format!("{}; {}", alone.what, together.what);
                // What was kept as it stood before needs no rehearsal, unless it is the one just found.
                let fresh = if together.id == alone.id { alone.fresh } else { together.fresh };
                Ok(Verdict { fresh, what, ..together })
            }
            (Err(_), Some(together)) => together,
            (Ok(alone), Some(Err(failure))) => match failure {
                Failure::Fit(FitError::CalledOff) => Err(failure),
                _ => Ok(Verdict { what: format!("{}; together: {failure}", alone.what), ..alone }),
            },
        }
    }

    /// Trains one kind and keeps it; `None` when the others have nothing to teach.
    fn challenge(
        &self,
        workload: usize,
        job: &Job,
        kind: Kind,
        others: &[&Job],
        pace: &mut Pace<'_>,
    ) -> Result<Option<Verdict>, Failure> {
        let name = self.desk.names[workload].clone();
        let repository = &self.desk.repository;
        let champion = repository.champion(&name, kind.name())?;
        let rival = champion.as_ref().and_then(|record| self.rival(workload, job, kind, record));
        let (contest, series) = if others.is_empty() {
            (job.contest(kind, rival, pace)?, 1)
        } else {
            let Some(met) = job.contest_together(kind, others, rival, pace)? else { return Ok(None) };
            met
        };
        let body = postcard::to_stdvec(&contest.fitted)?;
        let parent = champion.as_ref().map(|record| record.id);
        let by = By::new(AUTHOR, job.reason.clone());
        let added = repository.add(&by, &describe(&name, kind, (job, series), &contest, parent), &body)?;
        let id = added.id;
        let (Some(champion), Some(follower)) = (champion, contest.rival.clone()) else {
            // The first of its kind, or the champion cannot be used any more: other code, too long a gap.
            let lost = parent.map(|parent| format!("version {parent} cannot follow the history any more"));
            let by = By::new(AUTHOR, lost.clone().unwrap_or_else(|| job.reason.clone()));
            repository.promote(&by, id, lost.is_some(), None)?;
            let what = format!("{kind} version {id}{} is the champion", origin(series));
            return Ok(Some(Verdict::takeover(id, contest, what)));
        };
        let trial = trial(champion.id, &contest)?;
        let gain = trial.gain() * 100.0;
        repository.measured(&by, id, trial)?;
        match repository.promote(&by, id, false, None) {
            Ok(_) => {
                let what =
                    format!("{kind} version {id}{} took over with a gain of {gain:.1} %", origin(series));
                Ok(Some(Verdict::takeover(id, contest, what)))
            }
            Err(history::HistoryError::Model(why)) => {
                let what = format!(
                    "{kind} stays with version {} and not {id}{}: {why}",
                    champion.id,
                    origin(series)
                );
                Ok(Some(Verdict { id: champion.id, model: follower, fresh: None, what }))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The champion as it was fitted, so that all that came since can be compared on; or, where it cannot follow from there
    /// any more, as it was handed over last.
    fn rival(&self, workload: usize, job: &Job, kind: Kind, record: &ModelRecord) -> Option<Rival> {
        let stored = self.desk.stored(record, job);
        match stored {
            Ok(rival) if job.stands(&rival).is_some() => return Some(rival),
            Ok(_) => {}
            Err(why) => tracing::warn!("version {} cannot compete as it was stored: {why}", record.id),
        }
        let in_charge = self.desk.in_charge();
        let kept = in_charge.get(&(workload, kind)).filter(|(id, _)| *id == record.id);
        kept.map(|(_, rival)| rival.clone())
    }
}

impl Verdict {
    fn takeover(id: ModelId, contest: Contest, what: String) -> Verdict {
        let fresh = Some(Rival { model: contest.fitted, next: contest.data_to });
        Verdict { id, model: contest.challenger, fresh, what }
    }
}

fn describe(
    workload: &str,
    kind: Kind,
    (job, series): (&Job, usize),
    contest: &Contest,
    parent: Option<ModelId>,
) -> Description {
    let history = job.history();
    let mut features = vec!["demand".to_owned(), format!("{STEP_FEATURE}{}", step_of(job))];
    features.extend(history.seasons.iter().map(|period| format!("season_{period}")));
    features.extend(history.covariates.names().iter().cloned());
    if series > 1 {
        features.push(format!("together_{series}"));
    }
    let Worth { coverage, mae, rmse, skill } = contest.worth;
    let scores = [
        ("pinball", contest.pinball()),
        ("coverage_90", coverage),
        ("mae", mae),
        ("rmse", rmse),
        ("skill", skill),
    ];
    Description {
        workload: workload.to_owned(),
        model: kind.name().to_owned(),
        trained_at: clock(),
        data_from: contest.data_from,
        data_to: contest.data_to,
        features,
        scores: scores.into_iter().filter_map(|(name, score)| Some((name.to_owned(), score?))).collect(),
        parent,
        code_version: code_version(),
    }
}

/// Length of a job's steps, in a word.
fn step_of(job: &Job) -> String {
    humantime::format_duration(job.history().grid.step).to_string().replace(' ', "")
}

/// How a version came about, where that is not the usual way.
fn origin(series: usize) -> String {
    if series > 1 { format!(", learned from {series} workloads together,") } else { String::new() }
}

/// Which code can read the models that this one writes.
fn code_version() -> String {
    format!("{}+models.{}", env!("CARGO_PKG_VERSION"), forecast::models::FORMAT)
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
/// Begins the feature that says what steps a model is made for.
const STEP_FEATURE: &str = "step_";
