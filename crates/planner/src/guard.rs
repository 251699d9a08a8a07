//! The outage guard: when demand vanishes because something broke, capacity must still be there when it returns.
//!
//! Reactive scalers take "no requests" for "no demand" and remove what the returning crowd needs. The guard blocks
//! scale-in, for a bounded time, when the demand signal is missing, when demand is far below what the forecast thinks
//! possible, or when errors are everywhere. It never blocks scale-out. A forecast learns low demand within a few steps, so a
//! collapse is over only when demand is back near what was thought possible before it. After its time is over it must see
//! demand as forecast again before it may block once more, so that a real end of demand costs one guard time and no more.

use std::time::Duration;

use forecast::Timestamp;

use crate::reason::GuardCause;

/// Watches for outages of one workload.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    state: State,
    calm_steps: u32,
    /// Demand of the step that is being judged, if known.
    seen: Option<f64>,
    /// Slow mean of demand; none before the first step.
    usual: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// Nothing suspicious.
    Armed,
    /// Scale-in is blocked.
    Blocking { cause: GuardCause, until: Timestamp },
    /// The guard time was used up; calm is needed before the next.
    Spent,
}

impl Guard {
    pub(crate) fn new() -> Self {
        Guard { state: State::Armed, calm_steps: 0, seen: None, usual: None }
    }

    /// The demand of the step that [`Guard::observe`] hears of next; none when it is missing.
    pub(crate) fn see(&mut self, demand: Option<f64>) {
        self.seen = demand;
        if let Some(demand) = demand {
            let usual = self.usual.unwrap_or(demand);
            self.usual = Some(usual + USUAL_GAIN * (demand - usual));
        }
    }

    /// Takes in what a step looked like. `suspicion` is the cause seen at this moment, if any.
    pub(crate) fn observe(&mut self, now: Timestamp, suspicion: Option<GuardCause>, guard: Duration) {
        match (suspicion.or_else(|| self.still_collapsed()), self.state) {
            (Some(cause), State::Armed) => {
                self.state = State::Blocking { cause, until: now.saturating_add(guard) };
                self.calm_steps = 0;
            }
            (Some(cause), State::Blocking { until, .. }) if now < until => {
                self.state = State::Blocking { cause, until };
                self.calm_steps = 0;
            }
            (Some(_), State::Blocking { .. } | State::Spent) => {
                self.state = State::Spent;
                self.calm_steps = 0;
            }
            (None, State::Armed) => {}
            (None, State::Blocking { .. } | State::Spent) => {
                self.calm_steps += 1;
                let blocking = matches!(self.state, State::Blocking { .. });
                if self.calm_steps >= if blocking { CALM_TO_RELEASE } else { CALM_TO_REARM } {
                    self.state = State::Armed;
                    self.calm_steps = 0;
                }
            }
        }
    }

    /// The collapse that blocks goes on, whatever the forecast has come to expect meanwhile. Back from a short peak to what
    /// is usual is no collapse.
    fn still_collapsed(&self) -> Option<GuardCause> {
        let State::Blocking { cause: GuardCause::DemandCollapsed { expected, .. }, .. } = self.state else {
            return None;
        };
        let possible = self.usual.map_or(expected, |usual| usual.min(expected));
        let seen = self.seen.filter(|seen| *seen < COLLAPSE_SHARE * possible)?;
        Some(GuardCause::DemandCollapsed { seen, expected })
    }

    /// Why scale-in is blocked now, and until when at most.
    pub(crate) fn blocking(&self, now: Timestamp) -> Option<(GuardCause, Timestamp)> {
        match self.state {
            State::Blocking { cause, until } if now < until => Some((cause, until)),
            State::Blocking { .. } | State::Armed | State::Spent => None,
        }
    }
}

/// Demand is suspiciously low when below this share of the lowest that was thought possible.
pub(crate) const COLLAPSE_SHARE: f64 = 0.35;
/// The quantile that is thought the lowest possible.
pub(crate) const COLLAPSE_QUANTILE: f64 = 0.02;
const CALM_TO_RELEASE: u32 = 2;
/// The slow mean follows within about fifty steps.
const USUAL_GAIN: f64 = 0.02;
const CALM_TO_REARM: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const GUARD: Duration = Duration::from_secs(600);

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_millis(minute * 60_000)
    }

    #[test]
    fn it_blocks_for_a_bounded_time_and_only_once() {
        let mut guard = Guard::new();
        let cause = Some(GuardCause::SignalMissing);
        for minute in 0..30 {
            guard.observe(at(minute), cause, GUARD);
            assert_eq!(guard.blocking(at(minute)).is_some(), minute < 10, "minute {minute}");
        }
    }

    #[test]
    fn it_releases_when_demand_is_back_and_can_block_again_later() {
        let mut guard = Guard::new();
        guard.observe(at(0), Some(GuardCause::ErrorsEverywhere), GUARD);
        guard.observe(at(1), None, GUARD);
        assert!(guard.blocking(at(1)).is_some(), "one calm step may be chance");
        guard.observe(at(2), None, GUARD);
        assert!(guard.blocking(at(2)).is_none());
        guard.observe(at(3), Some(GuardCause::SignalMissing), GUARD);
        assert!(guard.blocking(at(3)).is_some());
    }

    /// Minutes for which a collapse to 50 of 1,000 blocks, after minutes with these demands.
    fn blocked_minutes(before: &[f64]) -> i64 {
        let mut guard = Guard::new();
        before.iter().for_each(|demand| guard.see(Some(*demand)));
        guard.see(Some(50.0));
        guard.observe(at(0), Some(GuardCause::DemandCollapsed { seen: 50.0, expected: 1000.0 }), GUARD);
        let blocks = |minute: &i64| {
            guard.see(Some(50.0));
            guard.observe(at(*minute), None, GUARD);
            guard.blocking(at(*minute)).is_some()
        };
        (1..30).take_while(blocks).count() as i64
    }

    #[test]
    fn a_collapse_goes_on_although_the_forecast_has_learned_it() {
        assert_eq!(blocked_minutes(&[1000.0; 50]), 9, "as long as the guard may");
    }

    #[test]
    fn the_end_of_a_short_peak_is_no_collapse() {
        let mut before = vec![50.0; 50];
        before.extend([1000.0; 3]);
        assert_eq!(blocked_minutes(&before), 1);
    }

    #[test]
    fn a_collapse_is_over_when_demand_is_back() {
        let mut guard = Guard::new();
        guard.see(Some(1000.0));
        guard.see(Some(50.0));
        guard.observe(at(0), Some(GuardCause::DemandCollapsed { seen: 50.0, expected: 1000.0 }), GUARD);
        for minute in 1..3 {
            guard.see(Some(900.0));
            guard.observe(at(minute), None, GUARD);
        }
        assert!(guard.blocking(at(2)).is_none());
    }
}
