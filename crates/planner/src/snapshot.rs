//! A read-only view of everything the planner knows, for the API, the linter and tests.

use std::time::Duration;

use forecast::{Ensemble, Timestamp};

use crate::event::DecisionOverride;
use crate::ids::{InstanceId, WorkloadId};
use crate::instance::Instance;
use crate::overrides::ForecastOverride;
use crate::plan::Plan;
use crate::policy::{Limits, WorkloadPolicy};
use crate::reaction::ReactionStep;
use crate::scarcity::{Cluster, Grant, NodeView, Resources};
use crate::shift::ShiftLog;

/// The state of a planner at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot<'a> {
    pub(crate) now: Timestamp,
    /// On the internal clock.
    pub(crate) internal: Timestamp,
    pub(crate) limits: &'a Limits,
    pub(crate) queued: usize,
    pub(crate) clock_jumps: u64,
    pub(crate) stale: u64,
    pub(crate) workloads: Vec<WorkloadView<'a>>,
    pub(crate) cluster: Option<&'a Cluster>,
}

impl<'a> Snapshot<'a> {
    /// The time of the last input.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The limits of the planner.
    pub fn limits(&self) -> &'a Limits {
        self.limits
    }

    /// Orders that wait to be fetched.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Jumps of the driver's clock, either way.
    pub fn clock_jumps(&self) -> u64 {
        self.clock_jumps
    }

    /// Events about workloads and instances that nobody knows (any more), and within each workload about orders that
    /// are not under way (any more).
    pub fn events_stale(&self) -> u64 {
        self.stale + self.workloads.iter().map(|w| w.counters.events_stale).sum::<u64>()
    }

    /// Every workload, in the order of the policy.
    pub fn workloads(&self) -> &[WorkloadView<'a>] {
        &self.workloads
    }

    /// Every node; none where none are given.
    pub fn nodes(&self) -> Vec<NodeView<'a>> {
        self.cluster.map(Cluster::views).unwrap_or_default()
    }

    /// What all healthy nodes may promise together, and what of it is granted; `None` where no nodes are given.
    pub fn supply(&self) -> Option<(Resources, Resources)> {
        self.cluster.map(|cluster| (cluster.supply.size, cluster.granted))
    }

    /// One workload.
    pub fn workload(&self, id: &WorkloadId) -> Option<&WorkloadView<'a>> {
        self.workloads.iter().find(|w| &w.policy.id == id)
    }
}

/// The state of one workload.
#[derive(Debug, Clone)]
pub struct WorkloadView<'a> {
    /// Its policy.
    pub policy: &'a WorkloadPolicy,
    /// Its instances, in order of id.
    pub instances: &'a [Instance],
    /// The plan in force; `None` before the first.
    pub plan: Option<&'a Plan>,
    /// Its forecaster.
    pub forecaster: &'a Ensemble,
    /// Demand units per instance in use.
    pub capacity: f64,
    /// Cold lead time in use.
    pub lead_cold: Duration,
    /// Promotion lead time in use.
    pub lead_promote: Duration,
    /// Restart lead time in use; `None` where instances are not stopped with their disk kept.
    pub lead_restart: Option<Duration>,
    /// The route table last ordered: every entry, draining ones with weight 0.
    pub table: &'a [(InstanceId, u32)],
    /// The error budget and what was spent of it.
    pub budget: Budget,
    /// The operator's override in force.
    pub pinned: Option<&'a DecisionOverride>,
    /// The operators' overrides of the forecast, in force and to come.
    pub forecast_overrides: &'a [ForecastOverride],
    /// What reacting alone would have done in the last complete step.
    pub reaction: Option<ReactionStep>,
    /// The last steps of its traffic shifts.
    pub shifts: &'a ShiftLog,
    /// What was counted.
    pub counters: Counters,
    /// What it was granted; `None` where no nodes are given.
    pub grant: Option<Grant>,
    /// What of a node is booked for each of its instances; nothing where no nodes are given.
    pub booked: Resources,
    /// Workloads with the same number have forecast days that look alike; `None` where it has no daily pattern, or nobody
    /// asked for one.
    pub group: Option<u32>,
}

/// Spending of the error budget since the planner was made.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Budget {
    /// Share of the demand that may be missed.
    pub error_budget: f64,
    /// Demand seen, in unit-steps.
    pub demand: f64,
    /// The part of it above the active capacity that had been decided, or reported as missed.
    pub missed: f64,
}

impl Budget {
    /// Missed share of the demand; 0 before any demand.
    pub fn missed_share(&self) -> f64 {
        if self.demand > 0.0 { self.missed / self.demand } else { 0.0 }
    }
}

/// Counts since the planner was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Events about finished or superseded orders of known instances, and repeated ones.
    pub events_stale: u64,
    /// Samples that were not finite, negative or out of order.
    pub samples_refused: u64,
    /// Orders given.
    pub actions_issued: u64,
    /// Orders that failed or were not answered in time.
    pub actions_failed: u64,
    /// Starts ordered.
    pub starts: u64,
    /// Promotions completed.
    pub promotions: u64,
    /// Spares of other workloads taken over.
    pub claims: u64,
    /// Changes of size completed.
    pub resizes: u64,
    /// Demotions completed.
    pub demotions: u64,
    /// Stops with the disk kept completed.
    pub halts: u64,
    /// Restarts from a kept disk ordered.
    pub restarts: u64,
    /// Stops completed.
    pub stops: u64,
    /// Instances taken over from an earlier control plane.
    pub adopted: u64,
    /// Instances that ended by themselves.
    pub exits: u64,
    /// Instances, or processes of them, that were killed for lack of memory.
    pub out_of_memory: u64,
    /// Traffic ramps rolled back.
    pub rollbacks: u64,
}
