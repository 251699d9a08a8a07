//! The planner: routes facts to workloads, keeps time, hands out orders.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use forecast::calendar;
use forecast::covariates::Covariates;
use forecast::models::Kind;
use forecast::{Config, Ensemble, HORIZON_STEPS_MAX, Job, Timestamp, Trained, Values};
use std::sync::Arc;

use crate::action::Action;
use crate::clock::Clock;
use crate::desk::Shared;
use crate::event::Event;
use crate::ids::{InstanceId, WorkloadId};
use crate::plan::break_even;
use crate::policy::{About, Policy, PolicyError, PolicyErrors, WorkloadPolicy};
use crate::retry::Jitter;
use crate::scarcity::{self, Cluster};
use crate::snapshot::Snapshot;
use crate::spare::{self, Pools};
use crate::timer::Timer;
use crate::warmth::break_even_stopped;
use crate::workload::Workload;

mod experience;
mod facts;
mod pools;
mod sharing;

pub use experience::Experience;

/// The decision core for a set of workloads.
///
/// Call order for a driver: [`Planner::handle`] for every fact, then [`Planner::poll_action`] until it returns `None`,
/// then sleep until [`Planner::poll_timeout`] or the next fact, whichever comes first; when the time comes, call
/// [`Planner::handle_timeout`] and poll again. Every order is answered by one event that carries its id; answers that come
/// late, twice or never are all harmless.
///
/// At the start: `new`, then [`Planner::learn`] for the history, then `InstanceAdopted` for everything found running, then
/// the first `handle_timeout`, which makes the first plan.
#[derive(Debug, Clone)]
pub struct Planner {
    workloads: Vec<Workload>,
    names: BTreeMap<WorkloadId, usize>,
    shared: Shared,
    /// When each workload must be woken, on the internal clock.
    wakes: BTreeSet<(Timestamp, usize)>,
    wake_of: Vec<(Timestamp, Timer)>,
    /// Facts about workloads and instances that nobody knows.
    stale: u64,
}

impl Planner {
    /// A planner for this policy. `seed` feeds the jitter of retries; nothing else is random.
    ///
    /// # Errors
    /// Every broken rule of the policy.
    pub fn new(policy: Policy, seed: u64, now: Timestamp) -> Result<Planner, PolicyErrors> {
        let mut errors: Vec<PolicyError> = Vec::new();
        let mut names = BTreeMap::new();
        scarcity::validate(&policy, &mut errors);
        spare::validate(&policy, &mut errors);
        let tick = policy.workloads.iter().map(|w| w.tick).max().unwrap_or_default();
        let jump = tick.saturating_mul(JUMP_TICKS).max(JUMP_MIN);
        let shared = Shared {
            clock: Clock::new(now, jump),
            limits: policy.limits,
            queue: VecDeque::new(),
            jitter: Jitter::new(seed),
            next_action: 1,
            next_instance: 1,
            owners: BTreeMap::new(),
            cluster: if errors.is_empty() { Cluster::new(&policy, now) } else { None },
            pools: Pools::new(&policy),
        };
        let mut workloads = Vec::with_capacity(policy.workloads.len());
        for (index, workload) in policy.workloads.into_iter().enumerate() {
            if let Err(broken) = workload.validate() {
                errors.extend(broken);
                continue;
            }
            if names.insert(workload.id.clone(), index).is_some() {
                errors.push(PolicyError {
                    about: About::Workload(workload.id),
                    field: "id",
                    rule: "must not be used twice",
                });
                continue;
            }
            let forecaster = Ensemble::new(forecast_config(&workload), &workload.models);
            match forecaster.map(|forecaster| forecaster.with_guests(&workload.guests)) {
                Ok(mut forecaster) => {
                    if let Some(retraining) = &workload.retraining {
                        forecaster = forecaster.with_retraining(retraining.clone());
                    }
                    workloads.push(Workload::new(index, workload, forecaster, &shared));
                }
                Err(_) => {
                    errors.push(PolicyError {
                        about: About::Workload(workload.id),
                        field: "step",
                        rule: "cannot be forecast",
                    });
                }
            }
        }
        if !errors.is_empty() {
            return Err(PolicyErrors(errors));
        }
        let wake_of: Vec<_> = workloads.iter().map(|w| w.next_wake(&shared)).collect();
        let wakes = wake_of.iter().enumerate().map(|(index, wake)| (wake.0, index)).collect();
        Ok(Planner { workloads, names, shared, wakes, wake_of, stale: 0 })
    }

    /// The number of the first instance this planner will start (1 unless set). Numbers below it are left to the instances
    /// of earlier planners; adopting an instance raises it, too.
    #[must_use]
    pub fn with_first_instance(mut self, first_instance: u64) -> Planner {
        self.skip_instances(first_instance);
        self
    }

    /// From now on gives no instance a number below this one.
    pub fn skip_instances(&mut self, first_instance: u64) {
        self.shared.next_instance = self.shared.next_instance.max(first_instance);
    }

    /// Warms up the forecaster and the margins of a workload with samples from before the start, in order of time.
    /// Samples that cannot be used are counted as refused.
    pub fn learn(&mut self, workload: &WorkloadId, history: &[(Timestamp, Option<f64>)]) {
        let Some(workload) = self.names.get(workload).and_then(|index| self.workloads.get_mut(*index)) else {
            return;
        };
        let play_from = history.len().saturating_sub(LEARN_LEVELS_MAX);
        for (n, (at, demand)) in history.iter().enumerate() {
            if !workload.outlook.learn_step(&workload.policy, *at, *demand, n >= play_from) {
                workload.fleet.counters.samples_refused += 1;
            }
        }
    }

    /// The training of batch models that is due for a workload, if one is. It is plain data: run it on another thread and
    /// bring the outcome to [`admit`](Self::admit).
    pub fn training_due(&mut self, workload: &WorkloadId) -> Option<Job> {
        let index = *self.names.get(workload)?;
        self.workloads[index].outlook.forecaster_mut().due()
    }

    /// The history of a workload's demand as a training would see it, due or not; `None` without models, or before the
    /// first observation.
    pub fn training(&self, workload: &WorkloadId, reason: &str) -> Option<Job> {
        let index = *self.names.get(workload)?;
        self.workloads[index].outlook.forecaster().job(reason.to_owned())
    }

    /// What a model that is run elsewhere says of a workload's steps from `from` on; see [`Ensemble::hear`].
    pub fn hear(&mut self, workload: &WorkloadId, guest: &str, from: u64, said: Option<Values>) {
        if let Some(&index) = self.names.get(workload) {
            self.workloads[index].outlook.forecaster_mut().hear(guest, from, said);
        }
    }

    /// Lets a kind's model take no further part in a workload's forecast; whether it did.
    pub fn dismiss(&mut self, workload: &WorkloadId, kind: Kind) -> bool {
        self.names
            .get(workload)
            .is_some_and(|&index| self.workloads[index].outlook.forecaster_mut().dismiss(kind))
    }

    /// Takes trained models into the combination of a workload's forecast.
    pub fn admit(&mut self, workload: &WorkloadId, trained: Trained) {
        if let Some(&index) = self.names.get(workload) {
            self.workloads[index].outlook.forecaster_mut().admit(trained);
        }
    }

    /// The events of a workload's calendar that are known now, past and announced ones, in place of all known before; the
    /// next plan, due at once, has them. Those known from before [`learn`](Self::learn) are learned from there.
    pub fn announce(&mut self, workload: &WorkloadId, events: &[calendar::Event]) {
        if let Some(&index) = self.names.get(workload) {
            self.workloads[index].outlook.forecaster_mut().announce(events);
            self.plan_soon(index);
        }
    }

    /// Numbers known beside a workload's demand, by step from its first one, in place of those known before.
    pub fn know(&mut self, workload: &WorkloadId, covariates: Arc<Covariates>) {
        if let Some(&index) = self.names.get(workload) {
            self.workloads[index].outlook.forecaster_mut().know(covariates);
            self.plan_soon(index);
        }
    }

    /// When a workload's first step began, from which steps are counted; `None` before it.
    pub fn first_step(&self, workload: &WorkloadId) -> Option<Timestamp> {
        let index = *self.names.get(workload)?;
        self.workloads[index].outlook.forecaster().first_step()
    }

    fn plan_soon(&mut self, index: usize) {
        let now = self.shared.clock.internal();
        let workload = &mut self.workloads[index];
        workload.tick_at = workload.tick_at.min(now);
        self.rewake(index);
    }

    /// A new version of a workload has been brought into service: its demand may behave otherwise from now on.
    pub fn deployed(&mut self, workload: &WorkloadId, version: &str) {
        if let Some(&index) = self.names.get(workload) {
            self.workloads[index].outlook.forecaster_mut().deployed(version);
        }
    }

    /// Takes in a fact.
    pub fn handle(&mut self, now: Timestamp, event: Event) {
        self.shared.clock.advance(now);
        if let Event::NodeAppeared { node } = event {
            return self.node_appeared(node);
        }
        if let Event::NodeLost { node } = &event {
            return self.node_lost(node);
        }
        let Some(index) = self.workload_of(&event) else {
            self.stale += 1;
            return;
        };
        let step = match &event {
            Event::DemandObserved { step_start, .. } => Some(*step_start),
            _ => None,
        };
        let (workload, shared) = (&mut self.workloads[index], &mut self.shared);
        workload.handle(shared, event);
        self.rewake(index);
        self.share_soon();
        if let Some(step) = step {
            self.size_pool(index, step);
        }
        self.serve_pools();
    }

    /// Takes in that time has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.shared.clock.advance(now);
        let internal = self.shared.clock.internal();
        // Each workload at most once: what is due again at once waits for the next call.
        let due = self.wakes.range(..=(internal, usize::MAX)).map(|(_, index)| *index);
        let mut due: Vec<usize> = due.collect();
        if let Some(cluster) = &self.shared.cluster {
            // What is free goes to who asks first.
            due.sort_by_key(|at| Reverse(cluster.members[*at].claim.class));
        }
        self.gather();
        for index in due {
            self.workloads[index].handle_timeout(&mut self.shared);
            self.rewake(index);
        }
        self.share();
        self.serve_pools();
    }

    /// The next order; `None` when there is none for now.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.shared.queue.pop_front()
    }

    /// When [`Planner::handle_timeout`] must be called at the latest, and why. Never in the past.
    pub fn poll_timeout(&self) -> Option<(Timestamp, Timer)> {
        let (at, index) = self.wakes.first()?;
        let sharing = self.shared.cluster.as_ref().and_then(|cluster| cluster.due).filter(|due| due < at);
        let (at, timer) = sharing.map_or((*at, self.wake_of[*index].1), |due| (due, Timer::Sharing));
        Some((self.shared.clock.to_wall(at.max(self.shared.clock.internal())), timer))
    }

    /// Everything the planner knows.
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            now: self.shared.clock.wall(),
            internal: self.shared.clock.internal(),
            limits: &self.shared.limits,
            queued: self.shared.queue.len(),
            clock_jumps: self.shared.clock.jumps(),
            stale: self.stale,
            workloads: self.workloads.iter().map(|w| w.view(&self.shared)).collect(),
            cluster: self.shared.cluster.as_deref(),
        }
    }

    fn rewake(&mut self, index: usize) {
        let wake = self.workloads[index].next_wake(&self.shared);
        let before = std::mem::replace(&mut self.wake_of[index], wake);
        if before.0 != wake.0 {
            self.wakes.remove(&(before.0, index));
            self.wakes.insert((wake.0, index));
        }
    }

    /// The workload that a fact is about.
    fn workload_of(&self, event: &Event) -> Option<usize> {
        let named = |workload: &WorkloadId| self.names.get(workload).copied();
        let owner = |instance: &InstanceId| self.shared.owners.get(instance).copied();
        match event {
            Event::DemandObserved { workload, .. }
            | Event::LoadObserved { workload, .. }
            | Event::BackendObserved { workload, .. }
            | Event::UsageObserved { workload, .. }
            | Event::StrainObserved { workload, .. }
            | Event::OutOfMemory { workload, .. }
            | Event::SessionsHeld { workload, .. }
            | Event::WeightsApplied { workload, .. }
            | Event::InstanceExited { workload, .. }
            | Event::InstanceUnhealthy { workload, .. }
            | Event::InstanceHealthy { workload, .. }
            | Event::InstanceAdopted { workload, .. }
            | Event::InstancesOutdated { workload, .. }
            | Event::HaltedAdopted { workload, .. }
            | Event::OverrideSet { workload, .. }
            | Event::OverrideCleared { workload }
            | Event::ForecastOverrideSet { workload, .. }
            | Event::ForecastOverrideCleared { workload, .. } => named(workload),
            Event::InstanceReady { instance, .. }
            | Event::InstanceParked { instance, .. }
            | Event::InstancePromoted { instance, .. }
            | Event::InstanceDrained { instance, .. }
            | Event::InstanceResized { instance, .. }
            | Event::InstanceHalted { instance, .. }
            | Event::InstanceStopped { instance, .. }
            | Event::ActionFailed { instance: Some(instance), .. } => owner(instance),
            Event::ActionFailed { action, instance: None, .. } => self
                .workloads
                .iter()
                .position(|w| w.fleet.table.pending.is_some_and(|(pending, _)| pending == *action)),
            Event::NodeAppeared { .. } | Event::NodeLost { .. } => None,
        }
    }
}

/// Horizons beyond the policy's are learned when a lead time or the break-even asks for them.
fn forecast_config(policy: &WorkloadPolicy) -> Config {
    let mut config = Config::new(policy.step);
    config.time_zone = policy.time_zone.clone();
    let longest =
        policy.lead_cold.max(policy.lead_promote).saturating_add(policy.hold).max(break_even(policy));
    let longest = longest.max(break_even_stopped(policy).unwrap_or_default());
    let most = policy.step.saturating_mul(HORIZON_STEPS_MAX as u32);
    config.horizon_max =
        policy.horizon.unwrap_or(config.horizon_max).max(longest.saturating_add(policy.step * 2)).min(most);
    config
}

/// The driver is expected to call at least once a tick; no sign of it for this many ticks is a jump of the clock.
const JUMP_TICKS: u32 = 10;
const JUMP_MIN: Duration = Duration::from_secs(600);
/// Margins are warmed up with at most this many steps of history.
const LEARN_LEVELS_MAX: usize = 20_000;
