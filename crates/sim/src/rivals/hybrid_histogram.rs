//! The hybrid histogram policy of "Serverless in the Wild" (Shahrad et al., ATC 2020), for a workload that is often idle.
//!
//! Made for functions: instances come with the first request and the question is how long to keep them afterwards. A
//! histogram of idle times, in one-minute bins over four hours, says when to unload the workload, when to load it again
//! ahead of its next use, and how long to keep it then ([`forecast::models::sparse::Hybrid`], with the mean of the latest idle
//! times where the paper fits ARIMA). What is loaded is the whole capacity of the last use: as many instances as its largest
//! demand needed within the keep-alive time. While in use the workload has what it needed within that time.
//!
//! Kept instances are active, as a warm function takes its next request at once. Demand is seen a second after it came: the
//! platform holds every request in its hands. With a least number of replicas above zero nothing is ever unloaded below it.

use std::time::Duration;

use forecast::Timestamp;
use forecast::models::sparse::Hybrid;

use super::{Given, Rival, View, Wanted};

/// The histogram and where the workload stands in its idle time.
#[derive(Debug, Clone)]
pub struct HybridHistogram {
    given: Given,
    hybrid: Hybrid,
    step: Duration,
    /// When the minutes of the histogram are counted from, and how many have been learned.
    began: Option<Timestamp>,
    learned: u32,
    /// Whole minutes since the last use; none before the first and when a gap has hidden what happened.
    since: Option<u32>,
    /// The largest demand of the last use, and when that use was last seen.
    last_use: Option<(Timestamp, f64)>,
}

impl HybridHistogram {
    /// The constants of the paper, but for the share of idle times that the keep-alive covers (0.99 there).
    pub fn new(given: Given, step: Duration, tail: f64) -> HybridHistogram {
        let mut hybrid = Hybrid::new(RANGE_MINUTES);
        hybrid.tail = tail;
        HybridHistogram { given, hybrid, step, began: None, learned: 0, since: None, last_use: None }
    }

    /// Takes the minutes that have ended.
    fn learn(&mut self, view: &View<'_>, began: Timestamp) {
        let now = view.past.now();
        let minutes = (now.since(began).as_millis() / MINUTE.as_millis()) as u32;
        while self.learned < minutes {
            self.learned += 1;
            let ended = began + MINUTE * self.learned;
            let busy = view.past.max(now.since(ended) + MINUTE, MINUTE);
            match (busy, self.since) {
                (Some(demand), since) if demand > 0.0 => {
                    if let Some(idle) = since.filter(|since| *since > 0) {
                        self.hybrid.learn(idle + 1);
                    }
                    self.since = Some(0);
                }
                (Some(_), since) => self.since = since.map(|since| since + 1),
                (None, _) => self.since = None,
            }
        }
    }

    fn kept(&mut self, view: &View<'_>) -> f64 {
        let window = self.hybrid.window();
        let keep = MINUTE * *window.end();
        let now = view.past.now();
        if let Some(demand) = view.past.value(Duration::ZERO).filter(|demand| *demand > 0.0) {
            let most = view.past.max(keep, keep).unwrap_or(demand).max(demand);
            self.last_use = Some((now, most));
            return most;
        }
        match self.last_use {
            Some((at, most)) => {
                let minute = (now.since(at).as_millis() / MINUTE.as_millis()) as u32 + 1;
                if window.contains(&minute) { most } else { 0.0 }
            }
            None => 0.0,
        }
    }
}

impl Rival for HybridHistogram {
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let began = self.began?;
        Some(after(now, began, MINUTE).min(after(now, began + REACTION, self.step)))
    }

    fn decide(&mut self, view: &View<'_>) -> Wanted {
        let began = *self.began.get_or_insert(view.past.now());
        self.learn(view, began);
        let demand = self.kept(view);
        let active = if demand > 0.0 { self.given.replicas_for(demand) } else { self.given.replicas_min };
        Wanted { active, standby: 0 }
    }
}

/// The first of `origin`, `origin + every`, .. that is later than `now`.
fn after(now: Timestamp, origin: Timestamp, every: Duration) -> Timestamp {
    if now < origin {
        return origin;
    }
    origin + every * ((now.since(origin).as_millis() / every.as_millis()) as u32 + 1)
}

const MINUTE: Duration = Duration::from_secs(60);
/// The paper's range of the histogram.
const RANGE_MINUTES: u32 = 240;
/// From the arrival of demand until instances for it are ordered.
const REACTION: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demand::Demand;

    fn play(values: &[f64]) -> Vec<u32> {
        let points: Vec<_> =
            values.iter().enumerate().map(|(i, v)| (Timestamp::from_secs(i as i64 * 60), Some(*v))).collect();
        let demand = Demand::from_points(&points, MINUTE).unwrap();
        let given = Given { capacity: 100.0, headroom: 1.0, replicas_min: 0, replicas_max: 100 };
        let mut rule = HybridHistogram::new(given, MINUTE, 0.99);
        // What is wanted in the middle of each minute.
        let mut wanted = Vec::new();
        let mut now = demand.start();
        let mut last = 0;
        while wanted.len() < values.len() {
            last = rule.decide(&View { past: demand.past(now), ready: last, current: last }).active;
            let next = rule.next(now).unwrap();
            let middle = Timestamp::from_secs(wanted.len() as i64 * 60 + 30);
            if next > middle {
                wanted.push(last);
            }
            now = next;
        }
        wanted
    }

    #[test]
    fn everything_is_kept_for_four_hours_while_the_histogram_says_nothing() {
        let mut values = vec![0.0, 250.0];
        values.extend([0.0; 300]);
        let wanted = play(&values);
        assert_eq!((wanted[0], wanted[1]), (0, 3), "the first use is seen when it comes");
        assert_eq!(wanted[2..241], [3; 239]);
        assert_eq!(wanted[243..], [0; 59]);
    }

    #[test]
    fn a_timer_is_unloaded_at_once_and_loaded_ahead() {
        let values: Vec<f64> = (0..1500).map(|i| if i % 100 == 0 { 150.0 } else { 0.0 }).collect();
        let wanted = play(&values);
        let last = &wanted[1400..1500];
        // The head at 100 minutes, less a tenth; the last use itself.
        assert_eq!(last[0], 2);
        assert!(last[2..88].iter().all(|wanted| *wanted == 0), "{last:?}");
        assert!(last[91..].iter().all(|wanted| *wanted == 2), "{last:?}");
    }

    #[test]
    fn a_workload_that_is_always_in_use_keeps_its_largest_demand_of_four_hours() {
        let values: Vec<f64> = (0..600).map(|i| if i == 100 { 900.0 } else { 100.0 }).collect();
        let wanted = play(&values);
        assert_eq!((wanted[99], wanted[100], wanted[330], wanted[350]), (1, 9, 9, 1));
    }
}
