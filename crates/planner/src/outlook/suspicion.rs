//! Signs that what is heard of demand is not the whole truth: an outage, a signal that has stopped, a clock that was set back.

use forecast::Timestamp;

use super::Outlook;
use crate::guard::COLLAPSE_SHARE;
use crate::policy::WorkloadPolicy;
use crate::reason::GuardCause;

impl Outlook {
    /// Looks for signs of an outage in a step.
    pub(super) fn suspect(
        &mut self,
        policy: &WorkloadPolicy,
        now: Timestamp,
        demand: Option<f64>,
        low_expected: f64,
        errors: bool,
    ) {
        self.missing_in_row = if demand.is_some() { 0 } else { self.missing_in_row + 1 };
        let busy = low_expected > 0.5 * self.capacity.estimate();
        let cause = match demand {
            None => Some(GuardCause::SignalMissing),
            Some(_) if errors => Some(GuardCause::ErrorsEverywhere),
            Some(seen) if busy && seen < COLLAPSE_SHARE * low_expected => {
                Some(GuardCause::DemandCollapsed { seen, expected: low_expected })
            }
            Some(seen) if self.forecaster.outage_suspected() => {
                Some(GuardCause::DemandCollapsed { seen, expected: low_expected.max(seen) })
            }
            Some(_) => None,
        };
        self.guard.observe(now, cause, policy.guard);
    }

    /// Looks for a signal that has stopped coming. For ticks on which no step was reported.
    pub(crate) fn suspect_silence(&mut self, policy: &WorkloadPolicy, now: Timestamp, wall: Timestamp) {
        let silent =
            self.origin.is_some_and(|origin| wall.since(origin) > policy.step.saturating_mul(SILENT_STEPS));
        if silent && self.load.level(now, self.load_age_max(policy)).is_none() {
            self.guard.observe(now, Some(GuardCause::SignalMissing), policy.guard);
        }
    }

    /// A step was not learned. After the clock was set back none is until it has caught up; the guard goes by them still.
    pub(crate) fn watch_unlearned(
        &mut self,
        policy: &WorkloadPolicy,
        now: Timestamp,
        wall: Timestamp,
        demand: Option<f64>,
    ) {
        if self.origin.is_some_and(|origin| origin > wall) {
            self.set_back = true;
            let missing = demand.is_none().then_some(GuardCause::SignalMissing);
            self.guard.observe(now, missing, policy.guard);
        }
    }
}

/// A demand signal is missing when the last step ended this many steps ago.
const SILENT_STEPS: u32 = 3;
