//! KEDA: an HPA that is fed with an external `AverageValue` metric, and a switch between zero and one.
//!
//! A trigger is polled every 30 s and the HPA, which decides every 15 s, sees the answer of the last poll (KEDA's
//! `useCachedMetrics`). The trigger itself is taken to be current: a queue or a broker knows its demand. Polls and decisions
//! are not in step, so the metric is 15 s old on average. Where the least number of replicas is zero, KEDA takes the
//! workload to zero when the trigger has been inactive for the cooldown, and back to one at the first poll that is not;
//! between one and the most the HPA decides.
//!
//! Source: the documentation of ScaledObject, KEDA 2.20.

use std::time::Duration;

use forecast::Timestamp;

use super::{Given, Rival, View, Wanted, hpa};

/// The HPA behind KEDA, and when its trigger was active last.
#[derive(Debug, Clone)]
pub struct Keda {
    hpa: hpa::Hpa,
    to_zero: bool,
    began: Option<Timestamp>,
    active_at: Option<Timestamp>,
}

impl Keda {
    /// KEDA's defaults; the headroom sets the threshold of the trigger.
    pub fn new(given: Given) -> Keda {
        let to_zero = given.replicas_min == 0;
        Keda { hpa: given.hpa(Duration::ZERO), to_zero, began: None, active_at: None }
    }
}

impl Rival for Keda {
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        // The first decision is half a sync after the first poll, the others a sync apart.
        let first = self.began == Some(now);
        Some(now + if first { self.hpa.config().sync / 2 } else { self.hpa.config().sync })
    }

    fn decide(&mut self, view: &View<'_>) -> Wanted {
        let now = view.past.now();
        let began = *self.began.get_or_insert(now);
        let polled = Duration::from_millis((now.since(began).as_millis() % POLLING.as_millis()) as u64);
        let metric = view.past.value(polled).unwrap_or(f64::NAN);
        if metric > 0.0 {
            self.active_at = Some(now - polled);
        }
        let standby = 0;
        if self.to_zero {
            let idle = self.active_at.is_none_or(|at| at + COOLDOWN <= now);
            if idle && metric == 0.0 {
                return Wanted { active: 0, standby };
            }
            if view.current == 0 {
                return Wanted { active: u32::from(metric > 0.0), standby };
            }
        }
        Wanted { active: self.hpa.decide(now, metric, view.ready, view.current), standby }
    }
}

/// KEDA's `pollingInterval`.
const POLLING: Duration = Duration::from_secs(30);
/// KEDA's `cooldownPeriod`: only on the way to zero.
const COOLDOWN: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demand::Demand;

    fn given(replicas_min: u32) -> Given {
        Given { capacity: 100.0, headroom: 1.0, replicas_min, replicas_max: 100 }
    }

    fn demand(values: &[f64]) -> Demand {
        let points: Vec<_> =
            values.iter().enumerate().map(|(i, v)| (Timestamp::from_secs(i as i64 * 60), Some(*v))).collect();
        Demand::from_points(&points, Duration::from_secs(60)).unwrap()
    }

    #[test]
    fn the_hpa_sees_the_last_poll() {
        let demand = demand(&[100.0, 900.0, 900.0]);
        let mut rule = Keda::new(given(1));
        let mut decide = |ms: i64| {
            let past = demand.past(Timestamp::from_millis(ms));
            rule.decide(&View { past, ready: 1, current: 1 }).active
        };
        decide(0);
        assert_eq!(decide(67_500), 1, "polled at 60 s, when the step before was seen");
        assert_eq!(decide(82_500), 1);
        // 100 % or 4 instances in 15 s.
        assert_eq!(decide(97_500), 5, "polled at 90 s");
        let rule = Keda::new(given(1));
        assert_eq!(rule.next(Timestamp::from_secs(15)), Some(Timestamp::from_secs(30)));
    }

    #[test]
    fn the_last_instance_goes_after_the_cooldown_and_comes_back_with_demand() {
        let mut values = vec![50.0];
        values.extend([0.0; 10]);
        values.push(50.0);
        values.push(50.0);
        let demand = demand(&values);
        let mut rule = Keda::new(given(0));
        let mut decide = |seconds: i64, current| {
            let past = demand.past(Timestamp::from_secs(seconds));
            rule.decide(&View { past, ready: current, current }).active
        };
        assert_eq!(decide(0, 1), 1);
        assert_eq!(decide(60, 1), 1);
        assert_eq!(decide(345, 1), 1);
        assert_eq!(decide(360, 1), 0);
        assert_eq!(decide(645, 0), 0);
        assert_eq!(decide(690, 0), 1);
    }
}
