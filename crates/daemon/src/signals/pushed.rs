//! Demand pushed through the API.

use std::time::Duration;

use forecast::Timestamp;
use thiserror::Error;

/// Watches the order and the gaps of pushed samples of one workload.
#[derive(Debug)]
pub(crate) struct Pushed {
    step: Duration,
    /// Beginning of the latest step that was pushed or given up.
    last: Option<Timestamp>,
    /// When samples of the past were pushed last, after which more of them may follow.
    past_at: Option<Timestamp>,
}

/// Why samples were refused. Nothing of the request was taken.
#[derive(Clone, Debug, PartialEq, Error)]
pub(crate) enum PushRefusal {
    #[error("the request has no samples")]
    Empty,
    #[error("sample {index}: {what} is {value}, which is not a number from 0 to {DEMAND_MAX:e}")]
    NotDemand { index: usize, what: &'static str, value: f64 },
    #[error("sample {index} at {at} is not later than the one before at {before}, in steps of {step:?}")]
    NotAscending { index: usize, at: Timestamp, before: Timestamp, step: Duration },
    #[error("sample {index} at {at} is not later than the last step taken, {last}")]
    TooOld { index: usize, at: Timestamp, last: Timestamp },
    #[error("sample {index} at {at} lies in the future; the daemon's clock says {now}")]
    Future { index: usize, at: Timestamp, now: Timestamp },
}

impl Pushed {
    /// `last` is the latest step already known from history.
    pub(crate) fn new(step: Duration, last: Option<Timestamp>) -> Pushed {
        Pushed { step, last: last.map(|at| at.align_down(step)), past_at: None }
    }

    /// Checks a request as a whole; yields each sample at the beginning of its step.
    pub(crate) fn check(
        &self,
        now: Timestamp,
        samples: &[api::PushedSample],
    ) -> Result<Vec<Timestamp>, PushRefusal> {
        let mut starts: Vec<Timestamp> = Vec::with_capacity(samples.len());
        for (index, sample) in samples.iter().enumerate() {
            for (what, value) in [("demand", sample.demand), ("missed", sample.missed)] {
                if let Some(value) = value.filter(|value| !(0.0..=DEMAND_MAX).contains(value)) {
                    return Err(PushRefusal::NotDemand { index, what, value });
                }
            }
            let at = Timestamp::from_millis(sample.at_ms);
            let start = at.align_down(self.step);
            if at > now + self.step {
                return Err(PushRefusal::Future { index, at, now });
            }
            if let Some(before) = starts.last().copied().filter(|before| start <= *before) {
                return Err(PushRefusal::NotAscending { index, at, before, step: self.step });
            }
            if let Some(last) = self.last.filter(|last| start <= *last) {
                return Err(PushRefusal::TooOld { index, at, last });
            }
            starts.push(start);
        }
        if starts.is_empty() { Err(PushRefusal::Empty) } else { Ok(starts) }
    }

    /// How many of these steps, ascending, would have been given up by now.
    pub(crate) fn past(&self, now: Timestamp, starts: &[Timestamp]) -> usize {
        starts.partition_point(|start| *start <= self.given_up_to(now))
    }

    /// Notes that steps up to `start` are known; whether more of the past may follow.
    pub(crate) fn taken(&mut self, start: Timestamp, now: Timestamp) -> bool {
        self.last = Some(self.last.map_or(start, |last| last.max(start)));
        self.past_at = (start <= self.given_up_to(now)).then_some(now);
        self.past_at.is_some()
    }

    /// Gives nothing up for a while, as if samples of the past had just been pushed.
    pub(crate) fn wait_for_past(&mut self, now: Timestamp) {
        self.past_at = Some(now);
    }

    /// Steps that are given up because nothing was pushed for them in time. While somebody pushes the past, none are.
    pub(crate) fn advance(&mut self, now: Timestamp) -> Vec<Timestamp> {
        let mut missing = Vec::new();
        if self.past_at.is_some_and(|at| at <= now && now.since(at) < PAST_PATIENCE) {
            return missing;
        }
        self.past_at = None;
        let Some(mut last) = self.last else { return missing };
        let newest = self.given_up_to(now);
        while last < newest && missing.len() < STEPS_GIVEN_UP_MAX {
            last = last + self.step;
            missing.push(last);
        }
        // A longer gap is one jump: the forecaster counts the steps between by itself.
        self.last = Some(last.max(newest));
        missing
    }

    /// The newest step that is late.
    fn given_up_to(&self, now: Timestamp) -> Timestamp {
        now.saturating_sub(self.step * (1 + GRACE_STEPS)).align_down(self.step)
    }
}

/// Larger numbers are a sender's mistake, and beyond what models tell apart.
const DEMAND_MAX: f64 = 1e30;
/// Steps that a sample may be late.
const GRACE_STEPS: u32 = 2;
/// How long after samples of the past the next ones may come.
pub(crate) const PAST_PATIENCE: Duration = Duration::from_secs(60);
/// Missing steps reported one by one after a gap.
const STEPS_GIVEN_UP_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_secs(60);

    fn sample(at_s: i64, demand: f64) -> api::PushedSample {
        api::PushedSample { at_ms: at_s * 1000, demand: Some(demand), missed: None }
    }

    fn now() -> Timestamp {
        Timestamp::from_secs(6000)
    }

    #[test]
    fn samples_in_order_are_taken_at_the_beginning_of_their_step() {
        let starts = Pushed::new(STEP, None).check(now(), &[sample(5, 1.0), sample(60, 2.0)]);
        assert_eq!(starts, Ok(vec![Timestamp::from_secs(0), Timestamp::from_secs(60)]));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let pushed = Pushed::new(STEP, Some(Timestamp::from_secs(600)));
        let refusal = |samples: &[api::PushedSample]| pushed.check(now(), samples).expect_err("refused");
        assert_eq!(refusal(&[]), PushRefusal::Empty);
        assert!(matches!(refusal(&[sample(900, -1.0)]), PushRefusal::NotDemand { what: "demand", .. }));
        assert!(matches!(refusal(&[sample(900, 2e30)]), PushRefusal::NotDemand { .. }));
        assert!(matches!(refusal(&[sample(900, f64::NAN)]), PushRefusal::NotDemand { .. }));
        assert!(matches!(
            refusal(&[sample(900, 1.0), sample(900, 1.0)]),
            PushRefusal::NotAscending { index: 1, .. }
        ));
        assert!(matches!(refusal(&[sample(960, 1.0), sample(900, 1.0)]), PushRefusal::NotAscending { .. }));
        assert!(matches!(refusal(&[sample(600, 1.0)]), PushRefusal::TooOld { .. }));
        assert!(matches!(refusal(&[sample(9000, 1.0)]), PushRefusal::Future { .. }));
    }

    #[test]
    fn a_silent_source_is_noticed_after_a_grace() {
        let mut pushed = Pushed::new(STEP, Some(Timestamp::from_secs(0)));
        assert!(pushed.advance(Timestamp::from_secs(239)).is_empty());
        assert_eq!(pushed.advance(Timestamp::from_secs(240)), [Timestamp::from_secs(60)]);
        assert!(pushed.advance(Timestamp::from_secs(299)).is_empty());
    }

    #[test]
    fn while_the_past_is_pushed_no_step_is_given_up_and_afterwards_all_are() {
        let (mut pushed, day) = (Pushed::new(STEP, None), 86_400);
        let now = |secs: i64| Timestamp::from_secs(30 * day + secs);
        assert!(pushed.taken(Timestamp::from_secs(day), now(0)));
        assert!(pushed.advance(now(59)).is_empty());
        let next = [sample(day + 60, 1.0), sample(2 * day, 2.0)];
        let starts = pushed.check(now(59), &next).expect("taken after a while");
        assert_eq!(pushed.past(now(59), &starts), 2);
        assert!(pushed.taken(starts[1], now(59)));
        assert!(pushed.advance(now(118)).is_empty());
        assert_eq!(pushed.advance(now(119)).len(), STEPS_GIVEN_UP_MAX, "nobody went on");
        assert!(matches!(pushed.check(now(119), &[sample(3 * day, 1.0)]), Err(PushRefusal::TooOld { .. })));
    }

    #[test]
    fn a_source_that_has_reached_the_present_has_the_grace_and_no_more() {
        let mut pushed = Pushed::new(STEP, None);
        assert!(pushed.taken(Timestamp::from_secs(0), Timestamp::from_secs(6000)));
        let starts = [0, 5760, 5820, 5880, 5940].map(Timestamp::from_secs);
        assert_eq!(pushed.past(Timestamp::from_secs(6000), &starts), 3);
        assert!(!pushed.taken(Timestamp::from_secs(5940), Timestamp::from_secs(6000)));
        assert_eq!(pushed.advance(Timestamp::from_secs(6180)), [Timestamp::from_secs(6000)]);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nobody_wait_for_ever() {
        let mut pushed = Pushed::new(STEP, Some(Timestamp::from_secs(0)));
        pushed.wait_for_past(Timestamp::from_secs(1_000_000));
        assert!(!pushed.advance(Timestamp::from_secs(6000)).is_empty());
    }

    #[test]
    fn without_any_sample_nothing_is_missing() {
        assert!(Pushed::new(STEP, None).advance(now()).is_empty());
    }
}
