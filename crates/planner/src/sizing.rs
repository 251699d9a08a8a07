//! Vertical sizing: how much processor time and memory one instance may use.
//!
//! - `need`, `rules`: quantiles of forecast use become a size; what is short is raised at once. `strain`: quick looks.
//! - `joint`: where a larger instance serves more, size and count are one decision, made rarely.
//! - `captain`, `tower`, `bandit`: a controller of throttling below that, with a learned target.
//! - `steer`: all of it for one workload.
//!
//! Everything here is per instance; all instances of a workload are to have the same size.

mod bandit;
mod captain;
mod histogram;
mod joint;
mod need;
mod policy;
mod reason;
mod rules;
mod steer;
mod strain;
mod tower;
mod usage;

use std::collections::VecDeque;
use std::time::Duration;

use forecast::Timestamp;
use jiff::tz::TimeZone;

pub use histogram::DecayingHistogram;
pub use need::{NeedBasis, UseForecast};
pub use policy::{SizingMode, SizingPolicy};
pub use reason::{BanditOff, SizeReason};
pub use rules::Rules;

use crate::ids::InstanceId;
use crate::size::Size;
use bandit::Bandit;
use joint::{Joint, Need};
pub(crate) use strain::Look;
use strain::Strains;
pub(crate) use usage::Reading;
use usage::{Readings, RecentPeak, Round};

/// The size of the instances of one workload.
#[derive(Debug, Clone)]
pub(crate) struct Sizing {
    policy: SizingPolicy,
    readings: Readings,
    rules: Rules,
    strains: Strains,
    joint: Joint,
    bandit: Option<Bandit>,
    bound: Bound,
    /// Demand at the round before.
    judged_at: f64,
    size: Size,
    /// What is booked for an instance.
    room: Size,
    /// What the size would be if there were room for it.
    cut: Option<Size>,
    /// Shares of throttled periods in the last rounds.
    throttled: VecDeque<f64>,
    round: Option<Round>,
    demand_peak: RecentPeak,
    /// Largest demand expected within a day, and when that was asked.
    peak: Option<(f64, Timestamp)>,
    /// Why the size was changed last, and why the number that goes with it.
    why: Vec<SizeReason>,
    together: Option<SizeReason>,
}

/// Whether an instance with more processor time serves more demand.
#[derive(Debug, Clone, Copy)]
enum Bound {
    Known(bool),
    /// Sum of the shares of the size that would be used at full capacity, and how many were seen.
    Judging {
        sum: f64,
        seen: u32,
    },
}

/// What the workload knows beside use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Demand now, in the workload's unit.
    pub(crate) demand: f64,
    /// Instances that serve it.
    pub(crate) serving: u32,
    /// Demand that an instance of the initial size serves.
    pub(crate) capacity: f64,
}

impl Sizing {
    /// `None` when the policy's step cannot be forecast, which its validation has refused. `count_fixed`: the number of
    /// instances is given.
    pub(crate) fn new(
        policy: &SizingPolicy,
        zone: Option<TimeZone>,
        seed: u64,
        count_fixed: bool,
    ) -> Option<Sizing> {
        let known = if count_fixed { Some(false) } else { policy.cpu_bound };
        Some(Sizing {
            readings: Readings::new(policy.step, policy.cpu_quantile),
            rules: Rules::new(policy, zone)?,
            strains: Strains::default(),
            joint: Joint::default(),
            bandit: (policy.mode == SizingMode::Bandit).then(|| Bandit::new(seed, policy.initial.cpu_cores)),
            bound: known.map_or(Bound::Judging { sum: 0.0, seen: 0 }, Bound::Known),
            judged_at: 0.0,
            size: policy.initial,
            room: policy.most,
            cut: None,
            throttled: VecDeque::new(),
            round: None,
            demand_peak: RecentPeak::default(),
            peak: None,
            why: Vec::new(),
            together: None,
            policy: policy.clone(),
        })
    }

    /// The size in force.
    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// The limit is below what an instance would need to serve all it can.
    pub(crate) fn squeezing(&self) -> bool {
        self.bandit.as_ref().is_some_and(Bandit::on)
    }

    /// The nodes have no room for the processor time that an instance should have.
    fn cpu_cut(&self) -> bool {
        self.cut.is_some_and(|wanted| self.size.cpu_cores < wanted.cpu_cores)
    }

    /// Where processor time is no known limit of what an instance serves, but was cut: the part of it that is left.
    fn part_left(&self) -> f64 {
        match self.cut.filter(|_| self.cpu_cut() && !self.cpu_bound()) {
            Some(wanted) => self.size.cpu_cores / wanted.cpu_cores.min(self.policy.initial.cpu_cores),
            None => 1.0,
        }
    }

    /// What instances do tells nothing of what one of the initial size can serve.
    pub(crate) fn dwarfed(&self) -> bool {
        self.squeezing() || (self.cpu_cut() && !self.cpu_bound())
    }

    /// An instance with more processor time serves more.
    pub(crate) fn cpu_bound(&self) -> bool {
        matches!(self.bound, Bound::Known(true))
    }

    /// Takes in a reading of an instance that is not frozen. Returns whether the size may have to change at once.
    pub(crate) fn observe(
        &mut self,
        (now, wall): (Timestamp, Timestamp),
        instance: InstanceId,
        reading: Reading,
        load: Load,
    ) -> bool {
        let near = self.memory_near(now, reading.memory, reading.memory);
        let (step, round) = self.readings.add(wall, instance, reading);
        if let Some(step) = step {
            self.rules.observe(step.start, Some(step.cpu), Some(step.memory));
        }
        self.demand_peak.add(now, load.demand);
        let Some(round) = round else { return near };
        self.judge_bound(round, load);
        self.round = Some(round);
        let short = self.rules_short(now, round);
        let short = near || short;
        let cut = self.cpu_cut();
        let Some(bandit) = self.bandit.as_mut().filter(|_| !cut) else { return short };
        let floor = self.rules.cpu_expected().map(|cores| cores.max(self.policy.least.cpu_cores));
        // It may save, never cost: what the rules would give is the most.
        let most = self.rules.size().cpu_cores;
        let limit = bandit.observe(now, round, load.demand, (floor, most));
        short || limit.is_some_and(|limit| limit != self.size.cpu_cores)
    }

    /// Takes in a quick look. Returns whether the size has to change at once. `serving`: its processor time counts.
    pub(crate) fn strained(
        &mut self,
        now: Timestamp,
        instance: InstanceId,
        look: Look,
        serving: bool,
    ) -> bool {
        let seen = self.strains.look(now, instance, look);
        let near = match (look.memory, seen.memory_ahead) {
            (Some(memory), Some(ahead)) => self.memory_near(now, memory, ahead),
            (None, _) | (_, None) => false,
        };
        let most = self.size.cpu_cores >= self.policy.most.cpu_cores;
        let answered = self.squeezing() || self.cpu_bound() || self.cpu_cut() || most;
        let Some(share) = seen.throttled.filter(|share| *share >= THROTTLED_HARD && serving && !answered)
        else {
            return near;
        };
        // What repeats is learned from the rounds; this only helps now.
        self.rules.throttled_hard(share);
        self.strains.forget_throttling();
        true
    }

    /// Whether memory in use, or what it is going to be, is so near its limit that it must be raised.
    fn memory_near(&mut self, now: Timestamp, used: u64, ahead: u64) -> bool {
        self.rules.memory_seen(now, used);
        self.rules.memory_near(ahead, self.policy.most.memory_bytes)
    }

    /// Whether the rules must raise the processor time at once.
    fn rules_short(&mut self, now: Timestamp, round: Round) -> bool {
        let unknown = if round.cpu_most >= AT_LIMIT * self.size.cpu_cores { THROTTLED_GUESS } else { 0.0 };
        if self.throttled.len() == ROUNDS_KEPT {
            self.throttled.pop_front();
        }
        self.throttled.push_back(round.throttled.unwrap_or(unknown));
        let share = self.throttled.iter().sum::<f64>() / self.throttled.len() as f64;
        // Where the count answers demand, a busy instance is no reason for a larger one; and the bandit wants throttling.
        let idle = self.squeezing() || self.cpu_bound() || self.cpu_cut();
        if idle || self.throttled.len() < ROUNDS_BELIEVED || share <= THROTTLED_MAX {
            return false;
        }
        self.rules.throttled(now, share);
        self.throttled.clear();
        true
    }

    /// Learns whether processor time is what limits an instance, from what it uses at a known part of its capacity.
    fn judge_bound(&mut self, round: Round, load: Load) {
        let before = std::mem::replace(&mut self.judged_at, load.demand);
        let cut = self.cpu_cut();
        let Bound::Judging { sum, seen } = &mut self.bound else { return };
        let share = load.demand / f64::from(load.serving.max(1)) / load.capacity;
        // What is used follows demand at once, and what is known of demand a little later.
        let steady = (load.demand - before).abs() <= DEMAND_STEADY * before;
        if cut || load.serving == 0 || !share.is_finite() || share < LOAD_TELLS || !steady {
            return;
        }
        *sum += round.cpu_mean / share / self.policy.initial.cpu_cores;
        *seen += 1;
        if *seen >= ROUNDS_TO_JUDGE {
            self.bound = Bound::Known(*sum / f64::from(*seen) >= BOUND_FROM);
        }
    }

    /// An instance ran out of memory.
    pub(crate) fn out_of_memory(&mut self, now: Timestamp) {
        self.rules.out_of_memory(now, self.size.memory_bytes);
    }

    /// What a backend did since its last reading; `bound` is the latency bound. Returns whether the
    /// size must change at once.
    pub(crate) fn latency(
        &mut self,
        now: Timestamp,
        requests: u64,
        p99: Duration,
        bound: Option<Duration>,
    ) -> bool {
        let (Some(bandit), Some(bound)) = (&mut self.bandit, bound) else { return false };
        bandit.latency(now, requests, p99, bound)
    }

    /// Whether the largest demand of a day is needed for the next decision.
    fn asks_peak(&self, now: Timestamp) -> bool {
        self.cpu_bound() && self.peak.is_none_or(|(_, at)| now.since(at) >= self.policy.every)
    }

    /// Decides on the size from now on. `peak`: largest demand expected within a day, if it was asked for. `book`: how much of
    /// what an instance may come to use there is room for, where it cannot live with less than some memory.
    fn decide(
        &mut self,
        now: Timestamp,
        peak: Option<f64>,
        load: Load,
        replicas: (u32, u32),
        book: impl FnOnce(Size, u64) -> Size,
    ) {
        if let Some(peak) = peak {
            self.peak = Some((peak, now));
        }
        let mut fixed = None;
        if self.cpu_bound() {
            let peak = self.peak.map_or(0.0, |(peak, _)| peak).max(load.demand);
            let need = Need {
                peak,
                capacity: load.capacity,
                memory: self.rules.size().memory_bytes as f64,
                replicas_min: replicas.0,
                replicas_max: replicas.1,
            };
            let (cores, reason) = self.joint.decide(&self.policy, now, need);
            self.together = reason.or_else(|| self.together.take());
            fixed = Some(cores);
        }
        let why = self.rules.decide(&self.policy, now, fixed);
        if !why.is_empty() {
            self.why = why;
        }
        let ruled = self.rules.size();
        // Before it is known what limits an instance, less processor time could halve what it serves.
        let judged = matches!(self.bound, Bound::Known(_));
        let unjudged = if judged { 0.0 } else { self.policy.initial.cpu_cores };
        let mut size = Size { cpu_cores: ruled.cpu_cores.max(unjudged), ..ruled };
        if let Some(bandit) = &self.bandit {
            size.cpu_cores = bandit.limit(now, self.rules.cpu_expected()).unwrap_or(size.cpu_cores);
            if bandit.off(now, self.rules.cpu_expected()) == Some(BanditOff::LatencyBroken) {
                size.cpu_cores = size.cpu_cores.max(self.size.cpu_cores);
            }
        }
        let wanted = self.policy.bounded(size);
        // What was squeezed is given back when demand comes, so its room is kept.
        let firm = self.rules.memory_firm(now).min(self.policy.most.memory_bytes);
        self.room = book(wanted.at_least(self.policy.bounded(ruled)), firm);
        size = self.policy.bounded(wanted.within(self.room.resources()));
        self.cut = (size != wanted).then_some(wanted);
        if size != self.size {
            self.throttled.clear();
            self.strains.forget_throttling();
        }
        self.size = size;
    }

    /// Why the size is what it is.
    pub(crate) fn reasons(&self, now: Timestamp) -> impl Iterator<Item = SizeReason> {
        let bandit = self.bandit.as_ref().map(|bandit| match bandit.off(now, self.rules.cpu_expected()) {
            Some(off) => SizeReason::BanditOff(off),
            None => bandit.reason(),
        });
        let cut = self.cut.map(|wanted| SizeReason::NoRoom { wanted, size: self.size });
        self.together.clone().into_iter().chain(self.why.clone()).chain(bandit).chain(cut)
    }
}

/// Use of so much of the limit is taken for throttling where that is not measured, and how much of it.
const AT_LIMIT: f64 = 0.98;
const THROTTLED_GUESS: f64 = 0.25;
/// The rules raise processor time when more than this share of periods is throttled over so many rounds.
const THROTTLED_MAX: f64 = 0.05;
/// Over a moment, this share is enough. A single busy thread is counted as throttled in every second period or so: it overruns
/// its quota by a little, and waits that much longer.
const THROTTLED_HARD: f64 = 0.4;
const ROUNDS_KEPT: usize = 10;
const ROUNDS_BELIEVED: usize = 3;
/// Below this part of its capacity, what an instance uses says little of what it would use at full capacity.
const LOAD_TELLS: f64 = 0.2;
const ROUNDS_TO_JUDGE: u32 = 30;
/// Rounds between which demand has moved by a larger share tell nothing.
const DEMAND_STEADY: f64 = 0.2;
/// An instance that would use this share of its processor time at full capacity is limited by it.
const BOUND_FROM: f64 = 0.7;
