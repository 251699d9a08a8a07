//! From what is wanted to orders: compares the plan with the instances and gives the orders that close the gap.
//!
//! Runs after every fact, gives each instance at most one order at a time, and starts over from what is known then; there
//! is no list of steps to go wrong in the middle. The route table always comes first: what is dead or demoted leaves it
//! before anything else is ordered, and what is not verified never enters it.

mod fit;
mod renew;

pub(crate) use renew::Trials;

use std::cmp::Reverse;

use crate::action::{ActionKind, FULL_WEIGHT};
use crate::desk::Desk;
use crate::fleet::{EARLY_EXIT, Fleet, count};
use crate::ids::InstanceId;
use crate::instance::{Instance, Order, Pending, Phase, Role, Turn};
use crate::profiles::{Profiles, WORTH_SPARE};
use crate::reason::Reason;
use crate::scarcity::Seated;
use crate::shift::{ShiftMove, ShiftStep, ShiftTurn, Stats};
use crate::size::Size;

/// What the plan in force wants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Want {
    pub(crate) active: u32,
    /// So many must serve by number, whatever each is worth.
    pub(crate) least: u32,
    pub(crate) total: u32,
    /// With those that are stopped and keep their disk.
    pub(crate) exist: u32,
    /// Demand now, in the workload's unit.
    pub(crate) demand: f64,
    /// Demand units per instance.
    pub(crate) capacity: f64,
    /// How large each instance shall be.
    pub(crate) size: Option<Size>,
    /// What one of that size is worth: more than 1 while smaller ones serve, some of which will not be needed then.
    pub(crate) grown: f64,
    /// Or by what it is used for.
    pub(crate) profiles: Option<Profiles>,
    /// Others need what is too much: it is given up at once.
    pub(crate) refused: bool,
}

impl Fleet {
    /// Gives every order that is due. Returns how many active instances are missing with no standby to promote.
    pub(crate) fn reconcile(&mut self, want: Want, desk: &mut Desk<'_>) -> u32 {
        if count(&self.instances, |i| i.phase == Phase::Starting) == 0 || self.starts_work(desk) {
            self.starts.forget_if_calm(desk.now());
        }
        self.credit_starts(desk);
        self.shift(want, desk);
        self.renew(want, desk);
        self.mark_drains(want, desk);
        self.route(desk);
        let short = self.promote(want, desk);
        self.drain(desk);
        self.stop_doomed(desk);
        self.resize(want, desk);
        self.park(short, desk);
        self.fit(want, desk);
        short
    }

    /// Where some starts fail and others do not, it is worth trying again soon, and several at a time.
    fn credit_starts(&mut self, desk: &Desk<'_>) {
        for i in self.instances.iter_mut().filter(|i| !i.proven && i.started.is_some()) {
            let well = i.phase == Phase::Ready && i.healthy() && !i.doomed;
            if well && desk.wall().since(i.since) >= EARLY_EXIT {
                i.proven = true;
                self.starts.relent();
            }
        }
    }

    /// An instance that was started after the last failed start is well and did not end early. A large fleet that comes back
    /// has starts under way all the time, so it cannot be waited for that there is none.
    fn starts_work(&self, desk: &Desk<'_>) -> bool {
        self.instances.iter().any(|i| {
            let good = i.phase == Phase::Ready && i.healthy() && !i.doomed;
            let after = i.started.is_some_and(|started| self.starts.is_before(started));
            good && after && desk.wall().since(i.since) >= EARLY_EXIT
        })
    }

    /// Moves every traffic ramp that is due, or ends it when all capacity is needed at once.
    fn shift(&mut self, want: Want, desk: &mut Desk<'_>) {
        if !self.instances.iter().any(|i| i.ramp.is_some()) {
            return;
        }
        let mut peers = Stats::default();
        if self.instances.iter().any(|i| i.ramp.is_some_and(|ramp| ramp.due(desk.now()))) {
            for i in self.instances.iter().filter(|i| i.serving() && i.ramp.is_none()) {
                peers.join_peer(&i.stats);
            }
        }
        let full = want.capacity * self.worth(|i| i.serving() && i.ramp.is_none());
        let mut served_by_others = full;
        for at in 0..self.instances.len() {
            let instance = &mut self.instances[at];
            let Some(mut ramp) = instance.ramp.filter(|_| instance.serving()) else { continue };
            if want.demand > served_by_others || full == 0.0 {
                instance.ramp = None;
                let worth = instance.worth;
                let (instance, demand, capacity_others) = (instance.id, want.demand, served_by_others);
                served_by_others += want.capacity * worth;
                self.note(Reason::RampSkipped { instance, demand, capacity_others });
                let turn = ShiftTurn::AllAtOnce { demand, capacity_others };
                self.shifts.push(ShiftMove {
                    at: desk.wall(),
                    instance,
                    from: ramp.weight,
                    to: FULL_WEIGHT,
                    turn,
                });
                continue;
            }
            let before = ramp.weight;
            let step = ramp.advance(desk.now(), &instance.stats, &peers, &desk.policy.shift);
            self.shifts.extend(ramp.moved(desk.wall(), instance.id, before, step));
            match step {
                ShiftStep::Wait => {}
                ShiftStep::Moved => instance.ramp = Some(ramp),
                ShiftStep::Done => instance.ramp = None,
                ShiftStep::RollBack => {
                    instance.ramp = None;
                    instance.doomed = true;
                    let reason = instance.stats.taken_back(instance.id, &peers);
                    self.counters.rollbacks += 1;
                    self.starts.fail(desk.now(), &desk.policy.retry, &mut desk.shared.jitter);
                    self.note(reason);
                }
            }
        }
    }

    /// Takes active instances out of service that are not wanted, or puts them back that are wanted again.
    fn mark_drains(&mut self, want: Want, desk: &mut Desk<'_>) {
        let wall = desk.wall();
        for instance in &mut self.instances {
            if instance.doomed
                && instance.role == Role::Active
                && instance.phase == Phase::Ready
                && instance.healthy()
                && instance.turn(Turn::DrainBegun, wall)
            {
                instance.hold_for(desk.now(), desk.policy);
            }
        }
        let wanted = f64::from(want.active);
        let serving = self.worth(Instance::serving);
        let mut coming = serving + self.worth(Instance::promoting);
        let mut heads = self.serving();
        let mut heads_coming = heads + count(&self.instances, Instance::promoting);
        // Of those that drain, the one with most sessions is the furthest from being given up.
        let mut back: Vec<usize> = (0..self.instances.len()).rev().collect();
        back.sort_by_key(|at| Reverse(self.instances[*at].sessions));
        for at in back {
            let instance = &mut self.instances[at];
            if (coming < wanted - WORTH_SPARE || heads_coming < want.least)
                && instance.counts()
                && instance.healthy()
                && instance.turn(Turn::DrainUndone, wall)
            {
                if let Some(superseded) = instance.pending.take() {
                    desk.withdraw(superseded.action);
                }
                instance.keep();
                coming += instance.worth;
                heads_coming += 1;
            }
        }
        let mut surplus = serving - wanted + WORTH_SPARE;
        if surplus <= 0.0 {
            return;
        }
        // Whoever serves in place of one that moves on, and is worth less, stays until there are enough of its kind.
        let mut settled = self.worth(|i| i.serving() && i.moving.is_none()) - wanted + WORTH_SPARE;
        // And who is replaced stays until others have a full share in its place: what they do with less may be taken back.
        let replaceable = |i: &Instance| i.moving.is_some() || i.outdated;
        let in_full = |i: &Instance| i.serving() && (replaceable(i) || i.ramp.is_none());
        let mut replaced = self.worth(in_full) - wanted + WORTH_SPARE;
        let serving = self.instances.iter_mut().filter(|i| i.serving());
        let mut serving: Vec<&mut Instance> = serving.collect();
        serving.sort_by_key(|i| leaves_first(i, want));
        for instance in serving {
            let spared = if replaceable(instance) { &mut replaced } else { &mut settled };
            if instance.worth > surplus.min(*spared) || heads <= want.least {
                continue;
            }
            surplus -= instance.worth;
            *spared -= instance.worth;
            heads -= 1;
            instance.ramp = None;
            instance.turn(Turn::DrainBegun, wall);
            instance.hold_for(desk.now(), desk.policy);
        }
    }

    /// Orders the route table if it is not the one ordered last.
    fn route(&mut self, desk: &mut Desk<'_>) {
        let most = self.share_most();
        let wanted = |i: &Instance| match (i.serving(), i.phase) {
            (true, _) => Some((i.id, weight(i.ramp.map_or(FULL_WEIGHT, |r| r.weight), i.share / most))),
            (false, Phase::Draining) if i.healthy() => Some((i.id, 0)),
            (false, _) => None,
        };
        let same = self.instances.iter().filter_map(wanted).eq(self.table.sent.iter().copied());
        if (same && !self.table.dirty) || self.table.retry.waiting(desk.now()).is_some() {
            return;
        }
        let weights: Vec<(InstanceId, u32)> = self.instances.iter().filter_map(wanted).collect();
        if let Some((superseded, _)) = self.table.pending {
            desk.withdraw(superseded);
        }
        let kind = ActionKind::SetWeights { weights: weights.clone() };
        let Some(pending) = desk.issue(kind, desk.policy.deadlines.table) else { return };
        self.table.pending = Some(pending);
        self.table.dirty = false;
        for (id, weight) in &weights {
            self.table.expose(*id, *weight);
        }
        for instance in &mut self.instances {
            let entry = weights.binary_search_by_key(&instance.id, |entry| entry.0);
            instance.weight = entry.map_or(0, |at| weights[at].1);
        }
        self.table.sent = weights;
    }

    /// Promotes standbys for missing active instances. Returns how many are still missing.
    fn promote(&mut self, want: Want, desk: &mut Desk<'_>) -> u32 {
        let coming = self.worth(|i| i.serving() || i.promoting());
        let mut missing = f64::from(want.active) - coming - WORTH_SPARE;
        let heads = self.serving() + count(&self.instances, Instance::promoting);
        let mut heads_missing = want.least.saturating_sub(heads);
        // Those that move on serve until others do in their place.
        let settled = self.worth(|i| i.moving.is_none() && (i.serving() || i.promoting()));
        let mut replaced = count(&self.instances, |i| i.moving.is_some() && (i.serving() || i.promoting()));
        let heads_settled = count(&self.instances, |i| i.moving.is_none() && (i.serving() || i.promoting()));
        let unsettled = (f64::from(want.active) - settled - WORTH_SPARE).ceil().max(0.0) as u32;
        replaced = replaced.min(unsettled.max(want.least.saturating_sub(heads_settled)));
        // One that is not frozen answers at once; among equals the oldest has proved itself longest.
        for (moving, parked) in [(false, false), (false, true), (true, false), (true, true)] {
            for at in 0..self.instances.len() {
                let instance = &self.instances[at];
                let lacks = missing > 0.0 || heads_missing > 0;
                let open = lacks || (replaced > 0 && !moving && !instance.outdated);
                let worth = instance.worth;
                let asked = instance.parked == parked && instance.moving.is_some() == moving;
                if open && asked && instance.promotable() {
                    let kind = ActionKind::Promote { instance: instance.id };
                    if self.order(at, Order::Promote, kind, desk) {
                        match lacks {
                            true => missing -= worth,
                            false => replaced -= 1,
                        }
                        heads_missing = heads_missing.saturating_sub(1);
                    }
                }
            }
        }
        (missing.ceil().max(0.0) as u32).max(heads_missing)
    }

    /// Waits for the end of what is in flight on instances that the router has confirmed to send nothing new to, once the
    /// sessions told of have ended.
    fn drain(&mut self, desk: &mut Desk<'_>) {
        for at in 0..self.instances.len() {
            let i = &self.instances[at];
            let due = i.phase == Phase::Draining && i.pending.is_none() && !i.held(desk.now());
            if due && self.table.silent_for(i.id) {
                self.order(at, Order::Drain, ActionKind::Drain { instance: i.id }, desk);
            }
        }
    }

    /// Stops what is no good, and what should have been stopped already.
    fn stop_doomed(&mut self, desk: &mut Desk<'_>) {
        for at in 0..self.instances.len() {
            let i = &self.instances[at];
            let due = match (i.phase, i.role) {
                (Phase::Stopping, _) => true,
                (Phase::Starting | Phase::Halting | Phase::Halted, _) => i.doomed,
                (Phase::Ready, Role::Standby) => i.doomed && self.table.clear_of(i.id),
                (Phase::Ready, Role::Active) | (Phase::Draining, _) => i.doomed && !i.healthy(),
                (Phase::Stopped | Phase::Failed, _) => false,
            };
            if due && i.pending.is_none() && i.retry.waiting(desk.now()).is_none() {
                self.stop(at, desk);
            }
        }
    }

    /// Starts what is missing, or stops the standbys that are too many.
    fn resize(&mut self, want: Want, desk: &mut Desk<'_>) {
        let (now, policy) = (desk.now(), desk.policy);
        let awaited = |i: &Instance| i.waited_for(policy).is_none_or(|until| until > now);
        let counted = count(&self.instances, |i| i.stays() && awaited(i));
        self.unplaced = 0;
        let lacking = want.total.saturating_sub(counted);
        let restarted = self.restart(lacking, desk);
        let lacking = lacking - restarted;
        let missing = lacking - self.coming_back().min(lacking);
        let missing = missing.max(self.shelf_missing(want, counted + restarted, desk));
        if missing > 0 {
            self.start(want, missing, desk);
        }
        let (mut halts, mut surplus) = self.given_up(want, counted.saturating_sub(want.total));
        // The youngest first, before them what runs an earlier version, unless the new one is on trial.
        let shown = surplus + halts > 0 && self.new_version_is_shown(desk);
        let candidates = if surplus + halts > 0 { self.instances.len() } else { 0 };
        let mut order: Vec<usize> = (0..candidates).rev().collect();
        order.sort_by_key(|at| !(shown && self.instances[*at].outdated));
        for at in order {
            let i = &self.instances[at];
            let asked = surplus + halts > 0 && i.moving.is_none();
            if !asked || !i.promotable() || !self.table.clear_of(i.id) {
                continue;
            }
            // The disk of an earlier version is of no use.
            let gone = if halts > 0 && !i.outdated { self.halt(at, desk) } else { self.stop(at, desk) };
            let left = if halts > 0 { &mut halts } else { &mut surplus };
            *left -= u32::from(gone);
        }
        if want.refused {
            self.cancel_starts(surplus, desk);
        }
        self.stop_moved(want, desk);
        let waiting = if self.starts_all_it_may(desk) { lacking } else { 0 };
        self.clear_shelf(want, waiting, desk);
    }

    /// Stops instances that are not even ready yet. Usually they are waited for, as they may be wanted again by then.
    fn cancel_starts(&mut self, mut surplus: u32, desk: &mut Desk<'_>) {
        for at in (0..self.instances.len()).rev() {
            let i = &self.instances[at];
            if surplus > 0 && i.phase == Phase::Starting && i.stays() && self.stop(at, desk) {
                surplus -= 1;
            }
        }
    }

    /// Stops standbys that were replaced on another node.
    fn stop_moved(&mut self, want: Want, desk: &mut Desk<'_>) {
        let ready = count(&self.instances, |i| i.stays() && i.phase != Phase::Starting);
        for at in 0..self.instances.len() {
            let i = &self.instances[at];
            let due = i.moving.is_some() && i.promotable() && ready >= want.total;
            if due && self.table.clear_of(i.id) {
                self.stop(at, desk);
            }
        }
    }

    fn start(&mut self, want: Want, missing: u32, desk: &mut Desk<'_>) {
        if self.starts.waiting(desk.now()).is_some() {
            return;
        }
        let starting = count(&self.instances, |i| i.phase == Phase::Starting);
        let occupied = count(&self.instances, |i| i.phase != Phase::Stopping && i.moving.is_none());
        let limits = desk.shared.limits;
        let in_flight_max = self.starts_at_once(desk);
        let room = desk.policy.replicas_max.saturating_sub(occupied);
        let rows = limits.instances.saturating_sub(self.instances.len() as u32);
        let starts = missing.min(in_flight_max.saturating_sub(starting)).min(room).min(rows);
        let up = |i: &Instance| i.serving() || i.promoting() || i.promotable();
        let coming = self.worth(|i| up(i) && i.moving.is_none()) + f64::from(starting) + WORTH_SPARE;
        for n in 0..starts {
            let id = desk.new_instance();
            let mut instance = Instance::new(id, Phase::Starting, Role::Standby, desk.wall());
            let moves = self.instances.iter().position(|i| i.moving.as_ref().is_some_and(|m| !m.started));
            let way = moves.and_then(|at| {
                let from = &self.instances[at];
                Some((from.moving.as_ref()?.to.clone()?, from.node.clone()?))
            });
            let (node, placed) = match desk.seat(id, way) {
                Seated::Anywhere => (None, None),
                Seated::On(node, reason) => (Some(node), Some(reason)),
                Seated::Waits => {
                    desk.shared.owners.remove(&id);
                    self.unplaced = starts - n;
                    return;
                }
            };
            let park = coming + f64::from(n) >= f64::from(want.active);
            let size = self.joins_with(want).or_else(|| Some(want.profiles?.of_new(park)));
            let kind = ActionKind::Start { instance: id, park, size, node: node.clone() };
            let Some((action, deadline)) = desk.issue(kind, desk.policy.start_deadline()) else {
                desk.shared.owners.remove(&id);
                desk.leave(node.as_ref());
                return;
            };
            if let Some(moving) = moves.and_then(|at| self.instances[at].moving.as_mut()) {
                moving.started = true;
            }
            instance.node = node;
            if let Some(reason) = placed.filter(|_| n < PLACES_TOLD) {
                self.note(reason);
            }
            instance.pending = Some(Pending { action, order: Order::Start, deadline });
            instance.size = size;
            instance.started = Some(desk.now());
            self.counters.starts += 1;
            let at = self.instances.partition_point(|i| i.id < id);
            self.instances.insert(at, instance);
        }
    }

    /// After failures fewer are tried at a time, in the end one. Not after the first few: where only most starts fail, those
    /// that do not are found by trying many.
    pub(crate) fn starts_at_once(&self, desk: &Desk<'_>) -> u32 {
        (desk.shared.limits.starts_in_flight >> (self.starts.failures() / FAILURES_TO_HALVE).min(31)).max(1)
    }

    /// Parks standbys that nobody waits for.
    fn park(&mut self, short: u32, desk: &mut Desk<'_>) {
        if short > 0 {
            return;
        }
        for at in 0..self.instances.len() {
            let i = &self.instances[at];
            let due = i.promotable() && !i.parked && i.retry.waiting(desk.now()).is_none();
            let kind = ActionKind::Park { instance: i.id };
            if due && self.table.clear_of(i.id) && self.let_go(at, desk) {
                self.order(at, Order::Park, kind, desk);
            }
        }
    }

    /// An instance may be frozen or stopped. If it holds sessions, the time to wait for them begins, unless it runs already.
    pub(crate) fn let_go(&mut self, at: usize, desk: &Desk<'_>) -> bool {
        let instance = &mut self.instances[at];
        if instance.sessions > 0 {
            instance.hold_for(desk.now(), desk.policy);
        }
        !instance.held(desk.now())
    }

    pub(crate) fn stop(&mut self, at: usize, desk: &mut Desk<'_>) -> bool {
        if !self.let_go(at, desk) {
            return false;
        }
        let kind = ActionKind::Stop { instance: self.instances[at].id };
        let ordered = self.order(at, Order::Stop, kind, desk);
        if ordered {
            self.cut_sessions(at);
            let wall = desk.wall();
            let instance = &mut self.instances[at];
            instance.ramp = None;
            instance.weight = 0;
            instance.turn(Turn::StopOrdered, wall);
            let id = instance.id;
            self.unroute(id);
        }
        ordered
    }

    /// Gives an order about an instance that has none under way.
    pub(crate) fn order(&mut self, at: usize, order: Order, kind: ActionKind, desk: &mut Desk<'_>) -> bool {
        let deadlines = &desk.policy.deadlines;
        let within = match order {
            Order::Start | Order::Restart => desk.policy.start_deadline(),
            Order::Park | Order::Resize => deadlines.park,
            Order::Promote => desk.policy.promote_deadline(),
            Order::Drain => self.instances[at]
                .held_until
                .map_or(deadlines.drain, |until| deadlines.drain.max(until.since(desk.now()))),
            Order::Halt | Order::Stop => deadlines.stop,
        };
        let Some((action, deadline)) = desk.issue(kind, within) else { return false };
        let instance = &mut self.instances[at];
        (instance.pending, instance.overdue) = (Some(Pending { action, order, deadline }), None);
        true
    }
}

/// Those that serve leave in this order: those that move on first, then those of an earlier version, those that have yet to grow, those with the fewest
/// sessions, those that ramp, those of the standbys' profile, the youngest.
fn leaves_first(i: &Instance, want: Want) -> impl Ord + use<> {
    let grows = want.grown > 1.0 + WORTH_SPARE && i.worth < want.grown - WORTH_SPARE;
    (i.moving.is_none(), !i.outdated, !grows, i.sessions, i.ramp.is_none(), i.worth == 1.0, Reverse(i.id))
}

/// A share of a full weight, for one that serves so much of what the largest does.
fn weight(of_ramp: u32, share: f64) -> u32 {
    ((f64::from(of_ramp) * share).round() as u32).max(1)
}

/// So many more failures in a row let half as many be started at a time.
const FAILURES_TO_HALVE: u32 = 3;

/// Of many starts at once, the places of the first ones are told.
const PLACES_TOLD: u32 = 4;
