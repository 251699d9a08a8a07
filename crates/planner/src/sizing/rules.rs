//! The rules: a size from forecast quantiles of use, what is never taken away, and how often a size may change.

use std::time::Duration;

use forecast::Timestamp;
use jiff::tz::TimeZone;

use super::need::{NeedBasis, UseForecast};
use super::policy::SizingPolicy;
use super::reason::SizeReason;
use super::usage::RecentPeak;
use crate::size::Size;

/// Sizes one kind of instance by rules.
#[derive(Debug, Clone)]
pub struct Rules {
    cpu: UseForecast,
    memory: UseForecast,
    memory_peak: RecentPeak,
    /// Not less memory than this until then: an instance ran out of memory with less.
    memory_floor: Option<(u64, Timestamp)>,
    /// Added to the quantile of processor time beside the margin, as a share: learned from throttling. When it was set.
    headroom: (f64, Timestamp),
    /// Share of time in which processor time was short since the last decision.
    short: f64,
    /// So hard that a little more will not do.
    hard: bool,
    /// Memory that was used near the limit since the last decision, and what is to be had instead.
    memory_short: Option<(u64, u64)>,
    size: Size,
    changed: Option<Timestamp>,
    urgent: bool,
    /// A step was seen since the last decision.
    fresh: bool,
}

impl Rules {
    /// Begins at the initial size of the policy. `None` when its step cannot be forecast.
    pub fn new(policy: &SizingPolicy, zone: Option<TimeZone>) -> Option<Rules> {
        Some(Rules {
            cpu: UseForecast::new(policy.step, zone.clone(), CPU_FIRST_BUCKET)?,
            memory: UseForecast::new(policy.step, zone, MEMORY_FIRST_BUCKET)?,
            memory_peak: RecentPeak::default(),
            memory_floor: None,
            headroom: (0.0, Timestamp::from_millis(0)),
            short: 0.0,
            hard: false,
            memory_short: None,
            size: policy.initial,
            changed: None,
            urgent: false,
            fresh: false,
        })
    }

    /// Takes in the use of a complete step: cores and bytes.
    pub fn observe(&mut self, step_start: Timestamp, cpu: Option<f64>, memory: Option<f64>) {
        self.cpu.observe(step_start, cpu);
        self.memory.observe(step_start, memory);
        self.fresh = true;
        if let Some(cpu) = cpu.filter(|cpu| *cpu > self.size.cpu_cores) {
            self.short = self.short.max((cpu * ABOVE / self.size.cpu_cores - 1.0).min(1.0));
            self.urgent = true;
        }
    }

    /// Memory in use by an instance right now.
    pub(crate) fn memory_seen(&mut self, now: Timestamp, bytes: u64) {
        self.memory_peak.add(now, bytes as f64);
    }

    /// Memory is going to be so much in a moment. Returns whether that is too near the limit, where a larger one, up to
    /// `most`, is allowed.
    pub(crate) fn memory_near(&mut self, ahead: u64, most: u64) -> bool {
        let limit = self.size.memory_bytes as f64;
        if (ahead as f64) < MEMORY_NEAR * limit || self.size.memory_bytes >= most {
            return false;
        }
        let wanted =
            (ahead as f64 * MEMORY_RAISE).clamp(MEMORY_RAISE * limit, MEMORY_RAISE_MAX * limit) as u64;
        let before = self.memory_short.unwrap_or_default();
        self.memory_short = Some((before.0.max(ahead), before.1.max(wanted)));
        self.urgent = true;
        true
    }

    /// Instances were throttled in this share of the periods lately: the size is too small whatever the forecast says.
    pub(crate) fn throttled(&mut self, now: Timestamp, share: f64) {
        let headroom = (self.headroom(now) + HEADROOM_GAIN * share).min(HEADROOM_MAX);
        self.headroom = (headroom, now);
        self.short = self.short.max(share);
        self.urgent = true;
    }

    /// An instance is throttled hard right now: as much as may be added at once, without a lesson for later.
    pub(crate) fn throttled_hard(&mut self, share: f64) {
        self.short = self.short.max(share);
        (self.hard, self.urgent) = (true, true);
    }

    /// An instance needed more memory than it might use: `limit` bytes.
    pub(crate) fn out_of_memory(&mut self, now: Timestamp, limit: u64) {
        let used = self.memory_peak.value().max(limit as f64);
        let floor = (used + OOM_BYTES).max(used * OOM_FACTOR) as u64;
        self.memory_floor = Some((floor, now.saturating_add(OOM_REMEMBERED)));
        self.urgent = true;
    }

    /// Memory with less than which an instance was killed, in bytes; 0 where none was lately.
    pub(crate) fn memory_firm(&self, now: Timestamp) -> u64 {
        self.memory_floor.filter(|(_, until)| now < *until).map_or(0, |(floor, _)| floor)
    }

    fn headroom(&self, now: Timestamp) -> f64 {
        let halvings = now.since(self.headroom.1).as_secs_f64() / HEADROOM_HALF_LIFE.as_secs_f64();
        self.headroom.0 * (-halvings).exp2()
    }

    /// Median use of processor time in the coming step; `None` while it is not trusted.
    pub(crate) fn cpu_expected(&self) -> Option<f64> {
        self.cpu.expected()
    }

    /// The size in force.
    pub fn size(&self) -> Size {
        self.size
    }

    fn calm(&self, policy: &SizingPolicy, now: Timestamp) -> bool {
        self.changed.is_none_or(|changed| now.since(changed) >= policy.every)
    }

    /// Decides on the size from now on. `cpu_fixed`: processor time that was decided elsewhere. Says why it changed.
    pub fn decide(
        &mut self,
        policy: &SizingPolicy,
        now: Timestamp,
        cpu_fixed: Option<f64>,
    ) -> Vec<SizeReason> {
        let mut reasons = Vec::new();
        let changed = cpu_fixed.is_some_and(|cores| cores != self.size.cpu_cores);
        let calm = self.calm(policy, now);
        let look = changed || self.urgent || (calm && self.fresh);
        if !look {
            return reasons;
        }
        let wanted = policy.bounded(self.wanted(policy, now, cpu_fixed, &mut reasons));
        let more = self.memory_short.is_some() && wanted.memory_bytes > self.size.memory_bytes;
        let differs = changed || more || wanted.differs(&self.size, policy.change_min);
        // What is urgent may only add.
        let keep = |new: f64, old: f64| if calm { new } else { new.max(old) };
        if differs {
            let next = Size {
                cpu_cores: cpu_fixed
                    .map_or_else(|| keep(wanted.cpu_cores, self.size.cpu_cores), |_| wanted.cpu_cores),
                memory_bytes: keep(wanted.memory_bytes as f64, self.size.memory_bytes as f64) as u64,
            };
            if next != self.size {
                (self.size, self.changed) = (next, Some(now));
            }
        }
        (self.short, self.hard, self.memory_short) = (0.0, false, None);
        (self.urgent, self.fresh) = (false, false);
        reasons
    }

    fn wanted(
        &self,
        policy: &SizingPolicy,
        now: Timestamp,
        cpu_fixed: Option<f64>,
        reasons: &mut Vec<SizeReason>,
    ) -> Size {
        let mut wanted = self.size;
        let need = self.cpu.need(policy.cpu_quantile, policy.every);
        let memory = self.memory.need(policy.memory_quantile, policy.every);
        if let (Some((cpu, basis)), Some((memory, _))) = (need, memory) {
            wanted.cpu_cores = cpu * (1.0 + policy.cpu_margin + self.headroom(now));
            wanted.memory_bytes = (memory * (1.0 + policy.memory_margin)) as u64;
            let mut size = policy.bounded(wanted);
            size.cpu_cores = cpu_fixed.unwrap_or(size.cpu_cores);
            let (cpu_quantile, memory_quantile) = (policy.cpu_quantile, policy.memory_quantile);
            reasons.push(SizeReason::Needs { size, cpu_quantile, memory_quantile, basis });
            // Half a day tells too little of what is used at its other half.
            if basis == NeedBasis::Histogram && self.cpu.observed() < STEPS_TO_SHRINK {
                wanted.cpu_cores = wanted.cpu_cores.max(self.size.cpu_cores);
                wanted.memory_bytes = wanted.memory_bytes.max(self.size.memory_bytes);
            }
        }
        match cpu_fixed {
            Some(cores) => wanted.cpu_cores = cores,
            None if self.short > 0.0 => {
                let more = if self.hard { RAISE_MAX } else { self.short.clamp(RAISE_MIN, RAISE_MAX) };
                let raised = self.size.cpu_cores * (1.0 + more);
                wanted.cpu_cores = wanted.cpu_cores.max(raised);
                let cpu_cores = policy.bounded(wanted).cpu_cores;
                reasons.push(SizeReason::Throttled { share: self.short, cpu_cores });
            }
            None => {}
        }
        if let Some((ahead, raised)) = self.memory_short {
            wanted.memory_bytes = wanted.memory_bytes.max(raised);
            let memory_bytes = policy.bounded(wanted).memory_bytes;
            let limit = self.size.memory_bytes;
            reasons.push(SizeReason::MemoryShort { ahead, limit, memory_bytes });
        }
        wanted.memory_bytes = self.memory_kept(wanted.memory_bytes, now, reasons);
        wanted
    }

    /// Memory that must not be taken away.
    fn memory_kept(&self, wanted: u64, now: Timestamp, reasons: &mut Vec<SizeReason>) -> u64 {
        let peak = (self.memory_peak.value() * MEMORY_SPARE) as u64;
        let floor = self.memory_firm(now);
        if floor > 0 {
            reasons.push(SizeReason::OutOfMemory { memory_bytes: floor });
        }
        if peak > wanted.max(floor) {
            reasons.push(SizeReason::MemoryPeak { memory_bytes: peak });
        }
        wanted.max(peak).max(floor)
    }
}

/// Cores and bytes that the histograms tell apart near zero.
const CPU_FIRST_BUCKET: f64 = 0.01;
const MEMORY_FIRST_BUCKET: f64 = 1e7;
/// Memory in use from this share of its limit on is too near it, and is given this many times what it is going to be: at least
/// of the limit, and at most that much of it at once.
const MEMORY_NEAR: f64 = 0.9;
const MEMORY_RAISE: f64 = 1.3;
const MEMORY_RAISE_MAX: f64 = 2.0;
/// Memory that was in use is kept with so much on top, or it would be too near at once.
const MEMORY_SPARE: f64 = 1.15;
/// After running out of memory: so much more, or by this factor, as the Vertical Pod Autoscaler does.
const OOM_BYTES: f64 = 100.0 * 1024.0 * 1024.0;
const OOM_FACTOR: f64 = 1.2;
const OOM_REMEMBERED: Duration = Duration::from_secs(7 * 86_400);
/// Throttling in all periods adds this share to every later size, slowly forgotten.
const HEADROOM_GAIN: f64 = 0.25;
const HEADROOM_MAX: f64 = 3.0;
const HEADROOM_HALF_LIFE: Duration = Duration::from_secs(86_400);
/// A limit that use has exceeded is set this much above it.
const ABOVE: f64 = 1.1;
/// Least and largest raise at once, as shares.
const RAISE_MIN: f64 = 0.1;
const RAISE_MAX: f64 = 1.0;
/// Before a forecast is trusted, nothing is taken away until this many steps were seen.
const STEPS_TO_SHRINK: u64 = 12;
