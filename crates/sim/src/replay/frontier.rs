//! Cost against misses: what each policy achieves at all settings of its knobs, not at one.
//!
//! Two policies at different miss rates cannot be compared by cost, and one setting says little about a rule. So every policy
//! is swept over what its users can turn ([`Setting`]), with hindsight, and what is left is the frontier: the settings that no
//! other setting of the same policy beats in both. This favours the rivals: no operator could have known beforehand which
//! of them to choose. [`cheapest_at`] narrows a rival's headroom down to a given miss rate.

use super::setting::Setting;
use super::{Options, PolicyKind, Prepared, ReplayError, replay_with};
use crate::demand::Demand;
use crate::score::Score;

/// A policy at one setting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// What was turned.
    pub setting: Setting,
    /// What it achieved with it.
    pub score: Score,
}

/// One policy, ready to be tried at many settings. The trials are independent of each other: they may run in any order and
/// on several threads.
#[derive(Debug, Clone)]
pub struct Sweep<'a> {
    demand: &'a Demand,
    kind: PolicyKind,
    options: &'a Options,
    prepared: Prepared,
    settings: Vec<Setting>,
}

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

impl<'a> Sweep<'a> {
    /// Prepares what all trials share.
    pub fn new(demand: &'a Demand, kind: PolicyKind, options: &'a Options) -> Sweep<'a> {
        let prepared = Prepared::new(demand, kind);
        Sweep { demand, kind, options, prepared, settings: Setting::all(kind, demand, options) }
    }

    /// The policy.
    pub fn kind(&self) -> PolicyKind {
        self.kind
    }

    /// What is to be tried.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// Replays the demand at a setting.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub fn try_out(&self, setting: Setting) -> Result<Point, ReplayError> {
        let options = setting.over(self.options);
        let score = replay_with(self.demand, self.kind, &options, &self.prepared)?.score;
        Ok(Point { setting, score })
    }

    /// The cheapest headroom that misses at most `missed_share`; see [`cheapest_at`].
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub fn cheapest_at(&self, missed_share: f64) -> Result<Option<Rivalry>, ReplayError> {
        let try_out = |headroom: f64| -> Result<Rivalry, ReplayError> {
            let point = self.try_out(Setting { headroom: Some(headroom), ..Setting::default() })?;
            Ok(Rivalry { kind: self.kind, headroom, score: point.score })
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
    Sweep::new(demand, kind, options).cheapest_at(missed_share)
}

/// The frontier of a policy: cheapest first, with ever fewer misses.
///
/// # Errors
/// See [`ReplayError`].
pub fn frontier(demand: &Demand, kind: PolicyKind, options: &Options) -> Result<Vec<Point>, ReplayError> {
    let sweep = Sweep::new(demand, kind, options);
    let points = sweep.settings().iter().map(|setting| sweep.try_out(*setting));
    Ok(pareto(points.collect::<Result<_, _>>()?))
}

/// The points that no other point beats in cost and misses, cheapest first. Of equal ones the first stays.
pub fn pareto(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_by(|a, b| {
        let by_cost = a.score.cost.total_cmp(&b.score.cost);
        by_cost.then(a.score.missed_share.total_cmp(&b.score.missed_share))
    });
    let mut least = f64::INFINITY;
    points.retain(|point| {
        let better = point.score.missed_share < least;
        least = least.min(point.score.missed_share);
        better
    });
    points
}

/// The cheapest of these points that misses at most `missed_share`.
pub fn cheapest_of(points: &[Point], missed_share: f64) -> Option<&Point> {
    let enough = points.iter().filter(|point| point.score.missed_share <= missed_share);
    enough.min_by(|a, b| a.score.cost.total_cmp(&b.score.cost))
}

const HEADROOM_LOG_MIN: f64 = -1.0;
const HEADROOM_LOG_MAX: f64 = 3.0;
const ROUNDS: u32 = 9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Totals;

    fn point(headroom: f64, missed: f64, cost: f64) -> Point {
        let totals = Totals { demand: 1.0, missed, active_seconds: cost, ..Totals::default() };
        let setting = Setting { headroom: Some(headroom), ..Setting::default() };
        Point { setting, score: Score::new(totals, 0.2) }
    }

    #[test]
    fn only_what_no_other_point_beats_is_left() {
        let points = vec![
            point(1.0, 0.3, 10.0),
            point(2.0, 0.1, 30.0),
            point(3.0, 0.2, 31.0),
            point(4.0, 0.1, 40.0),
            point(5.0, 0.0, 50.0),
            point(6.0, 0.4, 10.0),
        ];
        let left: Vec<f64> =
            pareto(points.clone()).iter().map(|point| point.setting.headroom.unwrap()).collect();
        assert_eq!(left, [1.0, 2.0, 5.0]);
        assert_eq!(cheapest_of(&points, 0.1).map(|point| point.score.cost), Some(30.0));
        assert_eq!(cheapest_of(&points, -1.0), None);
    }
}
