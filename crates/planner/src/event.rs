//! Facts: what the driver has seen. Late, repeated and unknown facts are counted and otherwise ignored.

use std::time::Duration;

use forecast::Timestamp;

use crate::ids::{ActionId, InstanceId, NodeId, WorkloadId};
use crate::instance::Role;
use crate::overrides::ForecastOverride;
use crate::scarcity::NodePolicy;

/// A fact for the planner, in the past tense.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A step of demand is complete.
    DemandObserved {
        /// The workload.
        workload: WorkloadId,
        /// When the step began.
        step_start: Timestamp,
        /// Demand of the step in the workload's unit; `None` when the signal was missing.
        demand: Option<f64>,
        /// The part of it that found no capacity; 0 when that is not known.
        missed: f64,
    },
    /// A reading of the demand right now, more often than once a step.
    LoadObserved {
        /// The workload.
        workload: WorkloadId,
        /// Demand over the last tick, as a rate in the workload's unit.
        demand_now: f64,
        /// Requests that are waiting or being served.
        in_flight: f64,
    },
    /// What one backend did since the last such event.
    BackendObserved {
        /// The workload.
        workload: WorkloadId,
        /// The instance behind the backend.
        instance: InstanceId,
        /// Requests that it answered or failed.
        requests: u64,
        /// Those that failed.
        errors: u64,
        /// Median latency.
        latency_p50: Duration,
        /// 99th percentile of the latency.
        latency_p99: Duration,
        /// Requests by what they took at least, ascending, with the same bounds for all backends; empty where only the
        /// quantiles are known.
        latencies: Vec<(Duration, u64)>,
        /// Requests on it at this moment.
        in_flight: u32,
    },
    /// What an instance uses right now.
    UsageObserved {
        /// The workload.
        workload: WorkloadId,
        /// The instance.
        instance: InstanceId,
        /// Processor time since the last such event, in cores.
        cpu_cores: f64,
        /// Memory, in bytes.
        memory_bytes: u64,
        /// Share of its quota's periods in which it was throttled since the last such event; `None` where unknown.
        throttled: Option<f64>,
    },
    /// A quick look at an instance, several times a second: what must not wait for the next `UsageObserved`.
    StrainObserved {
        /// The workload.
        workload: WorkloadId,
        /// The instance.
        instance: InstanceId,
        /// Memory in use, in bytes; `None` where it cannot be told so quickly.
        memory_bytes: Option<u64>,
        /// Share of its quota's periods in which it was throttled since the last such event; `None` where unknown, or
        /// where there was no period.
        throttled: Option<f64>,
    },
    /// An instance, or a process of it, was killed because it needed more memory than it may use.
    OutOfMemory {
        /// The workload.
        workload: WorkloadId,
        /// The instance; it may be gone already.
        instance: InstanceId,
    },
    /// How many sessions an instance holds right now, whenever that changes. After `InstanceAdopted` it is to be told at
    /// once: until then, none are known of.
    SessionsHeld {
        /// The workload.
        workload: WorkloadId,
        /// The instance.
        instance: InstanceId,
        /// Sessions on it.
        sessions: u32,
    },
    /// Answer to `Start` and `Restart`: the instance runs and its probe passes.
    InstanceReady {
        /// The order.
        action: ActionId,
        /// The instance.
        instance: InstanceId,
        /// From the order to ready.
        took: Duration,
    },
    /// Answer to `Park`.
    InstanceParked {
        /// The order.
        action: ActionId,
        /// The instance.
        instance: InstanceId,
    },
    /// Answer to `Promote`: thawed and verified.
    InstancePromoted {
        /// The order.
        action: ActionId,
        /// The instance.
        instance: InstanceId,
        /// From the order to verified.
        took: Duration,
    },
    /// Answer to `SetWeights`: the router serves with this table now.
    WeightsApplied {
        /// The order.
        action: ActionId,
        /// The workload.
        workload: WorkloadId,
    },
    /// Answer to `Resize`: the new size is in force.
    InstanceResized {
        /// The order.
        action: ActionId,
        /// The instance.
        instance: InstanceId,
    },
    /// Answer to `Drain`: nothing is in flight any more.
    InstanceDrained {
        /// The order.
        action: ActionId,
        /// The instance.
        instance: InstanceId,
    },
    /// Answer to `Halt`: the instance is stopped, its disk is kept.
    InstanceHalted {
        /// The order.
        action: ActionId,
        /// The instance.
        instance: InstanceId,
    },
    /// Answer to `Stop`: the instance is gone.
    InstanceStopped {
        /// The order.
        action: ActionId,
        /// The instance.
        instance: InstanceId,
    },
    /// An order could not be carried out.
    ActionFailed {
        /// The order.
        action: ActionId,
        /// The instance it was about, if any.
        instance: Option<InstanceId>,
        /// What went wrong, for people.
        reason: String,
    },
    /// An instance ended without having been told to.
    InstanceExited {
        /// The workload.
        workload: WorkloadId,
        /// The instance.
        instance: InstanceId,
        /// What is known about it, for people.
        reason: String,
    },
    /// Health checks say that an instance does not answer.
    InstanceUnhealthy {
        /// The workload.
        workload: WorkloadId,
        /// The instance.
        instance: InstanceId,
        /// What is known about it, for people.
        reason: String,
    },
    /// Health checks say that an instance answers again.
    InstanceHealthy {
        /// The workload.
        workload: WorkloadId,
        /// The instance.
        instance: InstanceId,
    },
    /// An instance of an earlier control plane was found running.
    InstanceAdopted {
        /// The workload.
        workload: WorkloadId,
        /// The instance.
        instance: InstanceId,
        /// What it was used as.
        role: Role,
        /// It is frozen.
        parked: bool,
        /// Where it was found, if nodes are given.
        node: Option<NodeId>,
    },
    /// These instances run something else than what `Start` starts now: they are replaced bit by bit, each once another
    /// serves in its place. All are told at once, so that none of them takes the place of another.
    InstancesOutdated {
        /// The workload.
        workload: WorkloadId,
        /// The instances.
        instances: Vec<InstanceId>,
    },
    /// An instance that an earlier control plane stopped with its disk kept was found.
    HaltedAdopted {
        /// The workload.
        workload: WorkloadId,
        /// The instance.
        instance: InstanceId,
        /// Where its disk was found, if nodes are given.
        node: Option<NodeId>,
    },
    /// A node is there: a new one, or one that was lost before. What runs on it is told by `InstanceAdopted`.
    NodeAppeared {
        /// The node.
        node: NodePolicy,
    },
    /// A node is gone, and with it all that ran there. Instances that were only out of reach must be stopped, or told by
    /// `InstanceAdopted` under numbers of their own, when it is back.
    NodeLost {
        /// The node.
        node: NodeId,
    },
    /// An operator pins the decision.
    OverrideSet {
        /// The workload.
        workload: WorkloadId,
        /// What is pinned.
        decision: DecisionOverride,
    },
    /// The operator's pin is taken back.
    OverrideCleared {
        /// The workload.
        workload: WorkloadId,
    },
    /// An operator knows better than the forecast; in place of an earlier override of the same number.
    ForecastOverrideSet {
        /// The workload.
        workload: WorkloadId,
        /// What is known.
        forecast: ForecastOverride,
    },
    /// An override of the forecast is taken back.
    ForecastOverrideCleared {
        /// The workload.
        workload: WorkloadId,
        /// The number of the override.
        id: u64,
    },
}

/// Counts pinned by an operator. They win over every computed number, within the limits of the planner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionOverride {
    /// Active instances; `None` leaves the number to the plan.
    pub active: Option<u32>,
    /// Standby instances; `None` leaves the number to the plan.
    pub standby: Option<u32>,
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When it ends; `None`: when it is cleared.
    pub expires: Option<Timestamp>,
}
