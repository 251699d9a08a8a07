//! The order desk: gives orders their id, generation and deadline, and keeps the queue of them bounded.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use forecast::Timestamp;

use crate::action::{Action, ActionKind};
use crate::clock::Clock;
use crate::ids::{ActionId, InstanceId};
use crate::policy::{Limits, WorkloadPolicy};
use crate::reason::Trigger;
use crate::retry::Jitter;
use crate::scarcity::Cluster;
use crate::spare::Pools;

/// What all workloads of a planner share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) queue: VecDeque<Action>,
    pub(crate) jitter: Jitter,
    pub(crate) next_action: u64,
    pub(crate) next_instance: u64,
    /// Which workload an instance belongs to.
    pub(crate) owners: BTreeMap<InstanceId, usize>,
    /// The nodes, if there are any.
    pub(crate) cluster: Option<Box<Cluster>>,
    /// What workloads of one template share.
    pub(crate) pools: Pools,
}

/// Gives orders on behalf of one workload.
pub(crate) struct Desk<'a> {
    pub(crate) shared: &'a mut Shared,
    pub(crate) policy: &'a WorkloadPolicy,
    /// The workload's place in the policy.
    pub(crate) index: usize,
    pub(crate) generation: u64,
    pub(crate) trigger: Trigger,
    pub(crate) issued: u64,
}

impl Desk<'_> {
    /// Monotone time.
    pub(crate) fn now(&self) -> Timestamp {
        self.shared.clock.internal()
    }

    /// The driver's time.
    pub(crate) fn wall(&self) -> Timestamp {
        self.shared.clock.wall()
    }

    /// Queues an order. Returns its id and its deadline on the internal clock; `None` when the queue is full, in which
    /// case nothing has happened and the caller tries again at the next occasion.
    pub(crate) fn issue(&mut self, kind: ActionKind, within: Duration) -> Option<(ActionId, Timestamp)> {
        if self.shared.queue.len() >= self.shared.limits.actions_queued {
            return None;
        }
        let id = ActionId::new(self.shared.next_action);
        self.shared.next_action += 1;
        self.issued += 1;
        let deadline = self.now().saturating_add(within);
        self.shared.queue.push_back(Action {
            id,
            workload: self.policy.id.clone(),
            generation: self.generation,
            kind,
            deadline: self.shared.clock.to_wall(deadline),
            trigger: self.trigger,
        });
        Some((id, deadline))
    }

    /// Takes an order back that has not been fetched yet.
    pub(crate) fn withdraw(&mut self, action: ActionId) {
        self.shared.queue.retain(|a| a.id != action);
    }

    /// A new instance of this workload.
    pub(crate) fn new_instance(&mut self) -> InstanceId {
        let id = InstanceId::new(self.shared.next_instance);
        self.shared.next_instance += 1;
        self.shared.owners.insert(id, self.index);
        id
    }
}
