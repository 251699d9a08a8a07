//! The instances of one workload and its route table: what is known of them, and how facts change it.
//!
//! Facts only change what is known; what to do about it is decided in `reconcile`. A fact that does not fit (an order that
//! is not under way any more, an instance that is gone) returns false and changes nothing.

use std::time::Duration;

use forecast::Timestamp;

use crate::action::FULL_WEIGHT;
use crate::desk::Desk;
use crate::ids::{ActionId, InstanceId, NodeId};
use crate::instance::{Instance, Order, Phase, Role, Turn};
use crate::policy::WorkloadPolicy;
use crate::reason::Reason;
use crate::reconcile::Trials;
use crate::retry::{Backoff, Resizes};
use crate::sessions::SessionReason;
use crate::shift::{ShiftLog, Stats};
use crate::snapshot::Counters;
use crate::timer::Timer;

/// The route table of one workload.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// The one ordered last.
    pub(crate) sent: Vec<(InstanceId, u32)>,
    /// The largest weight that the router may be giving to each instance: everything in the table it confirmed last and
    /// in those sent since, of which nobody knows whether it has them.
    pub(crate) exposed: Vec<(InstanceId, u32)>,
    pub(crate) pending: Option<(ActionId, Timestamp)>,
    /// What was sent last is not what the router has, or may not be.
    pub(crate) dirty: bool,
    pub(crate) retry: Backoff,
}

impl Table {
    /// No router can send anything to this instance any more.
    pub(crate) fn clear_of(&self, id: InstanceId) -> bool {
        self.exposed.binary_search_by_key(&id, |entry| entry.0).is_err()
    }

    /// No router sends anything new to this instance.
    pub(crate) fn silent_for(&self, id: InstanceId) -> bool {
        match self.exposed.binary_search_by_key(&id, |entry| entry.0) {
            Ok(at) => self.exposed[at].1 == 0,
            Err(_) => true,
        }
    }

    /// The router may give this weight to this instance.
    pub(crate) fn expose(&mut self, id: InstanceId, weight: u32) {
        match self.exposed.binary_search_by_key(&id, |entry| entry.0) {
            Ok(at) => self.exposed[at].1 = self.exposed[at].1.max(weight),
            Err(at) => self.exposed.insert(at, (id, weight)),
        }
    }
}

/// The instances of one workload.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fleet {
    /// In order of id.
    pub(crate) instances: Vec<Instance>,
    pub(crate) table: Table,
    /// Pauses between failed starts, including instances that were no good once started.
    pub(crate) starts: Backoff,
    /// Of a new version.
    pub(crate) trials: Trials,
    /// Whether the provider resizes running instances.
    pub(crate) resizes: Resizes,
    /// What happened that people should see with the plan in force.
    pub(crate) notes: Vec<Reason>,
    pub(crate) shifts: ShiftLog,
    pub(crate) counters: Counters,
    /// Starts that no node had room for when they were tried last.
    pub(crate) unplaced: u32,
}

impl Fleet {
    pub(crate) fn find(&self, id: InstanceId) -> Option<usize> {
        self.instances.binary_search_by_key(&id, |i| i.id).ok()
    }

    /// Instances that take a full share or are on their way to it.
    pub(crate) fn serving(&self) -> u32 {
        count(&self.instances, Instance::serving)
    }

    /// A note for the plan in force; the number of them is bounded.
    pub(crate) fn note(&mut self, reason: Reason) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(reason);
        }
    }

    /// Takes in a reading of what an instance did.
    pub(crate) fn observe(
        &mut self,
        id: InstanceId,
        now: Timestamp,
        reading: impl FnOnce(&mut Stats),
    ) -> bool {
        let Some(at) = self.find(id) else { return false };
        let instance = &mut self.instances[at];
        reading(&mut instance.stats);
        instance.failing = instance.stats.mostly_fails().then(|| instance.failing.unwrap_or(now));
        true
    }

    /// The instance that waits for the answer to this order, with the order taken as answered.
    pub(crate) fn answered(
        &mut self,
        id: InstanceId,
        action: ActionId,
        order: Order,
    ) -> Option<&mut Instance> {
        let at = self.find(id)?;
        let instance = &mut self.instances[at];
        if !instance.awaits(action, order) {
            return None;
        }
        instance.pending = None;
        Some(instance)
    }

    pub(crate) fn parked(&mut self, id: InstanceId, action: ActionId) -> bool {
        let Some(instance) = self.answered(id, action, Order::Park) else { return false };
        instance.parked = true;
        instance.retry.succeed();
        // Only now: until it was frozen, it could have been wanted again.
        self.find(id).into_iter().for_each(|at| self.cut_sessions(at));
        true
    }

    pub(crate) fn promoted(&mut self, id: InstanceId, action: ActionId, desk: &Desk<'_>) -> bool {
        let Some(at) = self.find(id) else { return false };
        let instance = &mut self.instances[at];
        let late = instance.comes_late(action);
        if !late && !instance.awaits(action, Order::Promote) {
            return false;
        }
        (instance.pending, instance.overdue) = (None, None);
        instance.doomed &= !late;
        if !instance.turn(Turn::Promoted, desk.wall()) {
            return false;
        }
        instance.parked = false;
        instance.keep();
        let begun = instance.begin_anew((desk.now(), desk.wall()), &desk.policy.shift);
        self.shifts.extend(begun);
        self.counters.promotions += 1;
        true
    }

    pub(crate) fn resized(&mut self, id: InstanceId, action: ActionId) -> bool {
        let Some(instance) = self.answered(id, action, Order::Resize) else { return false };
        (instance.size, instance.memory_ordered) = (instance.size_ordered, 0);
        instance.retry.succeed();
        self.resizes.succeed();
        self.counters.resizes += 1;
        true
    }

    pub(crate) fn drained(&mut self, id: InstanceId, action: ActionId, desk: &Desk<'_>) -> bool {
        if self.answered(id, action, Order::Drain).is_none() {
            return false;
        }
        self.demote(id, desk);
        true
    }

    /// Makes a standby of what has drained. With sessions that began meanwhile it drains on.
    fn demote(&mut self, id: InstanceId, desk: &Desk<'_>) {
        let Some(at) = self.find(id).filter(|at| !self.instances[*at].held(desk.now())) else { return };
        let instance = &mut self.instances[at];
        instance.serving_since = None;
        self.counters.demotions += u64::from(instance.turn(Turn::Drained, desk.wall()));
    }

    /// Says so when an instance is given up with sessions on it.
    pub(crate) fn cut_sessions(&mut self, at: usize) {
        let instance = &mut self.instances[at];
        let sessions = std::mem::take(&mut instance.sessions);
        if sessions > 0 {
            let instance = instance.id;
            self.note(Reason::Sessions(SessionReason::Cut { instance, sessions }));
        }
    }

    /// Takes in how many sessions an instance holds. What is frozen, or about to be, or stops holds none.
    pub(crate) fn holds(&mut self, id: InstanceId, sessions: u32) -> bool {
        let Some(at) = self.find(id) else { return false };
        let instance = &mut self.instances[at];
        let parks = instance.parked || instance.pending.is_some_and(|p| p.order == Order::Park);
        if parks || !matches!(instance.phase, Phase::Ready | Phase::Draining) {
            return false;
        }
        instance.sessions = sessions;
        true
    }

    /// Instances that are only waited for because they hold sessions, and how many these are.
    pub(crate) fn waited_for(&self, now: Timestamp) -> (u32, u64) {
        let waits = |i: &&Instance| i.held_until.is_some() && i.held(now);
        let waiting = self.instances.iter().filter(waits);
        waiting.fold((0, 0), |(instances, sessions), i| (instances + 1, sessions + u64::from(i.sessions)))
    }

    pub(crate) fn stopped(&mut self, id: InstanceId, action: ActionId, desk: &mut Desk<'_>) -> bool {
        let Some(instance) = self.answered(id, action, Order::Stop) else { return false };
        instance.turn(Turn::Stopped, desk.wall());
        self.counters.stops += 1;
        self.remove(id, desk);
        true
    }

    pub(crate) fn weights_applied(&mut self, action: ActionId) -> bool {
        if self.table.pending.is_none_or(|(pending, _)| pending != action) {
            return false;
        }
        self.table.pending = None;
        self.table.retry.succeed();
        self.table.exposed.clone_from(&self.table.sent);
        true
    }

    /// An order failed or was not answered in time. `gone`: nothing of a failed start is left.
    pub(crate) fn failed(
        &mut self,
        action: ActionId,
        instance: Option<InstanceId>,
        gone: bool,
        desk: &mut Desk<'_>,
    ) -> bool {
        if self.table.pending.is_some_and(|(pending, _)| pending == action) {
            self.table.pending = None;
            self.table.dirty = true;
            self.table.retry.fail(desk.now(), &desk.policy.retry, &mut desk.shared.jitter);
            self.counters.actions_failed += 1;
            return true;
        }
        let Some(at) = instance.and_then(|id| self.find(id)) else { return false };
        let instance = &mut self.instances[at];
        let Some(pending) = instance.pending.filter(|p| p.action == action) else { return false };
        instance.pending = None;
        self.counters.actions_failed += 1;
        let (now, wall, retry) = (desk.now(), desk.wall(), &desk.policy.retry);
        match pending.order {
            Order::Start if gone => {
                instance.turn(Turn::Lost, wall);
                let begun = instance.started.unwrap_or(now);
                self.starts.fail_since(begun, now, retry, &mut desk.shared.jitter);
                self.remove(self.instances[at].id, desk);
            }
            Order::Start => {
                instance.doomed = true;
                let begun = instance.started.unwrap_or(now);
                self.starts.fail_since(begun, now, retry, &mut desk.shared.jitter);
            }
            Order::Restart | Order::Promote => {
                instance.doomed = true;
                instance.overdue = (pending.order == Order::Promote && !gone).then_some(action);
                self.starts.fail(now, retry, &mut desk.shared.jitter);
            }
            Order::Resize => {
                instance.retry.fail(now, retry, &mut desk.shared.jitter);
                self.resizes.fail(now);
            }
            // Nobody knows whether it still runs: it is removed.
            Order::Halt => instance.doomed = true,
            Order::Park | Order::Stop => instance.retry.fail(now, retry, &mut desk.shared.jitter),
            Order::Drain => {
                let id = instance.id;
                self.demote(id, desk);
            }
        }
        true
    }

    /// An instance ended by itself: it leaves the table at once.
    pub(crate) fn exited(&mut self, id: InstanceId, desk: &mut Desk<'_>) -> bool {
        let Some(at) = self.find(id) else { return false };
        let instance = &mut self.instances[at];
        let was = instance.phase;
        let age = desk.wall().since(instance.since);
        instance.turn(Turn::Lost, desk.wall());
        if was == Phase::Stopping {
            self.counters.stops += 1;
        } else {
            self.counters.exits += 1;
            if was == Phase::Starting || (was != Phase::Halted && age < EARLY_EXIT) {
                let begun = instance.started.unwrap_or(desk.now());
                self.starts.fail_since(begun, desk.now(), &desk.policy.retry, &mut desk.shared.jitter);
            }
        }
        self.remove(id, desk);
        true
    }

    pub(crate) fn unhealthy(&mut self, id: InstanceId, now: Timestamp) -> bool {
        let Some(at) = self.find(id) else { return false };
        let instance = &mut self.instances[at];
        if !matches!(instance.phase, Phase::Ready | Phase::Draining) {
            return false;
        }
        instance.unhealthy.get_or_insert(now);
        true
    }

    pub(crate) fn healthy(&mut self, id: InstanceId, desk: &Desk<'_>) -> bool {
        let Some(at) = self.find(id) else { return false };
        let instance = &mut self.instances[at];
        let Some(since) = instance.unhealthy.take() else { return true };
        if instance.role == Role::Active {
            self.shifts.extend(instance.begin_anew((desk.now(), desk.wall()), &desk.policy.shift));
        }
        // It is waited for because of its sessions, and would keep a place from another until they have ended.
        let long = since.saturating_add(desk.policy.deadlines.unhealthy) <= desk.now();
        if instance.doomed && long && instance.held(desk.now()) {
            instance.doomed = false;
            if instance.phase == Phase::Ready {
                instance.keep();
            }
        }
        true
    }

    /// Takes over an instance of an earlier control plane as it was found.
    pub(crate) fn adopt(
        &mut self,
        id: InstanceId,
        role: Role,
        parked: bool,
        node: Option<NodeId>,
        desk: &mut Desk<'_>,
    ) -> bool {
        let known = desk.shared.owners.contains_key(&id);
        if known || self.instances.len() >= desk.shared.limits.instances as usize {
            return false;
        }
        // A frozen instance serves nobody, whatever it was used as.
        let role = if parked { Role::Standby } else { role };
        let mut instance = Instance::new(id, Phase::Ready, role, desk.wall());
        instance.parked = parked;
        instance.node = node.filter(|node| desk.found_on(node));
        if role == Role::Active {
            instance.serving_since = Some(desk.now());
            instance.weight = FULL_WEIGHT;
        }
        let at = self.instances.partition_point(|i| i.id < id);
        self.instances.insert(at, instance);
        if role == Role::Active {
            let at = self.table.sent.partition_point(|entry| entry.0 < id);
            self.table.sent.insert(at, (id, FULL_WEIGHT));
        }
        if !parked {
            // The router that outlived the control plane may still route to it.
            self.table.expose(id, FULL_WEIGHT);
            self.table.dirty = true;
        }
        self.counters.adopted += 1;
        desk.shared.owners.insert(id, desk.index);
        desk.shared.next_instance = desk.shared.next_instance.max(id.get().saturating_add(1));
        true
    }

    /// All instances on a node are gone. It says nothing about starts.
    pub(crate) fn lost_node(&mut self, node: &NodeId, desk: &mut Desk<'_>) -> u32 {
        let on = |i: &&mut Instance| [&i.node, &i.disk_on].into_iter().flatten().any(|on| on == node);
        let mut gone = Vec::new();
        for instance in self.instances.iter_mut().filter(on) {
            instance.turn(Turn::Lost, desk.wall());
            gone.push(instance.id);
        }
        for id in &gone {
            self.counters.exits += 1;
            self.remove(*id, desk);
        }
        gone.len() as u32
    }

    fn remove(&mut self, id: InstanceId, desk: &mut Desk<'_>) {
        desk.shared.owners.remove(&id);
        if let Some(at) = self.find(id) {
            desk.leave(self.instances.remove(at).node.as_ref());
        }
        self.unroute(id);
    }

    /// Takes an instance that is no more (or is being stopped) out of the table that is wanted.
    pub(crate) fn unroute(&mut self, id: InstanceId) {
        let before = self.table.sent.len();
        self.table.sent.retain(|entry| entry.0 != id);
        self.table.exposed.retain(|entry| entry.0 != id);
        if self.table.sent.len() != before {
            self.table.dirty = true;
            // The router may be sending requests into the void.
            self.table.retry.hurry();
        }
    }

    /// Takes the next step on failure for everything whose time is over.
    pub(crate) fn expire(&mut self, desk: &mut Desk<'_>) {
        let now = desk.now();
        if let Some((action, _)) = self.table.pending.filter(|(_, deadline)| *deadline <= now) {
            self.failed(action, None, false, desk);
        }
        let kept = |i: &Instance| i.phase != Phase::Stopping && i.moving.is_none();
        let mut kept = count(&self.instances, kept);
        let tries = self.tries_new_version();
        for at in 0..self.instances.len() {
            let instance = &mut self.instances[at];
            if instance
                .unhealthy
                .is_some_and(|since| since.saturating_add(desk.policy.deadlines.unhealthy) <= now)
            {
                instance.doomed = true;
            }
            // A move that takes too long is given up, unless there is no place for it beside the replacements that came.
            let full = kept >= desk.policy.replicas_max;
            if let Some(moving) = instance.moving.take() {
                let goes_on = moving.until > now || full || (tries && moving.why.is_none());
                instance.moving = goes_on.then_some(moving);
                kept += u32::from(!goes_on);
            }
            let id = instance.id;
            if let Some(late) = instance.pending.filter(|p| p.deadline <= now) {
                self.failed(late.action, Some(id), false, desk);
            }
        }
        self.give_up_failing(desk);
    }

    /// Gives up instances that have failed most requests for as long as an unhealthy one is given, though their probes
    /// pass. When no peer serves any better, the fault is not theirs.
    fn give_up_failing(&mut self, desk: &mut Desk<'_>) {
        let mut peers = Stats::default();
        for i in self.instances.iter().filter(|i| i.serving() && i.failing.is_none()) {
            peers.join(&i.stats);
        }
        let now = desk.now();
        for at in 0..self.instances.len() {
            let instance = &mut self.instances[at];
            let over = |since: Timestamp| since.saturating_add(desk.policy.deadlines.unhealthy) <= now;
            if !instance.serving() || !instance.failing.is_some_and(over) {
                continue;
            }
            if peers.requests_now() == 0.0 {
                instance.failing = Some(now);
                continue;
            }
            instance.doomed = true;
            let reason = instance.stats.taken_back(instance.id, &peers);
            self.counters.rollbacks += 1;
            self.starts.fail(now, &desk.policy.retry, &mut desk.shared.jitter);
            self.note(reason);
        }
    }

    /// The next time at which something is due, on the internal clock.
    pub(crate) fn next_wake(&self, now: Timestamp, policy: &WorkloadPolicy) -> Option<(Timestamp, Timer)> {
        let table = self.table.pending.map(|(_, deadline)| (deadline, Timer::ActionDeadline));
        let table_retry = self.table.retry.waiting(now).map(|until| (until, Timer::Backoff));
        let starts = self.starts.waiting(now).map(|until| (until, Timer::Backoff));
        let each = self.instances.iter().flat_map(|i| {
            let failing = i.failing.filter(|_| i.serving());
            let bad = i.unhealthy.filter(|_| !i.doomed).or(failing);
            let unhealthy = bad.map(|since| since.saturating_add(policy.deadlines.unhealthy));
            let ill = i.waited_for(policy);
            [
                i.pending.map(|p| (p.deadline, Timer::ActionDeadline)),
                i.retry.waiting(now).map(|until| (until, Timer::Backoff)),
                i.ramp.filter(|_| i.serving()).map(|r| (r.next, Timer::ShiftStep)),
                unhealthy.map(|at| (at, Timer::UnhealthyDeadline)),
                ill.filter(|at| *at > now).map(|at| (at, Timer::UnhealthyDeadline)),
                i.held_until.filter(|_| i.held(now)).map(|until| (until, Timer::SessionsDeadline)),
                i.moving
                    .as_ref()
                    .map(|moving| (moving.until, Timer::Sharing))
                    .filter(|(until, _)| *until > now),
            ]
        });
        each.chain([table, table_retry, starts]).flatten().min()
    }
}

pub(crate) fn count(instances: &[Instance], which: impl Fn(&Instance) -> bool) -> u32 {
    instances.iter().filter(|i| which(i)).count() as u32
}

/// An instance that ends within this time of becoming ready (or changing its role) counts as a failed start.
pub(crate) const EARLY_EXIT: Duration = Duration::from_secs(30);
const NOTES_MAX: usize = 16;
