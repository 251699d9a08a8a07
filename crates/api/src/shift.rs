//! The steps by which traffic is shifted to a new instance; part of events, instances and explanations.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a step of a shift does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShiftTurn {
    /// The first share.
    Began,
    /// No worse than its peers: more.
    Grew,
    /// It looks worse: no more for now.
    Halted,
    /// It looked worse twice: all of it goes back to its peers.
    TakenBack,
    /// All capacity is needed: the full share at once.
    AllAtOnce,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ShiftStep {
    /// When.
    pub at_ms: i64,
    /// The instance, for example `web-17`.
    pub instance: String,
    /// What was done.
    pub turn: ShiftTurn,
    /// Share of a full weight before, from 0 to 1.
    pub from: f64,
    /// Share of a full weight after.
    pub to: f64,
    /// What was compared; absent where nothing was.
    pub compared: Option<ShiftCompared>,
    /// All of it in a plain sentence.
    pub sentence: String,
}

/// A newcomer beside its peers. Counts are of the last readings; older ones weigh less.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ShiftCompared {
    /// Requests of the newcomer.
    pub requests: f64,
    /// Those that failed.
    pub errors: f64,
    /// Requests of its peers.
    pub peers_requests: f64,
    /// Those that failed.
    pub peers_errors: f64,
    /// Share of errors that is let pass.
    pub errors_usual: f64,
    /// The quantile of the peers' latency that speaks most against it; absent where no latency is known.
    pub quantile: Option<f64>,
    /// What counts as slow: that quantile, and what is allowed on top.
    pub slow_ms: Option<f64>,
    /// The newcomer's requests that took longer.
    pub slow: Option<f64>,
    /// Share of slow requests that is let pass.
    pub slow_usual: Option<f64>,
    /// The e-value against the newcomer: its mean is at most 1 if it is as good as its peers.
    pub e_value: f64,
    /// The e-value that halts it.
    pub e_value_limit: f64,
    /// There were too few requests to conclude anything.
    pub too_few: bool,
}
