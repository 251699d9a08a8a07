//! Scarcity and sharing: finite nodes, who gets what of them, and where it runs.
//!
//! Nothing here is reached while no nodes are configured.

mod grant;
mod inventory;
mod size;

pub use grant::{Cause, Claim, Grant, Refused, Supply, Tenant, grant};
pub use inventory::{NodePolicy, TenantPolicy};
pub(crate) use inventory::{tenants_of, validate};
pub use size::Size;
