//! What waits for the trainer and for the loader, how much of the time they may work, and whether training is paused.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use forecast::Job;

/// Jobs by workload. At most one of each sort: a later one knows all that an earlier one knew.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    trainings: BTreeMap<usize, Job>,
    loads: BTreeMap<usize, Job>,
    /// The workload that is being loaded for.
    loading: Option<usize>,
    /// No training is begun or goes on.
    paused: bool,
    stop: bool,
}

/// Whose work it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Waits while training is paused.
    Training,
    /// Somebody waits for it: never paused.
    Loading,
}

impl Queue {
    pub(super) fn submit(&self, workload: usize, job: Job) {
        self.lock().trainings.insert(workload, job);
        self.changed.notify_all();
    }

    pub(super) fn load(&self, workload: usize, job: Job) {
        self.lock().loads.insert(workload, job);
        self.changed.notify_all();
    }

    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    /// Holds trainings at their next checkpoint, or lets them go on.
    pub(super) fn pause(&self, paused: bool) {
        self.lock().paused = paused;
        self.changed.notify_all();
    }

    pub(super) fn is_paused(&self) -> bool {
        self.lock().paused
    }

    /// The trainings that nobody has begun, each with its reason.
    pub(super) fn not_begun(&self) -> Vec<(usize, String)> {
        self.lock().trainings.iter().map(|(&workload, job)| (workload, job.reason.clone())).collect()
    }

    /// The next training, as soon as there is one of a workload whose champions are there; `None` when it is over.
    pub(super) fn next_training(&self) -> Option<(usize, Job)> {
        self.next(|waiting| {
            let Waiting { trainings, loads, loading, paused, .. } = waiting;
            if *paused {
                return None;
            }
            let ready = |workload: &&usize| !loads.contains_key(workload) && *loading != Some(**workload);
            let workload = *trainings.keys().find(ready)?;
            trainings.remove_entry(&workload)
        })
    }

    /// The next workload to load for, as soon as there is one; `None` when it is over.
    pub(super) fn next_load(&self) -> Option<(usize, Job)> {
        self.next(|waiting| {
            let next = waiting.loads.pop_first();
            waiting.loading = next.as_ref().map(|(workload, _)| *workload);
            next
        })
    }

    /// What was loaded last is handed over.
    pub(super) fn loaded(&self) {
        self.lock().loading = None;
        self.changed.notify_all();
    }

    fn next<T>(&self, mut take: impl FnMut(&mut Waiting) -> Option<T>) -> Option<T> {
        let mut waiting = self.lock();
        loop {
            if waiting.stop {
                return None;
            }
            if let Some(job) = take(&mut waiting) {
                return Some(job);
            }
            waiting = self.wait(waiting);
        }
    }

    /// Rests for a time and as long as the work is paused, or until it is over; whether it is.
    fn rest(&self, time: Duration, work: Work) -> bool {
        let until = Instant::now() + time;
        let mut waiting = self.lock();
        while !waiting.stop {
            if waiting.paused && work == Work::Training {
                // Without a time to wake up at: a pause costs nothing.
                waiting = self.wait(waiting);
                continue;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            waiting = self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// To be called at every checkpoint: rests so long after each stretch of work that it takes at most `cpu_max` of the
    /// time, and while it is paused; breaks when it is over.
    pub(super) fn paced(&self, cpu_max: f64, work: Work) -> impl FnMut() -> ControlFlow<()> {
        let rests = 1.0 / cpu_max - 1.0;
        let mut began = Instant::now();
        move || {
            let worked = began.elapsed();
            let rest = worked.mul_f64(rests).min(REST_MAX);
            // Shorter rests would cost more than they give back.
            if rest < REST_MIN && worked < LOOK_EVERY {
                return ControlFlow::Continue(());
            }
            let over = self.rest(rest, work);
            began = Instant::now();
            if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }

    fn wait<'a>(&self, waiting: MutexGuard<'a, Waiting>) -> MutexGuard<'a, Waiting> {
        self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const REST_MIN: Duration = Duration::from_millis(6);
/// Longest rest at once; a stretch of work is some milliseconds long.
const REST_MAX: Duration = Duration::from_secs(10);
/// Work that hardly rests looks up so often whether it is paused or over.
const LOOK_EVERY: Duration = Duration::from_millis(20);
