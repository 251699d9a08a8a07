//! Sessions: demand that stays where it was put, such as games and websockets.
//!
//! A session has a type, takes a share of an instance for as long as it lasts, and can neither be moved nor cut short.
//! An instance that holds some is therefore drained: it gets no new ones, and is given up once the last has ended or the
//! time for it is over.
//!
//! - `policy`: the types of sessions, and how instances hold them.
//! - `allocator`: puts each new session on an instance and a process in it, or into a queue. It knows no clock and can
//!   be used without a planner; `host` and `queue` are its parts.
//! - `demand`: what sessions ask for, by type and together, in instances.
//! - `reason`: what a plan says about sessions.

mod allocator;
mod demand;
mod host;
mod policy;
mod queue;
mod reason;

pub use allocator::{
    Allocation, Allocator, Allotted, HostView, LostSession, Outcome, RefusedSession, Release, SessionId,
};
pub use demand::TypeDemand;
pub use host::HostState;
pub use policy::{SessionPolicy, SessionType};
pub use reason::SessionReason;

#[cfg(test)]
mod tests;
