//! Rules about how many: never more than the policy allows, never fewer in service than it demands unless faults took
//! them, and nothing is left over at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forecast::Timestamp;
use planner::{Action, ActionKind, Instance, Phase, Role, WorkloadPolicy, WorkloadView};

use super::Truth;
use super::heard::Heard;
use crate::world::{Lie, Stage};

#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    /// Instances that the planner in force has told to stop.
    stopped: BTreeSet<u64>,
    /// More than allowed may be found by a new planner; it must not add to them.
    found: usize,
    /// Too few serve.
    short: Spell,
    /// There are more than the calendar allows.
    over: Spell,
}

/// Something that must not last long.
#[derive(Debug, Clone, Copy, Default)]
struct Spell {
    /// Since when, and how many faults had happened then.
    since: Option<(Timestamp, u64)>,
}

impl Spell {
    /// Whether it has been so for longer than this, without a fault.
    fn lasts(&mut self, is_so: bool, truth: &Truth<'_>, bound: Duration) -> bool {
        let now = (truth.now, truth.faults);
        self.since =
            self.since.filter(|(_, faults)| is_so && *faults == truth.faults).or(is_so.then_some(now));
        self.since.is_some_and(|(since, _)| truth.now.since(since) > bound)
    }
}

impl Counts {
    /// A new planner finds that many instances.
    pub(super) fn restart(found: usize) -> Counts {
        Counts { found, ..Counts::default() }
    }

    /// An order is about to be carried out, which may replace a route table.
    pub(super) fn see_order(
        &mut self,
        action: &Action,
        replaced: Option<&BTreeMap<u64, u32>>,
        truth: &Truth<'_>,
        heard: &Heard,
        policy: &WorkloadPolicy,
    ) -> Option<String> {
        if let ActionKind::Stop { instance } = &action.kind {
            self.stopped.insert(instance.get());
        }
        let (ActionKind::SetWeights { weights }, Some(before)) = (&action.kind, replaced) else {
            return None;
        };
        let after: BTreeSet<u64> =
            weights.iter().filter(|(_, weight)| *weight > 0).map(|(instance, _)| instance.get()).collect();
        let dropped =
            before.iter().filter(|(_, weight)| **weight > 0).map(|(instance, _)| *instance).find(
                |instance| !after.contains(instance) && truth.serves(*instance) && heard.well(*instance),
            )?;
        (after.len() < policy.replicas_min as usize && heard.pinned.is_none() && !truth.scarce).then(|| {
            format!(
                "healthy instance {dropped} is taken out of service, which leaves {} of at least {}",
                after.len(),
                policy.replicas_min
            )
        })
    }

    pub(super) fn check(
        &mut self,
        truth: &Truth<'_>,
        heard: &Heard,
        (policy, moving): (&WorkloadPolicy, usize),
        broken: &mut Vec<String>,
    ) {
        let present = truth
            .agent
            .fleet()
            .iter()
            .filter(|(instance, stage)| *stage != Stage::Stopping && !self.stopped.contains(instance))
            .count();
        // One that moves to another node stays until its replacement serves.
        let allowed = (policy.replicas_max as usize).max(self.found) + moving;
        if present > allowed {
            broken
                .push(format!("{present} instances exist that were not told to stop; at most {allowed} may"));
        }
        self.found = self.found.min(present);
        self.check_most(present.saturating_sub(moving), truth, heard, policy, broken);
        self.check_least(truth, heard, policy, broken);
    }

    /// When the calendar allows fewer than before, those too many are given up in a while.
    fn check_most(
        &mut self,
        present: usize,
        truth: &Truth<'_>,
        heard: &Heard,
        policy: &WorkloadPolicy,
        broken: &mut Vec<String>,
    ) {
        let Some(within) = truth.within else { return };
        let over = present > within.most as usize && heard.pinned.is_none();
        if self.over.lasts(over, truth, most_bound(policy)) {
            broken.push(format!(
                "for {:?} without a fault {present} exist of at most {}",
                most_bound(policy),
                within.most
            ));
        }
    }

    fn check_least(
        &mut self,
        truth: &Truth<'_>,
        heard: &Heard,
        policy: &WorkloadPolicy,
        broken: &mut Vec<String>,
    ) {
        let least = truth.within.map_or(policy.replicas_min, |within| within.least);
        let serving = truth.agent.fleet().iter().filter(|(instance, _)| truth.serves(*instance)).count();
        let enough = serving >= least as usize || truth.scarce;
        let short = !enough && heard.pinned.is_none() && !hidden(truth, serving, policy);
        if self.short.lasts(short, truth, least_bound(policy)) {
            broken.push(format!(
                "for {:?} without a fault {serving} serve of at least {least}",
                least_bound(policy)
            ));
        }
    }
}

/// An instance fails every request, which nobody can know: too few come to judge it by, or none of its peers serves any
/// better.
fn hidden(truth: &Truth<'_>, serving: usize, policy: &WorkloadPolicy) -> bool {
    let fleet = truth.agent.fleet();
    let fail = fleet
        .iter()
        .any(|(instance, stage)| stage == Stage::Active && truth.agent.lie(instance) == Some(Lie::Errors));
    let each = truth.demand / f64::from(fleet.count(Stage::Active).max(1)) * policy.tick.as_secs_f64();
    fail && (serving == 0 || each < REQUESTS_TO_JUDGE)
}

/// Once no fault happens, a start that hangs is given up and the longest pause passes before it is tried again. One that
/// fails takes a place until its sessions were waited for.
fn least_bound(policy: &WorkloadPolicy) -> Duration {
    2 * (policy.start_deadline() + policy.retry.max)
        + policy.drain_deadline()
        + 3 * policy.tick
        + Duration::from_secs(60)
}

/// What is on its way is waited for, what serves is drained, and what fails is tried again.
fn most_bound(policy: &WorkloadPolicy) -> Duration {
    least_bound(policy) + policy.promote_deadline() + policy.drain_deadline()
}

/// Requests per reading on each instance.
const REQUESTS_TO_JUDGE: f64 = 6.0;

/// What is left over once everything has settled: what exists and what the planner knows must be the same.
pub(crate) fn leaks(truth: &Truth<'_>, view: &WorkloadView<'_>) -> Option<String> {
    let exist: Vec<(u64, [bool; 3])> = truth
        .agent
        .fleet()
        .iter()
        .map(|(instance, stage)| {
            (instance, [Stage::Parked, Stage::Active, Stage::Halted].map(|s| s == stage))
        })
        .collect();
    // One that has just turned out to be unhealthy keeps its role until its time is over, but nothing is routed to it.
    let active = |i: &Instance| i.role() == Role::Active && i.healthy();
    let known: Vec<(u64, [bool; 3])> = view
        .instances
        .iter()
        .map(|i| (i.id().get(), [i.parked(), active(i), i.phase() == Phase::Halted]))
        .collect();
    (exist != known).then(|| {
        format!(
            "there are (instance, [parked, active, halted]) {exist:?}, but the planner knows of {known:?}"
        )
    })
}
