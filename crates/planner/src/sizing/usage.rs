//! From single readings of instances to one use per step, and to rounds of readings for what must be quick.

use std::collections::BTreeMap;
use std::time::Duration;

use forecast::Timestamp;

use crate::ids::InstanceId;

/// One reading of one instance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reading {
    /// Processor time used, in cores.
    pub(crate) cpu: f64,
    /// Memory used, in bytes.
    pub(crate) memory: u64,
    /// Share of periods in which it was throttled, where that is known.
    pub(crate) throttled: Option<f64>,
}

/// A reading of every instance, one after the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Round {
    /// Instances in it.
    pub(crate) instances: u32,
    /// Processor time of the busiest one, in cores.
    pub(crate) cpu_most: f64,
    /// Mean processor time of one.
    pub(crate) cpu_mean: f64,
    /// Mean share of throttled periods; `None` when it is not known of all.
    pub(crate) throttled: Option<f64>,
}

/// Use of a complete step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StepUse {
    pub(crate) start: Timestamp,
    /// Mean processor time of a busy instance, in cores.
    pub(crate) cpu: f64,
    /// Largest memory of any instance, in bytes.
    pub(crate) memory: f64,
}

/// Readings not yet summed up.
#[derive(Debug, Clone)]
pub(crate) struct Readings {
    step: Duration,
    quantile: f64,
    /// When the step under way began.
    start: Option<Timestamp>,
    /// Sum of processor time and number of readings in the step, by instance.
    step_cpu: BTreeMap<InstanceId, (f64, u32)>,
    step_memory: f64,
    round: BTreeMap<InstanceId, Reading>,
}

impl Readings {
    /// Of several instances, the one at this quantile stands for all.
    pub(crate) fn new(step: Duration, quantile: f64) -> Readings {
        Readings {
            step,
            quantile,
            start: None,
            step_cpu: BTreeMap::new(),
            step_memory: 0.0,
            round: BTreeMap::new(),
        }
    }

    /// Takes in a reading. Returns the step and the round that were complete before it.
    pub(crate) fn add(
        &mut self,
        wall: Timestamp,
        instance: InstanceId,
        reading: Reading,
    ) -> (Option<StepUse>, Option<Round>) {
        let step_ms = self.step.as_millis() as i64;
        let start = Timestamp::from_millis(wall.as_millis().div_euclid(step_ms) * step_ms);
        let done = match self.start {
            Some(before) if before < start => self.close(before),
            Some(_) | None => None,
        };
        self.start = Some(self.start.map_or(start, |before| before.max(start)));
        let sum = self.step_cpu.entry(instance).or_default();
        *sum = (sum.0 + reading.cpu, sum.1 + 1);
        self.step_memory = self.step_memory.max(reading.memory as f64);
        let round = if self.round.contains_key(&instance) { self.close_round() } else { None };
        self.round.insert(instance, reading);
        (done, round)
    }

    fn close(&mut self, start: Timestamp) -> Option<StepUse> {
        let mut means: Vec<f64> =
            std::mem::take(&mut self.step_cpu).into_values().map(|(sum, n)| sum / f64::from(n)).collect();
        means.sort_by(f64::total_cmp);
        let rank = ((self.quantile * means.len() as f64).ceil() as usize).clamp(1, means.len().max(1));
        let memory = std::mem::take(&mut self.step_memory);
        Some(StepUse { start, cpu: *means.get(rank - 1)?, memory })
    }

    fn close_round(&mut self) -> Option<Round> {
        let round: Vec<Reading> = std::mem::take(&mut self.round).into_values().collect();
        let n = round.len() as f64;
        let shares: Option<Vec<f64>> = round.iter().map(|r| r.throttled).collect();
        (!round.is_empty()).then(|| Round {
            instances: round.len() as u32,
            cpu_most: round.iter().map(|r| r.cpu).fold(0.0, f64::max),
            cpu_mean: round.iter().map(|r| r.cpu).sum::<f64>() / n,
            throttled: shares.map(|shares| shares.iter().sum::<f64>() / n),
        })
    }
}

/// The largest value of about the last day.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecentPeak {
    /// Largest value by hour.
    hours: BTreeMap<i64, f64>,
}

impl RecentPeak {
    pub(crate) fn add(&mut self, at: Timestamp, value: f64) {
        let hour = at.as_millis().div_euclid(HOUR_MS);
        let most = self.hours.entry(hour).or_default();
        *most = most.max(value);
        // Also hours that a clock set back has left in the future.
        self.hours.retain(|known, _| (hour - known).abs() < HOURS);
    }

    pub(crate) fn value(&self) -> f64 {
        self.hours.values().copied().fold(0.0, f64::max)
    }
}

const HOUR_MS: i64 = 3_600_000;
const HOURS: i64 = 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(cpu: f64, memory: u64) -> Reading {
        Reading { cpu, memory, throttled: Some(0.1) }
    }

    #[test]
    fn a_step_is_the_mean_of_each_instance_and_the_busy_one_of_all() {
        let mut readings = Readings::new(Duration::from_secs(60), 0.95);
        let at = |s: i64| Timestamp::from_millis(s * 1000);
        for (second, one, two) in [(0, 0.2, 1.0), (30, 0.4, 3.0)] {
            readings.add(at(second), InstanceId::new(1), reading(one, 100));
            readings.add(at(second), InstanceId::new(2), reading(two, 50));
        }
        let (step, round) = readings.add(at(61), InstanceId::new(1), reading(9.0, 9));
        assert_eq!(step, Some(StepUse { start: at(0), cpu: 2.0, memory: 100.0 }));
        let round = round.unwrap();
        assert_eq!((round.instances, round.cpu_most, round.throttled), (2, 3.0, Some(0.1)));
        assert!((round.cpu_mean - 1.7).abs() < 1e-12);
    }

    #[test]
    fn a_peak_is_forgotten_after_a_day() {
        let mut peak = RecentPeak::default();
        peak.add(Timestamp::from_millis(0), 5.0);
        peak.add(Timestamp::from_millis(23 * HOUR_MS), 2.0);
        assert_eq!(peak.value(), 5.0);
        peak.add(Timestamp::from_millis(24 * HOUR_MS), 1.0);
        assert_eq!(peak.value(), 2.0);
    }
}
