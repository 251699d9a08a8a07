//! Fault injection on virtual time: any number of bad days for the planner, each from one number.
//!
//! A seed decides everything: policies, demands, start times, which faults happen and how often ([`Swarm`]). First the
//! safety phase: faults happen, and after every single input the linter and the checker's own rules must hold. Then the
//! liveness phase: faults stop, demand stays where it is, and each fleet must become what the plan wants within a bound,
//! with nothing left over.
//!
//! Promises: the same seed gives the same [`Log`], byte for byte. A failure names its seed and the command that repeats it;
//! [`shrink`] makes it smaller first.

mod calendar;
mod checks;
mod cut;
mod extras;
mod log;
mod run;
mod setup;
mod shape;
mod sharing;
mod shrink;
mod swarm;

pub use calendar::{Calendar, Within};
pub use checks::{Checks, IDLE_MAX, ROUTE_MAX, Truth};
pub use cut::Cut;
pub use extras::{Sittings, Uses};
pub use log::{LINES_MAX, Log};
pub use setup::Setup;
pub use shape::Shape;
pub use sharing::Sharing;
pub use shrink::shrink;
pub use swarm::{PROFILES_FROM, Swarm};

use std::fmt;
use std::time::Duration;

use planner::PolicyErrors;

use crate::faults::Tally;

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
    pub faults: Tally,
    /// The busiest ten minutes of any workload, as a share of the orders that are allowed in them.
    pub busiest: f64,
    /// How long the fleets took to become what the plan wanted after the faults had stopped.
    pub settled_after: Duration,
    /// Everything that happened, if it was to be kept.
    pub log: Log,
}

/// A simulation that went wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What of the seed was left out.
    pub cut: Cut,
    /// What went wrong.
    pub kind: FailureKind,
    /// Everything that happened before, if it was to be kept.
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
    /// Something exists that the planner does not know of, or the reverse.
    #[error("left over once settled: {state}")]
    Leak {
        /// What there is, and what is known.
        state: String,
    },
}

impl Failure {
    /// The one command that repeats it.
    pub fn command(&self) -> String {
        format!("foreshadow simulate --seed {}{}", self.seed, self.cut)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} failed: {}", self.seed, self.kind)?;
        let tail = self.log.tail(TAIL_LINES);
        if !tail.is_empty() {
            write!(f, "last lines:\n{tail}")?;
        }
        write!(f, "repeat with: {}", self.command())
    }
}

impl std::error::Error for Failure {}

/// One more rule that must hold after every input. Returns what is broken.
pub type Rule = fn(&Truth<'_>) -> Option<String>;

/// Runs the simulation of one seed. No log is kept.
///
/// # Errors
/// The seed broke a rule or did not settle; the failure says how to repeat it.
pub fn simulate(seed: u64) -> Result<Report, Box<Failure>> {
    run::run(seed, &Cut::default(), None, false)
}

/// Runs what the cut leaves of a seed, and keeps the log.
///
/// # Errors
/// As [`simulate`].
pub fn simulate_cut(seed: u64, cut: &Cut) -> Result<Report, Box<Failure>> {
    run::run(seed, cut, None, true)
}

const TAIL_LINES: usize = 25;
