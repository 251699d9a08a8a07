//! Cost at equal misses: each rival at the setting of its headroom that serves it best.
//!
//! Two policies at different miss rates cannot be compared by cost. So a rival's headroom is tuned with hindsight until it
//! misses no more than a given share of the demand, and the cheapest such setting counts. This favours the rival: no
//! operator could have known the setting beforehand.

use super::{Options, PolicyKind, ReplayError, replay};
use crate::demand::Demand;
use crate::score::Score;

/// A rival at its best setting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rivalry {
    /// The rival.
    pub kind: PolicyKind,
    /// The headroom found.
    pub headroom: f64,
    /// What it achieved with it.
    pub score: Score,
}

/// The cheapest setting of a rival's headroom that misses at most `missed_share` of the demand; none when no setting up to
/// eight times the demand does.
///
/// # Errors
/// See [`ReplayError`].
pub fn cheapest_at(
    demand: &Demand,
    kind: PolicyKind,
    options: &Options,
    missed_share: f64,
) -> Result<Option<Rivalry>, ReplayError> {
    let try_out = |headroom: f64| -> Result<Rivalry, ReplayError> {
        let options = Options { headroom: Some(headroom), ..options.clone() };
        Ok(Rivalry { kind, headroom, score: replay(demand, kind, &options)?.score })
    };
    let mut best: Option<Rivalry> = None;
    let mut consider = |found: Rivalry| {
        let enough = found.score.missed_share <= missed_share;
        if enough && best.is_none_or(|best| found.score.cost < best.score.cost) {
            best = Some(found);
        }
        enough
    };
    // Misses fall with the headroom, nearly always: bisection finds the edge, and every trial on the way counts.
    let (mut low, mut high) = (HEADROOM_LOG_MIN, HEADROOM_LOG_MAX);
    if !consider(try_out(high.exp2())?) {
        return Ok(None);
    }
    for _ in 0..ROUNDS {
        let middle = 0.5 * (low + high);
        if consider(try_out(middle.exp2())?) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(best)
}

const HEADROOM_LOG_MIN: f64 = -1.0;
const HEADROOM_LOG_MAX: f64 = 3.0;
const ROUNDS: u32 = 9;
