//! One instance of a workload and its life.
//!
//! Phase, role and weight are three things: a draining instance is still active, an unhealthy one is ready but has no
//! weight. Every change of phase or role goes through one function, [`transition`], which refuses what is impossible, so
//! that a late or repeated event can never put an instance into a state that the planner did not mean.

use forecast::Timestamp;

use crate::ids::{ActionId, InstanceId, NodeId};
use crate::policy::{ShiftPolicy, WorkloadPolicy};
use crate::retry::Backoff;
use crate::scarcity::{MoveCause, SharingReason};
use crate::shift::{Ramp, ShiftMove, ShiftTurn, Stats};
use crate::size::Size;

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Ordered, not ready yet.
    Starting,
    /// Its probe passed; it can be parked, promoted or routed to.
    Ready,
    /// Its weight is 0 and it finishes what it has.
    Draining,
    /// Told to stop and to keep its disk.
    Halting,
    /// Stopped with its disk kept; it can be restarted.
    Halted,
    /// Told to stop.
    Stopping,
    /// Gone as ordered.
    Stopped,
    /// Gone or given up without having been ordered to.
    Failed,
}

/// What an instance is used as, apart from its phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Started ahead of demand, gets no traffic.
    Standby,
    /// In the route table, or about to be.
    Active,
}

/// What happens to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Its probe passed.
    BecameReady,
    /// It was thawed and verified, and may be routed to.
    Promoted,
    /// It gets nothing new from now on.
    DrainBegun,
    /// It is wanted again before it was drained.
    DrainUndone,
    /// It has nothing in flight any more, or its time is over.
    Drained,
    /// It was told to stop and to keep its disk.
    HaltOrdered,
    /// It is stopped with its disk kept.
    Halted,
    /// It was told to come up again from its disk.
    RestartOrdered,
    /// It was told to stop.
    StopOrdered,
    /// It is gone as ordered.
    Stopped,
    /// It is gone, or given up.
    Lost,
}

/// The life of an instance. `None`: that cannot happen in this state.
pub(crate) fn transition(phase: Phase, role: Role, turn: Turn) -> Option<(Phase, Role)> {
    match (turn, phase, role) {
        (Turn::BecameReady, Phase::Starting, Role::Standby) => Some((Phase::Ready, Role::Standby)),
        (Turn::Promoted, Phase::Ready, Role::Standby) => Some((Phase::Ready, Role::Active)),
        (Turn::DrainBegun, Phase::Ready, Role::Active) => Some((Phase::Draining, Role::Active)),
        (Turn::DrainUndone, Phase::Draining, Role::Active) => Some((Phase::Ready, Role::Active)),
        (Turn::Drained, Phase::Draining, Role::Active) => Some((Phase::Ready, Role::Standby)),
        (Turn::HaltOrdered, Phase::Ready, Role::Standby) => Some((Phase::Halting, Role::Standby)),
        (Turn::Halted, Phase::Halting, role) => Some((Phase::Halted, role)),
        (Turn::RestartOrdered, Phase::Halted, role) => Some((Phase::Starting, role)),
        (Turn::StopOrdered, phase, role) if !matches!(phase, Phase::Stopped | Phase::Failed) => {
            Some((Phase::Stopping, role))
        }
        (Turn::Stopped, Phase::Stopping, role) => Some((Phase::Stopped, role)),
        (Turn::Lost, phase, role) if !matches!(phase, Phase::Stopped | Phase::Failed) => {
            Some((Phase::Failed, role))
        }
        (Turn::BecameReady | Turn::Promoted | Turn::DrainBegun | Turn::DrainUndone | Turn::Drained, _, _)
        | (Turn::HaltOrdered | Turn::Halted | Turn::RestartOrdered, _, _)
        | (Turn::StopOrdered | Turn::Stopped | Turn::Lost, _, _) => None,
    }
}

/// The order about an instance that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Start,
    Park,
    Promote,
    Drain,
    Resize,
    Halt,
    Restart,
    Stop,
}

/// An order that has not been answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) action: ActionId,
    pub(crate) order: Order,
    /// On the internal clock.
    pub(crate) deadline: Timestamp,
}

/// An instance that is being replaced by another, or that makes room.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moving {
    /// The node where the replacement is to be started; `None` when any will do, or when there will be none.
    pub(crate) to: Option<NodeId>,
    /// Why it leaves its node; `None` when the replacement is for the sake of a new version.
    pub(crate) why: Option<MoveCause>,
    /// When the move is given up, on the internal clock.
    pub(crate) until: Timestamp,
    /// The replacement was ordered, or there is to be none.
    pub(crate) started: bool,
}

/// One row of a workload's instance table.
#[derive(Debug, Clone)]
pub struct Instance {
    pub(crate) id: InstanceId,
    pub(crate) phase: Phase,
    pub(crate) role: Role,
    pub(crate) parked: bool,
    pub(crate) weight: u32,
    pub(crate) since: Timestamp,
    pub(crate) pending: Option<Pending>,
    /// Since when it is unhealthy, on the internal clock.
    pub(crate) unhealthy: Option<Timestamp>,
    /// Since when most of its requests fail, on the internal clock.
    pub(crate) failing: Option<Timestamp>,
    /// It is to be stopped and replaced, whatever the plan says.
    pub(crate) doomed: bool,
    /// The promotion that was given up because it took too long, until something else is ordered.
    pub(crate) overdue: Option<ActionId>,
    /// Where it runs, if nodes are given.
    pub(crate) node: Option<NodeId>,
    /// Where its disk is while it is stopped, if nodes are given: it takes no room there.
    pub(crate) disk_on: Option<NodeId>,
    /// It runs something else than what is started now.
    pub(crate) outdated: bool,
    /// It serves until its replacement does.
    pub(crate) moving: Option<Moving>,
    pub(crate) ramp: Option<Ramp>,
    pub(crate) stats: Stats,
    /// When its start was ordered, on the internal clock; `None` for one that was found running.
    pub(crate) started: Option<Timestamp>,
    /// It was well for a while after its start.
    pub(crate) proven: bool,
    /// Pauses between failed orders about this instance.
    pub(crate) retry: Backoff,
    /// How large it is; `None` while nobody said.
    pub(crate) size: Option<Size>,
    /// The size ordered last.
    pub(crate) size_ordered: Option<Size>,
    /// The most memory that was ordered since a size was confirmed last: nobody knows what has come of it.
    pub(crate) memory_ordered: u64,
    /// What it counts for among active instances, and its share of traffic beside theirs; 1 unless sizes differ.
    pub(crate) worth: f64,
    pub(crate) share: f64,
    /// Since when it takes its full share, on the internal clock; for leaving out start-up samples.
    pub(crate) serving_since: Option<Timestamp>,
    /// Sessions that it holds, as told last.
    pub(crate) sessions: u32,
    /// Until when it is waited for because of them, on the internal clock; set once it is to be given up.
    pub(crate) held_until: Option<Timestamp>,
}

impl Instance {
    pub(crate) fn new(id: InstanceId, phase: Phase, role: Role, since: Timestamp) -> Self {
        Instance {
            id,
            phase,
            role,
            parked: false,
            weight: 0,
            since,
            pending: None,
            unhealthy: None,
            failing: None,
            doomed: false,
            overdue: None,
            node: None,
            disk_on: None,
            outdated: false,
            moving: None,
            ramp: None,
            stats: Stats::default(),
            started: None,
            proven: false,
            retry: Backoff::default(),
            size: None,
            size_ordered: None,
            memory_ordered: 0,
            worth: 1.0,
            share: 1.0,
            serving_since: None,
            sessions: 0,
            held_until: None,
        }
    }

    /// Its id.
    pub fn id(&self) -> InstanceId {
        self.id
    }

    /// Where it is in its life.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What it is used as.
    pub fn role(&self) -> Role {
        self.role
    }

    /// It is frozen.
    pub fn parked(&self) -> bool {
        self.parked
    }

    /// Where it runs; `None` where no nodes are given.
    pub fn node(&self) -> Option<&NodeId> {
        self.node.as_ref()
    }

    /// It runs an earlier version of the workload.
    pub fn outdated(&self) -> bool {
        self.outdated
    }

    /// It is being replaced by another instance.
    pub fn moving(&self) -> bool {
        self.moving.is_some()
    }

    /// Its weight in the route table last ordered; 1000 is a full share, 0 is none.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// No health check speaks against it.
    pub fn healthy(&self) -> bool {
        self.unhealthy.is_none()
    }

    /// When it entered its phase or role.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// The order about it that has not been answered yet.
    pub fn pending(&self) -> Option<ActionId> {
        self.pending.map(|p| p.action)
    }

    /// The most memory that it may use, or may have been allowed to, in bytes.
    pub(crate) fn memory_held(&self) -> u64 {
        self.size.map_or(0, |size| size.memory_bytes).max(self.memory_ordered)
    }

    /// How large it is; `None` while nobody said.
    pub fn size(&self) -> Option<Size> {
        self.size
    }

    /// What it counts for among active instances; 1 unless sizes differ.
    pub fn worth(&self) -> f64 {
        self.worth
    }

    /// Sessions that it holds, as told last.
    pub fn sessions(&self) -> u32 {
        self.sessions
    }

    /// It holds sessions, and its time to wait for them is not over.
    pub(crate) fn held(&self, now: Timestamp) -> bool {
        self.sessions > 0 && self.held_until.is_none_or(|until| now < until)
    }

    /// It is to be given up: from now on its sessions have this long to end.
    pub(crate) fn hold_for(&mut self, now: Timestamp, policy: &WorkloadPolicy) {
        if policy.sessions.is_some() {
            self.held_until.get_or_insert(now.saturating_add(policy.drain_deadline()));
        }
    }

    /// It is wanted again.
    pub(crate) fn keep(&mut self) {
        self.held_until = None;
    }

    /// Applies a turn of its life; false, and nothing changed, when that cannot happen now.
    pub(crate) fn turn(&mut self, turn: Turn, now: Timestamp) -> bool {
        let Some((phase, role)) = transition(self.phase, self.role, turn) else { return false };
        if (phase, role) != (self.phase, self.role) {
            self.since = now;
        }
        (self.phase, self.role) = (phase, role);
        true
    }

    /// It begins to serve: what it did before says nothing. Returns the first step of its traffic shift, if it is shifted to in
    /// steps. The times are those of the internal clock and of the driver's.
    pub(crate) fn begin_anew(
        &mut self,
        (now, wall): (Timestamp, Timestamp),
        shift: &ShiftPolicy,
    ) -> Option<ShiftMove> {
        self.stats = Stats::default();
        self.failing = None;
        self.ramp = Ramp::begin(now, shift);
        self.serving_since = Some(now);
        let to = self.ramp?.weight;
        Some(ShiftMove { at: wall, instance: self.id, from: 0, to, turn: ShiftTurn::Began })
    }

    /// The order with this id is the one under way.
    pub(crate) fn awaits(&self, action: ActionId, order: Order) -> bool {
        self.pending.is_some_and(|p| p.action == action && p.order == order)
    }

    /// The promotion that was given up has succeeded after all, and the instance is still there: sessions are waited for.
    pub(crate) fn comes_late(&self, action: ActionId) -> bool {
        let stands_by = self.phase == Phase::Ready && self.role == Role::Standby && self.pending.is_none();
        stands_by && self.healthy() && self.overdue == Some(action)
    }

    /// It is verified, healthy and wanted in the route table.
    pub(crate) fn serving(&self) -> bool {
        self.phase == Phase::Ready && self.role == Role::Active && self.healthy() && !self.doomed
    }

    /// It counts as one of the wanted instances. An unhealthy one does until its time is over: it may come back.
    pub(crate) fn counts(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Ready | Phase::Draining) && !self.doomed
    }

    /// It counts, and it will still be there after all moves.
    pub(crate) fn stays(&self) -> bool {
        self.counts() && self.moving.is_none()
    }

    /// Why it is being moved from its node, if it is.
    pub(crate) fn moving_reason(&self) -> Option<SharingReason> {
        let (moving, from) = (self.moving.as_ref()?, self.node.clone()?);
        let (to, why) = (moving.to.clone(), moving.why.clone()?);
        Some(SharingReason::Moved { instance: self.id, from, to, why })
    }

    /// Until when it is waited for, where it is unhealthy, before another is started beside it: as long as that start would take,
    /// at most as long as it is kept.
    pub(crate) fn waited_for(&self, policy: &WorkloadPolicy) -> Option<Timestamp> {
        self.unhealthy.map(|since| since.saturating_add(policy.lead_cold.min(policy.deadlines.unhealthy)))
    }

    /// It can be told to come up now.
    pub(crate) fn promotable(&self) -> bool {
        let idle = self.phase == Phase::Ready && self.role == Role::Standby && self.pending.is_none();
        idle && self.counts() && self.healthy()
    }

    /// It is being promoted.
    pub(crate) fn promoting(&self) -> bool {
        self.counts() && self.healthy() && self.pending.is_some_and(|p| p.order == Order::Promote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASES: [Phase; 8] = [
        Phase::Starting,
        Phase::Ready,
        Phase::Draining,
        Phase::Halting,
        Phase::Halted,
        Phase::Stopping,
        Phase::Stopped,
        Phase::Failed,
    ];
    const TURNS: [Turn; 11] = [
        Turn::HaltOrdered,
        Turn::Halted,
        Turn::RestartOrdered,
        Turn::BecameReady,
        Turn::Promoted,
        Turn::DrainBegun,
        Turn::DrainUndone,
        Turn::Drained,
        Turn::StopOrdered,
        Turn::Stopped,
        Turn::Lost,
    ];

    #[test]
    fn a_life_goes_from_start_to_service_and_back_to_the_pool() {
        let mut instance =
            Instance::new(InstanceId::new(1), Phase::Starting, Role::Standby, Timestamp::from_millis(0));
        let now = Timestamp::from_millis(1);
        for (turn, phase, role) in [
            (Turn::BecameReady, Phase::Ready, Role::Standby),
            (Turn::Promoted, Phase::Ready, Role::Active),
            (Turn::DrainBegun, Phase::Draining, Role::Active),
            (Turn::DrainUndone, Phase::Ready, Role::Active),
            (Turn::DrainBegun, Phase::Draining, Role::Active),
            (Turn::Drained, Phase::Ready, Role::Standby),
            (Turn::HaltOrdered, Phase::Halting, Role::Standby),
            (Turn::Halted, Phase::Halted, Role::Standby),
            (Turn::RestartOrdered, Phase::Starting, Role::Standby),
            (Turn::BecameReady, Phase::Ready, Role::Standby),
            (Turn::StopOrdered, Phase::Stopping, Role::Standby),
            (Turn::Stopped, Phase::Stopped, Role::Standby),
        ] {
            assert!(instance.turn(turn, now), "{turn:?}");
            assert_eq!((instance.phase, instance.role), (phase, role));
        }
    }

    #[test]
    fn nothing_happens_after_the_end() {
        for phase in [Phase::Stopped, Phase::Failed] {
            for role in [Role::Standby, Role::Active] {
                for turn in TURNS {
                    assert_eq!(transition(phase, role, turn), None);
                }
            }
        }
    }

    #[test]
    fn only_a_promotion_makes_an_instance_active() {
        for phase in PHASES {
            for turn in TURNS {
                if let Some((_, Role::Active)) = transition(phase, Role::Standby, turn) {
                    assert_eq!((phase, turn), (Phase::Ready, Turn::Promoted));
                }
            }
        }
    }
}
