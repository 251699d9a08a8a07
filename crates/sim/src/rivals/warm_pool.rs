//! An HPA with a pool of ready instances beside it, of a fixed size: what is done today against slow starts.
//!
//! The HPA decides how many serve and knows nothing of the pool; the pool is refilled as soon as instances leave it. Three
//! ways of sizing it are in use. Game servers (the FleetAutoscaler of Agones) keep a number or a percentage of the whole
//! ready, decided every 30 s; warm pools of EC2 Auto Scaling hold what is missing to a prepared total. None knows a forecast.
//!
//! Instances of the pool become active by a promotion and those that the HPA lets go return to the pool, as the reuse
//! policy of EC2 has it.

use std::time::Duration;

use super::{Given, Rival, View, Wanted, hpa};
use forecast::Timestamp;

/// How large the pool is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pool {
    /// Always so many (Agones, absolute buffer).
    Count(u32),
    /// So large a share of all instances, from 0 to below 1: `active / (1 - share)` in all, rounded up (Agones, percentage).
    Share(f64),
    /// What is missing to so many instances in all (EC2 Auto Scaling, maximum prepared capacity).
    Prepared(u32),
}

/// The HPA and its pool.
#[derive(Debug, Clone)]
pub struct WarmPool {
    hpa: hpa::Hpa,
    pool: Pool,
    replicas_max: u32,
    /// What the HPA last wanted: it does not see the pool.
    active: Option<u32>,
    standby: u32,
    sized_at: Option<Timestamp>,
}

impl WarmPool {
    /// An HPA with Kubernetes defaults beside a pool.
    pub fn new(given: Given, metric_lag: Duration, pool: Pool) -> WarmPool {
        let hpa = given.hpa(metric_lag);
        WarmPool { hpa, pool, replicas_max: given.replicas_max, active: None, standby: 0, sized_at: None }
    }
}

impl Rival for WarmPool {
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        Some(now + self.hpa.config().sync)
    }

    fn decide(&mut self, view: &View<'_>) -> Wanted {
        let now = view.past.now();
        let metric = view.past.value(self.hpa.config().metric_lag).unwrap_or(f64::NAN);
        let active = self.hpa.decide(now, metric, view.ready, self.active.unwrap_or(view.current));
        self.active = Some(active);
        if self.sized_at.is_none_or(|at| at + SYNC <= now) {
            self.sized_at = Some(now);
            self.standby = self.pool.beside(active);
        }
        Wanted { active, standby: self.standby.min(self.replicas_max.saturating_sub(active)) }
    }
}

impl Pool {
    /// The size of the pool beside so many active instances.
    pub fn beside(self, active: u32) -> u32 {
        match self {
            Pool::Count(count) => count,
            Pool::Share(share) => {
                let all = f64::from(active) / (1.0 - share.clamp(0.0, SHARE_MAX));
                (all - super::ROUNDING_SLACK).ceil() as u32 - active
            }
            Pool::Prepared(all) => all.saturating_sub(active),
        }
    }
}

/// A percentage that a user gives: Agones accepts 1 to 99.
const SHARE_MAX: f64 = 0.99;
/// Time between two decisions about the pool: the sync of a FleetAutoscaler.
const SYNC: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demand::Demand;

    #[test]
    fn the_pool_is_a_share_of_all_a_number_or_what_is_missing_to_a_total() {
        // Agones: ceil(allocated * 100 / (100 - percent)).
        assert_eq!(Pool::Share(0.2).beside(8), 2);
        assert_eq!(Pool::Share(0.2).beside(9), 3);
        assert_eq!(Pool::Share(0.5).beside(7), 7);
        assert_eq!(Pool::Count(3).beside(100), 3);
        assert_eq!((Pool::Prepared(10).beside(4), Pool::Prepared(10).beside(12)), (6, 0));
    }

    #[test]
    fn the_hpa_does_not_see_the_pool_and_the_pool_follows_every_half_minute() {
        let points: Vec<_> = (0..4).map(|i| (Timestamp::from_secs(i * 60), Some(400.0))).collect();
        let demand = Demand::from_points(&points, Duration::from_secs(60)).unwrap();
        let given = Given { capacity: 100.0, headroom: 1.0, replicas_min: 1, replicas_max: 20 };
        let mut rule = WarmPool::new(given, Duration::ZERO, Pool::Share(0.5));
        let mut decide = |seconds, current| {
            let past = demand.past(Timestamp::from_secs(seconds));
            rule.decide(&View { past, ready: 1, current })
        };
        assert_eq!(decide(60, 1), Wanted { active: 4, standby: 4 });
        assert_eq!(decide(75, 8), Wanted { active: 4, standby: 4 });
        assert_eq!(rule.next(Timestamp::from_secs(60)), Some(Timestamp::from_secs(75)));
    }
}
