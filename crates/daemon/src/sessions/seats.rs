//! Keeping the allocator in step with the planner's instances, and finding sessions again after a restart.

use std::collections::BTreeSet;

use forecast::Timestamp;
use planner::sessions::{Allocation, Allotted, HostState, SessionId};
use planner::{Instance, InstanceId, Phase, Role};

use super::{Change, Seat, Sessions};

/// One of the planner's instances, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) id: InstanceId,
    pub(crate) phase: Phase,
    pub(crate) role: Role,
    pub(crate) weight: u32,
}

impl From<&Instance> for Row {
    fn from(row: &Instance) -> Row {
        Row { id: row.id(), phase: row.phase(), role: row.role(), weight: row.weight() }
    }
}

impl Sessions {
    /// Takes in what the planner's instances are now. What serves may get sessions; what drains keeps those it has; what is
    /// frozen, stops or is gone has none, and those it had are placed anew, a higher class first.
    pub(crate) fn follow(&mut self, now: Timestamp, instances: impl Iterator<Item = Row>) {
        let mut holders = BTreeSet::new();
        for Row { id, phase, role, weight } in instances {
            match (phase, role) {
                (Phase::Ready, Role::Active) => {
                    let open = weight > 0;
                    let state = if open { HostState::Open } else { HostState::Shut };
                    if self.allocator.state_of(id) != Some(state) {
                        self.allocator.instance_ready(now, id, u32::from(open));
                    }
                }
                (Phase::Draining, _) => {
                    self.allocator.instance_draining(now, id);
                }
                (
                    Phase::Ready
                    | Phase::Starting
                    | Phase::Halting
                    | Phase::Halted
                    | Phase::Stopping
                    | Phase::Stopped
                    | Phase::Failed,
                    Role::Active | Role::Standby,
                ) => continue,
            }
            holders.insert(id);
        }
        let gone: Vec<InstanceId> =
            self.allocator.held().map(|(id, _)| id).filter(|id| !holders.contains(id)).collect();
        for instance in gone {
            self.lose(now, instance);
        }
        self.take_outcomes();
    }

    /// An instance holds sessions no more. They are placed anew; whoever renews is told where.
    fn lose(&mut self, now: Timestamp, instance: InstanceId) {
        let lost = self.allocator.instance_gone(instance);
        self.told.remove(&instance);
        if lost.is_empty() {
            return;
        }
        let (mut elsewhere, mut waiting) = (0, 0);
        for lost in &lost {
            self.totals.lost += 1;
            self.changes.push(Change::Gone(lost.session.clone()));
            match self.allocator.allocate(now, &lost.session, &lost.kind) {
                Allotted::Placed(at) => {
                    elsewhere += 1;
                    self.placed(&lost.session, &lost.kind, at);
                }
                Allotted::Queued { .. } => waiting += 1,
                Allotted::Refused(_) => {
                    self.forget(&lost.session);
                    self.refused(&lost.kind);
                }
            }
        }
        let (all, refused) = (lost.len(), lost.len() - elsewhere - waiting);
        self.news.push(format!(
            "instance {instance} is gone with {all} sessions on it: {elsewhere} have another place, {waiting} wait for \
             one, {refused} have none"
        ));
    }

    /// A session of an earlier daemon, on an instance that was found running. Its lease begins anew. Where it cannot be
    /// where it was, it is forgotten.
    pub(crate) fn found(&mut self, now: Timestamp, session: &SessionId, seat: &Seat) -> bool {
        let at = Allocation { instance: InstanceId::new(seat.instance), process: seat.process };
        let found = self.allocator.found(session, &seat.kind, at);
        if found {
            self.lease_anew(now, session);
            if let Some(known) = self.known.get_mut(session) {
                known.kept = true;
            }
        } else {
            self.changes.push(Change::Gone(session.clone()));
        }
        found
    }

    /// An instance of an earlier daemon was found; it may hold sessions, and gets none until the planner routes to it.
    pub(crate) fn adopted(&mut self, now: Timestamp, instance: InstanceId) {
        self.allocator.instance_ready(now, instance, 0);
    }

    /// What changed of what the planner is told, by instance.
    pub(crate) fn held_changes(&mut self) -> Vec<(InstanceId, u32)> {
        let now: Vec<(InstanceId, u32)> = self.allocator.held().collect();
        let changed = now.into_iter().filter(|(id, held)| self.told.get(id).copied().unwrap_or(0) != *held);
        let changed: Vec<_> = changed.collect();
        self.told.extend(changed.iter().copied());
        changed
    }

    /// What is to be written down since the last time.
    pub(crate) fn changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// What the journal is to say since the last time.
    pub(crate) fn news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.news)
    }
}
