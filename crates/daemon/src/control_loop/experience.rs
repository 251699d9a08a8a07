//! What the planner has measured of instances outlives the daemon: capacities, and how long starts and promotions take.

use std::time::{Duration, Instant};

use history::Store;
use planner::Experience;

use super::ControlLoop;
use crate::recorder::Record;

/// As it was written down last, and when it was looked at.
#[derive(Debug, Default)]
pub(crate) struct Written {
    body: Vec<u8>,
    looked: Option<Instant>,
}

/// In the store: capacity and guess, and times in seconds.
type Body = (Option<(f64, f64)>, Vec<f64>, Vec<f64>);

impl ControlLoop {
    /// Gives the planner what an earlier daemon wrote down. For the start.
    pub(crate) fn recall_experience(&mut self, store: &Store) {
        for index in 0..self.workloads.len() {
            let body = store.get(&key(self.workloads[index].name())).ok().flatten().unwrap_or_default();
            let Ok((capacity, starts, promotions)) = serde_json::from_slice::<Body>(&body) else { continue };
            let times = |seconds: Vec<f64>| {
                seconds.into_iter().filter_map(|one| Duration::try_from_secs_f64(one).ok()).collect()
            };
            let known = Experience { capacity, starts: times(starts), promotions: times(promotions) };
            self.planner.recall(&self.workloads[index].id, &known);
            self.workloads[index].experience.body = body;
        }
    }

    /// Writes down what has changed, not more often than is worth it.
    pub(crate) fn note_experience(&mut self) {
        for index in 0..self.workloads.len() {
            let looked = self.workloads[index].experience.looked;
            if looked.is_none_or(|at| at.elapsed() >= WRITTEN_EVERY) {
                self.write_experience(index);
            }
        }
    }

    /// Writes down all that has changed. For the end.
    pub(crate) fn keep_experience(&mut self) {
        (0..self.workloads.len()).for_each(|index| self.write_experience(index));
    }

    fn write_experience(&mut self, index: usize) {
        let workload = &mut self.workloads[index];
        workload.experience.looked = Some(Instant::now());
        let Some(known) = self.planner.experience(&workload.id) else { return };
        let seconds = |times: Vec<Duration>| times.iter().map(Duration::as_secs_f64).collect::<Vec<f64>>();
        let body: Body = (known.capacity, seconds(known.starts), seconds(known.promotions));
        let Ok(body) = serde_json::to_vec(&body) else { return };
        if body == workload.experience.body {
            return;
        }
        workload.experience.body.clone_from(&body);
        self.recorder.record(Record::Value(key(workload.name()), body));
    }
}

fn key(workload: &str) -> String {
    format!("experience/{workload}")
}

/// A daemon that is killed loses at most so much.
const WRITTEN_EVERY: Duration = Duration::from_secs(60);
