//! Why a plan is what it is. Reasons are data; their `Display` is one plain sentence each.

use std::fmt;
use std::time::Duration;

use crate::margin::MarginRule;
use forecast::{Timestamp, Trust};

use crate::ids::InstanceId;
use crate::overrides::ForecastOverride;
use crate::scarcity::SharingReason;
use crate::scope::ScopeReason;
use crate::sessions::SessionReason;
use crate::sizing::SizeReason;
use crate::warmth::WarmthReason;

mod words;

pub(crate) use words::{Amount, Count, Percent, RuleName, Span, Stays};

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
    /// Others came first, or left room.
    Scarcity,
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
            Trigger::Scarcity => "scarcity",
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
    /// The rule that was cheapest within the error budget asks for this many instances.
    RuleNeeds {
        /// Of which tier.
        tier: Tier,
        /// The rule.
        rule: MarginRule,
        /// The demand it provides for.
        demand: f64,
        /// How far it looks.
        window: Duration,
        /// Instances needed for it.
        instances: u32,
        /// Demand units per instance.
        capacity: f64,
    },
    /// The demand of now asks for this many instances, because the forecast is not trusted.
    ReactiveNeeds {
        /// Of which tier.
        tier: Tier,
        /// Demand of now with the headroom of the target utilisation.
        demand: f64,
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
    /// The forecast is not trusted: plan by the rule that was cheapest on paper, with or without a forecast.
    Doubted {
        /// Why, from the forecaster.
        trust: Trust,
    },
    /// The demand seen exceeds the share of capacity at which one more instance is wanted.
    CloneThreshold {
        /// The share of capacity, in (0, 1].
        share: f64,
        /// Demand seen.
        demand: f64,
        /// Instances needed to be below it.
        instances: u32,
        /// Demand units per instance.
        capacity: f64,
    },
    /// An operator knows better than the forecast.
    ForecastOverridden(ForecastOverride),
    /// A scope of the calendar is in force, or begins soon.
    Scope(ScopeReason),
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
    /// Nothing is given up yet, as a reading of the step that has begun is about to come.
    AwaitsReading,
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
    /// Instances run an earlier version.
    Outdated {
        /// How many.
        instances: u32,
        /// How many of them are being replaced.
        replacing: u32,
        /// When the new version is tried again, where it did not show itself to be any good.
        tried_again: Option<Timestamp>,
    },
    /// A traffic ramp is skipped because the demand needs all capacity at once.
    RampSkipped {
        /// The instance.
        instance: InstanceId,
        /// Demand now.
        demand: f64,
        /// Capacity of the other instances.
        capacity_others: f64,
    },
    /// A traffic ramp was rolled back.
    ShiftRolledBack {
        /// The instance.
        instance: InstanceId,
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
    /// Why instances are to have their size.
    Size(SizeReason),
    /// What standbys of another size are worth.
    Profile(crate::profiles::ProfileReason),
    /// Active instances are missing because no standby was ready.
    StandbyShort {
        /// How many.
        instances: u32,
    },
    /// Something that has to do with other workloads on the same nodes.
    Sharing(SharingReason),
    /// Something that has to do with sessions.
    Sessions(SessionReason),
    /// Something that has to do with instances colder than parked.
    Warmth(WarmthReason),
}

impl fmt::Display for GuardCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GuardCause::SignalMissing => f.write_str("the demand signal is missing"),
            GuardCause::DemandCollapsed { seen, expected } => write!(
                f,
                "demand fell to {} where at least {} was expected, which looks like an outage",
                Amount(*seen),
                Amount(*expected)
            ),
            GuardCause::ErrorsEverywhere => f.write_str("most active instances fail"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::ForecastNeeds { tier, demand, window, quantile, instances, capacity } => write!(
                f,
                "Demand may reach {} in the next {} ({} quantile), which needs {} of {}.",
                Amount(*demand),
                Span(*window),
                Percent(*quantile),
                Count(*instances, *tier),
                Amount(*capacity)
            ),
            Reason::MarginNeeds { tier, median, window, margin, instances, capacity } => write!(
                f,
                "Demand is expected to reach {} in the next {}; with the fixed margin of {} this needs {} of {}.",
                Amount(*median),
                Span(*window),
                Percent(*margin),
                Count(*instances, *tier),
                Amount(*capacity)
            ),
            Reason::RuleNeeds { tier, rule, demand, window, instances, capacity } => write!(
                f,
                "For the next {} demand of {} is provided for ({}), which needs {} of {}.",
                Span(*window),
                Amount(*demand),
                RuleName(*rule),
                Count(*instances, *tier),
                Amount(*capacity)
            ),
            Reason::ReactiveNeeds { tier, demand, instances, capacity } => write!(
                f,
                "The demand seen last, which is {} with headroom, needs {} of {}.",
                Amount(*demand),
                Count(*instances, *tier),
                Amount(*capacity)
            ),
            Reason::DemandFloor { demand, instances, capacity } => write!(
                f,
                "Demand is {} already, more than forecast, which needs {} of {}.",
                Amount(*demand),
                Count(*instances, Tier::Active),
                Amount(*capacity)
            ),
            Reason::Doubted { trust } => {
                write!(
                    f,
                    "The forecast is not relied upon ({trust}); planned by what was cheapest on paper of late."
                )
            }
            Reason::CloneThreshold { share, demand, instances, capacity } => write!(
                f,
                "Demand is {}; {} are needed to use no more than {} of {} each.",
                Amount(*demand),
                Count(*instances, Tier::Active),
                Percent(*share),
                Amount(*capacity)
            ),
            Reason::ForecastOverridden(forecast) => forecast.fmt(f),
            Reason::Scope(scope) => scope.fmt(f),
            Reason::Untrusted { trust, utilisation } => write!(
                f,
                "The forecast is not used ({trust}); planned from the demand of now at {} utilisation with a wider pool.",
                Percent(*utilisation)
            ),
            Reason::NoSignal => f.write_str("No demand has been seen yet; what runs is kept."),
            Reason::HeldActive { instances, hold } => write!(
                f,
                "{} not demoted: needed again within {}.",
                Stays(*instances, "active instance"),
                Span(*hold)
            ),
            Reason::KeptStandby { instances, break_even } => write!(
                f,
                "{} not stopped: needed again within {}, until when waiting costs less than a restart.",
                Stays(*instances, "standby"),
                Span(*break_even)
            ),
            Reason::AwaitsReading => {
                f.write_str("Nothing is given up yet: a reading of the step that has begun is about to come.")
            }
            Reason::ScaleInBlocked { cause, active, until } => {
                write!(f, "Scale-in is blocked at {active} active until {until} at the latest: {cause}.")
            }
            Reason::AtMinimum { tier, minimum, computed } => {
                write!(f, "Raised to the minimum of {}; only {computed} needed.", Count(*minimum, *tier))
            }
            Reason::AtMaximum { tier, maximum, computed } => {
                write!(f, "Cut to the maximum of {}; {computed} or more needed.", Count(*maximum, *tier))
            }
            Reason::NoStandbyTier { price, lead_promote, lead_cold } => write!(
                f,
                "No standbys: one costs {} of an active instance and takes {} to promote, a new instance takes {}.",
                Percent(*price),
                Span(*lead_promote),
                Span(*lead_cold)
            ),
            Reason::Override { active, standby, author, reason, expires } => {
                write!(f, "Pinned by {author}:")?;
                match (active, standby) {
                    (Some(active), Some(standby)) => write!(f, " {active} active and {standby} standby")?,
                    (Some(active), None) => write!(f, " {active} active")?,
                    (None, Some(standby)) => write!(f, " {standby} standby")?,
                    (None, None) => f.write_str(" nothing")?,
                }
                match expires {
                    Some(expires) => write!(f, " until {expires} ({reason}).")?,
                    None => write!(f, " until cleared ({reason}).")?,
                }
                Ok(())
            }
            Reason::BudgetOverspent { missed, budget } => write!(
                f,
                "{} of the demand was missed so far, more than the budget of {}; margins are widened.",
                Percent(*missed),
                Percent(*budget)
            ),
            Reason::Outdated { instances, replacing, tried_again } => {
                let stays = Stays(*instances, "instance");
                write!(f, "{stays} of an earlier version, {replacing} being replaced now")?;
                match tried_again {
                    Some(at) => write!(f, "; the new one was no good and is tried again at {at}."),
                    None => f.write_str("."),
                }
            }
            Reason::RampSkipped { instance, demand, capacity_others } => write!(
                f,
                "Instance {instance} takes its full share at once: demand is {}, the others can serve {}.",
                Amount(*demand),
                Amount(*capacity_others)
            ),
            Reason::ShiftRolledBack {
                instance,
                error_rate,
                error_rate_peers,
                latency_p99,
                latency_p99_peers,
            } => {
                write!(
                    f,
                    "Traffic was taken from instance {instance} again: {} errors against {}, p99 {} against {} of its peers.",
                    Percent(*error_rate),
                    Percent(*error_rate_peers),
                    Span(*latency_p99),
                    Span(*latency_p99_peers)
                )
            }
            Reason::StartsPaused { failures, until } => {
                write!(f, "Starts are paused until {until} after {failures} failures in a row.")
            }
            Reason::Size(reason) => reason.fmt(f),
            Reason::Profile(reason) => reason.fmt(f),
            Reason::StandbyShort { instances } => {
                write!(
                    f,
                    "{} missing: no standby is ready to be promoted.",
                    Stays(*instances, "active instance")
                )
            }
            Reason::Sharing(reason) => reason.fmt(f),
            Reason::Sessions(reason) => reason.fmt(f),
            Reason::Warmth(reason) => reason.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
