//! Orders: what the driver must do next. Every order has a deadline and comes back as exactly one event.

use forecast::Timestamp;

use crate::ids::{ActionId, InstanceId, NodeId, WorkloadId};
use crate::reason::Trigger;
use crate::size::Size;

/// The weight of an instance that takes its full share of the traffic.
pub const FULL_WEIGHT: u32 = 1000;

/// One order to a provider or a router.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// Unique for the life of the planner; the answer must carry it.
    pub id: ActionId,
    /// The workload it belongs to.
    pub workload: WorkloadId,
    /// The generation of the plan that it carries out. Never decreases within a workload.
    pub generation: u64,
    /// What to do.
    pub kind: ActionKind,
    /// When the planner stops waiting for the answer and takes the next step on failure.
    pub deadline: Timestamp,
    /// Why the plan behind it was made.
    pub trigger: Trigger,
}

/// What to do. The answer to each is named in its doc line; any of them may be answered by `ActionFailed`.
#[derive(Debug, Clone, PartialEq)]
pub enum ActionKind {
    /// Start a new instance and wait until it is ready. Answer: `InstanceReady`.
    Start {
        /// The new instance.
        instance: InstanceId,
        /// It will be parked once it is ready. A hint: the planner orders the parking itself.
        park: bool,
        /// Where; `None` where no nodes are given.
        node: Option<NodeId>,
        /// How large it is to be; `None`: as the provider's configuration says.
        size: Option<Size>,
    },
    /// Give a running instance another size without restarting it. Answer: `InstanceResized`; a provider that cannot says
    /// so with `ActionFailed` and is asked less and less.
    Resize {
        /// The instance.
        instance: InstanceId,
        /// Its new size.
        size: Size,
    },
    /// Freeze a ready instance that gets no traffic. Answer: `InstanceParked`.
    Park {
        /// The instance to freeze.
        instance: InstanceId,
    },
    /// Thaw a standby (if it is frozen) and verify that it answers. Answer: `InstancePromoted`.
    Promote {
        /// The instance to thaw and verify.
        instance: InstanceId,
    },
    /// Take a standby of another workload of the same template: from now on it belongs to this one. Then as `Promote`. Answer:
    /// `InstancePromoted`.
    Claim {
        /// The instance to take over, thaw and verify.
        instance: InstanceId,
        /// The workload that held it.
        from: WorkloadId,
    },
    /// Replace the complete route table of the workload. Answer: `WeightsApplied`.
    SetWeights {
        /// In order of id. [`FULL_WEIGHT`] is a full share, 0 is draining; an absent instance is not routed to.
        weights: Vec<(InstanceId, u32)>,
    },
    /// Wait until nothing is in flight on an instance whose weight is 0. Answer: `InstanceDrained`.
    Drain {
        /// The instance to wait for.
        instance: InstanceId,
    },
    /// Stop a standby but keep its disk, so that it can be restarted. Answer: `InstanceHalted`. One that fails is stopped for
    /// good.
    Halt {
        /// The instance to stop.
        instance: InstanceId,
    },
    /// Start a halted instance again from its disk and wait until it is ready. Answer: `InstanceReady`. One that fails is
    /// stopped for good.
    Restart {
        /// The instance to start.
        instance: InstanceId,
    },
    /// Stop an instance and remove it with all that it kept. Answer: `InstanceStopped`, also when it was gone already.
    Stop {
        /// The instance to stop.
        instance: InstanceId,
    },
}

impl ActionKind {
    /// The instance that the order is about; none for a route table.
    pub fn instance(&self) -> Option<InstanceId> {
        match self {
            ActionKind::Start { instance, .. }
            | ActionKind::Resize { instance, .. }
            | ActionKind::Park { instance }
            | ActionKind::Promote { instance }
            | ActionKind::Claim { instance, .. }
            | ActionKind::Drain { instance }
            | ActionKind::Halt { instance }
            | ActionKind::Restart { instance }
            | ActionKind::Stop { instance } => Some(*instance),
            ActionKind::SetWeights { .. } => None,
        }
    }
}
