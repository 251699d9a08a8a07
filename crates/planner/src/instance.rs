//! One instance of a workload and its life.

use forecast::Timestamp;

use crate::ids::{ActionId, InstanceId};

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Ordered, not ready yet.
    Starting,
    /// Its probe passed; it can be parked, promoted or routed to.
    Ready,
    /// Its weight is 0 and it finishes what it has.
    Draining,
    /// Told to stop.
    Stopping,
    /// Gone as ordered.
    Stopped,
    /// Gone or given up without having been ordered to.
    Failed,
}

/// What an instance is used as, apart from its phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Started ahead of demand, gets no traffic.
    Standby,
    /// In the route table, or about to be.
    Active,
}

/// One row of a workload's instance table.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    pub(crate) id: InstanceId,
    pub(crate) phase: Phase,
    pub(crate) role: Role,
    pub(crate) parked: bool,
    pub(crate) weight: u32,
    pub(crate) healthy: bool,
    pub(crate) since: Timestamp,
    pub(crate) pending: Option<ActionId>,
}

impl Instance {
    /// Its id.
    pub fn id(&self) -> InstanceId {
        self.id
    }
    /// Where it is in its life.
    pub fn phase(&self) -> Phase {
        self.phase
    }
    /// What it is used as.
    pub fn role(&self) -> Role {
        self.role
    }
    /// It is frozen.
    pub fn parked(&self) -> bool {
        self.parked
    }
    /// Its weight in the route table last ordered; 1000 is a full share, 0 is none.
    pub fn weight(&self) -> u32 {
        self.weight
    }
    /// No health check speaks against it.
    pub fn healthy(&self) -> bool {
        self.healthy
    }
    /// When it entered its phase, or changed its role or its health.
    pub fn since(&self) -> Timestamp {
        self.since
    }
    /// The order about it that has not been answered yet.
    pub fn pending(&self) -> Option<ActionId> {
        self.pending
    }
}
