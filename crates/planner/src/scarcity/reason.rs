//! Why somebody got less, or is where it is. Their `Display` is one plain sentence each.

use std::fmt;

use forecast::Timestamp;

use super::grant::Cause;
use crate::ids::{InstanceId, NodeId, WorkloadId};
use crate::reason::{Amount, Count, Stays, Tier};

/// One reason of a plan that has to do with others.
#[derive(Debug, Clone, PartialEq)]
pub enum SharingReason {
    /// Not all that is needed was granted.
    Refused {
        /// Of which tier.
        tier: Tier,
        /// What was asked for.
        asked: u32,
        /// What was granted.
        granted: u32,
        /// Why.
        cause: Cause,
        /// The workload that has most of it, and its priority class.
        sake: Option<(WorkloadId, u8)>,
    },
    /// Instances were taken from this workload for another one.
    Preempted {
        /// How many.
        instances: u32,
        /// For whom.
        by: WorkloadId,
        /// Its priority class.
        class: u8,
    },
    /// Instances were taken from another workload for this one.
    Preempts {
        /// How many.
        instances: u32,
        /// From whom most were taken.
        from: WorkloadId,
        /// Its priority class.
        class: u8,
    },
    /// Granted, but no single node has room for it yet.
    WaitsForRoom {
        /// How many instances.
        instances: u32,
    },
    /// Where an instance was started.
    Placed {
        /// The instance.
        instance: InstanceId,
        /// The node.
        node: NodeId,
        /// How much it adds to the forecast peak of the node, in cores.
        rise: f64,
        /// The forecast peak with it, in cores.
        peak: f64,
        /// The cores of the node.
        cores: f64,
    },
    /// An instance is replaced by one on another node, or makes room.
    Moved {
        /// The instance.
        instance: InstanceId,
        /// Where it is.
        from: NodeId,
        /// Where its replacement is started; `None` when it is not replaced.
        to: Option<NodeId>,
        /// Why.
        why: MoveCause,
    },
    /// Instances of a lower class are moved aside for this workload and others of its class.
    Shielded {
        /// When the bottleneck is foreseen.
        at: Timestamp,
        /// The forecast peak, in cores.
        peak: f64,
        /// The cores there are.
        cores: f64,
    },
    /// A node was lost with instances on it.
    NodeLost {
        /// The node.
        node: NodeId,
        /// How many instances.
        instances: u32,
    },
}

/// Why an instance is moved.
#[derive(Debug, Clone, PartialEq)]
pub enum MoveCause {
    /// All nodes that are not spare will not suffice.
    Bottleneck {
        /// The hour in which the peak is foreseen.
        at: Timestamp,
        /// The forecast peak, in cores.
        peak: f64,
        /// The cores there are.
        cores: f64,
    },
    /// The node that it is on will not suffice.
    NodePeak {
        /// The hour in which the peak is foreseen.
        at: Timestamp,
        /// The forecast peak, in cores.
        peak: f64,
        /// The cores of the node.
        cores: f64,
    },
    /// What was granted to another workload fits on no node as it is.
    RoomFor(WorkloadId),
    /// The bottleneck is over: the spare node is cleared.
    Calm,
}

impl fmt::Display for MoveCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MoveCause::Bottleneck { at, peak, cores } => write!(
                f,
                "use of all normal nodes may peak at {} of {} cores at about {at}",
                Amount(*peak),
                Amount(*cores)
            ),
            MoveCause::NodePeak { at, peak, cores } => write!(
                f,
                "use of its node may peak at {} of {} cores at about {at}",
                Amount(*peak),
                Amount(*cores)
            ),
            MoveCause::RoomFor(workload) => write!(f, "an instance of {workload} fits on no node otherwise"),
            MoveCause::Calm => f.write_str("the bottleneck is over and spare nodes are cleared"),
        }
    }
}

impl fmt::Display for SharingReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SharingReason::Refused { tier, asked, granted, cause, sake } => {
                write!(f, "Only {granted} of {} granted: ", Count(*asked, *tier))?;
                match (cause, sake) {
                    (Cause::Priority, Some((sake, class))) => {
                        write!(f, "{sake} and others of higher priority (up to class {class}) come first.")
                    }
                    (Cause::Share, Some((sake, _))) => {
                        write!(f, "{sake} and others of the same priority have their share.")
                    }
                    (Cause::Quota, _) => f.write_str("the quota of the tenant is used up."),
                    (Cause::Pending, _) => f.write_str("all claims are weighed at the next tick."),
                    (Cause::Priority | Cause::Share | Cause::Supply, _) => {
                        f.write_str("the nodes have no more room beyond what is promised to all.")
                    }
                }
            }
            SharingReason::Preempted { instances, by, class } => {
                write!(f, "{} given up for {by} of class {class}.", Stays(*instances, "instance"))
            }
            SharingReason::Preempts { instances, from, class } => {
                write!(f, "{} taken from {from} of class {class}.", Stays(*instances, "instance"))
            }
            SharingReason::WaitsForRoom { instances } => {
                write!(f, "{} granted but not started: no node has room yet.", Stays(*instances, "instance"))
            }
            SharingReason::Placed { instance, node, rise, peak, cores } => write!(
                f,
                "Instance {instance} was put on {node}, whose forecast peak it raises by {} to {} of {} cores.",
                Amount(*rise),
                Amount(*peak),
                Amount(*cores)
            ),
            SharingReason::Moved { instance, from, to: Some(to), why } => {
                write!(f, "Instance {instance} moves from {from} to {to}: {why}.")
            }
            SharingReason::Moved { instance, from, to: None, why } => {
                write!(f, "Instance {instance} leaves {from}: {why}.")
            }
            SharingReason::Shielded { at, peak, cores } => write!(
                f,
                "Use of all normal nodes may peak at {} of {} cores at about {at}: lower priorities are moved aside.",
                Amount(*peak),
                Amount(*cores)
            ),
            SharingReason::NodeLost { node, instances } => {
                write!(f, "{} lost with node {node}.", Stays(*instances, "instance"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_as_plain_sentences() {
        let refused =
            |cause, sake| SharingReason::Refused { tier: Tier::Active, asked: 6, granted: 4, cause, sake };
        assert_eq!(
            refused(Cause::Priority, Some(("shop".into(), 200))).to_string(),
            "Only 4 of 6 active instances granted: shop and others of higher priority (up to class 200) come first."
        );
        assert_eq!(
            refused(Cause::Quota, None).to_string(),
            "Only 4 of 6 active instances granted: the quota of the tenant is used up."
        );
        let moved = SharingReason::Moved {
            instance: InstanceId::new(7),
            from: "a".into(),
            to: Some("b".into()),
            why: MoveCause::Bottleneck { at: Timestamp::from_millis(0), peak: 9.5, cores: 8.0 },
        };
        assert_eq!(
            moved.to_string(),
            "Instance 7 moves from a to b: use of all normal nodes may peak at 9.50 of 8 cores at about 1970-01-01T00:00:00Z."
        );
        let preempted = SharingReason::Preempted { instances: 1, by: "shop".into(), class: 200 };
        assert_eq!(preempted.to_string(), "1 instance is given up for shop of class 200.");
    }
}
