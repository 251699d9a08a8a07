//! Load balancing policies as pure functions over weights, in-flight counts and latency estimates.
//!
//! Nothing here knows a socket, a clock or a random generator: time is a [`Duration`](std::time::Duration) since any
//! fixed moment the caller likes, randomness arrives as `u64`s, so the proxy and the simulator run the same decisions
//! and every choice can be replayed.
//!
//! - [`p2c`]: weighted power of two choices; the proxy's policy, with [`PeakEwma`] as the latency estimate.
//! - [`SmoothRoundRobin`]: exact weighted shares in an even order.
//! - [`least_connections`]: weighted least connections.
//! - [`RetryBudget`]: how many retries a flow of requests affords.
//! - [`Drain`]: when a target that gets no new work is done.
//!
//! Weights are shares relative to each other. A weight of 0 means: never.

mod drain;
mod ewma;
mod least;
pub mod p2c;
mod retry;
mod round_robin;
mod weights;

pub use drain::{Drain, DrainState};
pub use ewma::PeakEwma;
pub use least::least_connections;
pub use retry::RetryBudget;
pub use round_robin::SmoothRoundRobin;
pub use weights::Weights;
