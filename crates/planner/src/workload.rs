//! One workload: its demand, its instances, its plan, and when to make the next one.

use std::time::Duration;

use forecast::{Ensemble, Timestamp};

use crate::capacity::Reading;
use crate::desk::{Desk, Shared};
use crate::event::DecisionOverride;
use crate::fleet::{Fleet, count};
use crate::instance::{Instance, Role};
use crate::outlook::Outlook;
use crate::plan::{Inputs, Plan, instances_for, plan};
use crate::policy::{Mode, WorkloadPolicy};
use crate::profiles::Worth;
use crate::reaction::Paper;
use crate::reason::{Reason, Trigger};
use crate::reconcile::Want;
use crate::scarcity::{Resources, SharingReason};
use crate::scope::Agenda;
use crate::sessions::SessionReason;
use crate::shift::Stats;
use crate::sizing::Sizing;
use crate::snapshot::WorkloadView;
use crate::timer::Timer;
use crate::warmth::Lately;

mod beside;

/// Everything the planner keeps for one workload.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    pub(crate) index: usize,
    pub(crate) policy: WorkloadPolicy,
    pub(crate) outlook: Outlook,
    pub(crate) fleet: Fleet,
    /// Set where the planner sizes instances.
    pub(crate) sizing: Option<Box<Sizing>>,
    /// Set where standbys have another size.
    pub(crate) worth: Option<Box<Worth>>,
    pub(crate) plan: Option<Plan>,
    /// So many are to serve, whatever each is worth.
    pub(crate) least: u32,
    pub(crate) pinned: Option<DecisionOverride>,
    pub(crate) agenda: Agenda,
    /// Where it would be without a forecast.
    pub(crate) paper: Paper,
    /// Standbys that it would hold alone, where it shares them.
    pub(crate) standby_alone: Option<u32>,
    /// The most instances needed in this stretch of one cold lead time and in the one before, and when this one began.
    needed: (u32, u32, Timestamp),
    exist_lately: Lately,
    /// When the next regular plan is due, on the internal clock.
    pub(crate) tick_at: Timestamp,
}

impl Workload {
    pub(crate) fn new(index: usize, policy: WorkloadPolicy, forecaster: Ensemble, shared: &Shared) -> Self {
        Workload {
            index,
            outlook: Outlook::new(&policy, forecaster, shared.limits.history),
            sizing: Sizing::of(&policy, index),
            worth: Worth::of(&policy).map(Box::new),
            policy,
            fleet: Fleet::default(),
            plan: None,
            least: 0,
            pinned: None,
            agenda: Agenda::default(),
            paper: Paper::default(),
            standby_alone: None,
            needed: (0, 0, shared.clock.internal()),
            exist_lately: Lately::default(),
            tick_at: shared.clock.internal(),
        }
    }

    /// Runs a change of the instances at the order desk.
    pub(crate) fn at_desk<T>(
        &mut self,
        shared: &mut Shared,
        work: impl FnOnce(&mut Fleet, &mut Desk<'_>) -> T,
    ) -> T {
        let (generation, trigger) =
            self.plan.as_ref().map_or((0, Trigger::Startup), |p| (p.generation, p.trigger));
        let mut desk =
            Desk { shared, policy: &self.policy, index: self.index, generation, trigger, issued: 0 };
        let result = work(&mut self.fleet, &mut desk);
        self.fleet.counters.actions_issued += desk.issued;
        result
    }

    /// Makes a new plan and begins to carry it out.
    pub(crate) fn replan(&mut self, shared: &mut Shared, trigger: Trigger) {
        let (now, wall) = (shared.clock.internal(), shared.clock.wall());
        if self.pinned.as_ref().and_then(|p| p.expires).is_some_and(|expires| expires <= wall) {
            self.pinned = None;
        }
        self.outlook.overrides.expire(wall);
        let (bounds, scopes) = self.bounds(wall);
        self.least = bounds.active_min;
        let size = self.decide_size(shared);
        let (numbers, basis) = self.outlook.numbers(&self.policy, now, wall);
        let (active_before, total_before, exist_before) = match &self.plan {
            Some(plan) => {
                let total = plan.active_wanted + self.standby_alone.unwrap_or(plan.standby_wanted);
                (plan.active_wanted, total, plan.total_wanted() + plan.stopped_wanted)
            }
            None => self.found(),
        };
        let blind = numbers.demand_now.is_none();
        let paused = self
            .fleet
            .starts
            .waiting(now)
            .map(|until| (self.fleet.starts.failures(), shared.clock.to_wall(until)));
        let guard =
            self.outlook.guard.blocking(now).map(|(cause, until)| (cause, shared.clock.to_wall(until)));
        let mut plan = plan(&Inputs {
            policy: &self.policy,
            generation: self.plan.as_ref().map_or(1, |p| p.generation + 1),
            now: wall,
            trigger: if self.plan.is_none() { Trigger::Startup } else { trigger },
            trust: self.outlook.forecaster().trust(),
            basis,
            numbers,
            bounds,
            active_before,
            total_before,
            exist_before,
            exist_lately: self.exist_lately.most(),
            total_lately: self.needed.0.max(self.needed.1),
            keep_all: blind,
            guard,
            pinned: self.pinned.as_ref(),
            starts_paused: paused,
        });
        if let Some((size, reasons)) = size {
            plan.size = Some(size);
            plan.reasons.extend(reasons);
        }
        plan.reasons.extend(self.profile_reason().map(Reason::Profile));
        let overrides = self.outlook.overrides_ahead(&self.policy, wall);
        plan.reasons.extend(overrides.cloned().map(Reason::ForecastOverridden));
        plan.reasons.extend(scopes.into_iter().map(Reason::Scope));
        plan.reasons.extend(self.fleet.outdated_now(now).map(|(instances, replacing, again)| {
            let tried_again = again.map(|at| shared.clock.to_wall(at));
            Reason::Outdated { instances, replacing, tried_again }
        }));
        plan.reasons.append(&mut self.fleet.notes);
        self.react_on_paper(now, &numbers, bounds);
        plan.without_forecast = self.paper.view(|at| shared.clock.to_wall(at));
        self.outlook.decided(plan.active_wanted);
        self.remember_need(now, &plan);
        self.exist_lately.remember(now, &self.policy, &plan);
        self.share_spares(shared, bounds, &mut plan);
        self.claim(shared, &mut plan);
        self.plan = Some(plan);
        self.tick_at = now.saturating_add(self.outlook.plans_after(&self.policy, wall));
        self.carry_out(shared);
    }

    fn remember_need(&mut self, now: Timestamp, plan: &Plan) {
        let (this, _, began) = self.needed;
        if now.since(began) > self.outlook.lead_up(&self.policy) {
            self.needed = (0, this, now);
        }
        let max = self.policy.replicas_max;
        let need =
            instances_for(plan.inputs.forecast_total, plan.inputs.capacity, max).max(plan.active_wanted);
        self.needed.0 = self.needed.0.max(need.min(max));
    }

    /// Instances count for so many times what they did before: of what was needed lately, fewer do the same.
    pub(crate) fn forget_smaller(&mut self, times: f64) {
        let fewer = |instances: u32| (f64::from(instances) / times).ceil() as u32;
        (self.needed.0, self.needed.1) = (fewer(self.needed.0), fewer(self.needed.1));
    }

    /// Gives the orders that the plan in force still needs.
    pub(crate) fn carry_out(&mut self, shared: &mut Shared) {
        let Some(plan) = &self.plan else { return };
        if self.policy.mode == Mode::Observe {
            return;
        }
        let pinned = plan.pinned();
        self.appraise(pinned);
        let grown = self.appraise_sizes(shared.clock.internal());
        let Some(plan) = &self.plan else { return };
        if shared.pools.defers(self.index) {
            return;
        }
        if let Some(cluster) = &mut shared.cluster {
            if cluster.batching {
                cluster.deferred.insert(self.index);
                return;
            }
            cluster.waiting.remove(&self.index);
        }
        let want = Want {
            active: plan.active_wanted,
            least: self.least.min(plan.active_wanted),
            total: plan.total_wanted(),
            exist: plan.total_wanted() + plan.stopped_wanted,
            demand: plan.inputs.demand_now.unwrap_or(0.0),
            capacity: self.outlook.capacity.estimate(),
            size: plan.size,
            grown,
            profiles: self.profiles(),
            refused: shared.cluster.as_ref().is_some_and(|cluster| cluster.is_short(self.index)),
        };
        let short = self.at_desk(shared, |fleet, desk| fleet.reconcile(want, desk));
        let Some(plan) = &mut self.plan else { return };
        plan.reasons.append(&mut self.fleet.notes);
        plan.reasons.truncate(REASONS_MAX);
        plan.reasons.retain(|r| !matches!(r, Reason::StandbyShort { .. }));
        if short > 0 {
            plan.reasons.push(Reason::StandbyShort { instances: short });
        }
        plan.reasons.retain(|r| !matches!(r, Reason::Sharing(SharingReason::WaitsForRoom { .. })));
        if self.fleet.unplaced > 0 {
            let instances = self.fleet.unplaced;
            plan.reasons.push(Reason::Sharing(SharingReason::WaitsForRoom { instances }));
        }
        plan.reasons.retain(|r| !matches!(r, Reason::Sessions(SessionReason::Waits { .. })));
        let (instances, sessions) = self.fleet.waited_for(shared.clock.internal());
        if instances > 0 {
            plan.reasons.push(Reason::Sessions(SessionReason::Waits { instances, sessions }));
        }
    }

    /// What an earlier control plane left running.
    fn found(&self) -> (u32, u32, u32) {
        let active = count(&self.fleet.instances, |i| i.role == Role::Active && i.counts());
        let total = count(&self.fleet.instances, Instance::counts);
        (active, total, total + self.fleet.on_shelf())
    }

    /// Time has passed: takes the next step on failure for what is late, and plans again when it is time.
    pub(crate) fn handle_timeout(&mut self, shared: &mut Shared) {
        let (now, wall) = (shared.clock.internal(), shared.clock.wall());
        self.at_desk(shared, |fleet, desk| fleet.expire(desk));
        let expired = self.pinned.as_ref().and_then(|p| p.expires).is_some_and(|expires| expires <= wall);
        if now >= self.tick_at || expired {
            self.outlook.suspect_silence(&self.policy, now, wall);
            self.replan(shared, if expired { Trigger::Operator } else { Trigger::Forecast });
        } else {
            self.carry_out(shared);
        }
    }

    /// Takes in a reading between steps.
    pub(crate) fn observe_load(&mut self, shared: &mut Shared, demand_now: f64, in_flight: f64) -> bool {
        if !demand_now.is_finite() || demand_now < 0.0 {
            return false;
        }
        let now = shared.clock.internal();
        self.outlook.observe_load(&self.policy, now, shared.clock.wall(), demand_now);
        self.learn_capacity(now, demand_now, in_flight);
        true
    }

    /// Learns from a reading of a workload that has settled: nobody has just begun to serve.
    fn learn_capacity(&mut self, now: Timestamp, demand: f64, in_flight: f64) {
        let settled = |i: &Instance| {
            i.ramp.is_none() && i.serving_since.is_some_and(|since| now.since(since) >= START_UP_SAMPLES)
        };
        let mut stats = Stats::default();
        let mut serving = 0u32;
        for instance in self.fleet.instances.iter().filter(|i| i.serving()) {
            if !settled(instance) {
                return;
            }
            serving += 1;
            stats.join(&instance.stats);
        }
        // What a squeezed instance serves is not what it can serve.
        let dwarfed = self.sizing.as_ref().is_some_and(|sizing| sizing.dwarfed());
        if serving == 0 || demand <= 0.0 || dwarfed || self.learn_profiles(demand) {
            return;
        }
        let reading = Reading {
            load: demand / self.fleet.shares(),
            in_system: in_flight / demand,
            latency_p99: stats.latency_p99_seen(),
            error_rate: stats.error_rate(),
        };
        self.outlook.capacity.observe(reading, self.policy.objective.latency_bound);
    }

    /// Most of what should serve fails or is unhealthy.
    pub(crate) fn errors_everywhere(&self) -> bool {
        let active = count(&self.fleet.instances, |i| i.role == Role::Active);
        let unhealthy = count(&self.fleet.instances, |i| i.role == Role::Active && !i.healthy());
        let mut stats = Stats::default();
        for instance in self.fleet.instances.iter().filter(|i| i.serving()) {
            stats.join(&instance.stats);
        }
        (active >= 2 && unhealthy * 2 > active)
            || (stats.requests_now() >= ERRORS_REQUESTS_MIN && stats.mostly_fails())
    }

    /// When this workload must be woken, on the internal clock, and why.
    pub(crate) fn next_wake(&self, shared: &Shared) -> (Timestamp, Timer) {
        let now = shared.clock.internal();
        let tick = (self.tick_at, Timer::Tick);
        let expiry = self.pinned.as_ref().and_then(|p| p.expires).map(|expires| {
            let left = expires.since(shared.clock.wall());
            (now.saturating_add(left), Timer::OverrideExpiry)
        });
        let fleet = match self.policy.mode {
            Mode::Act => self.fleet.next_wake(now, &self.policy),
            Mode::Observe => None,
        };
        [Some(tick), expiry, fleet].into_iter().flatten().min().unwrap_or(tick)
    }

    pub(crate) fn view(&self, shared: &Shared) -> WorkloadView<'_> {
        let member = shared.cluster.as_ref().map(|cluster| &cluster.members[self.index]);
        WorkloadView {
            policy: &self.policy,
            instances: &self.fleet.instances,
            plan: self.plan.as_ref(),
            forecaster: self.outlook.forecaster(),
            capacity: self.outlook.capacity.estimate(),
            lead_cold: self.outlook.lead_cold.estimate(),
            lead_promote: self.outlook.lead_promote.estimate(),
            lead_restart: self.outlook.shelf.as_ref().map(|shelf| shelf.lead.estimate()),
            table: &self.fleet.table.sent,
            budget: self.outlook.budget,
            pinned: self.pinned.as_ref(),
            forecast_overrides: self.outlook.overrides.all(),
            reaction: self.paper.last_step(),
            shifts: &self.fleet.shifts,
            counters: self.fleet.counters,
            booked: member.map_or(Resources::NONE, |member| member.claim.needs),
            grant: member.filter(|member| member.acts).map(|member| member.grant),
            group: member.and_then(|member| member.group),
        }
    }
}

/// Readings within this time of an instance beginning to serve say nothing about capacity.
const START_UP_SAMPLES: Duration = Duration::from_secs(10);
const ERRORS_REQUESTS_MIN: f64 = 20.0;
const REASONS_MAX: usize = 32;
