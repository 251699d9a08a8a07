//! What became of the requests: sums over a run, and rows over time.

use std::time::Duration;

use forecast::Timestamp;

use super::histogram::Histogram;
use super::server::{Fate, Limits};
use crate::world::{Fleet, Stage};

/// Sums over requests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// Requests that arrived.
    pub requests: u64,
    /// Those that were refused or timed out.
    pub failed: u64,
    /// Those that were answered, but after the latency bound.
    pub late: u64,
    /// Time from arrival to answer, or to the time-out. Refused requests have none.
    pub latency: Histogram,
}

/// What happened within one step of the demand.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// When it began.
    pub at: Timestamp,
    /// The requests that arrived in it, whenever they were answered.
    pub tally: Tally,
    /// Mean number of instances with traffic.
    pub active: f64,
    /// Mean number of ready instances without traffic.
    pub standby: f64,
    /// Mean number of instances that start, are promoted, drain or stop.
    pub moving: f64,
}

impl Tally {
    /// Share of the requests that failed; 0 without any.
    pub fn failed_share(&self) -> f64 {
        self.share(self.failed)
    }

    /// Share of the requests that failed or were late; 0 without any.
    pub fn bad_share(&self) -> f64 {
        self.share(self.failed + self.late)
    }

    /// The latency that this share of the requests does not exceed.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        self.latency.quantile(share)
    }

    /// The sums of several rows.
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Tally {
        let mut all = Tally::default();
        for row in rows {
            all.requests += row.tally.requests;
            all.failed += row.tally.failed;
            all.late += row.tally.late;
            all.latency.merge(&row.tally.latency);
        }
        all
    }

    pub(super) fn count(&mut self, fate: Fate, limits: &Limits) {
        self.requests += 1;
        match fate {
            Fate::Answered(latency) => {
                self.late += u64::from(latency > limits.bound);
                self.latency.record(latency);
            }
            Fate::TimedOut => {
                self.failed += 1;
                self.latency.record(limits.timeout);
            }
            Fate::Refused => self.failed += 1,
        }
    }

    fn share(&self, part: u64) -> f64 {
        if self.requests == 0 { 0.0 } else { part as f64 / self.requests as f64 }
    }
}

impl Row {
    pub(super) fn new(at: Timestamp) -> Row {
        Row { at, tally: Tally::default(), active: 0.0, standby: 0.0, moving: 0.0 }
    }

    pub(super) fn count(&mut self, fate: Fate, limits: &Limits) {
        self.tally.count(fate, limits);
    }

    /// The instances stay as they are for `time`.
    pub(super) fn occupy(&mut self, fleet: &Fleet, time: Duration) {
        let seconds = |stage| f64::from(fleet.count(stage)) * time.as_secs_f64();
        self.active += seconds(Stage::Active);
        self.standby += seconds(Stage::Warm) + seconds(Stage::Parked);
        let moving = [Stage::Starting, Stage::Promoting, Stage::Draining, Stage::Stopping];
        self.moving += moving.into_iter().map(seconds).sum::<f64>();
    }

    /// Sums become means over the step.
    pub(super) fn closed(mut self, step: Duration) -> Row {
        for sum in [&mut self.active, &mut self.standby, &mut self.moving] {
            *sum /= step.as_secs_f64();
        }
        self
    }
}
