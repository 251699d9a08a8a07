//! Demand that other programs push: of now, and of the past in as many requests as it takes.
//!
//! What is of the past is on disk before it is acknowledged, so whoever pushes weeks of it can go on after a crash where the last
//! answer said.

use std::sync::Arc;
use std::time::Duration;

use forecast::Timestamp;
use history::{Sample, SeriesKey, Store};
use tokio::sync::oneshot;

use super::{CommandError, ControlLoop};
use crate::recent::{METRICS, StepRecord};
use crate::recorder::{Record, clock};

/// What was taken; of the past, with who is told when it is on disk.
pub(crate) type Taken = (api::SamplesAccepted, Option<oneshot::Receiver<bool>>);

impl ControlLoop {
    pub(crate) fn push(
        &mut self,
        workload: &str,
        samples: &[api::PushedSample],
    ) -> Result<Taken, CommandError> {
        let (index, now) = (self.find(workload)?, clock());
        let Some(pushed) = &mut self.workloads[index].pushed else {
            return Err(CommandError::NotPushed(workload.to_owned()));
        };
        let starts = pushed.check(now, samples)?;
        let past = pushed.past(now, &starts);
        let last = starts.last().copied().unwrap_or_default();
        let goes_on = pushed.taken(last, now);
        let steps: Vec<_> = starts.into_iter().zip(samples).collect();
        let (of_past, of_now) = steps.split_at(past);
        let on_disk = self.demand_of_past(index, of_past, goes_on.then_some(now));
        for (start, sample) in of_now {
            self.demand_observed(index, *start, sample.demand, sample.missed.unwrap_or(0.0));
        }
        let accepted = steps.len() as u64;
        Ok((api::SamplesAccepted { accepted, last_at_ms: last.as_millis() }, on_disk))
    }

    /// Keeps and learns demand of steps that are over for long. What instances there are now says nothing about them. `until`
    /// tells from when on more of the past may come, after a restart, too.
    fn demand_of_past(
        &mut self,
        index: usize,
        steps: &[(Timestamp, &api::PushedSample)],
        until: Option<Timestamp>,
    ) -> Option<oneshot::Receiver<bool>> {
        if steps.is_empty() {
            return None;
        }
        let name = self.workloads[index].name().to_owned();
        let mut samples = Vec::with_capacity(2 * steps.len());
        for (start, sample) in steps {
            let mut values = [None; METRICS.len()];
            values[0] = sample.demand;
            values[8] = sample.demand.and(sample.missed);
            let known = METRICS.iter().zip(values).filter_map(|(metric, value)| Some((*metric, value?)));
            samples
                .extend(known.map(|(metric, value)| {
                    Sample::new(SeriesKey::new(name.as_str(), metric), *start, value)
                }));
            self.recent.push_step(&name, StepRecord { at: *start, values });
        }
        // All of a request at once: one for each step would overflow what waits for the disk.
        self.recorder.record(Record::Samples(samples));
        self.learn_past(index, steps);
        let (told, on_disk) = oneshot::channel();
        let until = until.map(|now| now.as_millis().to_string()).unwrap_or_default();
        self.recorder.record(Record::Durable(backfill_key(&name), until.into_bytes(), told));
        Some(on_disk)
    }

    /// Learns as from the history at a start: nothing is planned by such a step, and none is missed.
    fn learn_past(&mut self, index: usize, steps: &[(Timestamp, &api::PushedSample)]) {
        let id = self.workloads[index].id.clone();
        let steps: Vec<_> = steps.iter().map(|(start, sample)| (*start, sample.demand)).collect();
        let (first, others) = steps.split_at(1);
        self.planner.learn(&id, first);
        self.count_covariates(index);
        self.planner.learn(&id, others);
        let snapshot = self.planner.snapshot();
        let Some(view) = snapshot.workload(&id) else { return };
        let forecaster = Arc::new(view.forecaster.clone());
        self.journal_noticed(index, &forecaster);
        self.workloads[index].forecaster = forecaster;
        self.train_if_due(index);
        self.ask_externals(index);
        self.published.stale = true;
    }

    /// Waits for more of the past where an earlier daemon was in the middle of it.
    pub(crate) fn restore_backfills(&mut self, store: &Store) {
        let now = clock();
        for workload in &mut self.workloads {
            let Some(pushed) = &mut workload.pushed else { continue };
            let written = store.get(&backfill_key(&workload.config.name)).ok().flatten();
            let at = written.and_then(|value| String::from_utf8(value).ok()?.parse().ok());
            if at.is_some_and(|at| now.since(Timestamp::from_millis(at)) < RESUMED_WITHIN) {
                pushed.wait_for_past(now);
            }
        }
    }
}

/// Key of when demand of a workload's past was pushed last; an empty value when it has reached the present.
fn backfill_key(workload: &str) -> String {
    format!("backfill/{workload}")
}

/// How long after its last request a backfill may go on with another daemon.
const RESUMED_WITHIN: Duration = Duration::from_secs(3600);
