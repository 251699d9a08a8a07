//! Forecasts of any series that is kept of a workload, made when somebody asks.
//!
//! Nothing is configured and nothing learns beside the control loop: the stored series is replayed through the online core, in
//! steps that suit it, with the events and covariates that are known. The answer depends on what is stored and on the moment
//! alone; what is kept of earlier answers only saves work. A step is used when it is over, never before.
//!
//! Bounded: steps and samples of one replay, replays at once, what is kept of them.

mod choice;
mod replay;
mod steps;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forecast::{ConfigError, Ensemble, ObserveError, Timestamp};
use history::{HistoryError, SeriesKey, Store};
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::config::WorkloadConfig;
use crate::knowledge::Knowledge;
pub(crate) use choice::Aggregate;
use replay::{Kept, Key, Setting};
use steps::Pace;

/// Which series, and seen from when.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) workload: Arc<WorkloadConfig>,
    pub(crate) metric: String,
    /// Those that the series has to have; it may have more.
    pub(crate) labels: BTreeMap<String, String>,
    /// How several series become one.
    pub(crate) aggregate: Option<Aggregate>,
    /// Instead of one that suits the series.
    pub(crate) step: Option<Duration>,
    pub(crate) now: Timestamp,
}

/// The series that are meant, and the step they are forecast in.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    asked: Asked,
    keys: Vec<SeriesKey>,
    pace: Pace,
}

/// A core that has followed a series up to the moment that was asked for.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) core: Ensemble,
    /// Series that became one.
    pub(crate) series: usize,
    /// Beginning of the first step with a value.
    pub(crate) from: Timestamp,
    /// Steps with a value.
    pub(crate) steps: usize,
}

/// Why a metric is not forecast.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    #[error("{workload} has no metric named {metric:?}")]
    NoMetric { workload: String, metric: String },
    #[error("no series of {metric:?} has the labels {wanted}; there are {found}")]
    NoSeries { metric: String, wanted: String, found: String },
    #[error("{count} series are meant by {metric:?}: {found}")]
    Several { metric: String, count: usize, found: String, total: Option<String> },
    #[error("{count} series of {metric:?} would have to become one, and at most {} can", choice::SERIES_MAX)]
    TooMany { metric: String, count: usize },
    #[error("{metric:?} has no value in whole steps from {from} to {to}")]
    NoValues { metric: String, from: Timestamp, to: Timestamp },
    #[error("{metric:?} has more than {} values since {from}", steps::SAMPLES_READ_MAX)]
    TooDense { metric: String, from: Timestamp },
    #[error(transparent)]
    Step(#[from] ConfigError),
    #[error("the series cannot be followed")]
    Unfollowed(#[from] ObserveError),
    #[error(transparent)]
    History(#[from] HistoryError),
}

impl Found {
    /// Looks up what is meant.
    pub(crate) fn look_up(store: &Store, asked: Asked) -> Result<Found, Refusal> {
        let keys = choice::choose(store.series_of(&asked.workload.name)?, &asked)?;
        let pace = Pace::of(store, &keys, &asked)?;
        forecast::Config::new(pace.step).validate()?;
        Ok(Found { asked, keys, pace })
    }

    /// The step that it is forecast in.
    pub(crate) fn step(&self) -> Duration {
        self.pace.step
    }

    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        match (self.asked.aggregate, self.keys.as_slice()) {
            (None, [one]) => one.labels.clone(),
            (Some(_), _) | (None, _) => self.asked.labels.clone(),
        }
    }
}

/// What is kept of earlier replays, and places for new ones.
#[derive(Debug)]
pub(crate) struct MetricForecasts {
    kept: Mutex<Vec<(Key, Arc<Kept>)>>,
    /// A place for each replay that may be under way.
    pub(crate) places: Arc<Semaphore>,
}

impl Default for MetricForecasts {
    fn default() -> MetricForecasts {
        MetricForecasts { kept: Mutex::default(), places: Arc::new(Semaphore::new(REPLAYS_MAX)) }
    }
}

impl MetricForecasts {
    /// Follows a series up to the moment asked for, for forecasts of so many steps. Reads the disk and computes: not for the
    /// control loop.
    pub(crate) fn follow(&self, store: &Store, found: &Found, ahead: usize) -> Result<Followed, Refusal> {
        let asked = &found.asked;
        let cells = steps::read(store, &found.keys, asked, found.pace)?;
        let Some((from, _)) = cells.first().copied() else {
            let (from, to) = (found.pace.from, found.pace.end);
            return Err(Refusal::NoValues { metric: asked.metric.clone(), from, to });
        };
        // A metric must not be its own covariate, of which the future is known.
        let mut workload = WorkloadConfig { step: found.pace.step, ..(*asked.workload).clone() };
        workload.covariates.retain(|name| *name != asked.metric);
        let known = Knowledge::read(store, &workload, asked.now)?;
        let setting = Setting::new(&workload, &cells, known, ahead);
        let key = Key::new(found, setting.horizon());
        let kept = self.kept(&key);
        let (core, keep) = replay::run(&setting, kept.as_deref(), &cells, found.pace.end)?;
        if let Some(keep) = keep {
            self.keep(key, keep);
        }
        Ok(Followed { core, series: found.keys.len(), from, steps: cells.len() })
    }

    fn kept(&self, key: &Key) -> Option<Arc<Kept>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(of, _)| of == key).map(|(_, kept)| kept.clone())
    }

    /// Keeps a replay as the newest, in place of an older one of the same or of the oldest.
    fn keep(&self, key: Key, replayed: Kept) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(of, _)| *of != key);
        if kept.len() == KEPT_MAX {
            kept.remove(0);
        }
        kept.push((key, Arc::new(replayed)));
    }
}

/// Replays under way at a time; each takes a core for some tenths of a second.
const REPLAYS_MAX: usize = 2;
/// Replays kept, of some 32 kB each, more where events or covariates are known.
const KEPT_MAX: usize = 64;

#[cfg(test)]
mod tests;
