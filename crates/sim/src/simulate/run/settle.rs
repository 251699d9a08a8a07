//! The liveness phase: nothing goes wrong any more, and every fleet must become what the plan wants.

use std::time::Duration;

use forecast::Timestamp;
use planner::{CapacityPolicy, Instance, Phase, Role};

use super::super::FailureKind;
use super::super::checks::leaks;
use super::{Simulation, hosts};
use crate::world::{Lie, Stage};

/// How far a fleet is on its way to what is wanted.
#[derive(Debug, Clone, Copy)]
struct Progress {
    /// Active, standby and stopped instances wanted.
    wanted: Option<(u32, u32, u32)>,
    /// When that changed, or was there last.
    moved: Timestamp,
    /// Since when it has been there.
    since: Option<Timestamp>,
    /// When it was there first.
    first: Option<Timestamp>,
    /// How much longer it may take because sessions are waited for.
    sessions: Duration,
    done: bool,
}

impl Simulation {
    /// Lets time pass until each fleet is what the plan wants, and stays so for a while.
    pub(super) fn settle(&mut self) -> Result<Duration, FailureKind> {
        let began = self.now;
        let start = |at| Progress {
            wanted: self.wanted(at),
            moved: began,
            since: None,
            first: None,
            sessions: Duration::ZERO,
            done: false,
        };
        let mut all: Vec<Progress> = (0..self.services.len()).map(start).collect();
        let bound = (0..self.services.len()).map(|at| self.liveness_bound(at)).max().unwrap_or_default();
        while self.now < began + bound && !all.iter().all(|progress| progress.done) {
            self.run_until(self.now + SETTLE_LOOK)?;
            for (at, progress) in all.iter_mut().enumerate() {
                self.look(at, progress)?;
            }
        }
        // A forecast that still expects what the faulty time taught it may keep moving the plan, if the fleet keeps up.
        match all.iter().position(|progress| progress.first.is_none()) {
            Some(at) => Err(FailureKind::Unsettled { bound, state: self.state(at) }),
            None => {
                let last = all.iter().filter_map(|progress| progress.since.or(progress.first)).max();
                Ok(last.map_or(Duration::ZERO, |last| last.since(began)))
            }
        }
    }

    fn look(&self, at: usize, progress: &mut Progress) -> Result<(), FailureKind> {
        let wanted = self.wanted(at);
        if progress.wanted != wanted {
            (progress.wanted, progress.moved) = (wanted, self.now);
            progress.sessions = Duration::ZERO;
        }
        progress.sessions = progress.sessions.max(self.time_for_sessions(at));
        let patience = self.patience(at) + progress.sessions;
        if self.settled(at) {
            (progress.moved, progress.sessions) = (self.now, Duration::ZERO);
            progress.first.get_or_insert(self.now);
            let since = *progress.since.get_or_insert(self.now);
            progress.done = self.now.since(since) >= SETTLE_HOLD;
            if progress.done
                && let Some(state) = self.left_over(at)
            {
                return Err(FailureKind::Leak { state });
            }
        } else if self.now.since(progress.moved) > patience {
            return Err(FailureKind::Unsettled { bound: patience, state: self.state(at) });
        } else {
            (progress.since, progress.done) = (None, false);
        }
        Ok(())
    }

    /// What exists and is not known, or the reverse.
    fn left_over(&self, at: usize) -> Option<String> {
        let truth = self.services[at].truth(self.now, self.planner_time(), 0);
        let snapshot = self.planner.snapshot();
        leaks(&truth, snapshot.workloads().get(at)?)
    }

    /// How long the fleet may differ from a plan that does not change: a hung start is given up and the longest pause
    /// passes before the next, twice; and each instance that is deaf is found out when it is needed.
    pub(super) fn patience(&self, at: usize) -> Duration {
        let (policy, agent) = (&self.services[at].setup.policy, &self.services[at].agent);
        let liars =
            agent.fleet().iter().filter(|(instance, _)| agent.lie(*instance) == Some(Lie::Deaf)).count();
        2 * (policy.start_deadline() + policy.retry.max)
            + policy.drain_deadline()
            + (policy.promote_deadline() + policy.retry.max) * liars as u32
            + self.time_to_renew(at)
            + Duration::from_secs(300)
    }

    /// A new version waits until failed starts are forgotten. Then it comes in so many turns at most: one at first, then a
    /// quarter of all at a time, or on shared nodes as there is room, one after the other.
    fn time_to_renew(&self, at: usize) -> Duration {
        let policy = &self.services[at].setup.policy;
        let turn = policy.start_deadline() + policy.promote_deadline() + policy.drain_deadline();
        let turns = match (self.outdated(at), self.swarm.sharing.is_some()) {
            (0, _) => return Duration::ZERO,
            (_, true) => (0..self.services.len()).map(|other| self.outdated(other)).sum(),
            (outdated, false) => outdated.min(RENEWALS),
        };
        (turn + RENEWAL_PAUSE) * turns + 3 * policy.retry.max + TRIAL_PAUSE_MAX
    }

    /// An instance with sessions may be replaced on another node when others have just been waited for, and is waited for
    /// as long once more.
    fn time_for_sessions(&self, at: usize) -> Duration {
        let policy = &self.services[at].setup.policy;
        let snapshot = self.planner.snapshot();
        let instances = snapshot.workloads().get(at).map_or(&[][..], |view| view.instances);
        let waits = instances.iter().any(|i| i.phase() == Phase::Draining && i.sessions() > 0);
        let time = policy.start_deadline() + policy.promote_deadline() + policy.drain_deadline();
        if waits && self.swarm.sharing.is_some() { time } else { Duration::ZERO }
    }

    fn wanted(&self, at: usize) -> Option<(u32, u32, u32)> {
        let snapshot = self.planner.snapshot();
        let plan = snapshot.workloads().get(at)?.plan?;
        Some((plan.active_wanted, plan.standby_wanted, plan.stopped_wanted))
    }

    /// Patience, and time for guards to end and a forecast to calm down.
    fn liveness_bound(&self, at: usize) -> Duration {
        let policy = &self.services[at].setup.policy;
        self.patience(at) + policy.guard + 60 * policy.step + Duration::from_secs(1800)
    }

    fn settled(&self, at: usize) -> bool {
        let service = &self.services[at];
        let fleet = service.agent.fleet();
        let active = fleet.count(Stage::Active);
        let standby = fleet.count(Stage::Warm) + fleet.count(Stage::Parked);
        let serves =
            fleet.iter().filter(|(_, stage)| *stage == Stage::Active).map(|(id, _)| service.capacity_of(id));
        let enough = serves.sum::<f64>() >= service.demand * SERVED_SHARE
            || active + standby >= self.most(at)
            || !matches!(service.setup.policy.capacity, CapacityPolicy::Pinned(_));
        let stopped = fleet.count(Stage::Halted);
        // On shared nodes there may be no room for others beside them.
        if self.outdated(at) > 0 && self.swarm.sharing.is_none() {
            return false;
        }
        if self.known_stopped(at) != stopped || fleet.len() != active + standby + stopped {
            return false;
        }
        let Some(wanted) = self.wanted(at) else { return false };
        let snapshot = self.planner.snapshot();
        let waits = snapshot.workloads().get(at).map_or(0, hosts::waiting);
        if waits > 0 {
            // There is room on all nodes together, and on none of them: for one that is missing, or that is to move.
            let wanted = wanted.0 + wanted.1;
            let enough = (wanted..=wanted + waits).contains(&(active + standby + waits));
            return enough && self.left_over(at).is_none();
        }
        let shared = self.swarm.sharing.is_some();
        // On nodes the level below parked is only filled by what is given up.
        let shelf = if shared { stopped <= wanted.2 } else { stopped == wanted.2 };
        let alike =
            snapshot.workloads().get(at).is_none_or(|view| view.instances.iter().all(|i| i.worth() == 1.0));
        let counts = match alike {
            true => (wanted.0, wanted.1) == (active, standby),
            false => self.fits_by_worth(at, (wanted.0, wanted.1), standby),
        };
        counts && shelf && (enough || shared)
    }

    /// Where sizes differ: what serves is worth what is wanted, and would not be without any one of it; and the rest stands by.
    fn fits_by_worth(&self, at: usize, (wanted, standby_wanted): (u32, u32), standby: u32) -> bool {
        let policy = &self.services[at].setup.policy;
        let snapshot = self.planner.snapshot();
        let instances = snapshot.workloads().get(at).map_or(&[][..], |view| view.instances);
        let serving = instances.iter().filter(|i| i.role() == Role::Active && i.phase() == Phase::Ready);
        let worths: Vec<f64> = serving.map(Instance::worth).collect();
        let wanted_by_number = wanted;
        let (sum, wanted) = (worths.iter().sum::<f64>() + WORTH_SPARE, f64::from(wanted));
        let told = self.planner_time();
        let calendar = self.services[at].setup.calendar.as_ref();
        let least = calendar.map_or(policy.replicas_min, |calendar| calendar.at(told).least);
        let least = worths.len() <= least as usize;
        let none_too_many = least || worths.iter().all(|worth| sum - worth - 2.0 * WORTH_SPARE < wanted);
        let all = worths.len() as u32 + standby == wanted_by_number + standby_wanted;
        sum >= wanted && none_too_many && all
    }

    /// Instances that may exist now.
    fn most(&self, at: usize) -> u32 {
        let setup = &self.services[at].setup;
        let told = self.planner_time();
        setup.calendar.as_ref().map_or(setup.policy.replicas_max, |calendar| calendar.at(told).most)
    }

    /// Instances of an earlier version.
    fn outdated(&self, at: usize) -> u32 {
        let service = &self.services[at];
        service.agent.fleet().iter().filter(|(instance, _)| *instance <= service.outdated_to).count() as u32
    }

    /// Stopped instances that the planner knows of. While it waits for the answer to a restart that was lost, one more lies there.
    fn known_stopped(&self, at: usize) -> u32 {
        let snapshot = self.planner.snapshot();
        let instances = snapshot.workloads().get(at).map_or(&[][..], |view| view.instances);
        instances.iter().filter(|i| i.phase() == Phase::Halted).count() as u32
    }

    pub(super) fn state(&self, at: usize) -> String {
        let service = &self.services[at];
        let counts: Vec<_> =
            Stage::ALL.iter().map(|stage| (stage, service.agent.fleet().count(*stage))).collect();
        let snapshot = self.planner.snapshot();
        let view = snapshot.workloads().get(at);
        format!(
            "{}: demand {:.1} at {:.1} per instance, wanted {:?} active, standby and stopped, there are {counts:?}; the planner knows {:?}",
            service.workload,
            service.demand,
            service.setup.capacity,
            self.wanted(at),
            view.map_or(Vec::new(), |view| view.instances.iter().map(brief).collect()),
        )
    }
}

/// An instance as the planner knows it, without what it has measured.
fn brief(instance: &Instance) -> String {
    let (id, phase, role) = (instance.id(), instance.phase(), instance.role());
    let mut text = format!("{id} {phase:?} {role:?} {}", instance.weight());
    let flags = [
        (instance.parked(), "parked"),
        (!instance.healthy(), "unhealthy"),
        (instance.moving(), "moving"),
        (instance.pending().is_some(), "pending"),
    ];
    for (_, flag) in flags.into_iter().filter(|(holds, _)| *holds) {
        text.push(' ');
        text.push_str(flag);
    }
    if let Some(node) = instance.node() {
        text.push_str(&format!(" on {node:?}"));
    }
    if let Some(size) = instance.size() {
        text.push_str(&format!(" {:.3} cores {} MiB", size.cpu_cores, size.memory_bytes >> 20));
    }
    text
}

/// Sums of worths are seldom whole.
const WORTH_SPARE: f64 = 1e-5;
/// After failures while faults went on, it is tried again only after so long.
const TRIAL_PAUSE_MAX: Duration = Duration::from_secs(900);
/// Turns of a new version, and what each takes besides its orders.
const RENEWALS: u32 = 8;
const RENEWAL_PAUSE: Duration = Duration::from_secs(60);
/// How often the fleet is looked at while it settles, and for how long it must stay settled.
const SETTLE_LOOK: Duration = Duration::from_secs(10);
const SETTLE_HOLD: Duration = Duration::from_secs(200);
/// A settled fleet serves at least this share of the demand; budgets allow a miss, not a habit.
const SERVED_SHARE: f64 = 0.9;
