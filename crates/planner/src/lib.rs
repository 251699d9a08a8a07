//! The sans-IO decision core: turns forecasts and observations into plans and actions.
//!
//! The planner knows no clock, no network, no files and no randomness but its seed. A driver feeds it facts
//! ([`Event`]) and time, and carries out the orders ([`Action`]) it returns; the daemon does so with real time and real
//! processes, the simulator with virtual time and a model of the world. Both therefore run the very same decisions.
//!
//! - [`Planner`] owns one life-cycle table per workload and speaks `handle_*` / `poll_*`.
//! - [`plan()`] is a plain function from [`Inputs`] to a [`Plan`] that says why, in structured [`Reason`]s.
//! - [`lint::check`] states the invariants once; tests, the simulator and debug builds call it after every step.
//!
//! Same inputs and same seed give the same outputs, byte for byte.

mod action;
mod capacity;
mod clock;
mod demand;
mod desk;
mod event;
mod fleet;
mod guard;
mod ids;
mod instance;
mod lead;
mod levels;
mod margin;
mod outlook;
mod overrides;
mod plan;
mod planner;
mod policy;
mod profiles;
mod reaction;
mod reason;
mod reconcile;
mod retry;
mod scarcity;
mod scope;
mod shift;
mod size;
mod snapshot;
mod threshold;
mod timer;
mod warmth;
mod workload;

mod spare;

pub mod lint;
pub mod sessions;
pub mod sizing;

pub use crate::action::{Action, ActionKind, FULL_WEIGHT};
pub use crate::event::{DecisionOverride, Event};
pub use crate::ids::{ActionId, InstanceId, NodeId, WorkloadId};
pub use crate::instance::{Instance, Phase, Role};
pub use crate::levels::{TriggerLevel, trigger_levels};
pub use crate::margin::MarginRule;
pub use crate::overrides::{FORECAST_OVERRIDES_MAX, ForecastOverride};
pub use crate::plan::{Basis, Inputs, Plan, PlanInputs, break_even, plan, standby_pays};
pub use crate::planner::{Experience, Planner};
pub use crate::policy::{
    About, CapacityPolicy, Deadlines, Limits, Margin, Mode, Objective, Policy, PolicyError, PolicyErrors,
    Prices, Retry, ShiftPolicy, WorkloadPolicy,
};
pub use crate::profiles::{ProfileReason, Profiles};
pub use crate::reaction::{Ordered, Reaction, ReactionStep};
pub use crate::reason::{GuardCause, Reason, Tier, Trigger};
pub use crate::scarcity::{
    Cause, Claim, Grant, MoveCause, NodePolicy, NodeView, Refused, Resources, SharingReason, Supply, Tenant,
    TenantPolicy, grant,
};
pub use crate::scope::{Bounds, Days, Scope, ScopeReason, Scopes};
pub use crate::sessions::{SessionPolicy, SessionReason, SessionType};
pub use crate::shift::{Compared, ShiftLog, ShiftMove, ShiftTurn, Slower};
pub use crate::size::Size;
pub use crate::sizing::{SizingMode, SizingPolicy};
pub use crate::snapshot::{Budget, Counters, Snapshot, WorkloadView};
pub use crate::threshold::CloneThreshold;
pub use crate::timer::Timer;
pub use crate::warmth::{StoppedInputs, StoppedLevel, WarmthReason};
