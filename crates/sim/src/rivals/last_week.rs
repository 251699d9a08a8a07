//! Same time last week: the simplest predictor that is used in production, and the one that everybody must beat.
//!
//! The rule of Grafana Mimir's autoscaling (grafana/mimir#7775): a second trigger beside the reactive one asks for the
//! largest demand of the half hour that followed this moment one week ago; the larger trigger wins. Both go through an
//! HPA, as KEDA does it, with its dead band and its stabilisation. In the first week only the reactive trigger speaks.

use std::time::Duration;

use forecast::Timestamp;

use super::{Given, Rival, View, Wanted, hpa};

/// The rule and the HPA that it drives.
#[derive(Debug, Clone)]
pub struct LastWeek {
    hpa: hpa::Hpa,
    ahead: Duration,
    /// The step for which the window was looked at, and what was found: it changes once a step.
    seen: Option<(Timestamp, Option<f64>)>,
    step: Duration,
}

impl LastWeek {
    /// Looks half an hour ahead of the same time last week, or as long as a start takes if that is longer.
    pub fn new(given: Given, metric_lag: Duration, cold: Duration, step: Duration) -> LastWeek {
        LastWeek { hpa: given.hpa(metric_lag), ahead: AHEAD.max(cold + step), seen: None, step }
    }

    fn week_ago(&mut self, view: &View<'_>) -> Option<f64> {
        let step = view.past.now().align_down(self.step);
        if let Some((at, found)) = self.seen
            && at == step
        {
            return found;
        }
        let found = view.past.max(WEEK, self.ahead);
        self.seen = Some((step, found));
        found
    }
}

impl Rival for LastWeek {
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        Some(now + self.hpa.config().sync)
    }

    fn decide(&mut self, view: &View<'_>) -> Wanted {
        let reactive = view.past.value(self.hpa.config().metric_lag);
        let metric = match (reactive, self.week_ago(view)) {
            (Some(now), Some(then)) => now.max(then),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => f64::NAN,
        };
        Wanted { active: self.hpa.decide(view.past.now(), metric, view.ready, view.current), standby: 0 }
    }
}

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const AHEAD: Duration = Duration::from_secs(30 * 60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demand::Demand;

    #[test]
    fn the_peak_of_last_week_is_prepared_half_an_hour_early() {
        let step = Duration::from_secs(600);
        let week = 7 * 144;
        let points: Vec<_> = (0..week + 144)
            .map(|slot| {
                (Timestamp::from_secs(slot * 600), Some(if slot % 144 == 72 { 900.0 } else { 100.0 }))
            })
            .collect();
        let demand = Demand::from_points(&points, step).unwrap();
        let given = Given { capacity: 100.0, headroom: 1.0, replicas_min: 1, replicas_max: 100 };
        let decide = |slot: i64| {
            let mut rule = LastWeek::new(given, Duration::from_secs(30), Duration::from_secs(60), step);
            let past = demand.past(Timestamp::from_secs(slot * 600));
            rule.decide(&View { past, ready: 5, current: 5 }).active
        };
        assert_eq!(decide(72 - 2), 5, "nothing is known in the first week");
        assert_eq!(decide(week + 72 - 4), 5);
        assert_eq!(decide(week + 72 - 2), 9);
    }
}
