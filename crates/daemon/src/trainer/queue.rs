//! What waits for the trainer and for the loader, and how much of the time they may work.

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
    stop: bool,
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

    /// The next training, as soon as there is one of a workload whose champions are there; `None` when it is over.
    pub(super) fn next_training(&self) -> Option<(usize, Job)> {
        self.next(|waiting| {
            let Waiting { trainings, loads, loading, .. } = waiting;
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

    /// To be called at every checkpoint: after each stretch of work rests `rests` times as long; breaks when it is over.
    pub(super) fn paced(&self, rests: u32) -> impl FnMut() -> ControlFlow<()> {
        let mut began = Instant::now();
        move || {
            let rest = began.elapsed() * rests;
            // Shorter rests would cost more than they give back.
            if rest >= REST_MIN {
                let over = self.rest(rest.min(REST_MAX));
                began = Instant::now();
                if over {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const REST_MIN: Duration = Duration::from_millis(6);
/// Longest rest at once; a stretch of work is some milliseconds long.
const REST_MAX: Duration = Duration::from_secs(10);
