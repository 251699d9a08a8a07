//! What a policy achieved and what it cost, in numbers that can be compared between policies.

use crate::world::Totals;

/// The result of one policy on one trace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// The raw sums.
    pub totals: Totals,
    /// Price of a standby second that the cost was computed with.
    pub standby_price: f64,
    /// Share of the demand that found no capacity.
    pub missed_share: f64,
    /// Share of the time during which some demand found no capacity.
    pub late_share: f64,
    /// Active seconds, plus starting seconds at full price, plus standby seconds at their price.
    pub cost: f64,
    /// Cost divided by the cost of the oracle with the same start-up delay and budget; none when that was not computed.
    pub cost_over_oracle: Option<f64>,
    /// Changes of the wanted active count per day.
    pub scale_events_per_day: f64,
}

impl Score {
    /// The score of these sums.
    pub fn new(totals: Totals, standby_price: f64) -> Score {
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        Score {
            totals,
            standby_price,
            missed_share: share(totals.missed, totals.demand),
            late_share: share(totals.late_seconds, totals.seconds),
            cost: totals.active_seconds + totals.starting_seconds + standby_price * totals.standby_seconds,
            cost_over_oracle: None,
            scale_events_per_day: share(totals.scale_events as f64, totals.seconds / SECONDS_PER_DAY),
        }
    }

    /// The same score with stopped seconds at their price, too.
    pub fn with_stopped(mut self, price: f64) -> Score {
        self.cost += price * self.totals.stopped_seconds;
        self
    }

    /// The same score with its relation to the oracle's.
    pub fn beside(mut self, oracle: &Score) -> Score {
        self.cost_over_oracle = (oracle.cost > 0.0).then(|| self.cost / oracle.cost);
        self
    }
}

const SECONDS_PER_DAY: f64 = 86_400.0;
