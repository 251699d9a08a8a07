//! The stopped level in the outlook of a workload: how far it looks, how it is played, and its numbers for a plan.

use std::time::Duration;

use super::numbers::{quantile_of, steps_of};
use super::{Outlook, WIDER};
use crate::margin::{Aim, LEVELS};
use crate::plan::instances_for;
use crate::policy::{Margin, WorkloadPolicy};
use crate::warmth::{Shelf, StoppedInputs, break_even_stopped};

/// Steps that the stopped level looks ahead: until a new instance could be there, and until a stopped one has cost as much
/// as a start.
#[derive(Debug, Clone, Copy)]
struct ShelfWindows {
    need: usize,
    keep: usize,
}

impl Outlook {
    /// The stopped level, where there is one that pays.
    pub(super) fn shelf_in_use(&self, policy: &WorkloadPolicy) -> Option<&Shelf> {
        self.shelf.as_deref().filter(|shelf| shelf.pays(policy, self.lead_cold.estimate()))
    }

    /// How long one more instance takes that does not run yet.
    pub(crate) fn lead_up(&self, policy: &WorkloadPolicy) -> Duration {
        self.shelf_in_use(policy).map_or(self.lead_cold.estimate(), |shelf| shelf.lead.estimate())
    }

    fn shelf_reach(&self, policy: &WorkloadPolicy, elapsed: Duration) -> Option<ShelfWindows> {
        self.shelf_in_use(policy)?;
        let need = steps_of(policy, (elapsed + self.lead_cold.estimate() + policy.tick).as_secs_f64());
        let keep = steps_of(policy, (elapsed + break_even_stopped(policy)?).as_secs_f64()).max(need);
        Some(ShelfWindows { need, keep })
    }

    /// The windows that it looks at, the shorter first, at a time after the end of a step.
    pub(super) fn shelf_windows(
        &self,
        policy: &WorkloadPolicy,
        elapsed: Duration,
    ) -> impl Iterator<Item = usize> + use<> {
        let reach = self.shelf_reach(policy, elapsed);
        reach.into_iter().flat_map(|reach| [reach.need, reach.keep])
    }

    /// Names its rule. Returns what a stopped instance costs relative to an active one, and what the rule is held to miss.
    pub(super) fn choose_shelf(&mut self, policy: &WorkloadPolicy, aim: Aim) -> (f64, f64) {
        let capacity = self.capacity.estimate();
        if self.shelf_in_use(policy).is_none() {
            return (0.0, 0.0);
        }
        self.shelf.as_mut().map_or((0.0, 0.0), |shelf| (shelf.price(), shelf.choose(aim, capacity)))
    }

    /// Lets every rule of it decide on the coming step.
    pub(super) fn play_shelf(&mut self, policy: &WorkloadPolicy) {
        let Some(reach) = self.shelf_reach(policy, Duration::ZERO) else { return };
        let capacity = self.capacity.estimate();
        let count = |demand: f64| instances_for(demand, capacity, policy.replicas_max);
        let need = self.sight(reach.need);
        let keep = count(self.window(reach.keep).median());
        let lag = self.lag(policy, self.lead_cold.estimate());
        if let Some(shelf) = &mut self.shelf {
            shelf.play(lag, |all| all.levels(&need).map(count), |_| [keep; LEVELS]);
        }
    }

    /// Its numbers for a plan.
    pub(super) fn shelf_numbers(&self, policy: &WorkloadPolicy, elapsed: Duration) -> Option<StoppedInputs> {
        let shelf = self.shelf_in_use(policy)?;
        let reach = self.shelf_reach(policy, elapsed)?;
        let mut numbers = StoppedInputs {
            lead: shelf.lead.estimate(),
            forecast: 0.0,
            forecast_keep: self.planned_window(reach.keep).median(),
            quantile: 0.5,
            rule: None,
            window_steps: reach.need,
        };
        match policy.margin {
            _ if !self.forecaster.trust().is_trusted() => {
                let recent = self.recent_max(reach.need).max(self.heard.unwrap_or(0.0));
                numbers.forecast = self.persisting(recent, reach.need) * WIDER / policy.utilisation_untrusted;
                numbers.forecast_keep =
                    self.persisting(self.recent_max(reach.keep), reach.keep) / policy.utilisation_untrusted;
            }
            Margin::Controlled => {
                numbers.forecast = shelf.rule.of(&self.planned_sight(reach.need));
                numbers.quantile = quantile_of(shelf.rule);
                numbers.rule = Some(shelf.rule.name(self.unit()));
            }
            Margin::Fixed { safety_margin } => {
                numbers.forecast = self.planned_window(reach.need).median() * (1.0 + safety_margin);
            }
        }
        Some(numbers)
    }
}
