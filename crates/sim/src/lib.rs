//! The planner on virtual time: world model, rivals, scores, fault injection.
//!
//! - [`dispatch`] shows what the choice of an instance does to latency, by itself.
//! - [`pool`] replays several workloads beside one another, which share their spares or do not.
//! - [`replay`] runs a recorded demand through one world under the planner and under each rival, and scores them.
//! - [`requests`] does the same with single requests that wait in line, so that latency and failures show.
//! - [`rivals`] are other autoscalers, faithfully re-implemented as plain functions of time.
//! - [`sessions`] plays games and calls, which stay where they were put until they end.
//! - [`scenarios`] are named situations for it, each with what is expected.
//! - [`simulate`] throws faults at the planner, from a seed, and checks that it stays safe and recovers.
//! - [`world`] is the model they share: instances with start times, and demand that meets their capacity.
//!
//! Promises: the planner that runs here is the very code that the daemon runs; everything is a function of its arguments
//! and its seed; cutting the tail off a trace changes no earlier decision, except of those who are marked as hindsight.
//! Not here: reading files, real time.

pub mod demand;
pub mod dispatch;
pub mod faults;
pub mod pool;
pub mod replay;
pub mod requests;
pub mod rivals;
pub mod scenarios;
pub mod score;
pub mod sessions;
pub mod simulate;
pub mod sizing;
pub mod world;

pub use demand::{Demand, DemandError};
pub use replay::ReplayError;
pub use score::Score;
