//! HAProxy as the router: whole route tables put into force by its Runtime API, without a reload, and its counters read back.
//!
//! A workload is the HAProxy backend of the same name; frontends, certificates and rules stay the user's. Servers that this
//! crate adds are called `foreshadow-ID`; others in the backend are left alone. HAProxy knows no generations: the number of the
//! table in force is kept here, and counts as 0 as soon as HAProxy has something else in force, as after its restart.
//!
//! What HAProxy cannot tell is not made up: it has mean times only, so [`proxy::control::Stats`] read here carry the mean of the
//! requests between two readings as the latency of each of them.

mod error;
mod means;
mod router;
mod runtime;
mod servers;
mod stat;

pub use error::HaproxyError;
pub use router::Haproxy;
pub use stat::{Info, Row, StatError, parse_info, parse_stat};
