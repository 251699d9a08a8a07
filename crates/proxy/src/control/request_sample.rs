//! Single requests and what they cost, as a control plane reads them.

use serde::{Deserialize, Serialize};

use super::admission::Amount;

/// A request that was admitted by its predicted cost and is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestSample {
    /// Grows by one from sample to sample of a route, from 1 for as long as the proxy lives.
    pub number: u64,
    /// When it was over, milliseconds since the Unix epoch.
    pub at: u64,
    /// The template that it fits, or its method.
    pub endpoint: String,
    /// Its class: index into the route's.
    pub class: u8,
    /// As the route's `numbers`; NaN where not known.
    pub numbers: Vec<f64>,
    /// As the route's `names`; empty where not known.
    pub names: Vec<String>,
    /// What was reserved, as the route's `costs`.
    pub reserved: Vec<Amount>,
    /// What it has cost, as the route's `costs`; NaN where not known.
    pub measured: Vec<f64>,
    /// Microseconds that it waited for capacity.
    pub waited_us: u64,
    /// The backend that served it.
    pub backend: u64,
}

/// What has been counted of one cost of a route, cumulative where not said otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CostStats {
    /// As in the route.
    pub name: String,
    /// How much of it an instance has.
    pub per_instance: Amount,
    /// Expected of all requests that came, refused ones included.
    pub arrived: Amount,
    /// The part of it that was expected of requests measured since.
    pub expected: Amount,
    /// What these have cost.
    pub measured: Amount,
    /// Reserved now, over all instances.
    pub reserved: Amount,
    /// Wanted now by requests that wait.
    pub waiting: Amount,
    /// Reservations, of any cost, that were raised while their request ran.
    pub outgrown: u64,
    /// Requests sent away at once because their turn would have come too late.
    pub hopeless: u64,
}
