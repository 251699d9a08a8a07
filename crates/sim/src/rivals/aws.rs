//! EC2 Auto Scaling: predictive scaling beside target tracking. A stand-in, as the forecast of AWS is secret.
//!
//! What is documented is kept: a forecast per hour from at least 24 h and at most 14 days of the metric, refreshed every six
//! hours, that raises the capacity 300 s before each hour (or a start time earlier, if that is longer) and never lowers it;
//! target tracking on one-minute data that grows after three minutes above the target and shrinks after fifteen below 90 %
//! of it, not while instances are starting; the larger of both counts. What is a stand-in is the forecast itself: the mean
//! demand of the same hour of the week in the last 14 days, or of the same hour of the day while there is less history.

use std::collections::VecDeque;
use std::time::Duration;

use forecast::Timestamp;

use super::{Given, Rival, View, Wanted};
use crate::demand::Past;

/// The group's desired capacity and what the policies remember.
#[derive(Debug, Clone)]
pub struct Aws {
    given: Given,
    buffer: Duration,
    desired: Option<u32>,
    /// For each of the last minutes: whether the utilisation was above the target, and whether below what shrinks.
    minutes: VecDeque<(bool, bool)>,
    /// Demand expected for an hour, and when that was said.
    hours: VecDeque<(Timestamp, Timestamp, Option<f64>)>,
}

impl Aws {
    /// The headroom sets the target utilisation of both policies.
    pub fn new(given: Given, cold: Duration) -> Aws {
        let buffer = BUFFER.max(cold).min(BUFFER_MAX);
        Aws { given, buffer, desired: None, minutes: VecDeque::new(), hours: VecDeque::new() }
    }

    fn tracked(&mut self, view: &View<'_>, desired: u32) -> u32 {
        let Some(demand) = view.past.mean(MINUTE) else {
            self.minutes.clear();
            return desired;
        };
        // Instances that warm up do not count in the metric.
        let utilised = demand / (f64::from(view.ready.max(1)) * self.given.target_per_instance());
        self.minutes.push_back((utilised > 1.0, utilised < DOWN_BELOW));
        if self.minutes.len() > MINUTES_DOWN {
            self.minutes.pop_front();
        }
        let wanted = self.given.replicas_for(demand);
        let up = self.minutes.len() >= MINUTES_UP
            && self.minutes.iter().rev().take(MINUTES_UP).all(|(above, _)| *above);
        let down = self.minutes.len() >= MINUTES_DOWN && self.minutes.iter().all(|(_, below)| *below);
        let starting = view.ready < view.current;
        if up {
            desired.max(wanted)
        } else if down && !starting {
            desired.min(wanted)
        } else {
            desired
        }
    }

    /// Instances that the forecast wants now: for this hour, and for the next one when it is near.
    fn foreseen(&mut self, past: Past<'_>) -> u32 {
        let now = past.now();
        let hours = [now.align_down(HOUR), (now + self.buffer).align_down(HOUR)];
        let demand = hours.into_iter().filter_map(|hour| self.expected(past, hour)).reduce(f64::max);
        demand.map_or(0, |demand| self.given.replicas_for(demand))
    }

    /// The demand of an hour by the latest refresh of the forecast.
    fn expected(&mut self, past: Past<'_>, hour: Timestamp) -> Option<f64> {
        let since = past.now().since(past.start()).as_millis();
        let refreshed = past.start() + REFRESH * (since / REFRESH.as_millis()) as u32;
        if let Some((_, _, found)) = self.hours.iter().find(|(of, at, _)| *of == hour && *at == refreshed) {
            return *found;
        }
        let found = forecast(past, hour, refreshed);
        if self.hours.len() >= HOURS_KEPT {
            self.hours.pop_front();
        }
        self.hours.push_back((hour, refreshed, found));
        found
    }
}

impl Rival for Aws {
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        Some(now + MINUTE)
    }

    fn decide(&mut self, view: &View<'_>) -> Wanted {
        let desired = self.desired.unwrap_or(view.current);
        let desired = self.tracked(view, desired).max(self.foreseen(view.past));
        self.desired = Some(desired);
        Wanted { active: desired, standby: 0 }
    }
}

/// The mean demand of the hours like this one in the fourteen days before the refresh.
fn forecast(past: Past<'_>, hour: Timestamp, refreshed: Timestamp) -> Option<f64> {
    let history = refreshed.since(past.start());
    if history < HISTORY_MIN {
        return None;
    }
    let apart = if history < HISTORY { DAY } else { WEEK };
    let mut like = hour - apart;
    let (mut sum, mut count) = (0.0, 0u32);
    while like >= past.start() && like + HISTORY >= refreshed {
        let ended = like + HOUR;
        if ended <= refreshed
            && let Some(mean) = past.mean_until(past.now().since(ended), HOUR)
        {
            sum += mean;
            count += 1;
        }
        like = like - apart;
    }
    (count > 0).then(|| sum / f64::from(count))
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// Least and most history of the forecast, and time between two of its refreshes.
const HISTORY_MIN: Duration = DAY;
const HISTORY: Duration = Duration::from_secs(14 * 24 * 3600);
const REFRESH: Duration = Duration::from_secs(6 * 3600);
/// `SchedulingBufferTime`: its default, and the end of its range.
const BUFFER: Duration = Duration::from_secs(300);
const BUFFER_MAX: Duration = Duration::from_secs(3599);
/// Minutes in a row above the target that grow, and below it that shrink.
const MINUTES_UP: usize = 3;
const MINUTES_DOWN: usize = 15;
/// Shrinking begins below this share of the target.
const DOWN_BELOW: f64 = 0.9;
/// Hours whose forecast is remembered: this one and the next, with their refreshes.
const HOURS_KEPT: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demand::Demand;

    fn given() -> Given {
        Given { capacity: 100.0, headroom: 1.0, replicas_min: 1, replicas_max: 100 }
    }

    fn demand(minutes: i64, of: impl Fn(i64) -> f64) -> Demand {
        let points: Vec<_> = (0..minutes).map(|i| (Timestamp::from_secs(i * 60), Some(of(i)))).collect();
        Demand::from_points(&points, MINUTE).unwrap()
    }

    #[test]
    fn three_minutes_above_the_target_grow_and_fifteen_below_shrink() {
        let demand = demand(60, |i| if (10..20).contains(&i) { 450.0 } else { 195.0 });
        let mut rule = Aws::new(given(), Duration::ZERO);
        let mut wanted = Vec::new();
        let mut current = 2;
        for minute in 0..60i64 {
            let past = demand.past(Timestamp::from_secs(minute * 60));
            current = rule.decide(&View { past, ready: current, current }).active;
            wanted.push(current);
        }
        // The minute that began at 10 is known at 11; three of them at 13.
        assert_eq!((wanted[12], wanted[13]), (2, 5));
        // Minutes 20 to 34 are below.
        assert_eq!((wanted[34], wanted[35]), (5, 2));
    }

    #[test]
    fn starting_instances_block_the_way_down() {
        let demand = demand(60, |_| 100.0);
        let mut rule = Aws::new(given(), Duration::ZERO);
        let mut decide = |minute: i64, current| {
            let past = demand.past(Timestamp::from_secs(minute * 60));
            rule.decide(&View { past, ready: 5, current }).active
        };
        let wanted: Vec<u32> = (0..30).map(|minute| decide(minute, 6)).collect();
        assert_eq!(wanted, [6; 30]);
        assert_eq!(decide(30, 5), 1);
    }

    #[test]
    fn the_forecast_raises_five_minutes_before_the_hour_and_by_the_same_hour_of_other_days() {
        let busy = |i: i64| if (i / 60) % 24 == 9 { 900.0 } else { 100.0 };
        let demand = demand(3 * 1440, busy);
        let decide = |minute: i64| {
            let past = demand.past(Timestamp::from_secs(minute * 60));
            Aws::new(given(), Duration::ZERO).decide(&View { past, ready: 1, current: 1 }).active
        };
        let nine = 9 * 60;
        assert_eq!(decide(nine - 5), 1, "nothing is foreseen in the first day");
        assert_eq!((decide(1440 + nine - 6), decide(1440 + nine - 5)), (1, 9));
        assert_eq!(decide(1440 + nine + 59), 9);
        assert_eq!(decide(1440 + nine + 60), 1);
    }

    #[test]
    fn after_a_fortnight_the_hour_of_the_week_counts() {
        // Monday is busy at nine, the other days are not.
        let busy = |i: i64| if i % 10_080 / 60 == 9 { 900.0 } else { 100.0 };
        let demand = demand(16 * 1440, busy);
        let decide = |minute: i64| {
            let past = demand.past(Timestamp::from_secs(minute * 60));
            Aws::new(given(), Duration::ZERO).decide(&View { past, ready: 1, current: 1 }).active
        };
        assert_eq!(decide(14 * 1440 + 9 * 60 - 5), 9);
        assert_eq!(decide(15 * 1440 + 9 * 60 - 5), 1);
    }
}
