//! `GET /api/v1/workloads` and `/api/v1/workloads/{id}`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::cache::CacheSummary;
use crate::{ForecastOverride, LatencySummary, Override, Plan, SessionSummary, Sharing, ShiftStep, Trust};

/// Whether plans are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Plans are made and shown, not carried out.
    Observe,
    /// Plans are carried out.
    Act,
}

/// Where demand comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DemandSource {
    /// Arrivals counted by the built-in proxy, in requests per second.
    Proxy,
    /// Pushed through the API.
    Push,
    /// What the arrivals at the built-in proxy are expected to cost, per second.
    Cost,
    /// What sessions take.
    Sessions,
}

/// Phase of an instance's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Started, not yet ready.
    Starting,
    /// Passed its probe.
    Ready,
    /// Takes no new work, finishes the old.
    Draining,
    /// Told to stop and to keep its disk.
    Halting,
    /// Stopped with its disk kept.
    Halted,
    /// Told to stop.
    Stopping,
    /// Gone in an orderly way.
    Stopped,
    /// Gone or unusable otherwise.
    Failed,
}

/// What an instance is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Started and healthy, without traffic.
    Standby,
    /// Takes traffic.
    Active,
}

/// One running copy of a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Instance {
    /// Number, unique for the life of the state folder.
    pub id: u64,
    /// Name, for example `web-17`.
    pub name: String,
    /// Phase of its life.
    pub phase: Phase,
    /// What it is for.
    pub role: Role,
    /// Frozen: it uses no CPU at all.
    pub parked: bool,
    /// Traffic weight; 1000 is a full share, 0 none.
    pub weight: u32,
    /// Since when it is in this phase and role.
    pub since_ms: i64,
    /// Process id; absent until the process runs.
    pub pid: Option<u32>,
    /// Where it listens; absent until known.
    pub address: Option<String>,
    /// Whether the proxy's health check passes; absent while it is not routed.
    pub healthy: Option<bool>,
    /// Requests on it now.
    pub in_flight: u32,
    /// Median latency over the last tick with traffic.
    pub latency_p50_ms: Option<f64>,
    /// 99th percentile of latency over the last tick with traffic.
    pub latency_p99_ms: Option<f64>,
    /// CPU cores in use; absent where it cannot be measured.
    pub cpu_cores: Option<f64>,
    /// Memory in use; absent where it cannot be measured.
    pub memory_bytes: Option<u64>,
    /// Bytes read from disks; absent where it cannot be measured.
    pub disk_read_bytes_per_s: Option<f64>,
    /// Bytes written to disks; absent where it cannot be measured.
    pub disk_written_bytes_per_s: Option<f64>,
    /// Bytes received; absent where the instance has no network namespace of its own.
    pub network_received_bytes_per_s: Option<f64>,
    /// Bytes sent; absent where the instance has no network namespace of its own.
    pub network_sent_bytes_per_s: Option<f64>,
    /// Instructions executed; absent where the processor or the system does not let us count them.
    pub instructions_per_s: Option<f64>,
    /// Where it runs; absent where no nodes are given.
    #[serde(default)]
    pub node: Option<String>,
    /// Sessions on it; absent where the workload has none.
    #[serde(default)]
    pub sessions: Option<u32>,
    /// The steps by which traffic was last shifted to it, oldest first; empty where it got its full share at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shift: Vec<ShiftStep>,
}

/// How many instances are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceCounts {
    /// Not yet ready.
    pub starting: u32,
    /// Ready and in traffic.
    pub active: u32,
    /// Ready without traffic, parked or not.
    pub standby: u32,
    /// Of the standby ones: frozen.
    pub parked: u32,
    /// Finishing their last requests.
    pub draining: u32,
    /// Being stopped.
    pub stopping: u32,
    /// Of all these: made of something else than is started now, and to be replaced.
    #[serde(default)]
    pub outdated: u32,
}

/// A workload in one line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkloadSummary {
    /// Name.
    pub name: String,
    /// Whether plans are carried out.
    pub mode: Mode,
    /// Unit of demand, for example `requests/s`.
    pub unit: String,
    /// Address the proxy serves it on; absent where demand is pushed and nothing is routed.
    pub listen: Option<String>,
    /// Demand over the last tick or, where it is pushed, of the last step.
    pub demand_now: Option<f64>,
    /// Instances by state.
    pub counts: InstanceCounts,
    /// Active instances wanted by the last plan.
    pub active_wanted: u32,
    /// Standby instances wanted by the last plan.
    pub standby_wanted: u32,
    /// Whether the forecast is relied on.
    pub trust: Trust,
    /// Whether an operator's override is in force.
    pub overridden: bool,
    /// Since when demand is silent in a way that resembles an outage; absent where it is not.
    pub outage_since_ms: Option<i64>,
    /// Its place among the others; absent where no nodes are given.
    #[serde(default)]
    pub sharing: Option<Sharing>,
    /// Its sessions; absent where it has none.
    #[serde(default)]
    pub sessions: Option<SessionSummary>,
    /// What its cache does; absent where it has none.
    #[serde(default)]
    pub cache: Option<CacheSummary>,
}

/// A value of demand of another kind than those before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Anomaly {
    /// Beginning of its step.
    pub at_ms: i64,
    /// The value.
    pub value: f64,
    /// What was expected.
    pub expected: f64,
    /// The most, or the least, that would have been no anomaly.
    pub nearest: f64,
    /// Chance of a value as far out if all were as before; absent while too little was seen to tell.
    pub p_value: Option<f64>,
    /// One plain sentence.
    pub sentence: String,
}

/// The policy in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PolicySummary {
    /// Length of a demand step.
    pub step_ms: u64,
    /// Time between plans at most.
    pub tick_ms: u64,
    /// Fewest active instances.
    pub replicas_min: u32,
    /// Most instances, active and standby together.
    pub replicas_max: u32,
    /// Fewest standby instances.
    pub standby_min: u32,
    /// Most standby instances.
    pub standby_max: u32,
    /// Price of a standby instance relative to an active one.
    pub standby_price: f64,
    /// Share of demand that may find no capacity.
    pub error_budget: f64,
    /// Latency beyond which an answer counts as missed.
    pub latency_bound_ms: Option<f64>,
    /// How long capacity is kept at least.
    pub hold_ms: u64,
    /// `controlled`, or the fixed margin as a share, for example `0.2`.
    pub margin: String,
    /// The place whose time of day and calendar count, as an IANA name; absent where none is given.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// Where demand comes from.
    pub demand: DemandSource,
    /// The command of an instance.
    pub command: Vec<String>,
}

/// What one instance can serve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Capacity {
    /// Demand one instance serves within the objective.
    pub per_instance: f64,
    /// Learned from observation, not pinned in the configuration.
    pub learned: bool,
    /// Capacity of the active instances by weight.
    pub active: f64,
    /// Capacity of the standby instances.
    pub standby: f64,
}

/// Lead times the planner reckons with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LeadTimes {
    /// Decision to ready for a new instance.
    pub cold_ms: f64,
    /// Decision to in traffic for a parked instance.
    pub promote_ms: f64,
}

/// Missed demand against the error budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Budget {
    /// Share of demand that may find no capacity.
    pub allowed: f64,
    /// Share of demand that found none, over the steps remembered; absent before any demand.
    pub missed_share: Option<f64>,
    /// Part of the budget that is left: 1 nothing used, 0 used up, negative overdrawn.
    pub remaining: Option<f64>,
    /// Steps the share is taken over.
    pub steps: u64,
    /// Beginning of each recent step, for `missed_shares`.
    pub timestamps_ms: Vec<i64>,
    /// Share of demand that found no capacity up to and including each recent step.
    pub missed_shares: Vec<f64>,
}

/// Counts since the daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Counters {
    /// Requests that arrived at the proxy.
    pub arrivals: u64,
    /// Requests that got no usable answer.
    pub failed: u64,
    /// Requests that waited for a usable instance.
    pub held: u64,
    /// Instances started.
    pub starts: u64,
    /// Promotions from standby to active.
    pub promotions: u64,
    /// Instances stopped.
    pub stops: u64,
    /// Instances that ended by themselves.
    pub exits: u64,
    /// Instances, or processes of them, that the kernel killed for lack of memory.
    #[serde(default)]
    pub out_of_memory: u64,
    /// Anomalies of demand, those in what was learned at the start included.
    #[serde(default)]
    pub anomalies: u64,
    /// Actions that failed.
    pub action_failures: u64,
    /// Results that came too late for the planner and were ignored.
    pub stale_events: u64,
    /// Time integral of active instances; those starting or draining count as active.
    pub active_instance_s: f64,
    /// Time integral of ready standby instances, parked or not.
    pub standby_instance_s: f64,
}

/// Everything about one workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkloadDetail {
    /// In one line.
    pub summary: WorkloadSummary,
    /// The policy in force.
    pub policy: PolicySummary,
    /// Instances, oldest first.
    pub instances: Vec<Instance>,
    /// What the instances can serve.
    pub capacity: Capacity,
    /// Lead times the planner reckons with.
    pub lead_times: LeadTimes,
    /// Decision to in the route table, for parked instances, in milliseconds.
    pub promotion_ms: LatencySummary,
    /// Decision to ready, for new instances, in milliseconds.
    pub cold_start_ms: LatencySummary,
    /// Latency at the proxy over the last step, in milliseconds.
    pub latency_ms: LatencySummary,
    /// Missed demand against the budget.
    pub budget: Budget,
    /// The last plan.
    pub plan: Option<Plan>,
    /// The override in force.
    pub decision_override: Option<Override>,
    /// The overrides of the forecast, in force and to come.
    #[serde(default)]
    pub forecast_overrides: Vec<ForecastOverride>,
    /// The latest anomalies of demand, newest first.
    #[serde(default)]
    pub anomalies: Vec<Anomaly>,
    /// Counts since start.
    pub counters: Counters,
}

/// All workloads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Workloads {
    /// In the order of the configuration.
    pub workloads: Vec<WorkloadSummary>,
}
