//! Why a plan keeps stopped instances, or none.

use std::fmt;
use std::time::Duration;

use crate::ids::{InstanceId, WorkloadId};
use crate::margin::MarginRule;
use crate::reason::{Amount, Count, Percent, RuleName, Span, Stays, Tier};

/// One reason of a plan that is about warmth levels.
#[derive(Debug, Clone, PartialEq)]
pub enum WarmthReason {
    /// So many instances must exist, stopped or better, because a new one would come too late.
    StoppedNeeds {
        /// What the level goes by, when the error budget controls it.
        rule: Option<MarginRule>,
        /// The quantile, in (0, 1).
        quantile: f64,
        /// Demand to be covered.
        demand: f64,
        /// How far it looks.
        window: Duration,
        /// Instances that must exist.
        exist: u32,
        /// Those of them that may be stopped.
        stopped: u32,
        /// How long a restart takes.
        lead: Duration,
    },
    /// Not removed, because a start is expected to cost more than keeping the disk.
    KeptStopped {
        /// How many more than needed for the cold lead time.
        instances: u32,
        /// The time after which keeping costs more than a start.
        break_even: Duration,
    },
    /// Spares are shared with the other workloads of the template.
    SharedSpares {
        /// The template.
        template: String,
        /// Spares in the pool.
        spares: u32,
        /// Those of them that this workload holds.
        share: u32,
        /// Spares that the workloads would hold without sharing.
        alone: u32,
        /// Workloads that share.
        members: u32,
        /// Instances that all of them may need together beyond their active ones.
        need: u32,
        /// The quantile of the summed forecasts, in (0, 1); the accuracy of late chose it.
        quantile: f64,
        /// How strongly their demands go together, from 0 to 1.
        correlation: f64,
        /// How long it takes to replace a spare.
        lead: Duration,
    },
    /// Each workload keeps what it would hold alone, until its forecast and the pool have proved themselves.
    SparesNotShared {
        /// The template.
        template: String,
    },
    /// A spare of another workload was taken.
    Claimed {
        /// The instance.
        instance: InstanceId,
        /// Who held it.
        from: WorkloadId,
    },
    /// The stopped level brings nothing.
    NoStoppedLevel {
        /// Price of a stopped instance relative to an active one.
        price: f64,
        /// Restart lead time of the policy.
        lead: Duration,
        /// Cold lead time.
        lead_cold: Duration,
    },
}

impl fmt::Display for WarmthReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WarmthReason::StoppedNeeds { rule, quantile, demand, window, exist, stopped, lead } => {
                write!(f, "Demand may reach {} in the next {} (", Amount(*demand), Span(*window))?;
                match rule {
                    None | Some(MarginRule::Quantile) => write!(f, "{} quantile", Percent(*quantile))?,
                    Some(rule) => RuleName(*rule).fmt(f)?,
                }
                write!(
                    f,
                    "), too soon for a new instance: {} must exist, {stopped} of them may be stopped and restarted in {}.",
                    Count(*exist, Tier::Total),
                    Span(*lead)
                )
            }
            WarmthReason::KeptStopped { instances, break_even } => write!(
                f,
                "{} not removed: needed again within {}, until when keeping the disk costs less than a start.",
                Stays(*instances, "stopped instance"),
                Span(*break_even)
            ),
            WarmthReason::SharedSpares {
                template,
                spares,
                share,
                alone,
                members,
                need,
                quantile,
                correlation,
                lead,
            } => write!(
                f,
                "{members} workloads of {template} share {spares} spare(s), of which this one holds {share}; alone they would \
                 hold {alone}. Together they may need {need} more than are active until a spare is replaced in {} ({} quantile of their sum, {} \
                 correlated).",
                Span(*lead),
                Percent(*quantile),
                Percent((correlation * 100.0).round() / 100.0)
            ),
            WarmthReason::SparesNotShared { template } => {
                write!(
                    f,
                    "Spares of {template} are not shared yet: too little is known of what they need together."
                )
            }
            WarmthReason::Claimed { instance, from } => {
                write!(f, "Spare instance {instance} was taken over from {from}.")
            }
            WarmthReason::NoStoppedLevel { price, lead, lead_cold } => write!(
                f,
                "No stopped instances: one costs {} of an active instance and takes {} to restart, a new instance takes {}.",
                Percent(*price),
                Span(*lead),
                Span(*lead_cold)
            ),
        }
    }
}
