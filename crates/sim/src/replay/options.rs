//! What a replay is told: the workload's physics, its prices, and who decides.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use forecast::calendar::Event;
use forecast::{STEP_MAX, Timestamp};
use planner::{CapacityPolicy, Deadlines, Objective, Prices, ShiftPolicy, StoppedLevel, WorkloadPolicy};

use crate::rivals::hpa::HpaConfig;
use crate::rivals::{Given, Tuning};
use crate::world::ColdStart;

/// Everything about a replay but the demand and the policy.
#[derive(Debug, Clone)]
pub struct Options {
    /// Demand units that one instance serves.
    pub capacity: f64,
    /// Time from a start order to ready.
    pub cold: ColdStart,
    /// Probability that a start fails part of the way. Default 0.
    pub start_failures: f64,
    /// Time from a promotion order to active.
    pub promote: Duration,
    /// Share of the demand that may be missed. Default 0.001. The planner's knob; the oracle's limit; rivals have none.
    pub budget: f64,
    /// Price of a standby second, where an active second costs 1. Default 0.2.
    pub standby_price: f64,
    /// The planner may stop instances and keep their disk, at this price and with this time to restart; rivals know of no such
    /// thing. Default `None`.
    pub stopped: Option<StoppedLevel>,
    /// Least replicas. Default 1.
    pub replicas_min: u32,
    /// Most replicas. Default 1,000.
    pub replicas_max: u32,
    /// Instances that are active when the trace begins. Default: `replicas_min`.
    pub initial: Option<u32>,
    /// Capacity that rivals aim at, as a multiple of the demand their rule sees. Default: 1 / 0.7 (70 % utilisation), but
    /// 1 for the hybrid histogram and the static peak.
    pub headroom: Option<f64>,
    /// What some rivals are told beside the headroom.
    pub tuning: Tuning,
    /// Age of the metric that an HPA sees. Default 27.5 s, the mean; 55 s is the worst.
    pub metric_lag: Duration,
    /// Rows before this moment are replayed but not scored. Default: all are scored.
    pub score_from: Option<Timestamp>,
    /// The planner hears of the demand inside a step this long after the step began. Default 15 s, one HPA sync.
    pub load_delay: Duration,
    /// Seed of the start times and of the planner. Default 1.
    pub seed: u64,
    /// Events that the planner knows from the beginning, past and announced ones. Rivals know of none.
    pub events: Vec<Event>,
    /// The planner's policy, when it shall not be made from the fields above. Its step and leads are used as they are.
    pub workload: Option<WorkloadPolicy>,
}

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyKind {
    /// The planner.
    Foreshadow,
    /// Kubernetes HPA v2.
    Hpa,
    /// HPA v2 beside a pool of ready instances of a fixed size.
    HpaWarmPool,
    /// KEDA: HPA v2 on a polled external metric.
    Keda,
    /// Knative KPA.
    Kpa,
    /// Same time last week.
    LastWeek,
    /// Crane: HPA v2 on the larger of the metric and its forecast by signal processing.
    Crane,
    /// PHPA with linear regression.
    PhpaLinear,
    /// PHPA with Holt-Winters.
    PhpaHoltWinters,
    /// Predictive scaling and target tracking of EC2; a stand-in for the secret forecast.
    Aws,
    /// Serverless in the Wild's hybrid histogram.
    HybridHistogram,
    /// Enough for the peak, always; hindsight.
    StaticPeak,
    /// Knows the future; hindsight.
    Oracle,
}

/// A name that is not a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no policy `{name}`; the policies are {}", PolicyKind::ALL.map(PolicyKind::name).join(", "))]
pub struct UnknownPolicy {
    /// Its beginning.
    pub name: String,
}

impl Options {
    /// Defaults for everything but the physics: demand units per instance, cold start and promotion time.
    pub fn new(capacity: f64, cold: Duration, promote: Duration) -> Options {
        Options {
            capacity,
            cold: ColdStart::Constant(cold),
            start_failures: 0.0,
            promote,
            budget: 0.001,
            standby_price: 0.2,
            stopped: None,
            replicas_min: 1,
            replicas_max: 1_000,
            initial: None,
            headroom: None,
            tuning: Tuning::default(),
            metric_lag: Duration::from_millis(27_500),
            score_from: None,
            load_delay: Duration::from_secs(15),
            seed: 1,
            events: Vec::new(),
            workload: None,
        }
    }

    /// Instances that are active when the trace begins.
    pub fn initial(&self) -> u32 {
        self.initial.unwrap_or(self.replicas_min)
    }

    /// The policy that the planner runs under, for demand in steps of `step`.
    pub fn workload_policy(&self, step: Duration) -> WorkloadPolicy {
        if let Some(workload) = &self.workload {
            return workload.clone();
        }
        let lead_cold = self.cold.typical();
        let mut policy = WorkloadPolicy::new("replay", step, CapacityPolicy::Pinned(self.capacity));
        policy.replicas_min = self.replicas_min;
        policy.replicas_max = self.replicas_max;
        policy.standby_max = self.replicas_max;
        policy.objective = Objective { error_budget: self.budget, latency_bound: None };
        policy.prices = Prices { active: 1.0, standby: self.standby_price, start: lead_cold };
        policy.lead_cold = lead_cold;
        policy.stopped = self.stopped;
        policy.lead_promote = self.promote;
        // In a fluid world every routed instance serves its full capacity: there is nothing to shift.
        policy.shift = ShiftPolicy { first_share: 1.0, ..ShiftPolicy::default() };
        let defaults = Deadlines::default();
        policy.deadlines = Deadlines {
            start: defaults.start.max(self.cold.upper() * DEADLINE_SLACK).min(STEP_MAX),
            promote: defaults.promote.max(self.promote * DEADLINE_SLACK).min(STEP_MAX),
            ..defaults
        };
        policy
    }

    pub(crate) fn given(&self, kind: PolicyKind) -> Given {
        let usual = match kind {
            PolicyKind::Hpa
            | PolicyKind::HpaWarmPool
            | PolicyKind::Keda
            | PolicyKind::Kpa
            | PolicyKind::LastWeek
            | PolicyKind::Crane
            | PolicyKind::PhpaLinear
            | PolicyKind::PhpaHoltWinters
            | PolicyKind::Aws => HpaConfig::TARGET_UTILISATION.recip(),
            PolicyKind::Foreshadow
            | PolicyKind::HybridHistogram
            | PolicyKind::StaticPeak
            | PolicyKind::Oracle => 1.0,
        };
        Given {
            capacity: self.capacity,
            headroom: self.headroom.unwrap_or(usual),
            replicas_min: self.replicas_min,
            replicas_max: self.replicas_max,
        }
    }
}

impl PolicyKind {
    /// Every policy, ours first.
    pub const ALL: [PolicyKind; 13] = [
        PolicyKind::Foreshadow,
        PolicyKind::Hpa,
        PolicyKind::HpaWarmPool,
        PolicyKind::Keda,
        PolicyKind::Kpa,
        PolicyKind::LastWeek,
        PolicyKind::Crane,
        PolicyKind::PhpaLinear,
        PolicyKind::PhpaHoltWinters,
        PolicyKind::Aws,
        PolicyKind::HybridHistogram,
        PolicyKind::StaticPeak,
        PolicyKind::Oracle,
    ];

    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            PolicyKind::Foreshadow => "foreshadow",
            PolicyKind::Hpa => "hpa",
            PolicyKind::HpaWarmPool => "hpa-warm-pool",
            PolicyKind::Keda => "keda",
            PolicyKind::Kpa => "kpa",
            PolicyKind::LastWeek => "last-week",
            PolicyKind::Crane => "crane",
            PolicyKind::PhpaLinear => "phpa-linear",
            PolicyKind::PhpaHoltWinters => "phpa-holt-winters",
            PolicyKind::Aws => "aws",
            PolicyKind::HybridHistogram => "hybrid-histogram",
            PolicyKind::StaticPeak => "static-peak",
            PolicyKind::Oracle => "oracle",
        }
    }

    /// Whether it uses what nobody can know beforehand. Such a policy bounds the others; it cannot be run.
    pub fn hindsight(self) -> bool {
        matches!(self, PolicyKind::StaticPeak | PolicyKind::Oracle)
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for PolicyKind {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<PolicyKind, UnknownPolicy> {
        PolicyKind::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| UnknownPolicy { name: text.chars().take(NAME_MAX).collect() })
    }
}

const DEADLINE_SLACK: u32 = 3;
const NAME_MAX: usize = 40;
