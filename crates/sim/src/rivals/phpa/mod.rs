//! The Predictive Horizontal Pod Autoscaler (jthomperoo), with one model at a time, as its documentation means it.
//!
//! It repeats the HPA's calculation, keeps the history of the replica counts that come out of it (not of the load),
//! extrapolates that history with a model and takes the larger of both (`decisionType: maximum`); then come stabilisation and
//! rates as in an HPA, but growth counts per 60 s. Two readings are in the rival's favour: the seasonal model sees time in
//! order, and a model without enough history abstains. Look-ahead, spacing and season, which its users must set, are set to
//! what fits the workload: [`linear`] looks as far ahead as a start takes, [`holt_winters`] has steps as long as that, so that
//! its one step ahead is of use, and a season of a day.
//!
//! Source: documentation and controller of `predictive-horizontal-pod-autoscaler`, read for their rules.

mod holt_winters;
mod linear;

use std::time::Duration;

use forecast::Timestamp;

use self::holt_winters::HoltWinters;
use self::linear::Linear;
use super::{Given, Rival, View, Wanted, hpa};

pub use self::holt_winters::Gains;

/// The HPA, the model of its replica counts, and what the model last said.
#[derive(Debug, Clone)]
pub struct Phpa {
    hpa: hpa::Hpa,
    model: Model,
    /// Time between two points of the model's history: `perSyncPeriod` times the sync period.
    interval: Duration,
    next_point: Option<Timestamp>,
    predicted: Option<u32>,
    replicas_max: u32,
}

#[derive(Debug, Clone)]
enum Model {
    Linear(Linear),
    HoltWinters(HoltWinters),
}

impl Phpa {
    /// With linear regression.
    pub fn linear(given: Given, metric_lag: Duration, cold: Duration, step: Duration) -> Phpa {
        let ahead = cold + SYNC;
        let syncs = step.as_millis().div_ceil(SYNC.as_millis()).max(1) as u32;
        Phpa::new(given, metric_lag, Model::Linear(Linear::new(ahead)), SYNC * syncs)
    }

    /// With exponential smoothing of a daily season.
    pub fn holt_winters(
        given: Given,
        metric_lag: Duration,
        cold: Duration,
        step: Duration,
        gains: Gains,
    ) -> Phpa {
        let syncs = part_of_a_day(step.max(cold + SYNC));
        let model = HoltWinters::new((DAY_SYNCS / syncs) as usize, gains);
        Phpa::new(given, metric_lag, Model::HoltWinters(model), SYNC * syncs)
    }

    fn new(given: Given, metric_lag: Duration, model: Model, interval: Duration) -> Phpa {
        let mut config =
            hpa::HpaConfig::new(given.target_per_instance(), given.replicas_min, given.replicas_max);
        config.metric_lag = metric_lag;
        for policy in &mut config.up {
            policy.period = UP_PERIOD;
        }
        let hpa = hpa::Hpa::new(config);
        Phpa { hpa, model, interval, next_point: None, predicted: None, replicas_max: given.replicas_max }
    }

    fn remember(&mut self, now: Timestamp, calculated: u32) {
        if self.next_point.is_some_and(|at| now < at) {
            return;
        }
        self.next_point = Some(now + self.interval);
        let replicas = f64::from(calculated);
        let predicted = match &mut self.model {
            Model::Linear(model) => model.next(now, replicas),
            Model::HoltWinters(model) => model.next(replicas),
        };
        self.predicted = predicted.map(|replicas| (replicas - super::ROUNDING_SLACK).ceil().max(0.0) as u32);
    }
}

impl Rival for Phpa {
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        Some(now + self.hpa.config().sync)
    }

    fn decide(&mut self, view: &View<'_>) -> Wanted {
        let now = view.past.now();
        let metric = view.past.value(self.hpa.config().metric_lag).unwrap_or(f64::NAN);
        let calculated = self.hpa.recommend(metric, view.ready, view.current).unwrap_or(view.current);
        self.remember(now, calculated);
        let desired = self.predicted.map_or(calculated, |predicted| calculated.max(predicted));
        let active = self.hpa.settle(now, desired.min(self.replicas_max), view.current);
        Wanted { active, standby: 0 }
    }
}

/// The least number of syncs that is at least `span` long and divides a day.
fn part_of_a_day(span: Duration) -> u32 {
    let least = span.as_millis().div_ceil(SYNC.as_millis()).max(1);
    (1..=DAY_SYNCS)
        .find(|syncs| u128::from(*syncs) >= least && DAY_SYNCS.is_multiple_of(*syncs))
        .unwrap_or(DAY_SYNCS)
}

/// The sync period of PHPA and its default period of the limits of growth.
const SYNC: Duration = Duration::from_secs(15);
const UP_PERIOD: Duration = Duration::from_secs(60);
/// Syncs in a day.
const DAY_SYNCS: u32 = 86_400 / 15;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demand::Demand;

    const STEP: Duration = Duration::from_secs(60);

    fn given() -> Given {
        Given { capacity: 1.0, headroom: 1.0, replicas_min: 1, replicas_max: 500 }
    }

    fn play(rule: &mut Phpa, demand: &Demand, until: i64) -> u32 {
        let mut current = 20;
        for sync in 0..until {
            let past = demand.past(Timestamp::from_secs(sync * 15));
            current = rule.decide(&View { past, ready: current, current }).active;
        }
        current
    }

    #[test]
    fn linear_runs_ahead_of_a_ramp_by_the_time_of_a_start() {
        let points: Vec<_> = (0..60).map(|i| (Timestamp::from_secs(i * 60), Some(20.0 + i as f64))).collect();
        let demand = Demand::from_points(&points, STEP).unwrap();
        let mut rule = Phpa::linear(given(), Duration::ZERO, Duration::from_secs(585), STEP);
        // Ten minutes ahead of a ramp of one instance a minute; the dead band blurs what the model is fed with.
        let active = play(&mut rule, &demand, 55 * 4);
        assert!((80..=92).contains(&active), "{active} where {} are needed now", 20 + 54);
    }

    #[test]
    fn growth_counts_per_minute() {
        let demand =
            Demand::from_points(&[(Timestamp::from_secs(0), Some(400.0)); 1], Duration::from_secs(3600))
                .unwrap();
        let mut rule = Phpa::linear(given(), Duration::ZERO, Duration::ZERO, STEP);
        let mut decide = |seconds, current| {
            let past = demand.past(Timestamp::from_secs(seconds));
            rule.decide(&View { past, ready: current, current }).active
        };
        assert_eq!(decide(1, 10), 20);
        assert_eq!(decide(16, 20), 20, "an HPA would double again");
        assert_eq!(decide(61, 20), 40);
    }

    #[test]
    fn the_steps_of_the_seasonal_model_cover_a_start_and_divide_a_day() {
        assert_eq!(part_of_a_day(Duration::from_secs(195)), 15);
        assert_eq!(part_of_a_day(Duration::from_secs(60)), 4);
        assert_eq!(part_of_a_day(Duration::from_secs(3600)), 240);
        assert_eq!(part_of_a_day(Duration::from_secs(90_000)), DAY_SYNCS);
    }

    #[test]
    fn the_peak_of_the_days_before_is_prepared_one_step_early() {
        // From ten to twelve to ten to one, every day; the model has steps of an hour.
        let value = |slot: i64| if (71..77).contains(&(slot % 144)) { 100.0 } else { 20.0 };
        let points: Vec<_> =
            (0..4 * 144).map(|slot| (Timestamp::from_secs(slot * 600), Some(value(slot)))).collect();
        let step = Duration::from_secs(600);
        let demand = Demand::from_points(&points, step).unwrap();
        let gains = Gains { level: 0.3, trend: 0.05, season: 0.5 };
        let at = |hour: i64, minute: i64| {
            let mut rule =
                Phpa::holt_winters(given(), Duration::ZERO, Duration::from_secs(3585), step, gains);
            play(&mut rule, &demand, (3 * 24 + hour) * 240 + minute * 4)
        };
        assert_eq!(at(10, 59), 20);
        assert!((90..=130).contains(&at(11, 20)), "{}", at(11, 20));
    }
}
