//! A new version takes over from an earlier one: what runs something else than is started now is replaced bit by bit, each
//! instance once another serves in its place.

use std::cmp::Reverse;
use std::time::Duration;

use forecast::Timestamp;

use crate::desk::Desk;
use crate::fleet::{EARLY_EXIT, Fleet, count};
use crate::ids::InstanceId;
use crate::instance::{Instance, Moving, Phase, Role};
use crate::profiles::WORTH_SPARE;
use crate::reconcile::Want;

/// Trials of a new version since it was shown to be good last.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trials {
    begun: u32,
    /// The next may begin.
    next: Option<Timestamp>,
}

impl Trials {
    fn begin(&mut self, now: Timestamp) {
        let pause = TRIAL_PAUSE.saturating_mul(1 << self.begun.min(DOUBLINGS_MAX)).min(TRIAL_PAUSE_MAX);
        self.begun = self.begun.saturating_add(1);
        self.next = Some(now.saturating_add(pause));
    }

    fn paused(&self, now: Timestamp) -> bool {
        self.next.is_some_and(|next| now < next)
    }
}

impl Fleet {
    /// Instances were found to run an earlier version.
    pub(crate) fn outdated(&mut self, ids: &[InstanceId]) -> bool {
        let mut any = false;
        for instance in self.instances.iter_mut().filter(|i| ids.contains(&i.id)) {
            (any, instance.outdated) = (true, true);
        }
        any
    }

    /// For plans, as long as there are any: how many there are, how many of them are being replaced, and when that goes on, on
    /// the internal clock, where a trial went wrong.
    pub(crate) fn outdated_now(&self, now: Timestamp) -> Option<(u32, u32, Option<Timestamp>)> {
        let instances = count(&self.instances, |i| i.outdated);
        let replacing = count(&self.instances, |i| i.outdated && i.moving.is_some());
        let again = self.trials.next.filter(|next| replacing == 0 && now < *next);
        (instances > 0).then_some((instances, replacing, again))
    }

    /// Begins to replace what runs an earlier version: one at first, and several at a time once the new version has shown what it
    /// is worth. While starts fail, the earlier one is better than none.
    pub(super) fn renew(&mut self, want: Want, desk: &Desk<'_>) {
        if !self.instances.iter().any(|i| i.outdated) {
            return;
        }
        for stopped in self.instances.iter_mut().filter(|i| i.outdated && is_stopped(i)) {
            // Its disk would bring the earlier version back.
            stopped.doomed = true;
        }
        self.make_room(want, desk);
        let staying = count(&self.instances, Instance::stays);
        if staying >= want.total {
            self.call_off_renewals();
        }
        let shown = self.new_version_is_shown(desk);
        if shown {
            self.trials = Trials::default();
        } else if !self.instances.iter().any(|i| !i.outdated && i.counts()) {
            self.end_trial();
        }
        if staying > want.total || self.starts.failures() > 0 || self.trials.paused(desk.now()) {
            return;
        }
        let due = |i: &Instance| i.outdated && i.stays() && i.phase == Phase::Ready;
        let mut left = count(&self.instances, due);
        let policy = desk.policy;
        let within = policy.start_deadline() + policy.promote_deadline() + policy.drain_deadline();
        let until = desk.now().saturating_add(within);
        let mut replacing = count(&self.instances, |i| i.outdated && i.moving.is_some());
        while left > 0 && replacing < self.renewed_at_once(desk) {
            // Those that serve first: only in their place the new version shows what it is worth.
            let next = self.instances.iter_mut().filter(|i| due(i));
            let Some(instance) = next.max_by_key(|i| (i.role == Role::Active, Reverse(i.id))) else { return };
            instance.moving = Some(Moving { to: None, why: None, until, started: false });
            if !shown {
                self.trials.begin(desk.now());
            }
            (left, replacing) = (left - 1, replacing + 1);
        }
    }

    /// What was to serve in place of others is gone: they stay.
    fn end_trial(&mut self) {
        for instance in &mut self.instances {
            instance.moving = instance.moving.take().filter(|moving| moving.why.is_some() || !moving.started);
        }
    }

    /// What was stopped comes up in place of one that is to be replaced.
    pub(crate) fn renewed_by_restart(&mut self) {
        let mut moving = self.instances.iter_mut().filter_map(|i| i.moving.as_mut());
        if let Some(moving) = moving.find(|moving| moving.why.is_none() && !moving.started) {
            moving.started = true;
        }
    }

    /// Without the ones to be replaced there are as many as are wanted, so that no other would be started: what is too much goes
    /// first, and that is of the earlier version, too.
    fn call_off_renewals(&mut self) {
        for instance in &mut self.instances {
            instance.moving = instance.moving.take().filter(|moving| moving.why.is_some() || moving.started);
        }
    }

    /// A standby of the earlier version goes first, if it is needed for nothing else, where no node has room for one beside, and
    /// where it takes the place of the one that was to serve instead.
    fn make_room(&mut self, want: Want, desk: &Desk<'_>) {
        let goes = |i: &Instance| i.outdated && (i.doomed || i.phase == Phase::Stopping);
        let served = self.worth(|i| i.serving() || i.promoting()) + WORTH_SPARE >= f64::from(want.active);
        if !served
            || self.instances.iter().any(goes)
            || !(self.no_node_has_room() || self.place_is_taken(want, desk))
        {
            return;
        }
        let idle = |i: &Instance| i.outdated && i.promotable() && self.table.clear_of(i.id);
        if let Some(at) = self.instances.iter().position(idle) {
            self.instances[at].doomed = true;
        }
    }

    fn no_node_has_room(&self) -> bool {
        let waits = |i: &Instance| i.outdated && i.moving.as_ref().is_some_and(|moving| !moving.started);
        self.unplaced > 0 && self.instances.iter().any(waits)
    }

    /// What was started in place of one that serves on is gone, and without it there are as many as are wanted.
    fn place_is_taken(&self, want: Want, desk: &Desk<'_>) -> bool {
        let awaits =
            |i: &Instance| i.moving.as_ref().is_some_and(|moving| moving.why.is_none() && moving.started);
        let comes = |i: &Instance| i.phase == Phase::Starting || i.promoting() || i.promotable();
        self.instances.iter().any(|i| awaits(i) && i.serving())
            && count(&self.instances, Instance::stays) >= want.total
            && !self.instances.iter().any(|i| !i.outdated && i.counts() && (comes(i) || i.ramp.is_some()))
            && self.new_version_is_shown(desk)
    }

    /// One of the new version is on trial: it comes up, or does not have its full share yet.
    pub(crate) fn tries_new_version(&self) -> bool {
        let tried = |i: &Instance| i.phase == Phase::Starting || i.promoting() || i.ramp.is_some();
        self.instances.iter().any(|i| !i.outdated && i.counts() && tried(i))
    }

    /// One of the new version was well for a while, in use where anything is in use.
    pub(super) fn new_version_is_shown(&self, desk: &Desk<'_>) -> bool {
        let serves = self.instances.iter().any(Instance::serving);
        let shown = |i: &Instance| {
            let in_use = !serves || (i.serving() && i.ramp.is_none());
            in_use && i.phase == Phase::Ready && i.healthy() && desk.wall().since(i.since) >= EARLY_EXIT
        };
        self.instances.iter().any(|i| !i.outdated && i.counts() && shown(i))
    }

    /// One, whose successor then has to show what it is worth. After that a share of all.
    fn renewed_at_once(&self, desk: &Desk<'_>) -> u32 {
        let tried = |i: &Instance| i.role == Role::Active || i.phase == Phase::Starting || i.promoting();
        if self.new_version_is_shown(desk) {
            (count(&self.instances, Instance::counts) / RENEWED_PART).max(1)
        } else {
            u32::from(!self.instances.iter().any(|i| !i.outdated && i.counts() && tried(i)))
        }
    }
}

fn is_stopped(instance: &Instance) -> bool {
    matches!(instance.phase, Phase::Halting | Phase::Halted)
}

/// One of so many is replaced at a time.
const RENEWED_PART: u32 = 4;
/// From the beginning of the first trial to the next, which doubles from then on.
const TRIAL_PAUSE: Duration = Duration::from_secs(60);
const TRIAL_PAUSE_MAX: Duration = Duration::from_secs(900);
const DOUBLINGS_MAX: u32 = 10;
