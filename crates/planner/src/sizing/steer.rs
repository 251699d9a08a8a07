//! Sizing of one workload: what it is told, and what follows for the capacity that plans count with.

use std::time::Duration;

use forecast::Timestamp;

use super::{Load, Look, Reading, SizeReason, Sizing};
use crate::desk::Shared;
use crate::ids::InstanceId;
use crate::instance::Instance;
use crate::policy::WorkloadPolicy;
use crate::reason::Reason;
use crate::scarcity::Asked;
use crate::size::Size;
use crate::workload::Workload;

impl Sizing {
    /// What a workload's policy asks for, if anything.
    pub(crate) fn of(policy: &WorkloadPolicy, index: usize) -> Option<Box<Sizing>> {
        let fixed = policy.replicas_min == policy.replicas_max;
        let sizing = policy.sizing.as_ref()?;
        Sizing::new(sizing, policy.time_zone.clone(), index as u64, fixed).map(Box::new)
    }

    /// Processor time that each instance is to have, in cores. What throttling is squeezed to is given back when demand comes.
    fn planned(&self) -> f64 {
        self.joint.cores().unwrap_or(self.policy.initial.cpu_cores).min(self.room.cpu_cores)
    }
}

impl Workload {
    /// Takes in what an instance uses; `None` when it is not known. Returns whether the plan may have to change at once.
    pub(crate) fn observe_use(
        &mut self,
        shared: &Shared,
        instance: InstanceId,
        reading: Reading,
    ) -> Option<bool> {
        let at = self.fleet.find(instance)?;
        if !reading.cpu.is_finite() || reading.cpu < 0.0 || !reading.throttled.is_none_or(is_share) {
            return None;
        }
        let load = self.load(shared.clock.internal());
        let serving = self.fleet.instances[at].serving();
        let Some(sizing) = &mut self.sizing else { return Some(false) };
        let times = (shared.clock.internal(), shared.clock.wall());
        // What waits says nothing of what one that serves needs.
        Some(serving && sizing.observe(times, instance, reading, load))
    }

    /// The same for a quick look.
    pub(crate) fn observe_strain(
        &mut self,
        now: Timestamp,
        instance: InstanceId,
        look: Look,
    ) -> Option<bool> {
        let serving = self.fleet.instances[self.fleet.find(instance)?].serving();
        if !look.throttled.is_none_or(is_share) {
            return None;
        }
        Some(self.sizing.as_mut().is_some_and(|sizing| sizing.strained(now, instance, look, serving)))
    }

    fn load(&self, now: Timestamp) -> Load {
        let level = self.outlook.load.level(now, self.outlook.load_age_max(&self.policy));
        let planned = || self.plan.as_ref().and_then(|plan| plan.inputs.demand_now);
        Load {
            demand: level.or_else(planned).unwrap_or(0.0),
            serving: self.fleet.serving(),
            capacity: self.outlook.capacity.unscaled(),
        }
    }

    /// Decides on the size, and lets plans count with the capacity that goes with it. Returns the size with its reasons.
    pub(crate) fn decide_size(&mut self, shared: &mut Shared) -> Option<(Size, Vec<Reason>)> {
        let now = shared.clock.internal();
        let load = self.load(now);
        let asked = self.sizing.as_ref()?.asks_peak(now);
        let peak = asked.then(|| self.peak_of_day(load.demand));
        let held = self.fleet.instances.iter().map(Instance::memory_held).max().unwrap_or(0);
        let sizing = self.sizing.as_mut()?;
        let book = |size: Size, firm: u64| match &mut shared.cluster {
            Some(cluster) => {
                let asked = Asked { wanted: size.resources(), held, firm };
                size.within(cluster.book(now, self.index, asked))
            }
            None => size,
        };
        let replicas = (self.policy.replicas_min.max(1), self.policy.replicas_max);
        sizing.decide(now, peak, load, replicas, book);
        let size = sizing.size();
        let mut reasons: Vec<Reason> = sizing.reasons(now).map(Reason::Size).collect();
        if self.fleet.resizes.off(now) {
            reasons.push(Reason::Size(SizeReason::NotLive));
        }
        self.rescale();
        Some((size, reasons))
    }

    /// The largest demand that is to be expected within a day.
    fn peak_of_day(&self, demand: f64) -> f64 {
        let seen = self.sizing.as_ref().map_or(0.0, |sizing| sizing.demand_peak.value()).max(demand);
        let forecaster = self.outlook.forecaster();
        if !forecaster.trust().is_trusted() {
            return seen;
        }
        let steps = (DAY.as_secs_f64() / self.policy.step.as_secs_f64()).ceil().clamp(1.0, STEPS_MAX);
        // Far tails may promise any height.
        let window = forecaster.window_max(steps as usize);
        window.quantile(PEAK_QUANTILE).min(PEAK_FACTOR * seen.max(window.median())).max(demand)
    }

    /// Where a larger instance serves more: counts with the smallest one that serves, so that the count only falls once
    /// all have grown, and rises before they shrink.
    pub(crate) fn rescale(&mut self) {
        let (Some(sizing), Some(policy)) = (&self.sizing, &self.policy.sizing) else { return };
        if !sizing.cpu_bound() {
            self.outlook.capacity.rescale(sizing.part_left().min(1.0));
            return;
        }
        let planned = sizing.planned();
        let squeezed = sizing.squeezing();
        let cores = |i: &Instance| match i.size {
            Some(_) if squeezed => planned,
            Some(size) => size.cpu_cores,
            None => policy.initial.cpu_cores,
        };
        let serving = self.fleet.instances.iter().filter(|i| i.serving());
        let least = serving.map(cores).fold(planned, f64::min);
        let (before, scale) = (self.outlook.capacity.scale(), least / policy.initial.cpu_cores);
        self.outlook.capacity.rescale(scale);
        if scale > before {
            self.forget_smaller(scale / before);
        }
    }

    /// Where a larger instance serves more: says what each is worth in those that the plan counts with, and gives it traffic by
    /// that. Returns what one of the planned size is worth: more than 1 until none that serves is smaller. By number where an
    /// operator has given one, and while nothing may be given up.
    pub(crate) fn appraise_sizes(&mut self, now: Timestamp) -> f64 {
        let (Some(sizing), Some(plan)) = (&self.sizing, &self.plan) else { return 1.0 };
        let free = plan.inputs.demand_now.is_some() && self.outlook.guard.blocking(now).is_none();
        let by_worth = free && !plan.pinned();
        let by_size = sizing.cpu_bound() && !sizing.squeezing();
        let (first, planned) = (sizing.policy.initial.cpu_cores, sizing.planned());
        let counted = self.outlook.capacity.scale();
        let share = |cores: f64| if by_size { cores.min(planned) / first / counted } else { 1.0 };
        for instance in &mut self.fleet.instances {
            instance.share = share(instance.size.map_or(first, |size| size.cpu_cores));
            instance.worth = if by_worth { instance.share } else { 1.0 };
        }
        if by_worth { share(planned) } else { 1.0 }
    }
}

fn is_share(share: f64) -> bool {
    (0.0..=1.0).contains(&share)
}

const DAY: Duration = Duration::from_secs(86_400);
/// A day of short steps is long; forecasts are learned this far at most.
const STEPS_MAX: f64 = 1_440.0;
const PEAK_QUANTILE: f64 = 0.9;
/// As for counts: no more than this above all that was seen or is expected.
const PEAK_FACTOR: f64 = 1.5;
