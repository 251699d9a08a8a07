//! Why a plan is what it is. Reasons are data; their `Display` is one plain sentence each.

use std::fmt;
use std::time::Duration;

use forecast::{Timestamp, Trust};

/// What made the planner make this plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trigger {
    /// The first plan of a workload.
    Startup,
    /// The forecast moved.
    Forecast,
    /// The demand seen now moved.
    Demand,
    /// The error budget or the objective asked for it.
    Objective,
    /// An operator.
    Operator,
    /// Something failed or recovered.
    Failure,
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trigger::Startup => "startup",
            Trigger::Forecast => "forecast",
            Trigger::Demand => "demand",
            Trigger::Objective => "objective",
            Trigger::Operator => "operator",
            Trigger::Failure => "failure",
        })
    }
}

/// Which of the two tiers a reason is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Instances in the route table.
    Active,
    /// Active and standby instances together.
    Total,
}

/// Why scale-in is blocked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GuardCause {
    /// No demand signal.
    SignalMissing,
    /// Demand fell far below what the forecast thinks possible.
    DemandCollapsed {
        /// Demand seen.
        seen: f64,
        /// What the forecast still expected, at the low end.
        expected: f64,
    },
    /// Most of the active instances fail or are unhealthy.
    ErrorsEverywhere,
}

/// One reason of a plan.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// The forecast asks for this many instances.
    ForecastNeeds {
        /// Of which tier.
        tier: Tier,
        /// The largest demand at that quantile.
        demand: f64,
        /// How far it looks.
        window: Duration,
        /// The quantile, in (0, 1).
        quantile: f64,
        /// Instances needed for it.
        instances: u32,
        /// Demand units per instance.
        capacity: f64,
    },
    /// A fixed margin above the median asks for this many instances.
    MarginNeeds {
        /// Of which tier.
        tier: Tier,
        /// The median of the largest demand.
        median: f64,
        /// How far it looks.
        window: Duration,
        /// The margin, as a share.
        margin: f64,
        /// Instances needed for it.
        instances: u32,
        /// Demand units per instance.
        capacity: f64,
    },
    /// The demand of now asks for more than the forecast does.
    DemandFloor {
        /// Demand now with its slope over the lead time.
        demand: f64,
        /// Instances needed for it.
        instances: u32,
        /// Demand units per instance.
        capacity: f64,
    },
    /// The forecast is not trusted: plan from the demand of now.
    Untrusted {
        /// Why, from the forecaster.
        trust: Trust,
        /// Target utilisation used instead.
        utilisation: f64,
    },
    /// Nothing is known about demand yet.
    NoSignal,
    /// Not demoted, because the instances are needed again soon.
    HeldActive {
        /// How many more than needed right now.
        instances: u32,
        /// For how long a need is foreseen.
        hold: Duration,
    },
    /// Not stopped, because a restart is expected to cost more than waiting.
    KeptStandby {
        /// How many more than needed for the lead time.
        instances: u32,
        /// The time after which waiting costs more than a restart.
        break_even: Duration,
    },
    /// Scale-in is blocked.
    ScaleInBlocked {
        /// Why.
        cause: GuardCause,
        /// Active instances that stay because of it.
        active: u32,
        /// Until when at the latest.
        until: Timestamp,
    },
    /// Kept at the minimum.
    AtMinimum {
        /// Of which tier.
        tier: Tier,
        /// The minimum.
        minimum: u32,
        /// What was computed.
        computed: u32,
    },
    /// Cut at the maximum.
    AtMaximum {
        /// Of which tier.
        tier: Tier,
        /// The maximum.
        maximum: u32,
        /// What was computed.
        computed: u32,
    },
    /// Standbys bring nothing here: everything needed within the cold lead time is active.
    NoStandbyTier {
        /// Price of a standby relative to an active instance.
        price: f64,
        /// Promotion lead time.
        lead_promote: Duration,
        /// Cold lead time.
        lead_cold: Duration,
    },
    /// An operator's override.
    Override {
        /// Active count set by it.
        active: Option<u32>,
        /// Standby count set by it.
        standby: Option<u32>,
        /// Who.
        author: String,
        /// Why.
        reason: String,
        /// Until when.
        expires: Option<Timestamp>,
    },
    /// The error budget is overspent; the margin grows.
    BudgetOverspent {
        /// Missed share of the demand so far.
        missed: f64,
        /// The budget.
        budget: f64,
    },
    /// A traffic ramp is skipped because the demand needs all capacity at once.
    RampSkipped {
        /// Demand now.
        demand: f64,
        /// Capacity of the other instances.
        capacity_others: f64,
    },
    /// A traffic ramp was rolled back.
    ShiftRolledBack {
        /// The instance.
        instance: crate::ids::InstanceId,
        /// Its error rate.
        error_rate: f64,
        /// That of its peers.
        error_rate_peers: f64,
        /// Its 99th percentile latency.
        latency_p99: Duration,
        /// That of its peers.
        latency_p99_peers: Duration,
    },
    /// Starts are paused after failures.
    StartsPaused {
        /// Failures in a row.
        failures: u32,
        /// Until when.
        until: Timestamp,
    },
    /// Active instances are missing because no standby was ready.
    StandbyShort {
        /// How many.
        instances: u32,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
