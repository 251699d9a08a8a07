//! A recorded demand, replayed under one policy or several: what each would have decided, missed and paid.
//!
//! One decision per row of the trace, made from the rows before it. Between two rows time goes on: instances become ready,
//! a rival with a clock of its own decides as often as it does in life, and the planner hears of the demand of the current
//! step a little after it began, as its daemon would. Every policy runs in the same [`crate::world`].
//!
//! Steps without a value in the trace count for nothing, neither demand nor cost, as nobody knows what was needed.

pub(crate) mod drive;
pub(crate) mod follow;
mod frontier;
mod options;
mod setting;
pub(crate) mod shadow;

pub use frontier::{Point, Rivalry, Sweep, cheapest_at, cheapest_of, frontier, pareto};
pub use options::{Options, PolicyKind, UnknownPolicy};
pub use setting::Setting;

use forecast::Timestamp;

use crate::demand::Demand;
use crate::rivals::aws::Aws;
use crate::rivals::crane::{Crane, Predictions};
use crate::rivals::hybrid_histogram::HybridHistogram;
use crate::rivals::keda::Keda;
use crate::rivals::last_week::LastWeek;
use crate::rivals::oracle::{Oracle, OracleInputs};
use crate::rivals::phpa::Phpa;
use crate::rivals::static_peak::StaticPeak;
use crate::rivals::warm_pool::WarmPool;
use crate::rivals::{HpaRival, KpaRival, Rival};
use crate::score::Score;
use crate::world::Totals;

/// What was wanted when a row of the trace began.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// The time of the row.
    pub timestamp: Timestamp,
    /// Its demand, which the decision did not know; none when the cell was empty.
    pub demand: Option<f64>,
    /// Instances wanted with traffic.
    pub active_wanted: u32,
    /// Instances wanted ready, without traffic.
    pub standby_wanted: u32,
}

/// One policy on one demand.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Who decided.
    pub kind: PolicyKind,
    /// One decision per row of the trace, in its order.
    pub decisions: Vec<Decision>,
    /// What it achieved and cost.
    pub score: Score,
}

/// Why a replay is not possible.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ReplayError {
    /// An option is out of range.
    #[error("`{option}` {rule}")]
    Option {
        /// The option.
        option: &'static str,
        /// The rule, as the rest of a sentence.
        rule: &'static str,
    },
    /// The planner refuses its policy.
    #[error("the workload's policy is not valid: {0}")]
    Policy(planner::PolicyErrors),
    /// A bug in the planner or in the world: they keep each other busy without time passing.
    #[error("the planner does not come to rest at {at}; this is a bug")]
    Restless {
        /// When.
        at: Timestamp,
    },
}

/// Replays the demand under one policy.
///
/// # Errors
/// See [`ReplayError`].
pub fn replay(demand: &Demand, kind: PolicyKind, options: &Options) -> Result<Outcome, ReplayError> {
    replay_with(demand, kind, options, &Prepared::new(demand, kind))
}

/// What a policy needs that depends on the demand alone, so that many replays can share it.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    predictions: Predictions,
}

impl Prepared {
    pub(crate) fn new(demand: &Demand, kind: PolicyKind) -> Prepared {
        let predicts = kind == PolicyKind::Crane;
        Prepared { predictions: if predicts { Predictions::new(demand) } else { Predictions::none(demand) } }
    }
}

fn replay_with(
    demand: &Demand,
    kind: PolicyKind,
    options: &Options,
    prepared: &Prepared,
) -> Result<Outcome, ReplayError> {
    check(options)?;
    let run = match rival(kind, demand, options, prepared) {
        Some(mut rival) => follow::run(demand, options, rival.as_mut()),
        None => shadow::run(demand, options)?,
    };
    Ok(Outcome { kind, decisions: run.decisions, score: score(run.totals, options) })
}

fn score(totals: Totals, options: &Options) -> Score {
    Score::new(totals, options.standby_price).with_stopped(options.stopped.map_or(0.0, |level| level.price))
}

/// The rule of a policy; none for ours, which is no rule but the planner.
pub(crate) fn rival<'a>(
    kind: PolicyKind,
    demand: &Demand,
    options: &Options,
    prepared: &'a Prepared,
) -> Option<Box<dyn Rival + 'a>> {
    let (given, lag, tuning) = (options.given(kind), options.metric_lag, options.tuning);
    let (cold, step) = (options.cold.upper(), demand.step());
    Some(match kind {
        PolicyKind::Foreshadow => return None,
        PolicyKind::Hpa => Box::new(HpaRival::new(given, lag)),
        PolicyKind::HpaWarmPool => Box::new(WarmPool::new(given, lag, tuning.pool)),
        PolicyKind::Keda => Box::new(Keda::new(given)),
        PolicyKind::Kpa => Box::new(KpaRival::new(given)),
        PolicyKind::LastWeek => Box::new(LastWeek::new(given, lag, cold, step)),
        PolicyKind::Crane => Box::new(Crane::new(given, lag, &prepared.predictions)),
        PolicyKind::PhpaLinear => Box::new(Phpa::linear(given, lag, cold, step)),
        PolicyKind::PhpaHoltWinters => Box::new(Phpa::holt_winters(given, lag, cold, step, tuning.gains)),
        PolicyKind::Aws => Box::new(Aws::new(given, cold)),
        PolicyKind::HybridHistogram => Box::new(HybridHistogram::new(given, step, tuning.tail)),
        PolicyKind::StaticPeak => Box::new(StaticPeak::new(given, demand.peak())),
        PolicyKind::Oracle => Box::new(oracle(demand, options)),
    })
}

/// Replays the demand under each policy and relates every cost to the oracle's.
///
/// # Errors
/// See [`ReplayError`].
pub fn compare(
    demand: &Demand,
    kinds: &[PolicyKind],
    options: &Options,
) -> Result<Vec<Outcome>, ReplayError> {
    let oracle = replay(demand, PolicyKind::Oracle, options)?;
    let mut outcomes = Vec::with_capacity(kinds.len());
    for kind in kinds {
        let mut outcome =
            if *kind == PolicyKind::Oracle { oracle.clone() } else { replay(demand, *kind, options)? };
        outcome.score = outcome.score.beside(&oracle.score);
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

struct Run {
    decisions: Vec<Decision>,
    totals: Totals,
}

fn oracle(demand: &Demand, options: &Options) -> Oracle {
    let inputs = OracleInputs {
        capacity: options.capacity,
        cold: options.cold.upper(),
        promote: options.promote,
        budget: options.budget,
        standby_price: options.standby_price,
        replicas_min: options.replicas_min,
        replicas_max: options.replicas_max,
        initial: options.initial(),
        score_from: options.score_from.unwrap_or(demand.start()),
    };
    Oracle::new(demand, &inputs)
}

pub(crate) fn check(options: &Options) -> Result<(), ReplayError> {
    let require = |ok: bool, option: &'static str, rule: &'static str| {
        if ok { Ok(()) } else { Err(ReplayError::Option { option, rule }) }
    };
    let positive = |x: f64| x.is_finite() && x > 0.0;
    require(positive(options.capacity), "capacity", "must be a positive number")?;
    require(options.headroom.is_none_or(positive), "headroom", "must be a positive number")?;
    require((0.0..1.0).contains(&options.budget), "budget", "must be at least 0 and below 1")?;
    require(
        (0.0..=FAILURES_MAX).contains(&options.start_failures),
        "start_failures",
        "must be at least 0 and at most 0.95",
    )?;
    let price = options.standby_price;
    require(price.is_finite() && price >= 0.0, "standby_price", "must be 0 or a positive number")?;
    require(options.replicas_min <= options.replicas_max, "replicas_min", "must be at most replicas_max")?;
    require(options.initial() <= options.replicas_max, "initial", "must be at most replicas_max")?;
    require(options.replicas_max <= REPLICAS_MAX, "replicas_max", "must be at most 100,000")?;
    require(options.cold.upper() <= LEAD_MAX, "cold", "must be at most one day")?;
    require(options.promote <= LEAD_MAX, "promote", "must be at most one day")
}

const REPLICAS_MAX: u32 = 100_000;
/// With more, hardly anything would ever start.
const FAILURES_MAX: f64 = 0.95;
const LEAD_MAX: std::time::Duration = std::time::Duration::from_secs(86_400);
