//! The planner: routes events to workloads, keeps time, hands out orders.

use std::collections::VecDeque;

use forecast::{Config, Forecaster, Timestamp};

use crate::action::Action;
use crate::event::Event;
use crate::ids::WorkloadId;
use crate::policy::{Policy, PolicyErrors};
use crate::snapshot::Snapshot;
use crate::timer::Timer;

/// The decision core for a set of workloads.
///
/// Call order for a driver: [`Planner::handle`] for every event, then [`Planner::poll_action`] until it returns `None`,
/// then sleep until [`Planner::poll_timeout`] or the next event, whichever comes first; when the time comes, call
/// [`Planner::handle_timeout`] and poll again.
#[derive(Debug, Clone)]
pub struct Planner {
    policy: Policy,
    now: Timestamp,
    forecasters: Vec<Forecaster>,
    actions: VecDeque<Action>,
}

impl Planner {
    /// A planner for this policy. `seed` feeds the jitter of retries; nothing else is random.
    ///
    /// # Errors
    /// Every broken rule of the policy.
    pub fn new(policy: Policy, seed: u64, now: Timestamp) -> Result<Planner, PolicyErrors> {
        let _ = seed;
        let errors: Vec<_> = policy.workloads.iter().filter_map(|w| w.validate().err()).flatten().collect();
        if !errors.is_empty() {
            return Err(PolicyErrors(errors));
        }
        let forecasters = policy.workloads.iter().filter_map(|w| Forecaster::new(Config::new(w.step)).ok()).collect();
        Ok(Planner { policy, now, forecasters, actions: VecDeque::new() })
    }

    /// The id of the first instance this planner will start. Ids below it are left to instances of earlier planners.
    #[must_use]
    pub fn with_first_instance(self, first_instance: u64) -> Planner {
        let _ = first_instance;
        self
    }

    /// Warms up the forecaster of a workload with samples from before the start, in order of time.
    pub fn learn(&mut self, workload: &WorkloadId, history: &[(Timestamp, Option<f64>)]) {
        let _ = (workload, history);
    }

    /// Takes in a fact.
    pub fn handle(&mut self, now: Timestamp, event: Event) {
        self.now = now;
        let _ = event;
    }

    /// Takes in that time has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// The next order; `None` when there is none for now.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Planner::handle_timeout`] must be called at the latest, and why.
    pub fn poll_timeout(&self) -> Option<(Timestamp, Timer)> {
        None
    }

    /// Everything the planner knows.
    pub fn snapshot(&self) -> Snapshot<'_> {
        let _ = &self.forecasters;
        Snapshot { now: self.now, limits: &self.policy.limits, workloads: Vec::new() }
    }
}
