//! The rule about missing signals: while nobody knows the demand, nothing is taken away.
//!
//! The planner's own guard has a state that cannot be seen from outside, so the rule is applied where there is no doubt
//! about it: demand that was level and seen for some time, and then is reported missing.

use std::collections::BTreeSet;

use forecast::Timestamp;
use planner::{Action, ActionKind, WorkloadPolicy, WorkloadView};

use super::Truth;
use super::heard::Heard;
use super::news::News;
use crate::world::Stage;

#[derive(Debug, Clone, Default)]
pub(super) struct Blind {
    /// Steps in a row, in order, whose demand was reported.
    seen: u32,
    last_step: Option<Timestamp>,
    /// Active and standby instances wanted after the last input.
    pub(super) wanted: Option<(u32, u32)>,
    /// Since when the demand is missing, and what was wanted then.
    missing: Option<(Timestamp, (u32, u32))>,
    /// Instances whose start or promotion has not been answered: one that takes too long is replaced, known demand or not.
    unanswered: BTreeSet<u64>,
}

impl Blind {
    pub(super) fn see(&mut self, news: News<'_>, now: Timestamp) {
        match news {
            News::Step { start, demand } => {
                let in_order = self.last_step.is_none_or(|last| start > last);
                self.last_step = Some(start);
                match demand {
                    Some(_) if in_order => {
                        self.seen += 1;
                        self.missing = None;
                    }
                    None if in_order && self.seen >= SEEN_MIN => {
                        self.missing = self.wanted.map(|wanted| (now, wanted));
                        self.seen = 0;
                    }
                    None if in_order && self.missing.is_some() => {}
                    Some(_) | None => self.doubt(),
                }
            }
            News::Unhealthy(_)
            | News::Gone { by_itself: true, .. }
            | News::Failed
            | News::Pinned(_)
            | News::Freed
            | News::Overridden => self.doubt(),
            News::Promoted { instance, .. } | News::Ready(instance) => {
                self.unanswered.remove(&instance);
            }
            News::Load(_)
            | News::Gone { by_itself: false, .. }
            | News::Parked { .. }
            | News::Halted(_)
            | News::Healthy(_)
            | News::Failing(_)
            | News::TableApplied
            | News::Holds { .. }
            | News::Adopted { .. }
            | News::HaltedFound(_) => {}
        }
    }

    /// Something happened that may rightly change the plan.
    pub(super) fn doubt(&mut self) {
        self.seen = 0;
        self.missing = None;
    }

    /// An order is about to be carried out.
    pub(super) fn see_order(
        &mut self,
        action: &Action,
        truth: &Truth<'_>,
        heard: &Heard,
        policy: &WorkloadPolicy,
    ) -> Option<String> {
        if let ActionKind::Promote { instance }
        | ActionKind::Claim { instance, .. }
        | ActionKind::Start { instance, .. }
        | ActionKind::Restart { instance } = &action.kind
        {
            self.unanswered.insert(instance.get());
        }
        let (active, standby) = self.blocked(truth, heard, policy)?;
        let (ActionKind::Stop { instance } | ActionKind::Halt { instance }) = &action.kind else {
            return None;
        };
        if truth.agent.fleet().stage(instance.get()) == Some(Stage::Halted) {
            return None;
        }
        // One that was unhealthy some time ago and answers again is as good as any.
        let others = truth.agent.fleet().iter().filter(|(other, stage)| {
            *other != instance.get()
                && !matches!(*stage, Stage::Halted | Stage::Stopping)
                && !truth.sick.contains(other)
        });
        let left = others.count();
        let good = heard.well(instance.get()) && !self.unanswered.contains(&instance.get());
        (good && left < (active + standby) as usize).then(|| {
            format!(
                "instance {instance} is to be stopped while demand is unknown; {left} of {active} + {standby} are left"
            )
        })
    }

    pub(super) fn check(
        &mut self,
        truth: &Truth<'_>,
        heard: &Heard,
        view: &WorkloadView<'_>,
        broken: &mut Vec<String>,
    ) {
        let Some(plan) = view.plan else { return };
        let wanted = (plan.active_wanted, plan.standby_wanted);
        if let Some((active, standby)) = self.blocked(truth, heard, view.policy)
            && (wanted.0 < active || wanted.0 + wanted.1 < active + standby)
        {
            broken.push(format!(
                "while demand is unknown {wanted:?} are wanted; it was {:?} before",
                (active, standby)
            ));
        }
        self.wanted = Some(wanted);
    }

    /// What must be kept now, if anything.
    fn blocked(&self, truth: &Truth<'_>, heard: &Heard, policy: &WorkloadPolicy) -> Option<(u32, u32)> {
        let (since, wanted) = self.missing?;
        let within = truth.now.since(since) + policy.tick < policy.guard;
        (truth.steady && within && heard.pinned.is_none()).then_some(wanted)
    }
}

/// Steps that must have been seen: more than a guard that was used up needs to be ready again.
const SEEN_MIN: u32 = 8;
