//! From raw readings to what the planner is told: rates, steps of demand, what each backend did.
//!
//! Plain data without a clock: the caller says what time it is, so the arithmetic of steps is tested without waiting.

mod meter;
mod pushed;

pub(crate) use meter::{BackendDelta, HealthChange, Load, Meter, Reading, StepDone};
pub(crate) use pushed::{PushRefusal, Pushed};
