//! The account: demand that came, demand that found no capacity, and what every second of every instance cost.

use std::collections::BTreeMap;
use std::time::Duration;

use forecast::Timestamp;

use super::fleet::{Fleet, Stage};

/// What keeps the account while the instances change: of fluid demand, or of single requests.
pub trait Account {
    /// Counts the time up to `to` with the instances as they were since the last call. Instances with traffic are those at
    /// [`Stage::Active`], by the weights of `table`, or all alike where there is none.
    fn advance(&mut self, to: Timestamp, fleet: &Fleet, table: Option<&BTreeMap<u64, u32>>);

    /// Counts one thing.
    fn count(&mut self, what: Count);

    /// How long an instance still needs for what it has, if it gets nothing new from now on. Fluid demand leaves nothing behind.
    fn drain_time(&self, _instance: u64) -> Duration {
        Duration::ZERO
    }
}

/// Sums over virtual time. Only time inside steps of known demand, from `score_from` on, is counted.
#[derive(Debug, Clone)]
pub struct Ledger {
    capacity: f64,
    score_from: Timestamp,
    now: Timestamp,
    demand: Option<f64>,
    step_missed: f64,
    totals: Totals,
}

/// What has been counted so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    /// Scored time, in seconds.
    pub seconds: f64,
    /// Demand that came, in demand units times seconds.
    pub demand: f64,
    /// The part that found no capacity, in demand units times seconds.
    pub missed: f64,
    /// Time during which some demand found no capacity, in seconds.
    pub late_seconds: f64,
    /// Steps of known demand.
    pub steps: u64,
    /// Steps in which some demand found no capacity.
    pub steps_missed: u64,
    /// Seconds of instances with traffic, promoted or draining.
    pub active_seconds: f64,
    /// Seconds of ready instances without traffic, parked or warm.
    pub standby_seconds: f64,
    /// Seconds of instances that were stopped with their disk kept.
    pub stopped_seconds: f64,
    /// Seconds of instances that were starting or stopping.
    pub starting_seconds: f64,
    /// Starts ordered.
    pub starts: u64,
    /// Restarts from a kept disk ordered.
    pub restarts: u64,
    /// Stops ordered.
    pub stops: u64,
    /// Standby instances made active.
    pub promotions: u64,
    /// Active instances made standby.
    pub demotions: u64,
    /// Times that the wanted active count changed.
    pub scale_events: u64,
}

/// One thing that is counted rather than timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// A start was ordered.
    Start,
    /// A restart from a kept disk was ordered.
    Restart,
    /// A stop was ordered.
    Stop,
    /// A standby became active.
    Promotion,
    /// An active instance became standby.
    Demotion,
    /// The wanted active count changed.
    ScaleEvent,
}

impl Ledger {
    /// An account that begins at `now`, for instances that serve `capacity` demand units each.
    pub fn new(capacity: f64, now: Timestamp, score_from: Timestamp) -> Ledger {
        Ledger { capacity, score_from, now, demand: None, step_missed: 0.0, totals: Totals::default() }
    }

    /// Counts the time up to `to` with the instances as they were since the last call.
    pub fn advance(&mut self, to: Timestamp, fleet: &Fleet) {
        let seconds = to.since(self.now).as_secs_f64();
        let scoring = self.scoring();
        self.now = self.now.max(to);
        let Some(demand) = self.demand.filter(|_| seconds > 0.0) else {
            return;
        };
        let missed = self.missing(demand, fleet);
        self.step_missed += missed * seconds;
        if !scoring {
            return;
        }
        let count = |stage| f64::from(fleet.count(stage));
        let totals = &mut self.totals;
        totals.seconds += seconds;
        totals.demand += demand * seconds;
        totals.missed += missed * seconds;
        totals.late_seconds += if missed > 0.0 { seconds } else { 0.0 };
        totals.active_seconds +=
            (count(Stage::Active) + count(Stage::Promoting) + count(Stage::Draining)) * seconds;
        totals.standby_seconds += (count(Stage::Warm) + count(Stage::Parked)) * seconds;
        totals.stopped_seconds += count(Stage::Halted) * seconds;
        totals.starting_seconds += (count(Stage::Starting) + count(Stage::Stopping)) * seconds;
    }

    /// Ends the current step and begins one with this demand; none in a gap. Call [`Ledger::advance`] first.
    ///
    /// Returns the missed demand of the step that ended, as a mean over a step of length `step`.
    pub fn begin_step(&mut self, demand: Option<f64>, step: Duration) -> f64 {
        if self.demand.is_some() && self.now > self.score_from {
            self.totals.steps += 1;
            self.totals.steps_missed += u64::from(self.step_missed > 0.0);
        }
        let missed = self.step_missed / step.as_secs_f64();
        self.step_missed = 0.0;
        self.demand = demand;
        missed
    }

    /// Counts one thing.
    pub fn count(&mut self, what: Count) {
        if !self.scoring() {
            return;
        }
        let total = match what {
            Count::Start => &mut self.totals.starts,
            Count::Restart => &mut self.totals.restarts,
            Count::Stop => &mut self.totals.stops,
            Count::Promotion => &mut self.totals.promotions,
            Count::Demotion => &mut self.totals.demotions,
            Count::ScaleEvent => &mut self.totals.scale_events,
        };
        *total += 1;
    }

    /// Demand that the fleet cannot serve right now, in demand units.
    pub fn missing(&self, demand: f64, fleet: &Fleet) -> f64 {
        let missed = demand - self.capacity * f64::from(fleet.count(Stage::Active));
        // The slack forgives rounding when demand is an exact multiple of the capacity.
        if missed > demand * MISS_SLACK { missed } else { 0.0 }
    }

    /// Demand per second right now; none in a gap.
    pub fn demand(&self) -> Option<f64> {
        self.demand
    }

    /// The sums.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    fn scoring(&self) -> bool {
        self.now >= self.score_from
    }
}

impl Account for Ledger {
    fn advance(&mut self, to: Timestamp, fleet: &Fleet, _table: Option<&BTreeMap<u64, u32>>) {
        Ledger::advance(self, to, fleet);
    }

    fn count(&mut self, what: Count) {
        Ledger::count(self, what);
    }
}

const MISS_SLACK: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_above_capacity_is_missed_and_every_stage_is_paid() {
        let start = Timestamp::from_secs(0);
        let step = Duration::from_secs(10);
        let mut fleet = Fleet::new();
        fleet.set(1, Stage::Active);
        fleet.set(2, Stage::Starting);
        fleet.set(3, Stage::Parked);
        let mut ledger = Ledger::new(100.0, start, start);
        ledger.begin_step(Some(150.0), step);
        ledger.advance(start + Duration::from_secs(4), &fleet);
        fleet.set(2, Stage::Active);
        ledger.advance(start + step, &fleet);
        assert_eq!(ledger.begin_step(None, step), 50.0 * 4.0 / 10.0);
        ledger.advance(start + 2 * step, &fleet);
        let totals = ledger.totals();
        assert_eq!((totals.demand, totals.missed, totals.late_seconds), (1500.0, 200.0, 4.0));
        assert_eq!(
            (totals.active_seconds, totals.starting_seconds, totals.standby_seconds),
            (16.0, 4.0, 10.0)
        );
        assert_eq!((totals.steps, totals.steps_missed, totals.seconds), (1, 1, 10.0));
    }
}
