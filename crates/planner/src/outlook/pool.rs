//! What a workload says of its demand where it shares spares with others: whole instances that it may need.

use std::time::Duration;

use super::Outlook;
use super::numbers::steps_of;
use crate::plan::instances_for;
use crate::policy::WorkloadPolicy;
use crate::spare::{Needs, Said};

impl Outlook {
    /// What its last step needed, what had been expected of it, and what it may need within a time.
    pub(crate) fn say(&mut self, policy: &WorkloadPolicy, ahead: Duration) -> Said {
        let capacity = self.capacity.estimate();
        let count = |demand: f64| instances_for(demand, capacity, policy.replicas_max);
        let needed = count(self.heard.unwrap_or(0.0));
        let expected = self.expected.replace(count(self.window(1).median())).unwrap_or(needed);
        let sight = self.sight(steps_of(policy, (ahead + policy.tick).as_secs_f64()));
        let needs = Needs::of(|tau| count(sight.quantile(tau)));
        Said { needed, expected, needs, trusted: self.forecaster.trust().is_trusted() }
    }
}

/// Steps that a lead time takes.
pub(crate) fn steps_ahead(policy: &WorkloadPolicy, lead: Duration) -> usize {
    steps_of(policy, lead.as_secs_f64())
}
