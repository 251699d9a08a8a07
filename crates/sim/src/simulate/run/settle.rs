//! The liveness phase: nothing goes wrong any more, and the fleet must become what the plan wants.

use std::time::Duration;

use forecast::Timestamp;
use planner::CapacityPolicy;

use super::super::FailureKind;
use super::Simulation;
use crate::world::Stage;

impl Simulation {
    /// Lets time pass until the fleet is what the plan wants, and stays so for a while.
    pub(super) fn settle(&mut self) -> Result<Duration, FailureKind> {
        let (began, bound, patience) = (self.now, self.liveness_bound(), self.patience());
        // What was wanted, and when it changed or was there last.
        let mut wanted = (self.wanted(), began);
        let mut settled: Option<Timestamp> = None;
        let mut settled_once = None;
        while self.now < began + bound {
            self.run_until(self.now + SETTLE_LOOK)?;
            if wanted.0 != self.wanted() {
                wanted = (self.wanted(), self.now);
            }
            if self.settled() {
                let since = *settled.get_or_insert(self.now);
                settled_once.get_or_insert(since);
                wanted.1 = self.now;
                if self.now.since(since) >= SETTLE_HOLD {
                    return Ok(since.since(began));
                }
            } else if self.now.since(wanted.1) > patience {
                return Err(FailureKind::Unsettled { bound: patience, state: self.state() });
            } else {
                settled = None;
            }
        }
        // A forecast that still expects what the faulty time taught it may keep moving the plan, if the fleet keeps up.
        settled_once
            .map(|since| since.since(began))
            .ok_or_else(|| FailureKind::Unsettled { bound, state: self.state() })
    }

    /// How long the fleet may differ from a plan that does not change: a hung start is given up and the longest pause
    /// passes before the next, twice.
    fn patience(&self) -> Duration {
        let policy = &self.swarm.policy;
        2 * (policy.deadlines.start + policy.retry.max) + policy.deadlines.drain + Duration::from_secs(300)
    }

    fn wanted(&self) -> Option<(u32, u32)> {
        let snapshot = self.planner.snapshot();
        let plan = snapshot.workloads().first()?.plan?;
        Some((plan.active_wanted, plan.standby_wanted))
    }

    /// Patience, and time for guards to end and a forecast to calm down.
    fn liveness_bound(&self) -> Duration {
        let policy = &self.swarm.policy;
        self.patience() + policy.guard + 60 * policy.step + Duration::from_secs(1800)
    }

    fn settled(&self) -> bool {
        let fleet = self.agent.fleet();
        let active = fleet.count(Stage::Active);
        let standby = fleet.count(Stage::Warm) + fleet.count(Stage::Parked);
        let enough = f64::from(active) * self.swarm.capacity >= self.demand * SERVED_SHARE
            || active + standby >= self.swarm.policy.replicas_max
            || !matches!(self.swarm.policy.capacity, CapacityPolicy::Pinned(_));
        self.wanted() == Some((active, standby)) && fleet.len() == active + standby && enough
    }

    fn state(&self) -> String {
        let counts: Vec<_> =
            Stage::ALL.iter().map(|stage| (stage, self.agent.fleet().count(*stage))).collect();
        let snapshot = self.planner.snapshot();
        let view = snapshot.workloads().first();
        let plan = view.and_then(|view| view.plan);
        format!(
            "demand {:.1} at {:.1} per instance, wanted {:?} active and {:?} standby, there are {counts:?}; the planner knows {:?}",
            self.demand,
            self.swarm.capacity,
            plan.map(|plan| plan.active_wanted),
            plan.map(|plan| plan.standby_wanted),
            view.map(|view| view.instances),
        )
    }
}

/// How often the fleet is looked at while it settles, and for how long it must stay settled.
const SETTLE_LOOK: Duration = Duration::from_secs(10);
const SETTLE_HOLD: Duration = Duration::from_secs(200);
/// A settled fleet serves at least this share of the demand; budgets allow a miss, not a habit.
const SERVED_SHARE: f64 = 0.9;
