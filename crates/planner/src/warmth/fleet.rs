//! Orders about stopped instances: which standbys are stopped with their disk kept, which are restarted, which removed.

use forecast::Timestamp;

use crate::action::ActionKind;
use crate::desk::Desk;
use crate::fleet::{Fleet, count};
use crate::ids::{ActionId, InstanceId, NodeId};
use crate::instance::{Instance, Order, Phase, Role, Turn};
use crate::reconcile::Want;

impl Instance {
    /// It is stopped with its disk kept, or about to be.
    pub(crate) fn on_shelf(&self) -> bool {
        matches!(self.phase, Phase::Halting | Phase::Halted) && !self.doomed
    }
}

impl Fleet {
    /// Instances that are stopped with their disk kept, or about to be.
    pub(crate) fn on_shelf(&self) -> u32 {
        count(&self.instances, Instance::on_shelf)
    }

    /// Restarts up to `missing` stopped instances, the oldest first. Returns how many.
    pub(crate) fn restart(&mut self, missing: u32, desk: &mut Desk<'_>) -> u32 {
        let mut restarted = 0;
        if missing == 0 || self.starts.waiting(desk.now()).is_some() {
            return restarted;
        }
        let starting = count(&self.instances, |i| i.phase == Phase::Starting);
        let most = missing.min(self.starts_at_once(desk).saturating_sub(starting));
        for at in 0..self.instances.len() {
            let i = &self.instances[at];
            let ready = i.phase == Phase::Halted && i.pending.is_none() && !i.doomed;
            if restarted == most || !ready {
                continue;
            }
            let (id, node) = (i.id, i.disk_on.clone());
            if !desk.seat_again(node.as_ref()) {
                continue;
            }
            if !self.order(at, Order::Restart, ActionKind::Restart { instance: id }, desk) {
                desk.leave(node.as_ref());
                break;
            }
            let instance = &mut self.instances[at];
            (instance.node, instance.disk_on) = (node, None);
            instance.turn(Turn::RestartOrdered, desk.wall());
            self.counters.restarts += 1;
            self.renewed_by_restart();
            restarted += 1;
        }
        restarted
    }

    /// Instances that are about to be stopped with their disk kept: once they are, they can be restarted sooner than others
    /// could start.
    pub(crate) fn coming_back(&self) -> u32 {
        count(&self.instances, |i| i.phase == Phase::Halting && i.pending.is_some() && !i.doomed)
    }

    /// Instances to start only so that they exist: they are stopped once they are ready. Where nodes are scarce none are
    /// started for that; there the level is filled by what is given up.
    pub(crate) fn shelf_missing(&self, want: Want, counted: u32, desk: &Desk<'_>) -> u32 {
        if desk.shared.cluster.is_some() {
            return 0;
        }
        want.exist.saturating_sub(counted + self.on_shelf())
    }

    /// Of `surplus` instances that run: how many standbys are to be stopped with their disk kept now, and how many removed.
    /// One that still starts takes nobody's place before it is ready, but its own is kept for it.
    pub(crate) fn given_up(&self, want: Want, surplus: u32) -> (u32, u32) {
        let room = want.exist.saturating_sub(want.total).saturating_sub(self.on_shelf());
        let ready = count(&self.instances, |i| i.stays() && i.phase != Phase::Starting);
        (surplus.min(room).min(ready.saturating_sub(want.total)), surplus.saturating_sub(room))
    }

    /// Whether no more may be started before others are ready.
    pub(crate) fn starts_all_it_may(&self, desk: &Desk<'_>) -> bool {
        count(&self.instances, |i| i.phase == Phase::Starting) >= self.starts_at_once(desk)
    }

    /// Removes stopped instances that are too many, the youngest first; but not the `waiting` ones that are to be restarted as
    /// soon as others are ready.
    pub(crate) fn clear_shelf(&mut self, want: Want, waiting: u32, desk: &mut Desk<'_>) {
        let kept = want.exist.saturating_sub(want.total).saturating_add(waiting);
        let mut excess = self.on_shelf().saturating_sub(kept);
        for at in (0..self.instances.len()).rev() {
            let i = &self.instances[at];
            let idle =
                i.phase == Phase::Halted && i.pending.is_none() && i.retry.waiting(desk.now()).is_none();
            if excess > 0 && idle && !i.doomed && self.stop(at, desk) {
                excess -= 1;
            }
        }
    }

    /// Stops a standby and keeps its disk.
    pub(crate) fn halt(&mut self, at: usize, desk: &mut Desk<'_>) -> bool {
        if !self.let_go(at, desk) {
            return false;
        }
        let id = self.instances[at].id;
        let ordered = self.order(at, Order::Halt, ActionKind::Halt { instance: id }, desk);
        if ordered {
            self.cut_sessions(at);
            self.instances[at].turn(Turn::HaltOrdered, desk.wall());
            self.unroute(id);
        }
        ordered
    }

    /// Answer to a halt. What is stopped takes no room on its node.
    pub(crate) fn halted(&mut self, id: InstanceId, action: ActionId, desk: &mut Desk<'_>) -> bool {
        let Some(instance) = self.answered(id, action, Order::Halt) else { return false };
        instance.parked = false;
        let done = instance.turn(Turn::Halted, desk.wall());
        if done {
            instance.disk_on = instance.node.take();
            let node = instance.disk_on.clone();
            desk.leave(node.as_ref());
            self.counters.halts += 1;
        }
        done
    }

    /// Takes over an instance that an earlier control plane has stopped with its disk kept.
    pub(crate) fn adopt_halted(&mut self, id: InstanceId, node: Option<NodeId>, desk: &mut Desk<'_>) -> bool {
        let known = desk.shared.owners.contains_key(&id);
        if known || self.instances.len() >= desk.shared.limits.instances as usize {
            return false;
        }
        let mut instance = Instance::new(id, Phase::Halted, Role::Standby, desk.wall());
        // One whose disk is nowhere cannot be restarted.
        instance.doomed = desk.shared.cluster.is_some() && node.is_none();
        instance.disk_on = node;
        let at = self.instances.partition_point(|i| i.id < id);
        self.instances.insert(at, instance);
        self.counters.adopted += 1;
        desk.shared.owners.insert(id, desk.index);
        desk.shared.next_instance = desk.shared.next_instance.max(id.get().saturating_add(1));
        true
    }
}

/// Whether a ready answer is to a restart: then how long the restart took is learned, otherwise how long a start takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// From nothing.
    New,
    /// From its disk.
    Again,
}

impl Fleet {
    /// An instance is up. `None`: nobody asked.
    pub(crate) fn ready(&mut self, id: InstanceId, action: ActionId, wall: Timestamp) -> Option<Came> {
        let pending = self.find(id).and_then(|at| self.instances[at].pending)?;
        let came = if pending.order == Order::Restart { Came::Again } else { Came::New };
        let order = if came == Came::Again { Order::Restart } else { Order::Start };
        self.answered(id, action, order)?.turn(Turn::BecameReady, wall).then_some(came)
    }
}
