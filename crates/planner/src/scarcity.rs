//! Scarcity and sharing: finite nodes, who gets what of them, and where it runs.
//!
//! Nothing here is reached while no nodes are configured.

mod book;
mod cluster;
mod desk;
mod foresee;
mod grant;
mod group;
mod inventory;
mod node;
mod outline;
mod place;
mod reason;
mod resources;
mod view;
mod yielding;

pub(crate) use book::Asked;
pub(crate) use cluster::Cluster;
pub(crate) use desk::Seated;
pub(crate) use foresee::Proposal;

pub use grant::{Cause, Claim, Grant, Refused, Supply, Tenant, grant};
pub(crate) use inventory::validate;
pub use inventory::{NodePolicy, TenantPolicy};
pub(crate) use outline::{Outline, per_unit};
pub use reason::{MoveCause, SharingReason};
pub use resources::Resources;
pub use view::NodeView;
