//! What the user wants: one [`WorkloadPolicy`] per workload, and the limits of the planner itself.
//!
//! Only the step and the capacity have no sane default. Everything else starts from [`WorkloadPolicy::new`] and is
//! checked as a whole by [`WorkloadPolicy::validate`], which reports every error at once.

use std::fmt;
use std::time::Duration;

use forecast::STEP_MAX;
use forecast::models::Kind;
use forecast::watch::RetrainConfig;
use jiff::tz::TimeZone;

use crate::ids::{NodeId, WorkloadId};
use crate::profiles::Profiles;
use crate::scarcity::{NodePolicy, Resources, TenantPolicy};
use crate::scope::{Moment, Scope, Scopes};
use crate::sessions::SessionPolicy;
use crate::sizing::SizingPolicy;
use crate::threshold::CloneThreshold;
use crate::warmth::StoppedLevel;

/// Everything a planner needs to know before it starts.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The workloads; ids must be distinct.
    pub workloads: Vec<WorkloadPolicy>,
    /// Bounds on the planner itself.
    pub limits: Limits,
    /// What instances run on. Default none: there is room for all, and nobody asks where.
    pub nodes: Vec<NodePolicy>,
    /// Who shares them. Default none.
    pub tenants: Vec<TenantPolicy>,
}

/// Bounds on what the planner keeps and has under way. Nothing in it grows beyond them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Starts under way at one time in one workload. More shorten a large scale-out and load the hosts. Default 64.
    pub starts_in_flight: u32,
    /// Instances of one workload that the planner keeps track of, in whatever phase. Default 10,000.
    pub instances: u32,
    /// Orders waiting to be fetched with `poll_action`; further ones are given later. Default 4,096.
    pub actions_queued: usize,
    /// Samples kept per measured quantity (lead times, recent loads). Default 64.
    pub history: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { starts_in_flight: 64, instances: 10_000, actions_queued: 4_096, history: 64 }
    }
}

/// How one workload is to be scaled.
#[derive(Debug, Clone)]
pub struct WorkloadPolicy {
    /// Its name.
    pub id: WorkloadId,
    /// Spacing of the demand samples.
    pub step: Duration,
    /// A new plan is made at least this often; at most one step. Default: the step.
    pub tick: Duration,
    /// Forecasts are learned this far ahead, if leads and prices do not ask for more. `None`: 288 steps. At most 4,096.
    pub horizon: Option<Duration>,
    /// For calendar effects; `None`: seasons come from the data only. Default `None`.
    pub time_zone: Option<TimeZone>,
    /// Batch models, trained in the background and combined with the online core. Default none: the core alone.
    pub models: Vec<Kind>,
    /// When they are trained anew, and what is done before. Default `None`: what suits the step.
    pub retraining: Option<RetrainConfig>,
    /// Names of models that are run elsewhere; what they say reaches the planner through [`hear`](crate::Planner::hear).
    /// Default none.
    pub guests: Vec<String>,
    /// Active instances, at least; 0 lets everything stop. Default 1.
    pub replicas_min: u32,
    /// Active plus standby instances, at most. Default 1,000.
    pub replicas_max: u32,
    /// Standby instances, at least, whatever the forecast says. Default 0.
    pub standby_min: u32,
    /// Standby instances, at most. Default: `replicas_max`.
    pub standby_max: u32,
    /// Bounds that hold at some times only; see [`with_scopes`](Self::with_scopes). Default `None`.
    pub scopes: Option<Scopes>,
    /// Demand that one instance can serve within the objective.
    pub capacity: CapacityPolicy,
    /// What "served" means and how much may be missed.
    pub objective: Objective,
    /// What instances and starts cost, relative to each other.
    pub prices: Prices,
    /// A level between parked and cold: stopped with the disk kept. Default `None`: what is not parked is removed.
    pub stopped: Option<StoppedLevel>,
    /// Workloads that name the same template start the same thing, so they share their spare instances. Default `None`.
    pub template: Option<String>,
    /// First guess of the time from a start order to ready; measured afterwards. Default 30 s.
    pub lead_cold: Duration,
    /// First guess of the time from a promote order to the first byte; measured afterwards. Default 50 ms.
    pub lead_promote: Duration,
    /// An active instance is stopped only when it will not be needed for this long, and demoted to a standby only when it
    /// will not be needed for a step longer. Longer: fewer changes, more cost. Default: one step.
    pub hold: Duration,
    /// How far above the forecast median to provision.
    pub margin: Margin,
    /// When one more instance is started whatever is forecast. Default `None`: the forecast decides.
    pub clone_threshold: Option<CloneThreshold>,
    /// How a promoted instance gets its traffic.
    pub shift: ShiftPolicy,
    /// How long each order may take.
    pub deadlines: Deadlines,
    /// Pauses between failed starts.
    pub retry: Retry,
    /// Target utilisation while the forecast is not trusted, in (0, 1]. Default 0.7, the usual target of reactive scalers.
    pub utilisation_untrusted: f64,
    /// Scale-in is blocked for at most this long when an outage is suspected. Default: ten steps, within 1 to 60 min.
    pub guard: Duration,
    /// How large instances are. Default `None`: that is not the planner's business.
    pub sizing: Option<SizingPolicy>,
    /// Standbys of another size than active instances. Default `None`: all are alike.
    pub profiles: Option<Profiles>,
    /// Set where instances hold sessions, which are not cut: how, and how long they are waited for. Default `None`.
    pub sessions: Option<SessionPolicy>,
    /// Plan only, or act.
    pub mode: Mode,
    /// Priority class: where nodes are scarce, a higher class is served first. Default 100.
    pub priority: u8,
    /// To whom it belongs: one of the tenants of the policy. Default `None`.
    pub tenant: Option<String>,
    /// What one instance needs of a node; one that is sized may use more where there is room. Only looked at where nodes are
    /// given. Default nothing.
    pub needs: Resources,
}

impl WorkloadPolicy {
    /// A policy with defaults for everything but the name, the step of the demand samples and the capacity.
    pub fn new(id: impl Into<WorkloadId>, step: Duration, capacity: CapacityPolicy) -> Self {
        let lead_cold = Duration::from_secs(30);
        WorkloadPolicy {
            id: id.into(),
            step,
            tick: step,
            time_zone: None,
            models: Vec::new(),
            retraining: None,
            guests: Vec::new(),
            replicas_min: 1,
            replicas_max: 1_000,
            standby_min: 0,
            standby_max: 1_000,
            scopes: None,
            capacity,
            objective: Objective { error_budget: 0.001, latency_bound: None },
            prices: Prices { active: 1.0, standby: 0.2, start: lead_cold },
            stopped: None,
            template: None,
            lead_cold,
            lead_promote: Duration::from_millis(50),
            hold: step,
            horizon: None,
            margin: Margin::Controlled,
            clone_threshold: None,
            shift: ShiftPolicy::default(),
            deadlines: Deadlines::default(),
            retry: Retry::default(),
            utilisation_untrusted: 0.7,
            guard: (step * 10).clamp(Duration::from_secs(60), Duration::from_secs(3_600)),
            sizing: None,
            profiles: None,
            sessions: None,
            mode: Mode::Act,
            priority: 100,
            tenant: None,
            needs: Resources::NONE,
        }
    }

    /// The least that must be there on a node for one instance.
    pub(crate) fn needs_least(&self) -> Resources {
        self.sizing.as_ref().map_or(self.needs, |sizing| self.needs.at_least(sizing.least.resources()))
    }

    /// The same with other bounds at some times. What the policy says so far holds outside of them; from then on its own
    /// `replicas_min`, `replicas_max` and `standby_min` are the widest that hold at any time. `places` have the public
    /// holidays that count, as ISO codes.
    #[must_use]
    pub fn with_scopes(mut self, scopes: Vec<Scope>, places: Vec<String>) -> Self {
        if scopes.is_empty() {
            return self;
        }
        let base = Moment {
            replicas_min: self.replicas_min,
            replicas_max: self.replicas_max,
            standby_min: self.standby_min,
        };
        let scopes = Scopes::new(base, scopes, places);
        let widest = scopes.widest();
        self.replicas_min = widest.replicas_min;
        (self.replicas_max, self.standby_min) = (widest.replicas_max, widest.standby_min);
        self.scopes = Some(scopes);
        self
    }

    /// How long a start may take: the deadline of the policy, or several times the expected lead time if that is longer.
    pub fn start_deadline(&self) -> Duration {
        self.deadlines.start.max(self.lead_cold.saturating_mul(DEADLINE_LEADS))
    }

    /// How long a promotion may take: the deadline of the policy, or several times the expected lead time if that is longer.
    pub fn promote_deadline(&self) -> Duration {
        self.deadlines.promote.max(self.lead_promote.saturating_mul(DEADLINE_LEADS))
    }

    /// How long a drain may take: the deadline of the policy, or that of its sessions if it is longer.
    pub fn drain_deadline(&self) -> Duration {
        self.deadlines.drain.max(self.sessions.as_ref().map_or(Duration::ZERO, |sessions| sessions.drain))
    }

    /// Checks the whole policy.
    ///
    /// # Errors
    /// Every rule that is broken, in the order of the fields.
    pub fn validate(&self) -> Result<(), Vec<PolicyError>> {
        let mut errors = Vec::new();
        let mut require = |ok: bool, field: &'static str, rule: &'static str| {
            if !ok {
                errors.push(PolicyError { about: About::Workload(self.id.clone()), field, rule });
            }
        };
        let fraction = |x: f64| x > 0.0 && x <= 1.0;
        let excess = |x: f64| x.is_finite() && x >= 0.0;
        require(!self.id.as_str().is_empty(), "id", "must not be empty");
        require(
            forecast::Config::new(self.step).validate().is_ok(),
            "step",
            "must be whole milliseconds from 100 ms to 1 day",
        );
        require(self.tick >= TICK_MIN, "tick", "must be at least 10 ms");
        require(self.tick <= self.step, "tick", "must be at most one step");
        require(self.replicas_max >= 1, "replicas_max", "must be at least 1");
        require(self.replicas_min <= self.replicas_max, "replicas_min", "must be at most replicas_max");
        require(self.replicas_max <= REPLICAS_MAX, "replicas_max", "must be at most 100,000");
        require(self.standby_min <= self.standby_max, "standby_min", "must be at most standby_max");
        require(self.standby_min <= self.replicas_max, "standby_min", "must be at most replicas_max");
        let capacity = self.capacity.initial();
        require(capacity.is_finite() && capacity > 0.0, "capacity", "must be a positive number");
        let budget = self.objective.error_budget;
        require(budget > 0.0 && budget < 1.0, "objective.error_budget", "must be above 0 and below 1");
        let bound = self.objective.latency_bound;
        require(bound.is_none_or(|b| !b.is_zero()), "objective.latency_bound", "must be above 0");
        require(
            self.prices.active.is_finite() && self.prices.active > 0.0,
            "prices.active",
            "must be a positive number",
        );
        require(excess(self.prices.standby), "prices.standby", "must be 0 or a positive number");
        require(self.lead_cold <= STEP_MAX, "lead_cold", "must be at most 1 day");
        require(self.lead_promote <= STEP_MAX, "lead_promote", "must be at most 1 day");
        require(self.hold <= STEP_MAX, "hold", "must be at most 1 day");
        if let Margin::Fixed { safety_margin } = self.margin {
            require(excess(safety_margin), "margin.safety_margin", "must be 0 or a positive number");
        }
        require(fraction(self.shift.first_share), "shift.first_share", "must be above 0 and at most 1");
        require(!self.shift.step_every.is_zero(), "shift.step_every", "must be above 0");
        require(excess(self.shift.error_excess), "shift.error_excess", "must be 0 or a positive number");
        require(excess(self.shift.latency_excess), "shift.latency_excess", "must be 0 or a positive number");
        for (field, deadline) in self.deadlines.fields() {
            require(deadline >= TICK_MIN && deadline <= STEP_MAX, field, "must be from 10 ms to 1 day");
        }
        require(!self.retry.first.is_zero(), "retry.first", "must be above 0");
        require(self.retry.first <= self.retry.max, "retry.first", "must be at most retry.max");
        require(
            fraction(self.utilisation_untrusted),
            "utilisation_untrusted",
            "must be above 0 and at most 1",
        );
        let scopes = self.scopes.iter().flat_map(|scopes| scopes.rules(self.standby_max, self.replicas_max));
        for (ok, field, rule) in scopes.chain(self.clone_threshold.iter().flat_map(|t| t.rules())) {
            require(ok, field, rule);
        }
        for (ok, field, rule) in self.sizing.iter().flat_map(|sizing| sizing.rules(&self.objective)) {
            require(ok, field, rule);
        }
        for (ok, field, rule) in self.profiles.iter().flat_map(|profiles| profiles.rules(self)) {
            require(ok, field, rule);
        }
        for (ok, field, rule) in self.sessions.iter().flat_map(SessionPolicy::rules) {
            require(ok, field, rule);
        }
        let sized = self.stopped.is_some() && self.sizing.is_some();
        require(!sized, "stopped", "cannot be used where instances are sized");
        for (ok, field, rule) in self.stopped.iter().flat_map(StoppedLevel::rules) {
            require(ok, field, rule);
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

/// Where the capacity of one instance comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CapacityPolicy {
    /// Given by the user: demand units per instance.
    Pinned(f64),
    /// Learned from load and latency, starting from a guess.
    Learned {
        /// Demand units per instance to begin with.
        initial: f64,
    },
}

impl CapacityPolicy {
    /// Demand units per instance to begin with.
    pub fn initial(self) -> f64 {
        match self {
            CapacityPolicy::Pinned(units) => units,
            CapacityPolicy::Learned { initial } => initial,
        }
    }
}

/// What is promised to the users of a workload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// Share of the demand that may find no capacity: 0.001 means that 99.9 % is served. Default 0.001.
    pub error_budget: f64,
    /// Latency beyond which an answer counts as late; used to learn capacity. Default `None`.
    pub latency_bound: Option<Duration>,
}

/// Relative prices. Only their ratios matter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// An active instance, per unit of time. Default 1.
    pub active: f64,
    /// A standby, per unit of time. Default 0.2. At about the price of an active one no standby is kept at all.
    pub standby: f64,
    /// One start costs as much as an active instance for this long. Default: the default cold lead time, 30 s.
    pub start: Duration,
}

/// How far above the forecast median to provision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Margin {
    /// Learned online so that missed demand meets the error budget.
    Controlled,
    /// A fixed factor above the forecast median: 0.2 provisions for 1.2 times the median.
    Fixed {
        /// The share added to the median.
        safety_margin: f64,
    },
}

/// How traffic moves to a promoted instance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShiftPolicy {
    /// First weight as a share of the full one, in (0, 1]; it doubles from there. 1.0 gives all at once. Default 0.1.
    pub first_share: f64,
    /// Pause between two steps. Default 2 s.
    pub step_every: Duration,
    /// The error rate may exceed that of the peers by this much (absolute). Default 0.02.
    pub error_excess: f64,
    /// The 99th percentile of latency may exceed that of the peers by this share. Default 0.5.
    pub latency_excess: f64,
}

impl Default for ShiftPolicy {
    fn default() -> Self {
        ShiftPolicy {
            first_share: 0.1,
            step_every: Duration::from_secs(2),
            error_excess: 0.02,
            latency_excess: 0.5,
        }
    }
}

/// How long each order may take before the planner takes the next step on failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Start until ready. Default 5 min; never less than three times `lead_cold`.
    pub start: Duration,
    /// Promote until verified. Default 10 s; never less than three times `lead_promote`.
    pub promote: Duration,
    /// Park, and resize. Default 10 s.
    pub park: Duration,
    /// Drain; an instance is parked or stopped after it whatever is still in flight. Default 60 s.
    pub drain: Duration,
    /// Stop. Default 60 s.
    pub stop: Duration,
    /// Acknowledgement of a route table. Default 10 s.
    pub table: Duration,
    /// An instance that is unhealthy for longer is replaced. Default 30 s.
    pub unhealthy: Duration,
}

impl Deadlines {
    fn fields(&self) -> [(&'static str, Duration); 7] {
        [
            ("deadlines.start", self.start),
            ("deadlines.promote", self.promote),
            ("deadlines.park", self.park),
            ("deadlines.drain", self.drain),
            ("deadlines.stop", self.stop),
            ("deadlines.table", self.table),
            ("deadlines.unhealthy", self.unhealthy),
        ]
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Deadlines {
            start: Duration::from_secs(300),
            promote: Duration::from_secs(10),
            park: Duration::from_secs(10),
            drain: Duration::from_secs(60),
            stop: Duration::from_secs(60),
            table: Duration::from_secs(10),
            unhealthy: Duration::from_secs(30),
        }
    }
}

/// Exponential backoff with jitter after failed starts, stops and route tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Pause after the first failure; it doubles with each further one. Default 1 s.
    pub first: Duration,
    /// Longest pause. Default 5 min.
    pub max: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { first: Duration::from_secs(1), max: Duration::from_secs(300) }
    }
}

/// Whether plans are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Plan only: no orders are given.
    Observe,
    /// Carry plans out.
    Act,
}

/// One broken rule of a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{about}: `{field}` {rule}")]
pub struct PolicyError {
    /// What it is about.
    pub about: About,
    /// The field, with dots for nested ones.
    pub field: &'static str,
    /// The rule, as the rest of a sentence.
    pub rule: &'static str,
}

/// The part of a policy that a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A workload.
    Workload(WorkloadId),
    /// A node.
    Node(NodeId),
    /// All nodes together.
    Nodes,
    /// A tenant, by name.
    Tenant(String),
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            About::Workload(workload) => write!(f, "workload `{workload}`"),
            About::Node(node) => write!(f, "node `{node}`"),
            About::Nodes => f.write_str("nodes"),
            About::Tenant(tenant) => write!(f, "tenant `{tenant}`"),
        }
    }
}

/// Every broken rule of a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PolicyErrors(pub Vec<PolicyError>);

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

const DEADLINE_LEADS: u32 = 3;
const TICK_MIN: Duration = Duration::from_millis(10);
const REPLICAS_MAX: u32 = 100_000;
