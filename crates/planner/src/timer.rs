//! The named wake-ups of a planner.

use std::fmt;

/// Why the planner wants to be woken. [`crate::Planner::poll_timeout`] returns the earliest, with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// The time of the next regular plan, one tick after the last.
    Tick,
    /// An order given to a provider or a router has not been answered in time.
    ActionDeadline,
    /// The pause after failed starts or stops is over.
    Backoff,
    /// A newly promoted instance may get the next share of traffic.
    ShiftStep,
    /// An instance has been unhealthy for too long and is replaced.
    UnhealthyDeadline,
    /// An instance has been waited for because of its sessions for long enough.
    SessionsDeadline,
    /// An operator's override ends.
    OverrideExpiry,
    /// All workloads on the same nodes are looked at together.
    Sharing,
}

impl fmt::Display for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Timer::Tick => "tick",
            Timer::ActionDeadline => "action deadline",
            Timer::Backoff => "backoff",
            Timer::ShiftStep => "shift step",
            Timer::UnhealthyDeadline => "unhealthy deadline",
            Timer::SessionsDeadline => "sessions deadline",
            Timer::OverrideExpiry => "override expiry",
            Timer::Sharing => "sharing",
        })
    }
}
