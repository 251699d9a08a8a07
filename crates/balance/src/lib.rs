//! Load balancing policies as pure functions over weights, in-flight counts and latency estimates.
//!
//! Nothing here knows a socket, a clock or a random generator: time is a [`Duration`](std::time::Duration) since any
//! fixed moment the caller likes, randomness arrives as `u64`s, so the proxy and the simulator run the same decisions
//! and every choice can be replayed.
//!
//! - [`Dispatcher`]: every policy behind one interface, for whoever can describe its [`Targets`].
//! - [`p2c`]: weighted power of two choices; the proxy's policy, with [`PeakEwma`] as the latency estimate.
//! - [`SmoothRoundRobin`]: exact weighted shares in an even order.
//! - [`least`]: weighted least connections, or least predicted work.
//! - [`Ring`]: consistent hashing by weight; with bounded loads in the [`Dispatcher`].
//! - [`ramp`]: slow start.
//! - [`outliers`]: who does so much worse than its peers that it is better left out for a while.
//! - [`hash()`] and [`SecretKey`]: what keys are hashed with.
//! - [`RetryBudget`]: how many retries a flow of requests affords.
//! - [`Drain`]: when a target that gets no new work is done.
//!
//! Weights are shares relative to each other. A weight of 0 means: never. A target with twice the capacity of another has
//! twice its weight; nothing else needs to know.

mod dispatch;
mod drain;
mod ewma;
mod hash;
mod least;
mod outlier;
pub mod p2c;
mod ramp;
mod retry;
mod ring;
mod round_robin;
mod weights;

pub use dispatch::{Ask, Dispatcher, Policy, Targets, Totals};
pub use drain::{Drain, DrainState};
pub use ewma::PeakEwma;
pub use hash::{SecretKey, hash};
pub use least::{CHOICES, SCAN_MAX, least};
pub use outlier::{OutlierPolicy, Window, outliers};
pub use ramp::ramp;
pub use retry::RetryBudget;
pub use ring::Ring;
pub use round_robin::SmoothRoundRobin;
pub use weights::Weights;
