//! Fault injection on virtual time: thousands of bad days for the planner, each from one number.
//!
//! A seed decides everything: policy, demand, start times, which faults happen and how often ([`Swarm`]). First the safety
//! phase: faults happen, and after every single input the linter and the checker's own rules must hold. Then the liveness
//! phase: faults stop, demand stays where it is, and the fleet must become what the plan wants within a bound.
//!
//! Promises: the same seed gives the same [`Log`], byte for byte. A failure names its seed and the command that repeats it.

mod checks;
mod log;
mod run;
mod shape;
mod swarm;

pub use checks::{Checks, IDLE_MAX, ROUTE_MAX, Truth};
pub use log::{LINES_MAX, Log};
pub use shape::Shape;
pub use swarm::Swarm;

use std::fmt;
use std::time::Duration;

use planner::PolicyErrors;

/// What a simulation that went well did.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Events delivered to the planner.
    pub events: u64,
    /// Orders given by the planner.
    pub actions: u64,
    /// Faults that happened.
    pub faults: u64,
    /// How long the fleet took to become what the plan wanted after the faults had stopped.
    pub settled_after: Duration,
    /// Everything that happened.
    pub log: Log,
}

/// A simulation that went wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What went wrong.
    pub kind: FailureKind,
    /// Everything that happened before.
    pub log: Log,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FailureKind {
    /// The policy that was drawn is refused.
    #[error("the policy is refused: {0}")]
    Policy(PolicyErrors),
    /// A rule was broken.
    #[error("after {after:?}: {}", broken.join("; "))]
    Unsafe {
        /// Virtual time since the beginning.
        after: Duration,
        /// The rules.
        broken: Vec<String>,
    },
    /// The planner kept asking for attention without time passing.
    #[error("after {after:?}: the planner does not come to rest")]
    Restless {
        /// Virtual time since the beginning.
        after: Duration,
    },
    /// The faults had stopped, but the fleet did not become what the plan wanted.
    #[error("not settled {bound:?} after the last fault: {state}")]
    Unsettled {
        /// How long it had.
        bound: Duration,
        /// What there was and what was wanted.
        state: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {} failed: {}\nlast lines:\n{}repeat with: foreshadow simulate --seed {}",
            self.seed,
            self.kind,
            self.log.tail(TAIL_LINES),
            self.seed
        )
    }
}

impl std::error::Error for Failure {}

/// Runs the simulation of one seed.
///
/// # Errors
/// The seed broke a rule or did not settle; the failure says how to repeat it.
pub fn simulate(seed: u64) -> Result<Report, Box<Failure>> {
    run::run(seed, Swarm::draw(seed))
}

/// Runs a simulation with chosen parameters; `seed` still decides when the faults happen.
///
/// # Errors
/// As [`simulate`], but the seed alone does not repeat it.
pub fn simulate_with(seed: u64, swarm: Swarm) -> Result<Report, Box<Failure>> {
    run::run(seed, swarm)
}

const TAIL_LINES: usize = 25;
