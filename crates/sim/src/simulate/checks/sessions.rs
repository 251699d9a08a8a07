//! The rule about sessions: what is known to hold some is neither frozen nor stopped before its time to wait for them is over.

use std::collections::{BTreeMap, BTreeSet};

use forecast::Timestamp;
use planner::{Action, ActionKind, WorkloadPolicy};

use super::Truth;
use super::news::News;
use crate::world::Agent;

#[derive(Debug, Clone, Default)]
pub(super) struct Sessions {
    /// Sessions on each instance, as told last.
    told: BTreeMap<u64, u32>,
    /// Since when each has no traffic by the tables that were ordered.
    idle: BTreeMap<u64, Timestamp>,
    /// Told to freeze or to stop, and not given traffic since.
    given_up: BTreeSet<u64>,
    /// The last table that was ordered and not answered yet, or refused: what is decided meanwhile must wait for it.
    table: Option<Timestamp>,
    /// When the clock jumped last.
    jumped: Option<Timestamp>,
}

impl Sessions {
    /// A new planner finds these instances; what drains gets its whole time anew.
    pub(super) fn restart(agent: &Agent, now: Timestamp) -> Sessions {
        let idle = agent.fleet().iter().map(|(instance, _)| instance);
        let idle = idle.filter(|instance| agent.table().get(instance).is_none_or(|weight| *weight == 0));
        Sessions { idle: idle.map(|id| (id, now)).collect(), ..Sessions::default() }
    }

    pub(super) fn clock_jumped(&mut self, now: Timestamp) {
        self.jumped = Some(now);
    }

    pub(super) fn see(&mut self, news: News<'_>) {
        match news {
            News::Holds { instance, sessions } => {
                if !self.given_up.contains(&instance) {
                    self.told.insert(instance, sessions);
                }
            }
            News::Gone { instance, .. } => {
                self.told.remove(&instance);
                self.idle.remove(&instance);
                self.given_up.remove(&instance);
            }
            News::TableApplied => self.table = None,
            News::Step { .. }
            | News::Healthy(_)
            | News::Load(_)
            | News::Ready(_)
            | News::Parked { .. }
            | News::Promoted { .. }
            | News::Unhealthy(_)
            | News::Failing(_)
            | News::Failed
            | News::Pinned(_)
            | News::Freed
            | News::Overridden
            | News::Halted(_)
            | News::Adopted { .. }
            | News::HaltedFound(_) => {}
        }
    }

    pub(super) fn see_order(
        &mut self,
        action: &Action,
        truth: &Truth<'_>,
        policy: &WorkloadPolicy,
    ) -> Option<String> {
        let now = truth.now;
        match &action.kind {
            ActionKind::SetWeights { weights } => {
                let decided = self.table.replace(now).unwrap_or(now);
                let routed: BTreeSet<u64> =
                    weights.iter().filter(|(_, weight)| *weight > 0).map(|(id, _)| id.get()).collect();
                for (instance, _) in truth.agent.fleet().iter().filter(|(id, _)| !routed.contains(id)) {
                    self.idle.entry(instance).or_insert(decided);
                }
                self.idle.retain(|instance, _| !routed.contains(instance));
                self.given_up.retain(|instance| !routed.contains(instance));
                None
            }
            ActionKind::Park { instance } | ActionKind::Halt { instance } | ActionKind::Stop { instance } => {
                let held = self.told.remove(&instance.get()).unwrap_or(0);
                let first = self.given_up.insert(instance.get());
                let drain = policy.sessions.as_ref()?.drain;
                let since = self.idle.get(&instance.get()).copied().unwrap_or(now);
                let doubtful = self.jumped.is_some_and(|jumped| jumped >= since);
                let waited = now.since(since);
                (first && held > 0 && waited < drain && !doubtful).then(|| {
                    format!("instance {instance} is given up with {held} sessions on it, after {waited:?} of {drain:?}")
                })
            }
            ActionKind::Start { .. }
            | ActionKind::Restart { .. }
            | ActionKind::Promote { .. }
            | ActionKind::Claim { .. }
            | ActionKind::Resize { .. }
            | ActionKind::Drain { .. } => None,
        }
    }
}
